"""Following live lines: many at once where all that they say is flat and in canonical form, the others one by one.

Promises what `Following.line` finds for each line, at two thirds of its price: Python's JSON reads and writes a list of
a thousand entries much faster than a thousand entries. That is sound only for entries that each stand for themselves
in such a list, so those with brackets in them are not among them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from gateway.evidence.columns import PLAIN
from gateway.evidence.entry import MAX_LINE, Malformed, encode, parse_time
from gateway.evidence.following import Following, Paid, Stretch, decoded

AT_ONCE = 1024
"""Lines followed together."""
_CLOSER = frozenset({"part", "parts", "quote", "sc", "clk"})
"""Fields that `Following.record` looks at and a stretch does not have."""
_LARGEST = 1 << 53
_Line: TypeAlias = tuple[bytes, list[bytes], dict[str, Any] | None]
"""A line, its fields, and what its entry says where that is proved and plain."""


def follow_lines(log: Following, lines: Sequence[bytes]) -> None:
    """Follow journal lines, each without its line feed; findings are in `log`."""
    for plain, group in groupby(_read(lines), key=lambda line: line[2] is not None):
        these = list(group)
        if not plain or not log.expected or not _stretch(log, these):
            for raw, _, _ in these:
                log.line(raw)


def _read(lines: Sequence[bytes]) -> Iterator[_Line]:
    fields = [raw.split(b"\t") for raw in lines]
    flat = [len(one) == 4 and _alone(one[2]) for one in fields]
    told = iter(_decoded([one[2] for one, yes in zip(fields, flat, strict=True) if yes]))
    for raw, one, yes in zip(lines, fields, flat, strict=True):
        entry = next(told, None) if yes and len(raw) < MAX_LINE - 1 else None
        plain = entry is not None and entry.get("kind") in PLAIN and _CLOSER.isdisjoint(entry)
        yield raw, one, entry if plain else None


def _alone(entry: bytes) -> bool:
    """Say whether an entry is one flat object, if it is JSON: then no neighbour in a list can lend it a half."""
    bare = b"[" not in entry and b"\\" not in entry
    return bare and entry[:1] == b"{" and entry.find(b"{", 1) < 0 and entry.find(b"}") == len(entry) - 1


def _decoded(entries: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return what flat entries say, if all are in canonical form and hold no null; else nothing.

    Without spaces, escapes and nesting, JSON that is not canonical has a key twice or out of order, or a number that
    could be written shorter. Where there are spaces, the canonical text is made and compared.
    """
    try:
        text = f"[{b','.join(entries).decode()}]"
        found, end = decoded(text)
    except (ValueError, RecursionError):
        return []
    if end != len(text) or len(found) != len(entries) or "\r" in text or "\n" in text:
        return []
    if any(b" " in raw and encode(entry).encode() != raw for entry, raw in zip(found, entries, strict=True)):
        return []
    shapes = set(map(tuple, found))
    once = text.count('":') == sum(map(len, found))
    in_order = all(list(shape) == sorted(shape) and "".join(shape).isascii() for shape in shapes)
    numbers = [value for entry in found for value in entry.values() if type(value) is int]
    small = not numbers or (min(numbers) > -_LARGEST and max(numbers) < _LARGEST)
    return found if once and in_order and small and ":-0" not in text and ":null" not in text else []


def _stretch(log: Following, lines: Sequence[_Line]) -> bool:
    """Follow plain lines at once; False: each is to be looked at by itself."""
    chains, salts, encoded, payloads = zip(*(fields for _, fields, _ in lines), strict=True)
    entries = [entry for _, _, entry in lines if entry is not None]
    try:
        if any(entry["v"] != 1 or entry["log"] != log.name for entry in entries):
            return False
        columns: dict[str, tuple[Any, ...]] = {
            name: tuple([entry.get(name) for entry in entries])
            for name in ("seq", "ts", "kind", "sid", "n", "of", "plen", "pc")
        }
        if not _of_type(columns) or not _times(columns["ts"]):
            return False
        paid: list[Paid] = [
            (seq, salt.decode("ascii"), payload)
            for seq, salt, payload in zip(columns["seq"], salts, payloads, strict=True)
            if salt or payload
        ]
        linked = tuple(b"\t".join(chains).decode("ascii").split("\t"))
    except (KeyError, ValueError):
        return False
    return log.stretch(
        Stretch(
            columns["seq"], linked, encoded, columns["ts"], columns["kind"], columns["sid"], columns["n"],
            columns["of"], columns["plen"], columns["pc"],
        ),
        paid,
    )  # fmt: skip


def _of_type(columns: dict[str, tuple[Any, ...]]) -> bool:
    texts = {kind for name in ("ts", "kind", "sid", "pc") for kind in set(map(type, columns[name]))}
    numbers = {kind for name in ("seq", "n", "of", "plen") for kind in set(map(type, columns[name]))}
    return texts <= {str, type(None)} and numbers <= {int, type(None)}


def _times(times: Sequence[str]) -> bool:
    """Say whether all are times of the one form."""
    try:
        for second in {at[:20] for at in times}:
            parse_time(f"{second}000000Z")
    except (Malformed, TypeError):
        return False
    fractions = "".join([at[20:26] for at in times])
    whole = {*map(len, times)} == {27} and {at[26] for at in times} == {"Z"}
    return whole and fractions.isascii() and fractions.isdigit()
