"""The gateway's logs: opened at the start, opened anew after a fault, closed with their last record.

Promises that both are open, and their starts recorded, signed and to be seen in the views, before anything is served,
and that a log which is opened anew begins as at a start. Every opening may block; after the start it runs in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from gateway import __version__
from gateway.approval.restart import LeftOver, left_over
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.journal import Journal
from gateway.evidence.lasting import LastingLog, probe
from gateway.evidence.opening import first_records
from gateway.evidence.storage import DiskStorage
from gateway.model import Clock, Draft, Entropy, LogName
from gateway.settings import Settings
from gateway.witnessing import write_witness_keys
from gateway.worker.keeping import carried_marks

logger = logging.getLogger(__name__)


class Logs:
    """The two logs of a gateway with one worker; `open_logs` makes them."""

    def __init__(self, settings: Settings, clock: Clock, entropy: Entropy, *, accept_loss: bool) -> None:
        self._settings, self._clock, self._entropy, self._accept_loss = settings, clock, entropy, accept_loss
        self._storage = DiskStorage()
        self.left = LeftOver()
        """What there was before the control log was opened last."""
        self.control = LastingLog(lambda resumed: self._open("control", resumed))
        try:
            self.worker = LastingLog(lambda resumed: self._open("w1", resumed))
        except BaseException:
            _close(self.control.journal)
            raise

    @property
    def both(self) -> tuple[LastingLog, LastingLog]:
        """Return the logs, in the order of their names."""
        return self.control, self.worker

    def _open(self, place: str, resumed: str | None) -> Journal:
        settings, storage = self._settings, self._storage
        directory, origin = settings.evidence_dir / "logs" / place, LogName(f"{settings.gateway.name}/{place}")
        keys, loss = settings.gateway.state_dir / "keys", self._accept_loss and resumed is None
        if resumed is not None:
            probe(storage, directory)
        if place == "control":
            self.left = left_over(directory, storage)
        journal = Journal.open(directory, origin, storage, self._clock, self._entropy, keys=keys, accept_loss=loss)
        try:
            for draft in first_records(journal, settings.gateway.name, __version__, resumed):
                journal.append(draft)
            if place == "control" and resumed is None:
                journal.append(configuration(settings))
            journal.flush()
            journal.checkpoint()  # a process that was killed may have left its last records unsigned
        except BaseException:
            _close(journal)
            raise
        return journal

    def close(self) -> None:
        """Record the orderly stop where that is possible, and let go of the logs."""
        for log in self.both:
            if log.journal.broken is None:
                log.journal.append(record.shutdown("stopped"))
        for log in self.both:
            _close(log.journal)


@contextlib.contextmanager
def open_logs(settings: Settings, clock: Clock, entropy: Entropy, *, accept_loss: bool) -> Iterator[Logs]:
    """Open both logs and record the start, what a former process left open, and the configuration in force.

    Raises `EvidenceFault`.
    """
    logs = Logs(settings, clock, entropy, accept_loss=accept_loss)
    try:
        write_witness_keys(settings, DiskStorage())
        _write_views(settings.evidence_dir)
        yield logs
    finally:
        logs.close()


def configuration(settings: Settings) -> Draft:
    """Return the record of the configuration in force, and of the columns that are marked since values moved there."""
    from gateway.policy.rules import compile_rules

    rows, texts = [], []
    for connection in settings.connections():
        rules = compile_rules(connection)
        texts.append(rules.text)
        names = tuple(rule.name for rule in rules.rules)
        marks = (*map(str, connection.marks), *carried_marks(settings.gateway.state_dir, connection))
        rows.append(record.PolicyInForce(connection.name, rules.hash, names, marks))
    operators = [f"{each.name}: {', '.join(each.roles)}" for each in settings.operator]
    combined = blake3("\n".join(row.policy for row in rows).encode()).hexdigest()
    return record.config(combined, "\n".join(texts), connections=rows, operators=operators)


def _close(journal: Journal) -> None:
    try:
        journal.close()
    except EvidenceFault as fault:
        logger.error("%s", fault)  # noqa: TRY400  no traceback for a full disk


def _write_views(evidence: Path) -> None:
    """Write `evidence.duckdb`, in a process of its own."""
    command = [sys.executable, "-m", "gateway", "evidence", "views", str(evidence)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EvidenceFault(f"the views cannot be written: {done.stderr.strip()}")
