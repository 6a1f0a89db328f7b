"""One log's journal: writes what was appended, and says when it is on disk.

Promises that what is taken is written in the order in which it was appended (`tail`); that `durable` never passes what
a completed sync covers; and that only a durable ticket yields `Recorded`. After a failed write or sync the journal is
broken for good: it is never retried, since the kernel may have dropped what it could not write; `lasting` opens another
in its place, where the tickets of this one are worth nothing. Knows no event loop; `commit` does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from gateway.errors import EvidenceFault, OurBug
from gateway.evidence.checkpoints import EVERY, Checkpoints, open_checkpoints
from gateway.evidence.frontier import OpenSession
from gateway.evidence.growth import Leaves
from gateway.evidence.originals import SealedFiles
from gateway.evidence.record import Torn
from gateway.evidence.replay import Replay, replay
from gateway.evidence.segments import journal_name
from gateway.evidence.storage import File, Storage
from gateway.evidence.tail import Batch, Cut, Payload, Tail, Ticket
from gateway.evidence.tree import TreeState
from gateway.model import Clock, Draft, Entropy, LogName, Quote

__all__ = ["Batch", "Cut", "Journal", "Recorded", "Ticket"]

ROOM = 1 << 20
"""Journal files grow by so many zeros at a time: a sync that need not move the file's end is a third cheaper."""
AT_ONCE = 4 << 20
"""Bytes that are written with one call, about."""
ROTATE_RECORDS = 1 << 16
ROTATE_BYTES = 256 << 20
ROTATE_AFTER = 3_600_000_000
"""A journal file is closed at so many records, bytes or microseconds: it will become one segment."""


class Recorded:
    """Proof that a record is on disk; only `Journal.redeem` makes one, and `forward` takes nothing else."""

    __slots__ = ("ticket",)

    def __init__(self, ticket: Ticket, seal: object) -> None:
        if seal is not _SEAL:
            raise OurBug("only a durable journal ticket yields Recorded")
        self.ticket = ticket

    @property
    def quote(self) -> Quote:
        """Return the record's place and chain hash, for an entry of another log to quote."""
        return Quote(self.ticket.log, self.ticket.seq, self.ticket.chain)


_SEAL = object()
_OTHER = "the record cannot be written: its journal broke before it was on disk"


class Journal:
    """The journal of one log, open for writing by this process alone; `open` makes one."""

    def __init__(
        self,
        directory: Path,
        storage: Storage,
        clock: Clock,
        entropy: Entropy,
        state: Replay,
        stack: contextlib.ExitStack,
    ) -> None:
        self.log = state.origin
        self.open_sessions: tuple[OpenSession, ...] = tuple(state.open.values())
        """Sessions that the previous process left without an end."""
        self.torn: tuple[Torn, ...] = tuple(state.torn)
        self.lost = state.lost
        self.durable = state.seq - 1
        """Highest sequence number that a completed sync covers; -1 in an empty log."""
        self.head: Quote | None = Quote(self.log, state.seq - 1, state.chain.value.hex()) if state.seq else None
        """The last durable record."""
        self.opening = object()
        """Tells this opening's tickets from others'."""
        self.broken: str | None = None
        """Why nothing can be recorded any more, where that is so."""
        self._directory, self._storage, self._stack = directory, storage, stack
        self._tail = Tail(state, clock, entropy, self.opening)
        self._durable_tree = state.tree.state()
        self._checkpoints: Checkpoints | None = None
        self._sealed_files = SealedFiles(directory, storage)
        self._number, self._end, self._records, self._file_ts = state.number, state.end, state.records, state.first_ts
        self._file: File | None = None
        self._room = 0

    @classmethod
    def open(
        cls,
        directory: Path,
        origin: LogName,
        storage: Storage,
        clock: Clock,
        entropy: Entropy,
        *,
        keys: Path | None = None,
        accept_loss: bool = False,
    ) -> Journal:
        """Open the log `origin` in `directory` (`evidence/logs/w1`), made where absent: lock, replay, repair.

        With `keys`, the gateway's directory of private keys, which is never below the evidence, checkpoints are signed.

        Raises `EvidenceFault` where another process holds it, where a crash cannot explain what is found, or where
        the disk fails. `accept_loss` goes on past whole records after a broken one; the first records then say so.
        """
        with contextlib.ExitStack() as stack:
            try:
                for place in ("journal", "checkpoints", "torn"):
                    storage.make_directory(directory / place)
                stack.enter_context(storage.lock(directory / "lock"))
                for empty in (directory / "journal" / journal_name(0), directory / "checkpoints" / "0.note"):
                    storage.open(empty).close()  # DuckDB refuses a pattern that matches no file
                state = replay(storage, directory, origin, accept_loss=accept_loss)
                journal = cls(directory, storage, clock, entropy, state, stack)
                if keys is not None:
                    journal._checkpoints = open_checkpoints(directory, storage, entropy, keys, origin)
                journal._open_file()
            except OSError as fault:
                raise EvidenceFault(f"evidence in {directory} cannot be opened: {fault.strerror or fault}") from fault
            journal._stack = stack.pop_all()
            return journal

    def _open_file(self) -> None:
        """Open the current journal file, or the first one; the directory is synced before anything in it counts."""
        self._number = max(self._number, 1)
        path = self._directory / "journal" / journal_name(self._number)
        self._file = self._storage.open(path)
        self._room = self._storage.size(path)
        self._storage.sync_directory(path.parent)

    @property
    def number(self) -> int:
        """Return the number of the file that is written to; those before it may be archived."""
        return self._number

    @property
    def pending(self) -> bool:
        """Say whether anything appended awaits a flush."""
        return self._tail.pending

    @property
    def pending_size(self) -> int:
        """Return the bytes that await a flush, roughly."""
        return self._tail.size

    @property
    def substance(self) -> int:
        """Count the records up to the last one that is more than a witness's answer, which asks for no further one."""
        return self._tail.substance

    @property
    def leaves(self) -> Leaves | None:
        """Return the newest leaves, where somebody wants proofs of growth."""
        return self._tail.leaves

    def append(self, draft: Draft) -> Ticket:
        """Give `draft` its place in the log, in memory. Raises `EvidenceFault` once the journal is broken."""
        if self.broken is not None:
            raise EvidenceFault(self.broken)
        return self._tail.append(draft)

    def salt(self) -> bytes:
        """Return a salt that no other record has."""
        return self._tail.salt()

    def take(self) -> Batch | None:
        """Take everything appended and not yet taken, to be given to `commit` in the same order. None: nothing."""
        taken = self.cut()
        return None if taken is None else self.link(taken)

    def cut(self) -> Cut | None:
        """Take everything appended and not yet taken, to be given to `link` in the same order. None: nothing."""
        self._must_work()
        return self._tail.cut()

    def link(self, taken: Cut) -> Batch:
        """Make the lines of what was taken, perhaps in a thread."""
        self._must_work()
        try:
            return self._tail.link(taken)
        except BaseException:
            self.broken = self._tail.broken
            raise

    def commit(self, batch: Batch) -> None:
        """Write and sync `batch`, one at a time, perhaps in a thread. Raises `EvidenceFault`; then broken for good."""
        self._must_work()
        if batch.last.seq - batch.count != self.durable:
            self.broken = "the record cannot be written: one before it was dropped"
            raise OurBug(self.broken)
        try:
            self._write(batch)
        except OSError as fault:
            self.broken = f"the record cannot be written: {fault.strerror or type(fault).__name__}"
            raise EvidenceFault(self.broken) from fault
        except BaseException:
            self.broken = "the record cannot be written: interrupted while writing"
            raise
        self.durable, self.head, self._durable_tree = batch.last.seq, batch.last, batch.tree

    def keep_leaves(self) -> None:
        """Keep the newest leaves from here on."""
        self._tail.keep_leaves()

    @property
    def directory(self) -> Path:
        """Return the log's directory."""
        return self._directory

    @property
    def signed(self) -> TreeState | None:
        """Return the tree as it was signed last; None before this process signed anything."""
        return None if self._checkpoints is None else self._checkpoints.newest

    @property
    def signs(self) -> bool:
        """Say whether this log has checkpoints."""
        return self._checkpoints is not None

    @property
    def checkpoint_due(self) -> bool:
        """Say whether enough is durable and not covered by a checkpoint."""
        return self._checkpoints is not None and self._durable_tree.size - self._checkpoints.covered >= EVERY

    def checkpoint(self) -> None:
        """Sign what is durable, if anything is new; it may run in a thread. Raises `EvidenceFault`, then broken."""
        self._must_work()
        if self._checkpoints is None:
            return
        try:
            self._checkpoints.write(self._durable_tree)
        except OSError as fault:
            self.broken = f"the checkpoint cannot be written: {fault.strerror or type(fault).__name__}"
            raise EvidenceFault(self.broken) from fault

    def flush(self) -> None:
        """Make everything appended durable, with one write and one sync. Raises `EvidenceFault`."""
        if (batch := self.take()) is not None:
            self.commit(batch)

    def rotate(self, taken: Cut | None = None) -> None:
        """Commit what was taken and close the file, so that it can be archived; nothing is done with an empty one.

        It may run in a thread, as `commit`. Raises `EvidenceFault`.
        """
        if taken is not None:
            self.commit(self.link(taken))
        self._must_work()
        try:
            if self._records:
                self._rotate()
        except OSError as fault:
            self.broken = f"the record cannot be written: {fault.strerror or type(fault).__name__}"
            raise EvidenceFault(self.broken) from fault

    def redeem(self, ticket: Ticket) -> Recorded:
        """Exchange a durable ticket for `Recorded`.

        Raises `OurBug` for one that no sync covers yet, `EvidenceFault` for one of an opening before this.
        """
        if ticket.log == self.log and ticket.opening is not self.opening:
            raise EvidenceFault(_OTHER)
        if ticket.log != self.log or ticket.seq > self.durable:
            raise OurBug(f"record {ticket.seq} of {ticket.log} is not durable")
        return Recorded(ticket, _SEAL)

    def close(self) -> None:
        """Flush, sign, give back the room kept, close, let go of the directory. Raises `EvidenceFault`."""
        try:
            if self.broken is None:
                self.flush()
                self.checkpoint()
                self._finish_file()
        except OSError as fault:
            raise EvidenceFault(f"the journal cannot be closed: {fault.strerror or fault}") from fault
        finally:
            self.broken = self.broken or "the journal is closed"
            with self._stack:
                self._sealed_files.close()
                if self._file is not None:
                    self._file.close()
                    self._file = None

    def _must_work(self) -> None:
        if self.broken is not None:
            raise EvidenceFault(self.broken)

    def _write(self, batch: Batch) -> None:
        if self._records and (
            self._records + batch.count > ROTATE_RECORDS
            or self._end + batch.size > ROTATE_BYTES
            or (self._file_ts is not None and batch.first_ts - self._file_ts > ROTATE_AFTER)
        ):
            self._rotate()
        if self._file is None:
            raise OurBug("the journal file is not open")
        if batch.keys or batch.sealed:
            self._sealed_files.write(self._number, batch.keys, batch.sealed)
        end, parts = self._end + batch.size, batch.parts
        if end > self._room:
            self._room = -(-end // ROOM) * ROOM
            parts = [*parts, bytes(self._room - end)]
        if batch.size <= AT_ONCE:
            self._put(b"".join(parts), self._end)
        else:
            self._put_all(parts)
        self._file.sync()
        self._end = end
        if not self._records:
            self._file_ts = batch.first_ts
        self._records += batch.count

    def _put_all(self, parts: Iterable[Payload]) -> None:
        """Write what is too much to be copied into one piece."""
        offset, joined, size = self._end, list[Payload](), 0
        for part in parts:
            joined.append(part)
            size += len(part)
            if size > AT_ONCE:
                self._put(b"".join(joined), offset)
                offset, joined, size = offset + size, [], 0
        self._put(b"".join(joined), offset)

    def _put(self, data: bytes, offset: int) -> None:
        assert self._file is not None  # noqa: S101  for the type checker
        view = memoryview(data)
        while view:
            written = self._file.write(view, offset)
            if written <= 0:
                raise OSError(0, "the disk took nothing")
            view, offset = view[written:], offset + written

    def _rotate(self) -> None:
        """Close the file, sign the log as it ends there, and begin the next: only a signed file is archived."""
        self._finish_file()
        if self._checkpoints is not None:
            self._checkpoints.write(self._durable_tree)
        self._number, self._end, self._records, self._file_ts = self._number + 1, 0, 0, None
        self._open_file()

    def _finish_file(self) -> None:
        self._sealed_files.close()
        if self._file is not None:
            self._file.truncate(self._end)
            self._file.sync()
            self._file.close()
            self._file = None
