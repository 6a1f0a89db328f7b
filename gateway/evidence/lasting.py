"""A log that outlives its journal's faults (Trio): once the disk takes writes again, it is opened anew, as at a start.

Promises that nothing is recorded between a fault and the new opening, that the new one is replayed from the disk and
begins with a `start` that says why, and that tickets and sessions from before are worth nothing in it. Sessions record
in `now`, which is broken for good with its journal; everyone else records in this, and may be refused for a while.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

import trio

from gateway.errors import EvidenceFault
from gateway.evidence.commit import GroupCommit
from gateway.evidence.journal import Journal, Recorded, Ticket
from gateway.evidence.storage import Storage
from gateway.model import Draft, LogName, Quote

logger = logging.getLogger(__name__)

ROOM = 4 << 20
"""Bytes that must be free before a log is opened anew: else it would break again with the next record."""
FIRST, LONGEST = 1.0, 30.0
"""Seconds until the disk is tried again, at first and at most."""


class LastingLog:
    """One log for the life of the process. `open_journal` is given why it is opened anew, None at the start."""

    def __init__(self, open_journal: Callable[[str | None], Journal]) -> None:
        self._open = open_journal
        self.now = GroupCommit(open_journal(None))
        """The journal's own group; sessions keep the one that they began with."""

    @property
    def journal(self) -> Journal:
        """Return the journal that is written to now."""
        return self.now.journal

    @property
    def log(self) -> LogName:
        """Return the log's origin."""
        return self.now.log

    @property
    def number(self) -> int:
        """Return the number of the journal file that is written to."""
        return self.now.journal.number

    @property
    def head(self) -> Quote | None:
        """Return the last durable record."""
        return self.now.head

    def append(self, draft: Draft) -> Ticket:
        """See `GroupCommit`."""
        return self.now.append(draft)

    async def durable(self, ticket: Ticket) -> Recorded:
        """See `GroupCommit`. Raises `EvidenceFault` for a ticket of a journal that broke."""
        now = self.now
        if ticket.opening is not now.journal.opening:
            raise EvidenceFault("the record cannot be written: its journal broke before it was on disk")
        return await now.durable(ticket)

    async def record(self, draft: Draft) -> Recorded:
        """See `GroupCommit`."""
        return await self.now.record(draft)

    async def run(self, resumed: Callable[[], None]) -> None:
        """Keep the log going until cancelled; `resumed` is called after each new opening."""
        while True:
            await self.now.run()
            why = self.now.journal.broken or "unknown"
            logger.error("%s: nothing is recorded any more: %s", self.log, why)
            self.now = await self._open_again(why)
            logger.warning("%s: recording again, from record %s on", self.log, self.journal.durable + 1)
            resumed()

    async def _open_again(self, why: str) -> GroupCommit:
        before, wait, told = self.now.journal, FIRST, ""
        await trio.to_thread.run_sync(_close, before)
        while True:
            await trio.sleep(wait)
            try:
                journal = await trio.to_thread.run_sync(self._open, why)
            except EvidenceFault as fault:
                if str(fault) != told:  # once, and not at each try
                    logger.error("%s: cannot be opened again: %s", self.log, fault)  # noqa: TRY400  no traceback
                told = str(fault)
                wait = min(2 * wait, LONGEST)
                continue
            if before.leaves is not None:
                journal.keep_leaves()
            return GroupCommit(journal)


def probe(storage: Storage, directory: Path) -> None:
    """Try whether the disk has room again, for more than the next record. Raises `EvidenceFault`."""
    path = directory / ".probe"
    try:
        file = storage.open(path)
        try:
            zeros, offset = memoryview(bytes(ROOM)), 0
            while zeros:
                written = file.write(zeros, offset)
                zeros, offset = zeros[written:], offset + written
            file.sync()
        finally:
            file.close()
            storage.remove(path)
    except OSError as fault:
        raise EvidenceFault(f"{directory} takes no writes yet: {fault.strerror or fault}") from None


def _close(journal: Journal) -> None:
    with contextlib.suppress(EvidenceFault):  # it is broken: there is nothing that it could still write
        journal.close()
