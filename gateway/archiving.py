"""Runs the archiver beside the gateway: at start, whenever a journal file was closed, and when one may be removed.

Promises one archiver at a time, each in a process of its own at low priority, a record of each segment in the log that
it is of, and one of what is let go before it goes. An erasure that was recorded and cut is carried out. What goes wrong
is said and tried again later: archiving never stops traffic.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import trio

from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.retention import Term
from gateway.evidence.segments import journal_numbers
from gateway.model import Draft, LogName

logger = logging.getLogger(__name__)

LOOK = 5.0
"""Seconds between looks at whether a journal file was closed."""
AGAIN = 120.0
"""Seconds after which closed files that are still there are looked at again: they go ten minutes after their record."""


class Archived(Protocol):
    """A log, whichever process writes it."""

    @property
    def log(self) -> LogName:
        """Return its origin."""

    @property
    def number(self) -> int:
        """Return the number of the journal file that is written to, as far as is known."""

    async def record(self, draft: Draft) -> object:
        """Record something about the log in it. Raises `EvidenceFault`."""


Witnessed = Callable[[], Mapping[str, int] | None]
"""By log, how many records were seen outside; None: nobody is configured to look."""


async def keep_archiving(
    evidence: Path, logs: Sequence[Archived], terms: Sequence[Term] = (), witnessed: Witnessed = lambda: None
) -> None:
    """Archive what is closed, and let go what `terms` give up, until cancelled."""
    seen: list[int] = []
    last = pruned = finished = -AGAIN
    while True:
        if trio.current_time() - finished >= AGAIN:
            await finish_erasures(evidence)
            finished = trio.current_time()
        numbers = [log.number for log in logs]
        if numbers != seen or (trio.current_time() - last >= AGAIN and _closed(evidence)):
            seen, last = numbers, trio.current_time()
            if _closed(evidence):
                await archive_once(evidence, logs)
        if terms and trio.current_time() - pruned >= AGAIN:
            await prune_once(evidence, logs, terms, witnessed())
            pruned = trio.current_time()
        await trio.sleep(LOOK)


def _cut(evidence: Path) -> bool:
    """Say whether an erasure left something behind; see `gateway.evidence.erasure`, which needs DuckDB."""
    return any(evidence.glob("logs/*/*/*.erased"))


def _closed(evidence: Path) -> bool:
    """Say whether a log has a journal file besides the one that is written to."""
    journals = evidence.glob("logs/*/journal")
    return any(len(journal_numbers(path.name for path in one.glob("*.tsv"))) > 1 for one in journals)


async def archive_once(evidence: Path, logs: Sequence[Archived]) -> None:
    """Run the archiver once and record what it made."""
    command = [sys.executable, "-P", "-m", "gateway.evidence.archiver", str(evidence)]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    if done.returncode != 0:
        logger.error("archiving: %s", done.stderr.decode(errors="replace").strip()[-1000:])
    named = {str(log.log): log for log in logs}
    try:
        for line in done.stdout.splitlines():
            told = json.loads(line)
            log = named.get(told.pop("log"))
            if log is not None:
                await log.record(record.archive(**told))
    except EvidenceFault as fault:
        logger.error("archiving: %s", fault)  # noqa: TRY400  no traceback for a full disk
    except (ValueError, TypeError, LookupError) as fault:
        logger.error("archiving: the archiver said what is no record: %s", fault)  # noqa: TRY400  it is told again


async def finish_erasures(evidence: Path) -> None:
    """Carry out what an `erasure` record says and a command that was cut did not do; most often there is nothing."""
    if not _cut(evidence):
        return
    command = [sys.executable, "-P", "-m", "gateway.evidence.erasure", str(evidence)]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    for line in done.stdout.decode(errors="replace").splitlines():
        logger.warning("erasing: finished what a command that was cut had recorded: %s", line)
    if done.returncode != 0:
        logger.warning("erasing: %s", done.stderr.decode(errors="replace").strip()[-1000:])


async def prune_once(
    evidence: Path, logs: Sequence[Archived], terms: Sequence[Term], witnessed: Mapping[str, int] | None
) -> None:
    """Record what may go, in the log that it is of, and then remove it."""
    asked = {"terms": [asdict(term) for term in terms], "witnessed": witnessed}
    named = {str(log.log): log for log in logs}
    try:
        for line in (await _retention(evidence, asked)).splitlines():
            told = json.loads(line)
            log = named.get(told["log"])
            if log is None:
                continue
            part = "" if told["part"] == "entries" else f" {told['part']}"
            records = [f"{told['log']}:{told['first']}-{told['last']}{part}"]
            files = [(file, digest, "") for file, digest in told["files"]]
            await log.record(record.erasure(records, told["why"], "gateway", files))
            await _retention(evidence, {"remove": [file for file, _ in told["files"]]})
    except (EvidenceFault, ValueError, TypeError, LookupError) as fault:
        logger.error("retention: %s", fault)  # noqa: TRY400  no traceback for a full disk


async def _retention(evidence: Path, asked: Mapping[str, object]) -> bytes:
    command = [sys.executable, "-P", "-m", "gateway.evidence.retention", str(evidence)]
    done = await trio.run_process(
        command, stdin=json.dumps(asked).encode(), capture_stdout=True, capture_stderr=True, check=False
    )
    if done.returncode != 0:
        raise EvidenceFault(done.stderr.decode(errors="replace").strip()[-1000:])
    return done.stdout
