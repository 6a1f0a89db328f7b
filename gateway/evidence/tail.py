"""The end of one log, in memory: gives each record its place, and its line once somebody writes.

Promises that `append` alone decides the order of records, and `take` gives each in that order its commitment, its link
of the chain and its leaf: in one go for all that came meanwhile, since the same few functions over many records cost
half of what they cost between other things. Pure but for clock and entropy; never looks at the disk.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.errors import OurBug
from gateway.evidence.chain import commitment
from gateway.evidence.entry import MAX_ENTRY, MAX_PAYLOAD, VERSION, Malformed, canonical
from gateway.evidence.form import Template, template
from gateway.evidence.growth import Leaves
from gateway.evidence.record import KINDS, session_fields
from gateway.evidence.replay import Replay
from gateway.evidence.tree import TreeState, leaf
from gateway.model import Alike, Clock, Draft, Entropy, Json, LogName, Micros, Quote, SessionInfo, format_time

_SESSIONS = 1000
"""Sessions whose fields are kept ready."""
_FORMS = 64
"""Templates kept ready for each of them."""
_VARYING = 1000
"""Bytes that the varying fields of an entry take, at most: numbers, a time, hashes."""


class Ticket:
    """The place that a record got; of a record in parts, its last line's. Says nothing about the disk.

    `opening` tells which opening of the log gave it: after a fault another record may have got the place. `chain` is
    empty until the record's line is made, which is before it can be durable.
    """

    __slots__ = ("chain", "log", "opening", "seq")

    def __init__(self, log: LogName, seq: int, chain: str, opening: object) -> None:
        self.log, self.seq, self.chain, self.opening = log, seq, chain, opening


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


@dataclass(frozen=True, slots=True)
class _Known:
    """A session in use: its fields, and its entries' templates."""

    session: SessionInfo
    fields: dict[str, Json]
    templates: dict[tuple[Alike, str, bool], Template] = field(default_factory=dict)


_Waiting: TypeAlias = tuple[Ticket, Template | bytes, int | None, Micros, int, Mapping[str, Json], bytes, bytes]
"""A record whose line is not made yet: its place, its entry or a form of it and what fills that, salt and payload."""
_NOTHING: Mapping[str, Json] = {}


class Tail:
    """What was appended to a log and not yet taken to be written."""

    def __init__(self, state: Replay, clock: Clock, entropy: Entropy, opening: object) -> None:
        self.log = state.origin
        self.substance = state.seq
        """Records up to the last one that is more than a witness's answer, which asks for no further one."""
        self.size = 0
        """Bytes that await a flush, roughly."""
        self.broken: str | None = None
        """Why no line can be made any more, where that is so."""
        self._clock, self._entropy, self._opening = clock, entropy, opening
        self._chain, self._seq, self._last_ts = state.chain, state.seq, state.last_ts
        self._tree = state.tree
        self._leaves: Leaves | None = None
        self._waiting: list[_Waiting] = []
        self._lines: list[bytes] = []
        self._keys: list[tuple[str, bytes]] = []
        self._sealed: list[bytes] = []
        self._known: dict[str, _Known] = {}
        self._first_ts = Micros(0)

    @property
    def pending(self) -> bool:
        """Say whether anything was appended and not taken."""
        return bool(self._waiting or self._lines)

    @property
    def leaves(self) -> Leaves | None:
        """The newest leaves, where somebody wants proofs of growth."""
        return self._leaves

    def keep_leaves(self) -> None:
        """Keep the newest leaves from here on."""
        self._link()
        self._leaves = Leaves(self._seq)

    def append(self, draft: Draft) -> Ticket:
        """Give `draft` its place."""
        kind, session, n, fields, given, salt, form, seal, wrapped = draft
        payload = given if isinstance(given, bytes) else _encoded(given)
        if not salt:
            salt = b"" if given is None and salt is None else self._entropy.bytes(32)
        now = self._clock.now()
        if form is None or session is None or n is None or seal is not None or wrapped is not None:
            return self._append_one(draft, salt, payload, now)
        size = len(payload)
        if size > MAX_PAYLOAD or now < self._last_ts:
            return self._append_one(draft, salt, payload, now)
        known = self._known.get(session.id)
        if known is None or known.session is not session:
            known = self._session(session)
        ready = known.templates.get((form, kind, size > 0)) or self._template(known, form, kind, size > 0)
        if not (self._waiting or self._lines):
            self._first_ts = now
        ticket = Ticket(self.log, self._seq, "", self._opening)
        self._waiting.append((ticket, ready, n, now, self._clock.monotonic(), fields, salt, payload))
        self.size += ready.size + size
        self._last_ts = now
        self._seq = self.substance = self._seq + 1
        return ticket

    def take(self) -> Batch | None:
        """Take everything appended and not yet taken. None: nothing."""
        self._link()
        if not self._lines:
            return None
        last = Quote(self.log, self._seq - 1, self._chain.value.hex())
        data, beside = b"".join(self._lines), (tuple(self._keys), tuple(self._sealed))
        batch = Batch(data, len(self._lines), self._first_ts, last, self._tree.state(), *beside)
        self._lines, self._keys, self._sealed, self.size = [], [], [], 0
        return batch

    def _link(self) -> None:
        """Make the lines of what waits for them."""
        waiting, self._waiting = self._waiting, []
        link, grow, leaves, add = self._chain.link, self._tree.add, self._leaves, self._lines.append
        try:
            for ticket, ready, n, now, mono, fields, salt, payload in waiting:
                if isinstance(ready, bytes):
                    entry = ready
                elif payload:
                    pc = commitment(salt, payload)
                    entry = ready.fill((ticket.seq, n, format_time(now), mono, len(payload), pc, *fields.values()))
                else:
                    entry = ready.fill((ticket.seq, n, format_time(now), mono, *fields.values()))
                ticket.chain = chain = link(entry).hex()
                found = leaf(entry)
                grow(found)
                if leaves is not None:
                    leaves.add(found)
                add(b"%b\t%b\t%b\t%b\n" % (chain.encode(), hexlify(salt), entry, payload))
        except BaseException:
            self.broken = "the record cannot be written: its line could not be made"
            raise

    def _append_one(self, draft: Draft, salt: bytes, payload: bytes, now: Micros) -> Ticket:
        """Append a record that is encoded field by field, in as many parts as it takes."""
        if draft.kind not in KINDS:
            raise OurBug(f"no kind of record: {draft.kind}")
        self._link()
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
        if not self._lines:
            self._first_ts = now
        if draft.seal is not None or draft.wrapped is not None:
            self._seal(draft, fields)
        if len(payload) <= MAX_PAYLOAD:
            ticket = self._line(fields, salt, payload)
        else:
            pieces = split(payload, MAX_PAYLOAD)
            fields["parts"] = len(pieces)
            for number, piece in enumerate(pieces, 1):
                fields["part"] = number
                ticket = self._line(fields, salt, piece)
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

    def _line(self, fields: dict[str, Json], salt: bytes, payload: bytes) -> Ticket:
        fields["seq"] = self._seq
        if payload:
            fields["plen"] = len(payload)
            fields["pc"] = commitment(salt, payload)
        entry = canonical(fields)
        if len(entry) > MAX_ENTRY:
            raise Malformed(f"an entry of {len(entry)} bytes; {MAX_ENTRY} is the limit")
        ticket = Ticket(self.log, self._seq, "", self._opening)
        self._waiting.append((ticket, entry, None, self._last_ts, 0, _NOTHING, salt, payload))
        self._link()
        self._seq += 1
        self.size += len(entry) + len(payload)
        return ticket

    def _template(self, known: _Known, form: Alike, kind: str, has_payload: bool) -> Template:
        if kind not in KINDS:
            raise OurBug(f"no kind of record: {kind}")
        fixed = {**form.fields, **known.fields, "v": VERSION, "log": self.log, "kind": kind}
        varying = ("seq", "n", "ts", "mono", *(("plen", "pc") if has_payload else ()), *form.varying)
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
