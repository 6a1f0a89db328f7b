"""How a log stood at the end of a segment: what a start needs instead of reading everything again.

Promises that one whose tree is not the one that the log's key signed is not believed, and that it holds no payload:
what was erased from a segment is not kept here. Pure but for reading; the archiver writes it, durably, before the
segment counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import EvidenceFault
from gateway.evidence.entry import Malformed, canonical
from gateway.evidence.note import Verifier, open_note
from gateway.evidence.record import session_fields, session_info, session_start
from gateway.evidence.said import Said, parsed, told
from gateway.evidence.segments import frontier_path, segment_numbers
from gateway.evidence.storage import Storage
from gateway.evidence.tree import TreeState
from gateway.model import Json, LogName, Micros, SessionInfo

_COUNTS = ("n", "statements", "denied", "held", "rows")
UNDECIDED = ("agreed", "escalated")
"""Decisions after which a person is still asked."""
MOST_BROKEN = 20
"""Broken glasses that are remembered, the latest."""
LIMIT = 64 << 20
"""Bytes of a frontier, at most."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session without its end: who, its last `n`, and the counts that its end will carry."""

    session: SessionInfo
    n: int = 0
    statements: int = 0
    denied: int = 0
    held: int = 0
    rows: int = 0

    def after(self, entry: dict[str, Json]) -> OpenSession:
        """Return the session with `entry` of its own counted; each record passes here when a log is archived."""
        n, kind, first, rows = entry.get("n"), entry["kind"], entry.get("part", 1) == 1, entry.get("rows")
        asked, told = kind == "request" and first, kind == "result" and first and isinstance(rows, int)
        return OpenSession(
            self.session,
            n if isinstance(n, int) else self.n,
            self.statements + asked,
            self.denied + (asked and entry.get("verdict") == "deny"),
            self.held + (asked and entry.get("approval") is not None),
            self.rows + rows if told and isinstance(rows, int) else self.rows,
        )


@dataclass(frozen=True, slots=True)
class Frontier:
    """A log after segment `number`: its size, chain value and tree, and what went on at that moment."""

    log: LogName
    number: int
    size: int
    chain: bytes
    peaks: tuple[bytes, ...]
    ts: Micros
    torn: frozenset[str]
    """Files of `torn/` that a `start` named."""
    open: tuple[OpenSession, ...]
    pending: tuple[Mapping[str, Json], ...]
    """Entries that a start has to know of (`follow`)."""
    again: tuple[Said, ...] | None = None
    """Records of the segment that are looked at again, for a quick check; None: it has to search for them."""

    @property
    def tree(self) -> TreeState:
        """Return the tree."""
        return TreeState(self.size, self.peaks)

    def encode(self) -> bytes:
        """Return the file's content."""
        sessions: list[Json] = []
        torn: list[Json] = [*sorted(self.torn)]
        for one in self.open:
            counts: dict[str, Json] = {name: getattr(one, name) for name in _COUNTS}
            sessions.append({**session_fields(one.session), **session_start(one.session).fields, "counts": counts})
        return canonical(
            {
                "v": 1,
                "log": self.log,
                "segment": self.number,
                "size": self.size,
                "chain": self.chain.hex(),
                "peaks": [peak.hex() for peak in self.peaks],
                "us": self.ts,
                "torn": torn,
                "open": sessions,
                "pending": [dict(one) for one in self.pending],
                "again": told(self.again),
            }
        )

    @classmethod
    def parse(cls, content: bytes) -> Frontier:
        """Read a frontier back. Raises `Malformed`."""
        try:
            found = json.loads(content)
            peaks = tuple(bytes.fromhex(one) for one in found["peaks"])
            size, chain = int(found["size"]), bytes.fromhex(found["chain"])
            if found["v"] != 1 or len(chain) != 32 or len(peaks) != size.bit_count() or {*map(len, peaks)} - {32}:
                raise Malformed("not a frontier")
            sessions = tuple(
                OpenSession(session_info(one, {}), *(int(one["counts"][name]) for name in _COUNTS))
                for one in found["open"]
            )
            pending = tuple(dict(one) for one in found["pending"])
            torn, again = frozenset(map(str, found["torn"])), parsed(found.get("again"))
            log, ts = LogName(str(found["log"])), Micros(int(found["us"]))
            return cls(log, int(found["segment"]), size, chain, peaks, ts, torn, sessions, pending, again)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
            raise Malformed(f"not a frontier: {type(fault).__name__}") from None


def read_frontier(directory: Path, number: int) -> Frontier | None:
    """Return what lies beside segment `number`; None: nothing that can be read. May raise OSError."""
    path = frontier_path(directory, number)
    if not number or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return Frontier.parse(file.read(LIMIT))
    except Malformed:
        return None


def newest_frontier(storage: Storage, directory: Path, up_to: int | None = None) -> Frontier | None:
    """Return how the log in `directory` stood at its newest segment, or the newest `up_to` a number.

    None: nothing is archived. Its tree must be the one that the log's key signed there, where the log has a key.
    Raises `EvidenceFault`.
    """
    names = storage.names(directory)
    numbers = segment_numbers(storage.names(directory / "entries")) if "entries" in names else []
    numbers = [number for number in numbers if up_to is None or number <= up_to]
    if not numbers:
        return None
    path = frontier_path(directory, numbers[-1])
    try:
        found = Frontier.parse(storage.read(path, 0, LIMIT))
        if found.number != numbers[-1]:
            raise Malformed(f"it is of segment {found.number}")  # noqa: TRY301  one place says what to do
        check_signed(storage, directory, found.tree)
    except FileNotFoundError as fault:
        raise EvidenceFault(f"{fault.filename} is missing; restore it from a copy") from None
    except Malformed as fault:
        raise EvidenceFault(f"{path}: {fault}; restore it from a copy") from None
    return found


def check_signed(storage: Storage, directory: Path, tree: TreeState) -> None:
    """Compare `tree` with the checkpoint of its size. Raises `Malformed`, or OSError where the log has none there."""
    if "log.pub" not in storage.names(directory):
        return
    verifier = Verifier.parse(storage.read(directory / "log.pub", 0, 4096).decode(errors="replace"))
    note = open_note(storage.read(directory / "checkpoints" / f"{tree.size}.note", 0, 1 << 16), verifier)
    if note.size != tree.size or note.root != tree.root:
        raise Malformed(f"its tree is not the one that was signed at {tree.size} records")


def place_of(entry: Mapping[str, Json]) -> tuple[str, str]:
    """Return where a kept entry stands: what it is, and the approval's id."""
    what = "grant" if entry.get("kind") == "grant" else "decision"
    if entry.get("unused") is True:
        what = "approved"
    elif what == "decision" and entry.get("break_glass") is True:
        what = "break_glass"
    return what, str(entry.get("approval"))


def follow(kept: dict[tuple[str, str], dict[str, Json]], entry: dict[str, Json]) -> None:
    """Keep in `kept` what a start has to know of, after `entry`.

    These are the requests that nobody decided yet, the approvals whose end is not known (as the entries that approved
    them, marked `unused`), the grants in force, and the last times that somebody broke the glass; `place_of` says where
    each stands.
    """
    kind, approval = entry.get("kind"), entry.get("approval")
    if kind not in {"decision", "grant"} or not isinstance(approval, str) or entry.get("part", 1) != 1:
        return
    if kind == "grant":
        kept.pop(("grant", approval), None)
        if entry.get("outcome") == "given":
            kept["grant", approval] = entry
        return
    if entry.get("decision") in UNDECIDED:
        return
    kept.pop(("decision", approval), None)
    kept.pop(("approved", approval), None)
    if entry.get("decision") == "approved":
        kept["approved", approval] = {**entry, "unused": True}
    if entry.get("decision") == "requested" or entry.get("break_glass") is True:
        kept[place_of(entry)] = entry
    broken = [place for place in kept if place[0] == "break_glass"]
    for place in broken[:-MOST_BROKEN]:
        del kept[place]
