"""Following one log from record to record, as `verify` does: form, place, chain, tree, payload and session of each.

Promises one finding for one fault: it goes on from what the line itself says. Believes nothing that it was not shown,
and never uses a value of the log for memory or a path. Reads no files of records: whoever has the lines gives them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3

from gateway.evidence.chain import Chain
from gateway.evidence.entry import MAX_LINE, Malformed, canonical, encode, parse_time
from gateway.evidence.findings import Finding, Grade, Report
from gateway.evidence.frontier import Frontier
from gateway.evidence.originals_check import Erasures, SealedCheck
from gateway.evidence.record import KINDS
from gateway.evidence.signatures import Signatures
from gateway.evidence.tree import Tree
from gateway.model import Json, format_time

_HEX = re.compile(rb"[0-9a-f]{64}")
_FRACTION = re.compile(r"[0-9]{6}Z")
Decisions = dict[tuple[str, int], tuple[str, dict[str, Json]]]


def _refuse(number: str) -> float:
    raise ValueError(f"a float: {number[:20]}")


_decode = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse).raw_decode
_LARGEST = 1 << 53


class Following:
    """One log as far as it was followed."""

    def __init__(self, directory: Path, report: Report, *, quick: bool = False) -> None:
        self.name, self.directory, self._report, self._quick = directory.name, directory, report, quick
        self.chain, self.tree = Chain(), Tree()
        self.signatures = Signatures(directory, self.find)
        self.expected = 0
        self.quotes: list[tuple[int, dict[str, Json]]] = []
        self.decisions: Decisions = {}
        self.archives: dict[str, dict[str, Json]] = {}
        """What `archive` records say, by segment."""
        self.torn: dict[str, tuple[int, str]] = {}
        self.sealed = SealedCheck(directory, self.find)
        self.erasures: list[dict[str, Json]] = []
        """Its `erasure` records, in order."""
        self.emptied: list[int] = []
        """Records whose payload is gone: an erasure, perhaps of another log, must say so."""
        self.gap = False
        self.payloads = True
        """False while the payloads of a segment are known to be missing: said once, not for each record."""
        self._known = True
        """The chain value before the next line is known; not after a line that could not be read."""
        self._last_ts = self._first_unsigned = ""
        self._second = ""
        """The last second that was found to be a time."""
        self._open: dict[str, int] = {}
        self._last_n: dict[str, int] = {}
        self._ended: set[str] = set()
        self._stale: set[str] = set()
        """Open sessions of a process that is gone."""
        self._asked: dict[str, set[int]] = {}
        """By open session, the n of what a later record may belong to."""
        self._unseen: set[str] = set()
        """Sessions whose beginning was skipped."""
        self._parts: tuple[int, int] | None = None
        self._closed = False

    def find(self, grade: Grade, seq: int | None, what: str) -> None:
        """Note a finding in this log."""
        self._report.findings.append(Finding(grade, self.name, seq, what))

    def skip(self, frontier: Frontier) -> None:
        """Go on behind a segment without its records; its frontier is held against what was signed."""
        self.name, self.expected, self.tree = frontier.log, frontier.size, Tree(frontier.tree)
        self.chain.value, self._known, self._last_ts = frontier.chain, True, format_time(frontier.ts)
        self._open = {one.session.id: frontier.size - 1 for one in frontier.open}
        self._unseen = set(self._open)
        self._last_n = {one.session.id: one.n for one in frontier.open}
        if self.signatures.due(frontier.size):
            self.signatures.reach(frontier.size, frontier.tree.root)

    def told(self, entry: dict[str, Json]) -> None:
        """Take one record of a segment that was skipped: what it says of files beside the records."""
        kind, seq = entry.get("kind"), entry.get("seq")
        if isinstance(seq, int):
            self._own(str(kind), entry, seq, b"")

    def unreadable(self, what: str) -> None:
        """Note that records cannot be read; what comes after them is followed from what it says itself."""
        self.find("tampered", self.expected, what)
        self._known, self.signatures.broken = False, True

    def line(self, raw: bytes) -> None:
        """Check one journal line, without its line feed."""
        fields = raw.split(b"\t")
        try:
            if len(fields) != 4:
                raise Malformed(f"{len(fields)} fields instead of 4")  # noqa: TRY301  one place says where
            chain, salt, encoded, payload = fields
            if salt and not _HEX.fullmatch(salt):
                raise Malformed("a salt that is not 32 bytes in lower-case hexadecimal")  # noqa: TRY301
            text = encoded.decode()
            entry, end = _decode(text)
            if end != len(text) or not isinstance(entry, dict):
                raise Malformed("not one JSON object")  # noqa: TRY301
            if (linked := self.chain.after(encoded)) != chain and not _HEX.fullmatch(chain):
                raise Malformed("a chain hash that is not 32 bytes in lower-case hexadecimal")  # noqa: TRY301
        except (ValueError, RecursionError, Malformed) as fault:
            what = str(fault) if isinstance(fault, Malformed) else f"not JSON: {type(fault).__name__}"
            self.unreadable(f"a line that cannot be read: {what}")
            return
        self._report.records += 1
        if not self._order(chain, linked, encoded, entry):
            return
        seq = self.expected - 1
        if len(raw) >= MAX_LINE:
            self.find("tampered", seq, f"a line of {len(raw)} bytes, longer than any of ours")
        try:
            if encode(entry) != text:
                raise Malformed("not in canonical form")  # noqa: TRY301  one place says where
            odd = [value for value in entry.values() if type(value) is not str]
            if not text.isascii() or not all(map(_small, odd)):
                canonical(entry)  # keys that are not ASCII, large numbers
            self._entry(entry, chain, salt, payload)
        except (Malformed, TypeError, ValueError) as fault:
            self.find("tampered", seq, f"an entry that is not of the format: {fault}")

    def _order(self, chain: bytes, linked: bytes, encoded: bytes, entry: dict[str, Json]) -> bool:
        """Check chain and sequence; say whether the line stands in its place. One out of place changes nothing."""
        seq = entry.get("seq")
        if type(seq) is not int:
            seq = self.expected
        if self.expected == 0:
            origin = entry.get("log")
            if isinstance(origin, str) and origin.rpartition("/")[2] == self.directory.name:
                self.name = origin
        missing = seq > self.expected
        if missing:
            self.find("tampered", seq, f"{seq - self.expected} records are missing before this one")
            self.signatures.broken = True
        elif seq < self.expected:
            self.find("tampered", seq, "a record repeated or out of order")
            return False
        if linked != chain and self._known and not missing:
            self.find("tampered", seq, "its chain value does not follow from the entry before and its bytes")
        self.chain.value = bytes.fromhex(chain.decode())
        self._known = True
        self.tree.append(encoded)
        if self.signatures.due(self.tree.size):
            self.signatures.reach(self.tree.size, self.tree.root)
        self.expected = seq + 1
        return True

    def _entry(self, entry: dict[str, Json], chain: bytes, salt: bytes, payload: bytes) -> None:
        kind, sid, seq = entry.get("kind"), entry.get("sid"), entry.get("seq")
        if entry.get("v") != 1 or kind not in KINDS or entry.get("log") != self.name:
            raise Malformed(f"version {entry.get('v')}, kind {kind}, log {entry.get('log')}")
        if type(seq) is not int:
            raise Malformed("seq is not a number")
        self._time(entry, seq)
        if payload or "pc" in entry:
            self._payload(entry, seq, salt, payload)
        first = self._part(entry, seq) if "part" in entry or self._parts is not None else True
        self._closed = kind == "shutdown"
        if seq == self.signatures.signed:
            self._first_unsigned = self._last_ts
        if "quote" in entry:
            self.quotes.append((seq, entry))
        if "sc" in entry:
            self.sealed.named(seq, entry)
        if kind in _OURS:
            self._own(str(kind), entry, seq, chain)
        if isinstance(sid, str) and first:
            self._session(entry, str(kind), sid, seq)

    def _own(self, kind: str, entry: dict[str, Json], seq: int, chain: bytes) -> None:
        if kind == "gap":
            self.gap = True
            self.find("incomplete", seq, f"records were given up here: {entry.get('why')}")
        elif kind == "start":
            self._started(entry)
        elif kind == "decision":
            self.decisions[self.name, seq] = (chain.decode(), entry)
        elif kind == "archive":
            self.archives[str(entry.get("segment"))] = entry
        elif kind == "key":
            self.sealed.key(seq, entry)
        elif kind == "erasure":
            self.erasures.append(entry)

    def _time(self, entry: dict[str, Json], seq: int) -> None:
        at = entry.get("ts")
        if not isinstance(at, str):
            raise Malformed("no time")
        if (
            at[:20] != self._second
            or len(at) != 27
            or at[26] != "Z"
            or not (at[20:26].isascii() and at[20:26].isdigit())
        ):
            parse_time(at)
            self._second = at[:20]
        back = at < self._last_ts  # of one form, so the order of texts is that of times
        if back != (entry.get("clk") == "back"):
            self.find("tampered", seq, "its time and what it says of the clock do not agree")
        elif back:
            self.find("note", seq, "the clock was set back before it")
        self._last_ts = at

    def _payload(self, entry: dict[str, Json], seq: int, salt: bytes, payload: bytes) -> None:
        length = entry.get("plen")
        if not payload:
            if self.payloads:
                self.emptied.append(seq)
        elif len(payload) != length or not salt:
            self.find("tampered", seq, f"its payload has {len(payload)} bytes; the entry says {length}")
        elif not self._quick and blake3(payload, key=bytes.fromhex(salt.decode())).hexdigest() != entry.get("pc"):
            self.find("tampered", seq, "its payload is not the one that the entry commits to")

    def _part(self, entry: dict[str, Json], seq: int) -> bool:
        """Check that parts of a record follow each other; say whether this is a record's first or only line."""
        part, parts = entry.get("part", 1), entry.get("parts", 1)
        if not isinstance(part, int) or not isinstance(parts, int) or not 1 <= part <= parts:
            raise Malformed(f"part {part} of {parts}")
        due = self._parts or (1, parts)
        if (part, parts) != due:
            self.find("tampered", seq, f"part {part} of {parts} stands where part {due[0]} of {due[1]} belongs")
        self._parts = (part + 1, parts) if part < parts else None
        return part == 1

    def _started(self, entry: dict[str, Json]) -> None:
        """After a start nothing of an earlier process goes on: its sessions must be ended as lost."""
        self._stale.update(self._open)
        torn = entry.get("torn")
        for one in torn if isinstance(torn, list) else []:
            if isinstance(one, dict):
                length = one.get("length")
                if not isinstance(length, int):
                    raise Malformed("length is not a number")
                self.torn[str(one.get("file"))] = (length, str(one.get("blake3")))

    def _session(self, entry: Mapping[str, Json], kind: str, sid: str, seq: int) -> None:
        n = entry.get("n")
        if kind == "session_start":
            if sid in self._open or sid in self._ended:
                self.find("tampered", seq, f"session {sid} begins twice")
            self._open[sid] = seq
        elif kind == "session_end":
            if self._open.pop(sid, None) is None:
                self.find("tampered", seq, f"session {sid} ends and did not begin")
            self._ended.add(sid)
            self._asked.pop(sid, None)
        elif n is not None and sid not in self._open:
            self.find("tampered", seq, f"a record of session {sid} outside its start and end")
        if not isinstance(n, int):
            return
        if n <= self._last_n.get(sid, -1):
            self.find("tampered", seq, f"n {n} of session {sid} does not rise")
        self._last_n[sid] = n
        of = entry.get("of")
        if isinstance(of, int) and of not in self._asked.get(sid, ()) and sid not in self._unseen:
            self.find("incomplete", seq, f"it belongs to n {of} of its session, which is not there")
        if kind in _ASKING:
            self._asked.setdefault(sid, set()).add(n)

    def explain(self, erasures: Erasures) -> None:
        """Hold what is gone against what was erased."""
        for seq in self.emptied:
            if not erasures.has(self.name, seq):
                self.find("tampered", seq, "its payload is gone and no erasure says so")

    def finish(self) -> None:
        """Check the log's end: parts, sessions, and how far signatures reach."""
        self._report.heads[self.name] = (self.expected, self.chain.value.hex())
        if self._parts is not None:
            self.find("incomplete", self.expected - 1, f"the record's part {self._parts[0]} is missing")
        for sid, seq in self._open.items():
            if self._closed or sid in self._stale:
                self.find("incomplete", seq, f"session {sid} has no end, and its process has ended")
            else:
                self.find("note", seq, f"session {sid} has no end: it is open, or the gateway was stopped hard")
        try:
            self.signatures.finish(self.expected, self._first_unsigned, self._last_ts, closed=self._closed)
        except Malformed as fault:
            self.find("tampered", self.expected - 1, str(fault))


def _small(value: Json) -> bool:
    """Say whether a value needs no closer look: a truth value or null, or a number below 2^53."""
    return value is None or (isinstance(value, int) and -_LARGEST < value < _LARGEST)


_OURS = frozenset({"gap", "start", "decision", "archive", "key", "erasure"})
_ASKING = frozenset({"request", "prepare", "execute"})
