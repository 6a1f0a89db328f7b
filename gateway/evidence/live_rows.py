"""Following live lines: many at once where all that they say is flat and in canonical form, the others one by one.

Promises what `Following.line` finds for each line, at half of its price: entries of one shape, the same keys with
values of the same types, are matched against one pattern that only the canonical text of such an entry fits. A shape is
learned from an entry that was read and found canonical by itself. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import TypeAlias

from gateway.evidence.columns import PLAIN
from gateway.evidence.entry import MAX_LINE, Malformed, encode, parse, parse_time
from gateway.evidence.following import Following, Stretch, committed
from gateway.model import Json

_CLOSER = frozenset({"part", "parts", "quote", "sc", "clk"})
"""Fields that `Following.record` looks at and a stretch does not have."""
_ODD = bytes(range(32)) + b"\\"
"""What no text of an entry holds that is followed with others. Looked for in many at once, which costs a third of
patterns that leave it out; those never go back, for there is one way only to read a text that ends with its mark."""
_TEXT, _NUMBER = '[^"]', "(?:[1-9][0-9]{0,14}+|0|-[1-9][0-9]{0,14}+)"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_VALUES: dict[type, str] = {str: f'"{_TEXT}*+"', int: _NUMBER, bool: "(?:true|false)"}
_TAKEN = {
    "n": f"({_NUMBER})", "of": f"({_NUMBER})", "pc": '"([0-9a-f]{64})"', "plen": f"({_NUMBER})", "seq": f"({_NUMBER})",
    "sid": f'"({_TEXT}++)"', "ts": f'"({_TIME})"',
}  # fmt: skip
"""Fields whose values are taken out, sorted as in an entry; the pattern of each."""
_LIST = rf'\[(?:"{_TEXT}*+"(?:,"{_TEXT}*+")*)?\]'
_PLAIN = frozenset(kind.encode() for kind in PLAIN)
_MOST = 32
"""Shapes that are learned from lines followed together, at most: to make a pattern takes as long as 500 lines."""
_Match: TypeAlias = Callable[[bytes], "re.Match[bytes] | None"]
_Taken: TypeAlias = tuple[str, tuple[bytes, ...]]
"""Kind of an entry, and its values of `_TAKEN`; empty where it has none."""


def follow_lines(log: Following, lines: Sequence[bytes]) -> None:
    """Follow journal lines, each without its line feed; findings are in `log`."""
    if lines and not log.expected:  # the first record names the log
        log.line(lines[0])
        lines = lines[1:]
    fields, shapes = [raw.split(b"\t") for raw in lines], _Shapes(log.name)
    plainly = _plainly(b"".join([one[2] for one in fields if len(one) == 4]))
    taken = [shapes.take(one[2]) if len(one) == 4 and (plainly or _plainly(one[2])) else None for one in fields]
    end = 0
    for plain, group in groupby(taken, key=lambda one: one is not None):
        begin, end = end, end + len(list(group))
        these = [one for one in taken[begin:end] if one is not None]
        if not plain or not _stretch(log, lines[begin:end], fields[begin:end], these):
            for raw in lines[begin:end]:
                log.line(raw)


def _plainly(entries: bytes) -> bool:
    return len(entries.translate(None, _ODD)) == len(entries)


class _Shapes:
    """The shapes of the entries of one log that were seen so far, by kind."""

    def __init__(self, log: str) -> None:
        self._log, self._room = log, _MOST
        self._known: dict[bytes, list[tuple[str, _Match]]] = {kind: [] for kind in _PLAIN}

    def take(self, entry: bytes) -> _Taken | None:
        """Return what is taken of an entry without `_ODD` whose shape is known, or is learned now.

        None: it needs a closer look.
        """
        at = entry.find(b'"kind":"') + 8
        known = self._known.get(entry[at : entry.find(b'"', at)])
        if known is None:
            return None
        for place, (kind, match) in enumerate(known):
            if (found := match(entry)) is not None:
                if place:
                    known.insert(0, known.pop(place))  # the next one is tried with this first
                return kind, found.groups()
        return self._learned(known, entry)

    def _learned(self, known: list[tuple[str, _Match]], encoded: bytes) -> _Taken | None:
        try:
            entry = parse(encoded) if self._room else {}
        except Malformed:
            return None
        kind, shape = str(entry.get("kind")), tuple(_value(name, value) for name, value in entry.items())
        fits = entry.get("log") == self._log and type(entry.get("v")) is int and entry["v"] == 1
        if not fits or kind not in PLAIN or not _CLOSER.isdisjoint(entry) or None in shape:
            return None
        self._room -= 1
        match = _pattern(tuple(entry), shape)
        known.append((kind, match))
        found = match(encoded)
        return None if found is None else (kind, found.groups())


def _value(name: str, value: Json) -> str | None:
    """Return the pattern of what may stand for `value` in entries of its shape; None: it needs a closer look."""
    if name in {"kind", "log", "v"}:
        return re.escape(encode(value))
    texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return _LIST if texts else _TAKEN.get(name, _VALUES.get(type(value)))


@lru_cache(maxsize=256)
def _pattern(names: tuple[str, ...], values: tuple[str, ...]) -> _Match:
    """Return what matches entries of a shape; its groups are the values of `_TAKEN`, in that order."""
    shape = dict(zip(names, values, strict=True))
    pieces, comma = [], ""
    for name in sorted(shape.keys() | _TAKEN.keys()):
        pieces.append(f"{comma}{re.escape(encode(name))}:{shape[name]}" if name in shape else "()")
        comma = "," if name in shape else comma
    return re.compile(f"{{{''.join(pieces)}}}".encode()).fullmatch


def _stretch(
    log: Following, lines: Sequence[bytes], fields: Sequence[Sequence[bytes]], taken: Sequence[_Taken]
) -> bool:
    """Follow plain lines at once; False: each is to be looked at by itself."""
    kinds, values = zip(*taken, strict=True)
    ns, ofs, pcs, plens, seqs, sids, times = zip(*values, strict=True)
    chains, salts, entries, payloads = zip(*fields, strict=True)
    first, size = log.expected, len(lines)
    if list(map(int, seqs)) != list(range(first, first + size)) or max(map(len, lines)) >= MAX_LINE - 1:
        return False
    if not all(times) or not _paid(log, pcs, plens, salts, payloads):
        return False
    try:
        b"".join(entries).decode()
        linked = b",".join(chains).decode("ascii")
        sessions: list[str | None] = list(b"\n".join(sids).decode().split("\n"))
    except UnicodeDecodeError:
        return False
    told = b"\n".join(times).decode("ascii").split("\n")
    if not _times(told):
        return False
    if b"" in sids:
        sessions = [sid or None for sid in sessions]
    counts, belongs = [int(n) if n else None for n in ns], [int(of) if of else None for of in ofs]
    return log.stretch(Stretch(first, linked, entries, told, kinds, sessions, counts, belongs))


def _paid(
    log: Following, pcs: Sequence[bytes], plens: Sequence[bytes], salts: Sequence[bytes], payloads: Sequence[bytes]
) -> bool:
    """Say whether each record that commits to a payload has it, and no other one has any."""
    as_long = list(map(len, payloads)) == [int(plen or 0) for plen in plens]
    if not as_long or list(map(bool, payloads)) != list(map(bool, pcs)):
        return False
    if log.quick:
        return True
    if b"" in pcs:
        pcs, salts, payloads = ([one for one in each if one] for each in (pcs, salts, payloads))
    try:
        return committed(b",".join(salts).decode("ascii"), payloads, b",".join(pcs).decode("ascii"))
    except UnicodeDecodeError:
        return False


def _times(times: Sequence[str]) -> bool:
    """Say whether texts of the form of times are times."""
    try:
        for second in {at[:20] for at in times}:
            parse_time(f"{second}000000Z")
    except Malformed:
        return False
    return True
