"""Following one log from record to record, as `verify` does: form, place, chain, tree, payload and session of each.

Promises one finding for one fault: it goes on from what the line itself says. A stretch of a log may be followed by
itself, from a frontier that is believed until `join` holds it against what came before. Believes nothing else, never
uses a value of the log for memory or a path, and reads no files: whoever has the records gives them.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from gateway.evidence.chain import Chain, linked
from gateway.evidence.entry import MAX_LINE, Malformed, canonical, encode, parse_time
from gateway.evidence.findings import Finding, Grade
from gateway.evidence.frontier import Frontier
from gateway.evidence.originals_check import SealedCheck
from gateway.evidence.record import KINDS
from gateway.evidence.said import AGAIN, Said, check_form
from gateway.evidence.session_rules import Complaint, Open, Sessions
from gateway.evidence.tree import Tree
from gateway.model import Json, format_time

_HEX = re.compile(rb"[0-9a-f]{64}")


class Stretch(NamedTuple):
    """Records that follow each other, by column; each was proved to be canonical and to quote and seal nothing.

    Their payloads, too, are known to be those that they commit to.
    """

    first: int
    """Sequence number of the first."""
    chains: str
    """Their chain values, with commas between."""
    entries: Sequence[bytes]
    times: list[str]
    kinds: Sequence[str]
    sids: Sequence[str | None]
    ns: Sequence[int | None]
    ofs: Sequence[int | None]


def _refuse(number: str) -> float:
    raise ValueError(f"a float: {number[:20]}")


decoded = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse).raw_decode
"""What a text says without any float, and where that ended. Raises ValueError."""
_LARGEST = 1 << 53
_MOST = 1000
"""Findings of one grade in one stretch that are kept: whoever fills a log with rubbish fills no memory."""


class Following:
    """One log as far as it was followed. `due`: the sizes at which its root is to be kept, in `roots`."""

    def __init__(
        self,
        directory: Path,
        due: frozenset[int] = frozenset(),
        *,
        after: Frontier | None = None,
        signed: int | None = None,
        quick: bool = False,
        findings: Sequence[Finding] = (),
    ) -> None:
        self.name = self._directory = directory.name
        self._due, self._signed, self.quick = due, signed, quick
        self._sizes = sorted(due)
        self.findings = list(findings)
        self._found, self._left_out = Counter[Grade](), Counter[Grade]()
        """Findings by grade; those of them that were not kept."""
        self.records = 0
        self.chain, self.tree, self.sessions = Chain(), Tree(), Sessions()
        self.expected = 0
        self.roots: dict[int, bytes] = {}
        self.said: dict[str, list[Said]] = {}
        """Records of the kinds that are looked at again, by kind; `quote` holds those that quote another."""
        self.sealed = SealedCheck(directory, self.find)
        self.emptied: list[int] = []
        """Records whose payload is gone: an erasure, perhaps of another log, must say so."""
        self.receipts: list[tuple[int, dict[str, Json], bytes]] = []
        """Decisions with a receipt: sequence number, entry and payload."""
        self.unpaid: list[int] = []
        """Segments whose payloads are gone altogether; likewise."""
        self.payloads = True
        """False while the payloads of a segment are known to be missing: said once, not for each record."""
        self.known = True
        """The chain value before the next line is known; not after a line that could not be read."""
        self.broken = False
        """The tree is not known any more: no root after this is to be compared."""
        self.last_ts = self.first_unsigned = ""
        self.closed = False
        self._second = ""
        """The last second that was found to be a time."""
        self._parts: tuple[int, int] | None = None
        if after is not None:
            self.skip(after)

    def find(self, grade: Grade, seq: int | None, what: str) -> None:
        """Note a finding in this log; of each grade, those that come after many are counted alone."""
        self._found[grade] += 1
        if self._found[grade] <= _MOST:
            self.findings.append(Finding(grade, self.name, seq, what))
        else:
            self._left_out[grade] += 1

    def skip(self, frontier: Frontier) -> None:
        """Go on from `frontier` without the records before it."""
        self.name, self.expected, self.tree = frontier.log, frontier.size, Tree(frontier.tree)
        self.chain, self.known, self.last_ts = Chain(frontier.chain), True, format_time(frontier.ts)
        began = frontier.size - 1
        self.sessions = Sessions({one.session.id: Open(began, one.n, seen=False) for one in frontier.open})
        if frontier.size in self._due:
            self.roots[frontier.size] = frontier.tree.root

    def place(self, *, tree: bool = True) -> tuple[object, ...]:
        """Return where it stands; two that stand alike may be joined."""
        root = self.tree.root if tree else b""
        return (
            self.name, self.expected, self.chain.value, root, self.last_ts, self._parts, self.known,
            self.sessions.place(),
        )  # fmt: skip

    def join(self, later: Following) -> None:
        """Take over a stretch that was followed by itself from where this one stands."""
        self.findings += later.findings
        self._left_out += later._left_out
        self.records += later.records
        if not self.broken:
            self.roots |= later.roots
        self._complain(self.sessions.join(later.sessions))
        for kind, said in later.said.items():
            self.said.setdefault(kind, []).extend(said)
        self.emptied += later.emptied
        self.receipts += later.receipts
        self.unpaid += later.unpaid
        self.sealed.missing += later.sealed.missing
        self.name, self.expected, self.chain, self.tree = later.name, later.expected, later.chain, later.tree
        self.last_ts, self.first_unsigned = later.last_ts, later.first_unsigned or self.first_unsigned
        self.known, self.closed, self._parts = later.known, later.closed, later._parts
        self.broken = self.broken or later.broken

    def unreadable(self, what: str) -> None:
        """Note that records cannot be read; what comes after them is followed from what it says itself."""
        self.find("tampered", self.expected, what)
        self.known, self.broken = False, True

    def line(self, raw: bytes) -> None:
        """Check one journal line, without its line feed."""
        fields = raw.split(b"\t")
        if len(fields) == 4:
            self.record(*fields)
        else:
            self.unreadable(f"a line that cannot be read: {len(fields)} fields instead of 4")

    def record(self, chain: bytes, salt: bytes, encoded: bytes, payload: bytes | None) -> None:
        """Check one record by its exact bytes, as a journal line holds them.

        `payload` None: it is known already to be what the record commits to, or that it has none.
        """
        try:
            if salt and not _HEX.fullmatch(salt):
                raise Malformed("a salt that is not 32 bytes in lower-case hexadecimal")  # noqa: TRY301
            text = encoded.decode()
            entry, end = decoded(text)
            if end != len(text) or not isinstance(entry, dict):
                raise Malformed("not one JSON object")  # noqa: TRY301  one place says where
            if (linked := self.chain.after(encoded)) != chain and not _HEX.fullmatch(chain):
                raise Malformed("a chain hash that is not 32 bytes in lower-case hexadecimal")  # noqa: TRY301
        except (ValueError, RecursionError, Malformed) as fault:
            what = str(fault) if isinstance(fault, Malformed) else f"not JSON: {type(fault).__name__}"
            self.unreadable(f"a line that cannot be read: {what}")
            return
        self.records += 1
        if not self._order(chain, linked, encoded, entry):
            return
        seq, length = self.expected - 1, len(chain) + len(salt) + len(encoded) + len(payload or b"") + 3
        if length >= MAX_LINE:
            self.find("tampered", seq, f"a line of {length} bytes, longer than any of ours")
        try:
            if encode(entry) != text:
                raise Malformed("not in canonical form")  # noqa: TRY301  one place says where
            odd = [value for value in entry.values() if type(value) is not str]
            if not text.isascii() or not all(map(_small, odd)):
                canonical(entry)  # keys that are not ASCII, large numbers
            self._entry(entry, chain, salt, payload)
        except (Malformed, TypeError, ValueError) as fault:
            self.find("tampered", seq, f"an entry that is not of the format: {fault}")

    def stretch(self, these: Stretch) -> bool:
        """Check records that follow each other, all at once.

        False: something is not as it should be; nothing was taken then, and each record is to be looked at by `record`.
        Where half the time is hashing, lists save half of the rest.
        """
        first, times, size = these.first, these.times, self.expected + len(these.entries)
        in_order = times[0] >= self.last_ts and sorted(times) == times
        if self._parts is not None or not in_order or first != self.expected:
            return False
        value = linked(self.chain.value, these.entries, these.chains)
        if value is None:
            return False
        self._grow([sha256(b"\0" + entry).digest() for entry in these.entries])
        self.chain.value, self.expected, self.known, self.closed = value, size, True, False
        if self._signed is not None and first <= self._signed < size:
            self.first_unsigned = times[self._signed - first]
        self.last_ts = times[-1]
        self.records += len(these.entries)
        self._complain(self.sessions.run(first, these.kinds, these.sids, these.ns, these.ofs))
        return True

    def skim(self, lines: Sequence[Sequence[bytes]]) -> bool:
        """Take the fields of lines that a checkpoint covers and nothing depends on by their bytes alone.

        Their payloads are known to be as long as they say. False: something is not as it should be; nothing was taken
        then.
        """
        if self._parts is not None:
            return False
        chains, _, entries, _ = zip(*lines, strict=True)
        try:
            value = linked(self.chain.value, entries, b",".join(chains).decode("ascii"))
            last = decoded(entries[-1].decode())[0]["ts"]
            parse_time(last)
        except (ValueError, LookupError, TypeError, RecursionError, Malformed):
            return False
        if value is None:
            return False
        self._grow([sha256(b"\0" + entry).digest() for entry in entries])
        self.chain.value, self.expected, self.known, self.closed = value, self.expected + len(lines), True, False
        self.last_ts = last
        self.records += len(lines)
        self.sessions.passed()
        return True

    def _grow(self, leaves: Sequence[bytes]) -> None:
        """Add leaves to the tree, and keep its roots where they are due."""
        tree, before, done = self.tree, self.tree.size, 0
        begin = bisect_right(self._sizes, before)
        for size in (
            self._sizes[begin : bisect_right(self._sizes, before + len(leaves), begin)] if not self.broken else ()
        ):
            tree.extend(leaves[done : size - before])
            done = size - before
            self.roots[size] = tree.root
        tree.extend(leaves[done:] if done else leaves)

    def _order(self, chain: bytes, linked: bytes, encoded: bytes, entry: dict[str, Json]) -> bool:
        """Check chain and sequence; say whether the line stands in its place. One out of place changes nothing."""
        seq = entry.get("seq")
        if type(seq) is not int:
            seq = self.expected
        if self.expected == 0:
            origin = entry.get("log")
            if isinstance(origin, str) and origin.rpartition("/")[2] == self._directory:
                self.name = origin
        missing = seq > self.expected
        if missing:
            self.find("tampered", seq, f"{seq - self.expected} records are missing before this one")
            self.broken = True
        elif seq < self.expected:
            self.find("tampered", seq, "a record repeated or out of order")
            return False
        if linked != chain and self.known and not missing:
            self.find("tampered", seq, "its chain value does not follow from the entry before and its bytes")
        self.chain.value = bytes.fromhex(chain.decode())
        self.known = True
        self.tree.append(encoded)
        if self.tree.size in self._due and not self.broken:
            self.roots[self.tree.size] = self.tree.root
        self.expected = seq + 1
        return True

    def _entry(self, entry: dict[str, Json], chain: bytes, salt: bytes, payload: bytes | None) -> None:
        kind, sid, seq = entry.get("kind"), entry.get("sid"), entry.get("seq")
        if entry.get("v") != 1 or kind not in KINDS or entry.get("log") != self.name:
            raise Malformed(f"version {entry.get('v')}, kind {kind}, log {entry.get('log')}")
        if type(seq) is not int:
            raise Malformed("seq is not a number")
        check_form(entry)
        self._time(entry, seq)
        if payload is not None and (payload or "pc" in entry):
            self._payload(entry.get("plen"), entry.get("pc"), seq, salt, payload)
        first = self._part(entry, seq) if "part" in entry or self._parts is not None else True
        self.closed = kind == "shutdown"
        if seq == self._signed:
            self.first_unsigned = self.last_ts
        if "quote" in entry:
            self.said.setdefault("quote", []).append(Said(seq, chain.decode(), entry))
        if "sc" in entry:
            self.sealed.named(seq, entry)
        if kind in AGAIN:
            self.said.setdefault(str(kind), []).append(Said(seq, chain.decode(), entry))
            if kind == "start":
                self.sessions.process_began()
            elif kind == "decision" and payload and b'"receipt":' in payload:
                self.receipts.append((seq, entry, payload))
        if isinstance(sid, str) and first:
            complaint = self.sessions.take(str(kind), sid, entry.get("n"), entry.get("of"), seq)
            self._complain(() if complaint is None else (complaint,))

    def _complain(self, complaints: Iterable[Complaint]) -> None:
        for complaint in complaints:
            self.find(*complaint)

    def _time(self, entry: dict[str, Json], seq: int) -> None:
        at = entry.get("ts")
        if not isinstance(at, str):
            raise Malformed("no time")
        fraction = at[20:26]
        if at[:20] != self._second or len(at) != 27 or at[26] != "Z" or not (fraction.isascii() and fraction.isdigit()):
            parse_time(at)
            self._second = at[:20]
        back = at < self.last_ts  # of one form, so the order of texts is that of times
        if back != (entry.get("clk") == "back"):
            self.find("tampered", seq, "its time and what it says of the clock do not agree")
        elif back:
            self.find("note", seq, "the clock was set back before it")
        self.last_ts = at

    def _payload(self, length: Json, committed: Json, seq: int, salt: bytes, payload: bytes) -> None:
        if not payload:
            if self.payloads:
                self.emptied.append(seq)
        elif len(payload) != length or not salt:
            self.find("tampered", seq, f"its payload has {len(payload)} bytes; the entry says {length}")
        elif not self.quick and blake3(payload, key=bytes.fromhex(salt.decode())).hexdigest() != committed:
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

    def finish(self) -> None:
        """Check the log's end: parts and sessions."""
        if self._parts is not None:
            self.find("incomplete", self.expected - 1, f"the record's part {self._parts[0]} is missing")
        self._complain(self.sessions.left(closed=self.closed))
        for grade, count in self._left_out.items():
            self.findings.append(Finding(grade, self.name, self.expected, f"{count} more findings are not shown"))


def committed(salts: str, payloads: Sequence[bytes], pcs: str) -> bool:
    """Say whether these are the payloads to which records commit, in order; `salts` and `pcs` with commas between.

    Salts of 32 bytes are written in the one way that there is: lower case, nothing between.
    """
    try:
        keys = bytes.fromhex(salts.replace(",", ""))
    except ValueError:
        return False
    if keys.hex(",", 32) != salts or len(keys) != 32 * len(payloads):
        return False
    each = zip(range(0, len(keys), 32), payloads, strict=True)
    made = [blake3(payload, key=keys[at : at + 32]).digest() for at, payload in each]
    return b"".join(made).hex(",", 32) == pcs


def _small(value: Json) -> bool:
    """Say whether a value needs no closer look: a truth value or null, or a number below 2^53."""
    return value is None or (isinstance(value, int) and -_LARGEST < value < _LARGEST)
