"""The end of one log, in memory: gives each record its place, and its line once somebody writes.

Promises that `append` alone decides the order of records, and `take` gives each in that order its commitment, its link
of the chain and its leaf: in one go for all that came meanwhile, since the same few functions over many records cost
half of what they cost between other things. Pure but for clock and entropy; never looks at the disk.
"""

from __future__ import annotations

import threading
from binascii import hexlify
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from gateway.errors import OurBug
from gateway.evidence.chain import commitment
from gateway.evidence.entry import MAX_ENTRY, MAX_PAYLOAD, VERSION, Malformed, canonical
from gateway.evidence.form import Template, template
from gateway.evidence.growth import Leaves
from gateway.evidence.record import KINDS, session_fields
from gateway.evidence.replay import Replay
from gateway.evidence.salts import Salts
from gateway.evidence.tree import TreeState, leaf
from gateway.model import Alike, Clock, Draft, Entropy, Json, LogName, Micros, Quote, SessionInfo, format_time

_SESSIONS = 1000
"""Sessions whose fields are kept ready."""
_FORMS = 64
"""Templates kept ready for each of them."""
_VARYING = 1000
"""Bytes that the varying fields of an entry take, at most: numbers, a time, hashes."""
_ABOUT_PAYLOAD = ("plen", "pc")


class Ticket:
    """The place that a record got; of a record in parts, its last line's. Says nothing about the disk.

    `opening` tells which opening of the log gave it: after a fault another record may have got the place. `ts` is the
    record's time.
    """

    __slots__ = ("link", "log", "opening", "seq", "ts")

    def __init__(self, log: LogName, seq: int, ts: Micros, opening: object) -> None:
        self.log, self.seq, self.ts, self.opening = log, seq, ts, opening
        self.link = b""
        """Its link of the chain; empty until its line is made, which is before it can be durable."""

    @property
    def chain(self) -> str:
        """The chain hash of the record, in lower-case hex; empty until its line is made."""
        return self.link.hex()


Payload: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that go to disk together, and the place of the last of them."""

    parts: list[Payload]
    """What the lines consist of, in order."""
    size: int
    """Bytes of it all."""
    count: int
    first_ts: Micros
    last: Quote
    tree: TreeState
    keys: tuple[tuple[str, bytes], ...] = ()
    """Wrapped keys of sessions, which go to disk before anything else."""
    sealed: tuple[bytes, ...] = ()
    """Envelopes, which go to disk before the lines that name them."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A session in use: its fields, and its entries' templates."""

    session: SessionInfo
    fields: dict[str, Json]
    templates: dict[tuple[Alike, str, bool], Template] = field(default_factory=dict)


_Waiting: TypeAlias = tuple[Ticket, Template | bytes, int | None, int, Mapping[str, Json], bytes, Payload]
"""A record whose line is not made yet: its place, its entry or a form of it and what fills that, salt and payload.

Without a number of its session it is a line of `_append_one`, and what fills its form is all about the payload."""
_NOTHING: Mapping[str, Json] = {}


class Cut(NamedTuple):
    """Records that were appended and taken, in their order, before their lines are made: for `Tail.link` alone."""

    waiting: list[_Waiting]
    size: int
    """Bytes that they take, roughly."""
    keys: tuple[tuple[str, bytes], ...]
    sealed: tuple[bytes, ...]


class Tail:
    """What was appended to a log and not yet taken to be written.

    `append` and `cut` belong to one thread; `link` may run in another meanwhile, for one cut after the other.
    """

    def __init__(self, state: Replay, clock: Clock, entropy: Entropy, opening: object) -> None:
        self.log = state.origin
        self.substance = state.seq
        """Records up to the last one that is more than a witness's answer, which asks for no further one."""
        self.size = 0
        """Bytes that await a flush, roughly."""
        self.broken: str | None = None
        """Why no line can be made any more, where that is so."""
        self.salt = Salts(entropy).take
        """Draws a salt."""
        self._now, self._monotonic, self._opening = clock.now, clock.monotonic, opening
        self._chain, self._seq, self._last_ts = state.chain, state.seq, state.last_ts
        self._tree = state.tree
        self._leaves: Leaves | None = None
        self._linking = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._keys: list[tuple[str, bytes]] = []
        self._sealed: list[bytes] = []
        self._known: dict[str, _Known] = {}

    @property
    def pending(self) -> bool:
        """Say whether anything was appended and not taken."""
        return bool(self._waiting)

    @property
    def leaves(self) -> Leaves | None:
        """The newest leaves, where somebody wants proofs of growth."""
        return self._leaves

    def keep_leaves(self) -> None:
        """Keep the newest leaves from here on."""
        with self._linking:
            self._leaves = Leaves(self._tree.size)

    def append(self, draft: Draft) -> Ticket:
        """Give `draft` its place."""
        kind, session, n, fields, given, salt, form, seal, wrapped = draft
        payload = given if isinstance(given, (bytes, bytearray)) else _encoded(given)
        if not salt:
            salt = b"" if given is None and salt is None else self.salt()
        now = self._now()
        size = len(payload)
        if (
            form is None
            or session is None
            or n is None
            or seal is not None
            or wrapped is not None
            or size > MAX_PAYLOAD
            or now < self._last_ts
        ):
            return self._append_one(draft, salt, payload, now)
        known = self._known.get(session.id)
        if known is None or known.session is not session:
            known = self._session(session)
        ready = known.templates.get((form, kind, size > 0)) or self._template(known, form, kind, size > 0)
        seq = self._seq
        ticket = Ticket(self.log, seq, now, self._opening)
        self._waiting.append((ticket, ready, n, self._monotonic(), fields, salt, payload))
        self.size += ready.size + size
        self._last_ts = now
        self._seq = self.substance = seq + 1
        return ticket

    def take(self) -> Batch | None:
        """Take everything appended and not yet taken. None: nothing."""
        taken = self.cut()
        return None if taken is None else self.link(taken)

    def cut(self) -> Cut | None:
        """Take everything appended and not yet taken, to be given to `link` in the same order. None: nothing."""
        if not self._waiting:
            return None
        taken = Cut(self._waiting, self.size, tuple(self._keys), tuple(self._sealed))
        self._waiting, self._keys, self._sealed, self.size = [], [], [], 0
        return taken

    def link(self, taken: Cut) -> Batch:
        """Make the lines of what was taken."""
        waiting = taken.waiting
        with self._linking:
            try:
                entries = _entries(waiting)
                links = self._chain.extend(entries)
                leaves = [leaf(entry) for entry in entries]
                self._tree.extend(leaves)
                if self._leaves is not None:
                    self._leaves.extend(leaves)
                parts: list[Payload] = []
                for (ticket, _, _, _, _, salt, payload), entry, link in zip(waiting, entries, links, strict=True):
                    ticket.link = link
                    parts += (hexlify(link), b"\t", hexlify(salt), b"\t", entry, b"\t", payload, b"\n")
            except BaseException:
                self.broken = "the record cannot be written: its line could not be made"
                raise
            first, last = waiting[0][0], waiting[-1][0]
            quote, state = Quote(self.log, last.seq, last.chain), self._tree.state()
        return Batch(parts, sum(map(len, parts)), len(waiting), first.ts, quote, state, taken.keys, taken.sealed)

    def _append_one(self, draft: Draft, salt: bytes, payload: bytes | bytearray, now: Micros) -> Ticket:
        """Append a record that is encoded field by field, in as many parts as it takes."""
        if draft.kind not in KINDS:
            raise OurBug(f"no kind of record: {draft.kind}")
        fields: dict[str, Json] = {
            **(draft.form.fields if draft.form is not None else {}),
            **draft.fields,
            "v": VERSION,
            "log": self.log,
            "ts": format_time(now),
            "mono": self._monotonic(),
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
            ticket = self._line(fields, salt, payload, now)
        else:
            pieces = split(payload, MAX_PAYLOAD)
            fields["parts"] = len(pieces)
            for number, piece in enumerate(pieces, 1):
                fields["part"] = number
                ticket = self._line(fields, salt, piece, now)
                fields.pop("clk", None)
        self._last_ts = now
        if draft.kind != "witness":
            self.substance = self._seq
        return ticket

    def _seal(self, draft: Draft, fields: dict[str, Json]) -> None:
        """Make the record's envelope for the place that it gets now, and keep what goes to disk before it."""
        if draft.wrapped is not None and draft.session is not None:
            self._keys.append((draft.session.id, draft.wrapped))
        if draft.seal is not None:
            sealed = draft.seal(self.log, self._seq)
            fields.update(oc=sealed.content, sc=sealed.digest, kid=sealed.key)
            self._sealed.append(sealed.envelope)

    def _line(self, fields: dict[str, Json], salt: bytes, payload: Payload, now: Micros) -> Ticket:
        fields["seq"] = self._seq
        entry = canonical(fields)
        ready: Template | bytes = template(fields, _ABOUT_PAYLOAD) if payload else entry
        if len(entry) + (_VARYING if payload else 0) > MAX_ENTRY:
            raise Malformed(f"an entry of {len(entry)} bytes; {MAX_ENTRY} is the limit")
        ticket = Ticket(self.log, self._seq, now, self._opening)
        self._waiting.append((ticket, ready, None, 0, _NOTHING, salt, payload))
        self._seq += 1
        self.size += len(entry) + len(payload)
        return ticket

    def _template(self, known: _Known, form: Alike, kind: str, has_payload: bool) -> Template:
        if kind not in KINDS:
            raise OurBug(f"no kind of record: {kind}")
        fixed = {**form.fields, **known.fields, "v": VERSION, "log": self.log, "kind": kind}
        varying = ("seq", "n", "ts", "mono", *(_ABOUT_PAYLOAD if has_payload else ()), *form.varying)
        ready = template(fixed, varying)
        if ready.size + _VARYING > MAX_ENTRY:
            raise Malformed(f"an entry of {ready.size} bytes and more; {MAX_ENTRY} is the limit")
        if len(known.templates) >= _FORMS:
            known.templates.clear()
        known.templates[form, kind, has_payload] = ready
        return ready

    def _session(self, session: SessionInfo) -> _Known:
        """Return the fields of a session, made once while it is in use."""
        known = self._known.get(session.id)
        if known is None or known.session is not session:
            if len(self._known) >= _SESSIONS:
                self._known.clear()
            known = self._known[session.id] = _Known(session, session_fields(session))
        return known


def _encoded(payload: Mapping[str, Json] | None) -> bytes:
    return b"" if payload is None else canonical(payload)


def _entries(waiting: list[_Waiting]) -> list[bytes]:
    """Return the entries of what waits."""
    entries, second, shown = [], -1, ""
    for ticket, ready, n, mono, fields, salt, payload in waiting:
        if isinstance(ready, bytes):
            entries.append(ready)
            continue
        values: tuple[Json, ...] = (len(payload), commitment(salt, payload)) if payload else ()
        if n is not None:
            whole, rest = divmod(ticket.ts, 1_000_000)
            if whole != second:  # most times are of the second of the one before
                second, shown = whole, format_time(Micros(whole * 1_000_000))[:-7]
            values = (ticket.seq, n, f"{shown}{rest:06d}Z", mono, *values, *fields.values())
        entries.append(ready.fill(values))
    return entries


def split(payload: bytes | bytearray, size: int) -> list[memoryview]:
    """Cut UTF-8 `payload` into pieces of at most `size` bytes, each whole UTF-8."""
    pieces, begin, view = [], 0, memoryview(payload)
    while len(payload) - begin > size:
        end = begin + size
        while payload[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(view[begin:end])
        begin = end
    return [*pieces, view[begin:]]
