"""One log's journal: gives each record its place, and says when it is on disk.

Promises that `append` alone decides order, chain and commitments; that `durable` never passes what a completed sync
covers; and that only a durable ticket yields `Recorded`. After a failed write or sync the journal is broken for good:
it is never retried, since the kernel may have dropped what it could not write; `lasting` opens another in its place,
where the tickets of this one are worth nothing. Knows no event loop; `commit` does.
"""

from __future__ import annotations

import contextlib
from binascii import hexlify
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gateway.errors import EvidenceFault, OurBug
from gateway.evidence.chain import commitment
from gateway.evidence.checkpoints import EVERY, Checkpoints, open_checkpoints
from gateway.evidence.entry import MAX_ENTRY, MAX_PAYLOAD, VERSION, Malformed, canonical
from gateway.evidence.form import Template, template
from gateway.evidence.frontier import OpenSession
from gateway.evidence.growth import Leaves
from gateway.evidence.originals import SealedFiles
from gateway.evidence.record import KINDS, Torn, session_fields
from gateway.evidence.replay import Replay, replay
from gateway.evidence.segments import journal_name
from gateway.evidence.storage import File, Storage
from gateway.evidence.tree import TreeState, leaf
from gateway.model import Alike, Clock, Draft, Entropy, Json, LogName, Micros, Quote, SessionInfo, format_time

ROOM = 1 << 20
"""Journal files grow by so many zeros at a time: a sync that need not move the file's end is a third cheaper."""
ROTATE_RECORDS = 1 << 16
ROTATE_BYTES = 256 << 20
ROTATE_AFTER = 3_600_000_000
"""A journal file is closed at so many records, bytes or microseconds: it will become one segment."""
_SESSIONS = 1000
"""Sessions whose fields are kept ready."""
_FORMS = 64
"""Templates kept ready for each of them."""


class Ticket(NamedTuple):
    """The place `append` gave a record; of a record in parts, its last line's. Says nothing about the disk."""

    log: LogName
    seq: int
    chain: str
    opening: object
    """Which opening of the log gave it: after a fault another record may have got the place."""


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


@dataclass(frozen=True, slots=True)
class _Known:
    """A session in use: its fields, and its entries' templates."""

    session: SessionInfo
    fields: dict[str, Json]
    templates: dict[tuple[Alike, str, bool], Template] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that go to disk together, and the place of the last of them."""

    data: bytes
    count: int
    first_ts: Micros
    last: Quote
    tree: TreeState
    keys: tuple[tuple[str, bytes], ...] = ()
    """Wrapped keys of sessions, which go to disk before anything else."""
    sealed: tuple[bytes, ...] = ()
    """Envelopes, which go to disk before the lines that name them."""


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
        self.substance = state.seq
        """Records up to the last one that is more than a witness's answer, which asks for no further one."""
        self.leaves: Leaves | None = None
        """The newest leaves, where somebody wants proofs of growth."""
        self.opening = object()
        """Tells this opening's tickets from others'."""
        self.broken: str | None = None
        """Why nothing can be recorded any more, where that is so."""
        self._directory, self._storage, self._clock, self._entropy, self._stack = (
            directory,
            storage,
            clock,
            entropy,
            stack,
        )
        self._chain, self._seq, self._last_ts = state.chain, state.seq, state.last_ts
        self._tree, self._durable_tree = state.tree, state.tree.state()
        self._checkpoints: Checkpoints | None = None
        self._lines: list[bytes] = []
        self.pending_size = 0
        """Bytes that await a flush, roughly."""
        self._keys: list[tuple[str, bytes]] = []
        self._sealed: list[bytes] = []
        self._sealed_files = SealedFiles(directory, storage)
        self._known: dict[str, _Known] = {}
        self._first_ts = Micros(0)
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
        return bool(self._lines)

    def append(self, draft: Draft) -> Ticket:
        """Give `draft` its place in the log, in memory. Raises `EvidenceFault` once the journal is broken."""
        self._must_work()
        kind, session, n, _, given, salt, form, seal, wrapped = draft
        payload = given if isinstance(given, bytes) else _encoded(given)
        if not salt:
            salt = b"" if given is None and salt is None else self._entropy.bytes(32)
        now = self._clock.now()
        alike = form is not None and session is not None and n is not None and seal is None and wrapped is None
        if alike and len(payload) <= MAX_PAYLOAD and now >= self._last_ts:
            return self._append_alike(draft, salt, payload, now)
        if kind not in KINDS:
            raise OurBug(f"no kind of record: {kind}")
        return self._append_one(draft, salt, payload, now)

    def _append_one(self, draft: Draft, salt: bytes, payload: bytes, now: Micros) -> Ticket:
        """Append a record that is encoded field by field, in as many parts as it takes."""
        fields: dict[str, Json] = {
            **(draft.form.fields if draft.form is not None else {}),
            **draft.fields,
            "v": VERSION,
            "log": self.log,
            "ts": format_time(now),
            "mono": self._clock.monotonic(),
            "kind": draft.kind,
        }
        if draft.session is not None:
            fields.update(self._session(draft.session).fields)
        if draft.n is not None:
            fields["n"] = draft.n
        if now < self._last_ts:
            fields["clk"] = "back"
        if draft.seal is not None or draft.wrapped is not None:
            self._seal(draft, fields)
        if len(payload) <= MAX_PAYLOAD:
            chain = self._line(fields, salt, payload)
        else:
            pieces = split(payload, MAX_PAYLOAD)
            fields["parts"] = len(pieces)
            for number, piece in enumerate(pieces, 1):
                fields["part"] = number
                chain = self._line(fields, salt, piece)
                fields.pop("clk", None)
        self._last_ts = now
        if draft.kind != "witness":
            self.substance = self._seq
        return Ticket(self.log, self._seq - 1, chain, self.opening)

    def _seal(self, draft: Draft, fields: dict[str, Json]) -> None:
        """Make the record's envelope for the place that it gets now, and keep what goes to disk before it."""
        if draft.wrapped is not None and draft.session is not None:
            self._keys.append((draft.session.id, draft.wrapped))
        if draft.seal is not None:
            sealed = draft.seal(self.log, self._seq)
            fields.update(oc=sealed.content, sc=sealed.digest, kid=sealed.key)
            self._sealed.append(sealed.envelope)

    def _append_alike(self, draft: Draft, salt: bytes, payload: bytes, now: Micros) -> Ticket:
        """Append a record whose form is known: the same bytes, in a fraction of the time."""
        kind, session, n, fields, _, _, form, *_ = draft
        assert session is not None  # noqa: S101  as the caller saw
        assert form is not None  # noqa: S101
        known = self._known.get(session.id)
        if known is None or known.session is not session:
            known = self._session(session)
        size = len(payload)
        key = (form, kind, size == 0)
        ready = known.templates.get(key)
        if ready is None:
            if len(known.templates) >= _FORMS:
                known.templates.clear()
            ready = known.templates[key] = self._template(form, session, kind, size > 0)
        seq, mono = self._seq, self._clock.monotonic()
        if size:
            values = (seq, n, format_time(now), mono, size, commitment(salt, payload), *fields.values())
        else:
            values = (seq, n, format_time(now), mono, *fields.values())
        chain = self._add(ready.fill(values), salt, payload, now)
        self._last_ts = now
        self.substance = seq + 1
        return Ticket(self.log, seq, chain, self.opening)

    def _template(self, form: Alike, session: SessionInfo, kind: str, has_payload: bool) -> Template:
        if kind not in KINDS:
            raise OurBug(f"no kind of record: {kind}")
        fixed = {**form.fields, **self._session(session).fields, "v": VERSION, "log": self.log, "kind": kind}
        varying = ("seq", "n", "ts", "mono", *(("plen", "pc") if has_payload else ()), *form.varying)
        return template(fixed, varying)

    def _session(self, session: SessionInfo) -> _Known:
        """Return the fields of a session, made once while it is in use."""
        known = self._known.get(session.id)
        if known is None or known.session is not session:
            if len(self._known) >= _SESSIONS:
                self._known.clear()
            known = self._known[session.id] = _Known(session, session_fields(session))
        return known

    def _line(self, fields: dict[str, Json], salt: bytes, payload: bytes) -> str:
        fields["seq"] = self._seq
        if payload:
            fields["plen"] = len(payload)
            fields["pc"] = commitment(salt, payload)
        return self._add(canonical(fields), salt, payload, self._clock.now())

    def _add(self, entry: bytes, salt: bytes, payload: bytes, now: Micros) -> str:
        size = len(entry)
        if size > MAX_ENTRY:
            raise Malformed(f"an entry of {size} bytes; {MAX_ENTRY} is the limit")
        chain = self._chain.link(entry).hex()
        added = leaf(entry)
        self._tree.add(added)
        if self.leaves is not None:
            self.leaves.add(added)
        lines = self._lines
        if not lines:
            self._first_ts = now
        self.pending_size += size + len(payload)
        lines.append(b"%b\t%b\t%b\t%b\n" % (chain.encode(), hexlify(salt), entry, payload))
        self._seq += 1
        return chain

    def take(self) -> Batch | None:
        """Take everything appended and not yet taken, to be given to `commit` in the same order. None: nothing."""
        self._must_work()
        if not self._lines:
            return None
        last = Quote(self.log, self._seq - 1, self._chain.value.hex())
        data, beside = b"".join(self._lines), (tuple(self._keys), tuple(self._sealed))
        batch = Batch(data, len(self._lines), self._first_ts, last, self._tree.state(), *beside)
        self._lines, self._keys, self._sealed, self.pending_size = [], [], [], 0
        return batch

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
        self.leaves = Leaves(self._seq)

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

    def rotate(self, batch: Batch | None = None) -> None:
        """Commit `batch` and close the file, so that it can be archived; nothing is done with an empty one.

        It may run in a thread, as `commit`. Raises `EvidenceFault`.
        """
        if batch is not None:
            self.commit(batch)
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
            or self._end + len(batch.data) > ROTATE_BYTES
            or (self._file_ts is not None and batch.first_ts - self._file_ts > ROTATE_AFTER)
        ):
            self._rotate()
        if self._file is None:
            raise OurBug("the journal file is not open")
        if batch.keys or batch.sealed:
            self._sealed_files.write(self._number, batch.keys, batch.sealed)
        end = self._end + len(batch.data)
        data = batch.data
        if end > self._room:
            self._room = -(-end // ROOM) * ROOM
            data += bytes(self._room - end)
        view, offset = memoryview(data), self._end
        while view:
            written = self._file.write(view, offset)
            if written <= 0:
                raise OSError(0, "the disk took nothing")
            view, offset = view[written:], offset + written
        self._file.sync()
        self._end = end
        if not self._records:
            self._file_ts = batch.first_ts
        self._records += batch.count

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


def _encoded(payload: Mapping[str, Json] | bytes | None) -> bytes:
    if payload is None:
        return b""
    return payload if isinstance(payload, bytes) else canonical(payload)


def split(payload: bytes, size: int) -> list[bytes]:
    """Cut UTF-8 `payload` into pieces of at most `size` bytes, each whole UTF-8."""
    pieces, begin = [], 0
    while len(payload) - begin > size:
        end = begin + size
        while payload[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(payload[begin:end])
        begin = end
    return [*pieces, payload[begin:]]
