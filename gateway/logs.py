"""The gateway's logs: opened at the start, opened anew after a fault, closed with their last record.

Promises that each is open, and its start recorded, signed and to be seen in the views, before anything is served,
and that a log which is opened anew begins as at a start. Every opening may block; after the start it runs in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

from gateway import __version__
from gateway.approval.restart import LeftOver, left_over
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.entry import parse_line, parse_loosely
from gateway.evidence.journal import Journal
from gateway.evidence.lasting import LastingLog, probe
from gateway.evidence.opening import first_records
from gateway.evidence.replay import lines
from gateway.evidence.segments import journal_path
from gateway.evidence.storage import DiskStorage, InUse
from gateway.leavings import clear_log, clear_state
from gateway.model import Clock, Draft, Entropy, LogName
from gateway.settings import Settings
from gateway.witnessing import write_witness_keys
from gateway.worker.keeping import carried_marks

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that a start waits for a worker of a former supervisor to let go of its log."""


def worker_places(workers: int) -> tuple[str, ...]:
    """Return the own names of the workers' logs: `w1`, `w2`, …"""
    return tuple(f"w{number}" for number in range(1, workers + 1))


def open_log(
    settings: Settings, place: str, clock: Clock, entropy: Entropy, resumed: str | None = None, *, accept_loss: bool
) -> Journal:
    """Open the log `place` of the gateway, and record its start and what a former process left open in it.

    `resumed`: why it is opened anew, None at the start. May block. Raises `EvidenceFault`.

    A worker's log may still be held for a moment, by one whose supervisor was killed: it ends its sessions first.
    """
    storage = DiskStorage()
    directory, origin = settings.evidence_dir / "logs" / place, LogName(f"{settings.gateway.name}/{place}")
    keys, loss = settings.gateway.state_dir / "keys", accept_loss and resumed is None
    if resumed is not None:
        probe(storage, directory)
    journal = _let_go(
        lambda: Journal.open(directory, origin, storage, clock, entropy, keys=keys, accept_loss=loss),
        0.0 if place == "control" else PATIENCE,
    )
    try:
        if resumed is None:
            clear_log(directory)
        for draft in first_records(journal, settings.gateway.name, __version__, resumed):
            journal.append(draft)
        if place == "control" and resumed is None:
            journal.append(configuration(settings))
        journal.flush()
        journal.checkpoint()  # a process that was killed may have left its last records unsigned
    except BaseException:
        close_log(journal)
        raise
    return journal


def _let_go(open_journal: Callable[[], Journal], patience: float) -> Journal:
    """Open it once nobody holds it any more. Raises `InUse` after so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return open_journal()
        except InUse:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def close_log(journal: Journal, why: str | None = None) -> None:
    """Let go of a log; with `why`, record the orderly stop where that is possible."""
    try:
        if why is not None and journal.broken is None:
            journal.append(record.shutdown(why))
        journal.close()
    except EvidenceFault as fault:
        logger.error("%s", fault)  # noqa: TRY400  no traceback for a full disk


class Logs:
    """The logs that this process writes. `open_logs` makes them.

    `control`; where there is one worker, its own; and those of workers that there were once, which are written to only
    about themselves: that they were archived, say, or what retention took.
    """

    def __init__(self, settings: Settings, clock: Clock, entropy: Entropy, *, accept_loss: bool) -> None:
        self._settings, self._clock, self._entropy, self._accept_loss = settings, clock, entropy, accept_loss
        self.left = LeftOver()
        """What there was before the control log was opened last."""
        self.control = self._lasting("control")
        self.worker: LastingLog | None = None
        """That of the worker in this process."""
        self.resting: tuple[LastingLog, ...] = ()
        """Those of workers that are no longer configured."""
        try:
            if settings.gateway.workers == 1:
                self.worker = self._lasting("w1")
            for place in _former_places(settings):
                self.resting += (self._lasting(place),)
        except BaseException:
            for log in self.all:
                close_log(log.journal)
            raise

    @property
    def all(self) -> tuple[LastingLog, ...]:
        """Return the logs, in the order of their names."""
        return (self.control, *(() if self.worker is None else (self.worker,)), *self.resting)

    def _lasting(self, place: str) -> LastingLog:
        return LastingLog(lambda resumed: self._open(place, resumed))

    def _open(self, place: str, resumed: str | None) -> Journal:
        settings = self._settings
        if place == "control":
            self.left = left_over(settings.evidence_dir / "logs" / place, DiskStorage())
        journal = open_log(settings, place, self._clock, self._entropy, resumed, accept_loss=self._accept_loss)
        try:
            if place in _former_places(settings) and _holds_sessions(journal):
                journal.rotate()  # nothing else would close the file: it would be kept whatever retention says
        except BaseException:
            close_log(journal)
            raise
        return journal

    def close(self) -> None:
        """Record the orderly stop where that is possible, and let go of the logs."""
        for log in self.all:
            close_log(log.journal, "stopped")


def _former_places(settings: Settings) -> tuple[str, ...]:
    """Return the own names of the logs of workers that are no longer configured: there were more of them once."""
    there = (path.name for path in (settings.evidence_dir / "logs").glob("w[0-9]*") if (path / "journal").is_dir())
    return tuple(sorted(set(there) - set(worker_places(settings.gateway.workers)), key=lambda name: (len(name), name)))


def _holds_sessions(journal: Journal) -> bool:
    """Say whether the file that is written to has records of sessions. Raises `EvidenceFault`."""
    try:
        path = journal_path(journal.directory, journal.number)
        return any("sid" in parse_loosely(parse_line(raw).entry) for _, raw in lines(DiskStorage(), path))
    except OSError as fault:
        raise EvidenceFault(f"the evidence in {journal.directory} cannot be read: {fault.strerror}") from None


@contextlib.contextmanager
def open_logs(settings: Settings, clock: Clock, entropy: Entropy, *, accept_loss: bool) -> Iterator[Logs]:
    """Open the logs of this process and record the start, what a former one left open, and the configuration in force.

    Raises `EvidenceFault`.
    """
    logs = Logs(settings, clock, entropy, accept_loss=accept_loss)
    try:
        for left in clear_state(settings.gateway.state_dir, clock.now()):
            logger.info("%s: removed; a process that was killed left it", left)
        write_witness_keys(settings, DiskStorage())
        if logs.worker is not None:
            write_views(settings.evidence_dir)
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


def write_views(evidence: Path) -> None:
    """Write `evidence.duckdb`, in a process of its own, once every log is there. Raises `EvidenceFault`."""
    command = [sys.executable, "-m", "gateway", "evidence", "views", str(evidence)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EvidenceFault(f"the views cannot be written: {done.stderr.strip()}")
