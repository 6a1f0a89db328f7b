"""Reading a log back at start: where it ends, what a crash left behind, which sessions it cut.

Promises to accept exactly the lines whose chain holds, to keep every byte of what it rejects, and to refuse where a
crash cannot explain what it finds. Repairs only the bytes after the last good line; never changes a good one. What no
checkpoint covers is written again, as it is: after a sync that failed it may be in memory alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from gateway.errors import EvidenceFault
from gateway.evidence.chain import Chain
from gateway.evidence.checkpoints import last_checkpoint, sizes
from gateway.evidence.entry import Line, Malformed, parse_line, parse_loosely, parse_time
from gateway.evidence.frontier import Frontier, OpenSession, follow, newest_frontier, place_of
from gateway.evidence.note import Checkpoint
from gateway.evidence.record import Torn, session_info
from gateway.evidence.said import AGAIN, MOST, Said
from gateway.evidence.segments import journal_name, journal_numbers
from gateway.evidence.storage import Storage
from gateway.evidence.tree import Tree
from gateway.model import Json, LogName, Micros

_NEVER = Micros(0)
READ = 4 << 20
"""Bytes read at a time."""


@dataclass(slots=True)
class Replay:
    """Where a log stands: the next sequence number and chain value, the last file's place and what is unfinished."""

    origin: LogName
    checkpoint: Checkpoint | None = None
    """The newest one: the log must be at least what it says."""
    chain: Chain = field(default_factory=Chain)
    tree: Tree = field(default_factory=Tree)
    seq: int = 0
    last_ts: Micros = _NEVER
    number: int = 0
    """Of the last journal file; 0 where there is none."""
    end: int = 0
    """Of its good content, in bytes."""
    sure: int = 0
    """Of what a checkpoint covers of it, in bytes: a sync succeeded after that was written."""
    records: int = 0
    first_ts: Micros | None = None
    """Time of the last file's first entry."""
    open: dict[str, OpenSession] = field(default_factory=dict)
    torn: list[Torn] = field(default_factory=list)
    """What lies in `torn/` and no `start` entry has named yet."""
    lost: str | None = None
    """Why records are known to be missing, where `accept_loss` let the start pass."""
    pending: dict[tuple[str, str], dict[str, Json]] = field(default_factory=dict)
    """Entries that a start has to know of, by `place_of`."""
    again: list[Said] | None = field(default_factory=list)
    """Records that a check looks at again; None: too many to keep."""
    _named: set[str] = field(default_factory=set)

    @classmethod
    def after(cls, frontier: Frontier, checkpoint: Checkpoint | None = None) -> Replay:
        """Return a replay that goes on behind a segment."""
        return cls(
            frontier.log,
            checkpoint,
            Chain(frontier.chain),
            Tree(frontier.tree),
            frontier.size,
            frontier.ts,
            frontier.number,
            open={one.session.id: one for one in frontier.open},
            pending={place_of(one): dict(one) for one in frontier.pending},
            _named=set(frontier.torn),
        )

    def frontier(self, number: int) -> Frontier:
        """Return how the log stands now, as what segment `number` ends with."""
        return Frontier(
            self.origin,
            number,
            self.seq,
            self.chain.value,
            self.tree.state().peaks,
            self.last_ts,
            frozenset(self._named),
            tuple(self.open.values()),
            tuple(self.pending.values()),
            None if self.again is None else tuple(self.again),
        )

    def accept(self, line: Line) -> bool:
        """Take the next line if its chain holds. Raises `EvidenceFault` where it holds and the entry is wrong."""
        before = self.chain.value
        if self.chain.link(line.entry) != line.chain:
            self.chain.value = before
            return False
        try:
            entry = parse_loosely(line.entry)
        except Malformed as fault:
            raise EvidenceFault(f"log {self.origin}, record {self.seq}: {fault}; restore it from a copy") from None
        if entry.get("log") != self.origin or entry.get("seq") != self.seq:
            raise EvidenceFault(
                f"expected record {self.seq} of log {self.origin}, found {entry.get('seq')} of {entry.get('log')};"
                " this directory belongs to another gateway or was changed"
            )
        self.seq += 1
        self.records += 1
        self.tree.append(line.entry)
        if self.checkpoint is not None and self.seq == self.checkpoint.size and self.tree.root != self.checkpoint.root:
            raise EvidenceFault(
                f"log {self.origin}: its first {self.seq} records are not those of checkpoint {self.seq};"
                " they were changed; restore them from a copy"
            )
        self.last_ts = parse_time(str(entry["ts"]))
        if self.first_ts is None:
            self.first_ts = self.last_ts
        self.remember(self.seq - 1, line.chain.hex(), entry)
        self._count(entry, line.payload)
        return True

    def remember(self, seq: int, chain: str, entry: dict[str, Json]) -> None:
        """Keep what a start or a check needs to know of this record, but for its session."""
        kind = entry.get("kind")
        if kind == "start" and isinstance(torn := entry.get("torn"), list):
            self._named.update(str(one["file"]) for one in torn if isinstance(one, dict))
        if self.again is not None and (kind in AGAIN or "quote" in entry):
            self.again.append(Said(seq, chain, entry))
            self.again = self.again if len(self.again) <= MOST else None
        follow(self.pending, entry)

    def _count(self, entry: dict[str, Json], payload: bytes) -> None:
        kind, sid = entry.get("kind"), entry.get("sid")
        if not isinstance(sid, str):
            return
        if kind == "session_start":
            self.open[sid] = begun(entry, payload)
        elif kind == "session_end":
            self.open.pop(sid, None)
        elif sid in self.open:
            self.open[sid] = self.open[sid].after(entry)

    def named(self, file: str) -> bool:
        """Say whether a `start` entry names this file of `torn/`."""
        return file in self._named


def begun(entry: dict[str, Json], payload: bytes) -> OpenSession:
    """Return the session that this `session_start` begins; without its payload nobody knows what it called itself."""
    return OpenSession(session_info(entry, parse_loosely(payload) if payload else {}))


def lines(storage: Storage, path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of each whole line before the first NUL, without its line feed."""
    offset = 0
    for block in line_blocks(storage, path):
        for raw in block:
            yield offset, raw
            offset += len(raw) + 1


def line_blocks(storage: Storage, path: Path) -> Iterator[list[bytes]]:
    """Yield the same lines, as many as are read at once."""
    position, pending = 0, b""
    while chunk := storage.read(path, position, READ):
        position += len(chunk)
        nul = chunk.find(0)
        whole = (pending + (chunk if nul < 0 else chunk[:nul])).split(b"\n")
        pending = whole.pop()
        if whole:
            yield whole
        if nul >= 0:
            return


def replay(storage: Storage, directory: Path, origin: LogName, *, accept_loss: bool = False) -> Replay:
    """Read the log in `directory` and repair its torn tail. Raises `EvidenceFault` where a crash cannot explain it."""
    checkpoint, frontier = last_checkpoint(storage, directory), newest_frontier(storage, directory)
    if frontier is not None and frontier.log != origin:
        raise EvidenceFault(f"{directory} holds log {frontier.log}, and this is the place of {origin}")
    state = Replay(origin, checkpoint) if frontier is None else Replay.after(frontier, checkpoint)
    archived, journal = state.number, directory / "journal"
    present = [name for name in storage.names(journal) if name.endswith(".tsv") and name != journal_name(0)]
    strange = set(present) - {journal_name(number) for number in journal_numbers(present)}
    if strange:
        raise EvidenceFault(f"{journal / min(strange)} is no journal file of ours; move it away")
    files = [journal_name(number) for number in journal_numbers(present) if number > archived]
    if frontier is not None:
        state.number += 1  # where no file follows, the next one is made
    for index, name in enumerate(files):
        state.number, state.end, state.records, state.first_ts, state.sure = int(name[:-4]), 0, 0, None, 0
        for offset, raw in lines(storage, journal / name):
            try:
                good = state.accept(parse_line(raw))
            except Malformed:
                good = False
            if not good:
                break
            state.end = offset + len(raw) + 1
            if checkpoint is not None and state.seq == checkpoint.size:
                state.sure = state.end
        _repair(storage, directory, state, last=index == len(files) - 1, accept_loss=accept_loss)
    _reach_checkpoint(storage, directory, state, accept_loss=accept_loss)
    _write_again(storage, directory, state)
    for name in storage.names(directory / "torn"):
        if not state.named(name) and not name.startswith("."):
            content = _all(storage, directory / "torn" / name, 0)
            state.torn.append(Torn(name, len(content), blake3(content).hexdigest()))
    return state


def _all(storage: Storage, path: Path, offset: int) -> bytes:
    return storage.read(path, offset, storage.size(path) - offset)


def _repair(storage: Storage, directory: Path, state: Replay, *, last: bool, accept_loss: bool) -> None:
    """Move what follows the last good line to `torn/` and zero it; zeros alone are the room that was kept for lines."""
    path = directory / "journal" / journal_name(state.number)
    rest = _all(storage, path, state.end)
    content = rest.rstrip(b"\0")
    if not content:
        return
    where = f"log {state.origin}, record {state.seq} ({path.name}, byte {state.end})"
    if not last:
        raise EvidenceFault(f"{where} is broken and later files follow it: no crash does that; restore it from a copy")
    _reach_checkpoint(storage, directory, state, accept_loss=accept_loss)
    if _whole_line_after(content, state.origin):
        if not accept_loss:
            raise EvidenceFault(
                f"{where} is broken and a whole record follows it: no crash does that; restore it from a copy,"
                " or start with --accept-loss to go on without what follows"
            )
        state.lost = f"broken at {path.name}, byte {state.end}; whole records followed"
    name = f"{path.stem}-{state.end}-{blake3(content).hexdigest()[:16]}"
    storage.replace(directory / "torn" / name, content)
    file = storage.open(path)
    try:
        zeros, offset = memoryview(bytes(len(content))), state.end
        while zeros:
            written = file.write(zeros, offset)
            zeros, offset = zeros[written:], offset + written
        file.sync()
    finally:
        file.close()


def _write_again(storage: Storage, directory: Path, state: Replay) -> None:
    """Write what is taken as good and perhaps was never synced once more, and sync that."""
    if state.end == state.sure:
        return
    path = directory / "journal" / journal_name(state.number)
    file = storage.open(path)
    try:
        offset = state.sure
        while offset < state.end:
            piece = storage.read(path, offset, min(READ, state.end - offset))
            while piece:
                written = file.write(piece, offset)
                piece, offset = piece[written:], offset + written
        file.sync()
    finally:
        file.close()


def _reach_checkpoint(storage: Storage, directory: Path, state: Replay, *, accept_loss: bool) -> None:
    """Refuse a log that is shorter than its last checkpoint; what a signature covers was on disk before."""
    if state.checkpoint is None or state.seq >= state.checkpoint.size:
        return
    if not accept_loss:
        raise EvidenceFault(
            f"log {state.origin} holds {state.seq} good records, and its checkpoint covers {state.checkpoint.size}:"
            " no crash does that; restore it from a copy, or start with --accept-loss to go on without the rest"
        )
    state.lost = f"checkpoint {state.checkpoint.size} covers more than is there"
    place = directory / "checkpoints"
    for size in sizes(storage, place):
        if size > state.seq:
            storage.replace(directory / "torn" / f"{size}.note", storage.read(place / f"{size}.note", 0, 1 << 16))
            storage.remove(place / f"{size}.note")
    state.checkpoint = None


def _whole_line_after(content: bytes, origin: LogName) -> bool:
    """Say whether a whole entry of this log stands after the first, broken line: a torn write has only one end."""
    for raw in content.replace(b"\0", b"\n").split(b"\n")[1:-1]:
        try:
            if parse_loosely(parse_line(raw).entry).get("log") == origin:
                return True
        except Malformed:
            continue
    return False
