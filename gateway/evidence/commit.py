"""Group commit: many sessions wait for one sync (Trio).

Promises that `durable` returns only after a sync that covers its ticket, that what nobody waits for is on disk within
50 ms, and that after a failed write every waiter gets `EvidenceFault` and nobody writes again; `broke` says so to who
waits for nothing. Never holds a lock over an await of its caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import trio

from gateway.errors import EvidenceFault
from gateway.evidence.checkpoints import AFTER
from gateway.evidence.journal import Batch, Cut, Journal, Recorded, Ticket
from gateway.model import Draft, LogName, Quote

LINGER = 0.05
"""Seconds within which everything appended is on disk, also where nobody waits."""
FAST = 0.002
"""Seconds: while the disk syncs faster, it is done in the event loop, which is cheaper than a thread."""
LARGE = 1 << 20
"""Bytes that are never written in the loop: however fast the disk, others would wait for it."""
MODERATE = 0.02
"""Seconds: while it seems no slower, one sync in `_PROBE` is timed in the loop all the same."""
_PROBE = 16


class Log(Protocol):
    """A log to record in, for those who do not care whether it had to be opened anew (`lasting`)."""

    @property
    def journal(self) -> Journal:
        """Return the journal that is written to now."""

    @property
    def log(self) -> LogName:
        """Return the log's origin."""

    @property
    def head(self) -> Quote | None:
        """Return the last durable record."""

    def append(self, draft: Draft) -> Ticket:
        """See `GroupCommit`."""

    async def durable(self, ticket: Ticket) -> Recorded:
        """See `GroupCommit`."""

    async def record(self, draft: Draft) -> Recorded:
        """See `GroupCommit`."""


class GroupCommit:
    """A journal shared by the tasks of one Trio loop."""

    def __init__(self, journal: Journal, timer: Callable[[], float] = time.perf_counter) -> None:
        self.journal = journal
        self.broke = trio.Event()
        """Nothing can be recorded any more."""
        self._timer = timer
        self._flushing = False
        self._flushed = trio.Event()
        self._appended = trio.Event()
        self._told = False
        """`_appended` is set."""
        self._checkpoint_due = trio.Event()
        self._recent = FAST
        """Seconds that a sync took, smoothed; starts slow, so that an unknown disk cannot stall the loop."""
        self._slow = 0
        """How often a thread was preferred."""

    @property
    def log(self) -> LogName:
        """Return the log's origin."""
        return self.journal.log

    @property
    def number(self) -> int:
        """Return the number of the journal file that is written to."""
        return self.journal.number

    @property
    def head(self) -> Quote | None:
        """Return the last durable record."""
        return self.journal.head

    def append(self, draft: Draft) -> Ticket:
        """Give `draft` its place; it is on disk within 50 ms, or when somebody waits. Raises `EvidenceFault`."""
        try:
            ticket = self.journal.append(draft)
        except BaseException:
            if self.journal.broken is not None:
                self.broke.set()
            raise
        if not self._told:
            self._told = True
            self._appended.set()
        return ticket

    def commit_now(self) -> bool:
        """Write and sync all that was appended; False where others are at it, or the loop would have to wait for it.

        Raises `EvidenceFault`.
        """
        if self._flushing or self.journal.pending_size > LARGE or not self._is_fast():
            return False
        try:
            taken = self.journal.cut()
            if taken is not None:
                self._commit_all(taken)
                self._committed()
        finally:
            if self.journal.broken is not None:
                self.broke.set()
        return True

    async def commit_once(self) -> None:
        """Wait for the sync that is under way, or write and sync all that was appended. Raises `EvidenceFault`."""
        if self._flushing:
            await self._flushed.wait()
        else:
            await self._lead()

    async def durable(self, ticket: Ticket) -> Recorded:
        """Return once `ticket` is on disk; where it already is, at once, without yielding. Raises `EvidenceFault`."""
        while ticket.seq > self.journal.durable:
            if self.journal.broken is not None:
                raise EvidenceFault(self.journal.broken)
            if self._flushing:
                await self._flushed.wait()
            else:
                await self._lead()
        return self.journal.redeem(ticket)

    async def record(self, draft: Draft) -> Recorded:
        """Append `draft` and wait until it is on disk."""
        return await self.durable(self.append(draft))

    async def rotate(self) -> None:
        """Close the journal file, so that it can be archived. Raises `EvidenceFault`."""
        while self._flushing:
            await self._flushed.wait()
        self._flushing = True
        try:
            taken = self.journal.cut()
            with trio.CancelScope(shield=True):  # as in `_lead`
                await trio.to_thread.run_sync(self.journal.rotate, taken)
        finally:
            self._flushing = False
            self._flushed.set()
            self._flushed = trio.Event()
            if self.journal.broken is not None:
                self.broke.set()

    async def run(self) -> None:
        """Flush what nobody waits for, and write checkpoints, until cancelled; returns once the journal is broken."""
        async with trio.open_nursery() as nursery:
            if self.journal.signs:
                nursery.start_soon(self._sign)
            nursery.start_soon(self._sweep)
            await self.broke.wait()
            nursery.cancel_scope.cancel()

    async def _sign(self) -> None:
        """Write a checkpoint every so many entries or seconds."""
        while self.journal.broken is None:
            with trio.move_on_after(AFTER):
                await self._checkpoint_due.wait()
            self._checkpoint_due = trio.Event()
            try:
                await trio.to_thread.run_sync(self.journal.checkpoint)
            except EvidenceFault:
                self.broke.set()
                return  # the journal keeps the fault and tells it to everyone who appends or waits

    async def _sweep(self) -> None:
        while self.journal.broken is None:
            await self._appended.wait()
            self._appended, self._told = trio.Event(), False
            await trio.sleep(LINGER)
            try:
                while self.journal.broken is None and (self._flushing or self.journal.pending):
                    if self._flushing:
                        await self._flushed.wait()
                    else:
                        await self._lead()
            except EvidenceFault:
                return  # the journal keeps the fault and tells it to everyone who appends or waits

    def _is_fast(self) -> bool:
        """Say whether to sync in the loop. In a thread it seems slower than it is: it waits for the interpreter too."""
        if self._recent >= FAST:
            self._slow += 1
        return self._recent < FAST or (self._recent < MODERATE and self._slow % _PROBE == 0)

    def _commit_all(self, taken: Cut) -> None:
        """Make the lines, write and sync, perhaps in a thread."""
        self._commit(self.journal.link(taken))

    def _commit(self, batch: Batch) -> None:
        """Write and sync, perhaps in a thread."""
        began = self._timer()
        self.journal.commit(batch)
        self._recent += (self._timer() - began - self._recent) / 4

    def _committed(self) -> None:
        if self.journal.checkpoint_due:
            self._checkpoint_due.set()

    async def _lead(self) -> None:
        """Let the tasks that are ready append too, then write and sync for all of them."""
        self._flushing = True
        try:
            await trio.lowlevel.checkpoint()
            taken = self.journal.cut()
            if taken is None:
                return
            with trio.CancelScope(shield=True):  # what was taken must be committed before anything after it
                if taken.size > LARGE:  # to make its lines alone would keep others waiting
                    await trio.to_thread.run_sync(self._commit_all, taken)
                elif self._is_fast():
                    self._commit_all(taken)
                else:
                    await trio.to_thread.run_sync(self._commit, self.journal.link(taken))
            self._committed()
        finally:
            if self.journal.broken is not None:
                self.broke.set()
            self._flushing = False
            self._flushed.set()
            self._flushed = trio.Event()
