"""What must hold between the records of one session: it begins, counts up, refers to what it holds, and ends.

Promises one complaint for one fault, and an answer for a stretch of a log that was followed by itself, from a frontier
on: what such a stretch could not know is owed, and settled when it is joined to what came before. Pure.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias

from gateway.evidence.findings import Grade
from gateway.model import Json

ASKING = frozenset({"request", "prepare", "execute"})
"""Kinds that later records may belong to."""
_ENDS = frozenset({"session_start", "session_end"})
Complaint: TypeAlias = tuple[Grade, int, str]


@dataclass(slots=True)
class Open:
    """A session that goes on: where it began, its last `n`, and the n of what later records may belong to."""

    began: int
    n: int = -1
    asked: set[int] = field(default_factory=set)
    seen: bool = True
    """False where its beginning is in a stretch before this one."""
    stale: bool = False
    """Its process is gone."""
    earlier: array[int] = field(default_factory=lambda: array("q"))
    """What was `asked` in stretches before this one, in order: 8 bytes each, where a set takes 60."""

    def has(self, n: int) -> bool:
        """Say whether later records may belong to `n`."""
        place = bisect_left(self.earlier, n)
        return n in self.asked or (place < len(self.earlier) and self.earlier[place] == n)

    def after(self, before: Open) -> None:
        """Go on from what is known of it from `before`, whose own is not needed any more."""
        self.began, self.seen, self.stale = before.began, before.seen, self.stale or before.stale
        asked = array("q", sorted(before.asked))
        if before.earlier and asked and asked[0] < before.earlier[-1]:  # its `n` did not rise, as was said
            self.earlier = array("q", sorted(before.earlier + asked))
        else:
            self.earlier = before.earlier
            self.earlier.extend(asked)


@dataclass(slots=True)
class Sessions:
    """The sessions of one log, or of a stretch of it."""

    open: dict[str, Open] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    begun: dict[str, int] = field(default_factory=dict)
    owed: list[tuple[int, str, int]] = field(default_factory=list)
    """Records that belong to an `n` which only what came before can know: sequence number, session, `n`."""

    def take(self, kind: str, sid: str, n: Json, of: Json, seq: int) -> Complaint | None:
        """Take one record of session `sid`; return what is wrong with it."""
        session = self.open.get(sid)
        if session is None:
            return self._outside(kind, sid, n, seq)
        if kind == "session_end":
            del self.open[sid]
            self.ended.add(sid)
        elif kind == "session_start":
            return ("tampered", seq, f"session {sid} begins twice")
        if type(n) is not int:
            return None
        last, session.n = session.n, n
        if kind in ASKING:
            session.asked.add(n)
        if n <= last:
            return ("tampered", seq, f"n {n} of session {sid} does not rise")
        if type(of) is int and not session.has(of):
            if session.seen:
                return ("incomplete", seq, f"it belongs to n {of} of its session, which is not there")
            self.owed.append((seq, sid, of))
        return None

    def run(
        self,
        first: int,
        kinds: Sequence[str],
        sids: Sequence[str | None],
        ns: Sequence[int | None],
        ofs: Sequence[int | None],
    ) -> Iterator[Complaint]:
        """Take records that follow each other from `first` on, each as `take` does; yield what is wrong with any."""
        going = self.open
        for seq, kind, sid, n, of in zip(count(first), kinds, sids, ns, ofs):
            if sid is None:
                continue
            session = going.get(sid)
            odd = session is None or n is None or kind in _ENDS or n <= session.n
            if odd or (of is not None and of not in session.asked):  # type: ignore[union-attr]
                if (complaint := self.take(kind, sid, n, of, seq)) is not None:
                    yield complaint
                continue
            session.n = n  # type: ignore[union-attr]
            if kind in ASKING:
                session.asked.add(n)  # type: ignore[union-attr, arg-type]

    def _outside(self, kind: str, sid: str, n: Json, seq: int) -> Complaint | None:
        if kind == "session_start":
            self.open[sid] = Open(seq, n if type(n) is int else -1)
            if sid in self.ended:
                return ("tampered", seq, f"session {sid} begins twice")
            self.begun.setdefault(sid, seq)
            return None
        if kind == "session_end":
            self.ended.add(sid)
            return ("tampered", seq, f"session {sid} ends and did not begin")
        return None if n is None else ("tampered", seq, f"a record of session {sid} outside its start and end")

    def process_began(self) -> None:
        """After a start nothing of an earlier process goes on: its sessions must be ended as lost."""
        for session in self.open.values():
            session.stale = True

    def passed(self) -> None:
        """Note that records were passed over: what belongs to them later cannot be known to belong to nothing."""
        for session in self.open.values():
            session.seen = False

    def place(self) -> dict[str, int]:
        """Return what a frontier says of sessions: the open ones, each with its last `n`."""
        return {sid: max(session.n, 0) for sid, session in self.open.items()}

    def join(self, later: Sessions) -> Iterator[Complaint]:
        """Take over the stretch after this one, which began with the sessions open here; yield what that shows."""
        for sid, seq in later.begun.items():
            if sid in self.ended:
                yield ("tampered", seq, f"session {sid} begins twice")
        for seq, sid, of in later.owed:
            session = self.open.get(sid)
            if later.begun.get(sid, seq) < seq:
                continue  # it began there, and records of it were passed over
            if session is None or (session.seen and not session.has(of)):
                yield ("incomplete", seq, f"it belongs to n {of} of its session, which is not there")
        for sid, session in later.open.items():
            before = self.open.get(sid)
            if before is not None and not session.seen:
                session.after(before)
        self.open = later.open
        self.ended |= later.ended

    def left(self, *, closed: bool) -> Iterator[Complaint]:
        """Yield what is to be said of sessions that have no end; `closed`: the log ends with a shutdown."""
        for sid, session in self.open.items():
            if closed or session.stale:
                yield ("incomplete", session.began, f"session {sid} has no end, and its process has ended")
            else:
                yield ("note", session.began, f"session {sid} has no end: it is open, or the gateway was stopped hard")
