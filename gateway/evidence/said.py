"""Records that are looked at again once everything was read: what they say of other records, files and logs.

The one list of their kinds, for `verify`, and for the archiver, which writes them beside each segment so that a quick
check need not search it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gateway.evidence.entry import Malformed
from gateway.model import Json

AGAIN = frozenset({"gap", "start", "decision", "archive", "key", "erasure", "witness"})
"""Kinds that are looked at again."""
MOST = 1 << 14
"""Records beside a segment, at most; where there are more, they are searched for."""


class Said(NamedTuple):
    """One such record."""

    seq: int
    chain: str
    entry: dict[str, Json]


def told(said: Iterable[Said] | None) -> Json:
    """Return records as a frontier holds them; null where it does not."""
    return None if said is None else [[*one] for one in said]


def parsed(told: Any) -> tuple[Said, ...] | None:
    """Read them back. Raises ValueError or TypeError for what is of another form."""
    if told is None:
        return None
    return tuple(Said(int(seq), str(chain), dict(entry)) for seq, chain, entry in told)


def check_form(entry: Mapping[str, Json]) -> None:
    """Check what others depend on in an entry: places in its session, and what it says of files. Raises `Malformed`."""
    for name in ("n", "of"):
        if entry.get(name) is not None and type(entry[name]) is not int:
            raise Malformed(f"{name} is not a number")
    for kind, name, form in _FORMS:
        if entry.get("kind") != kind:
            continue
        found = entry.get(name, [] if kind == "start" else None)
        if not isinstance(found, list) or not all(_fits(one, form) for one in found):
            raise Malformed(f"{name} of {kind} is not of its form")


_TORN = re.compile(r"[^/\0]{1,120}")
_FORMS: tuple[tuple[str, str, Mapping[str, type]], ...] = (
    ("start", "torn", {"file": str, "length": int, "blake3": str}),
    ("erasure", "records", {}),
    ("erasure", "files", {"file": str, "old": str, "new": str}),
)
"""Lists that tell of files and records: kind, field, and what each of the list has; nothing: it is a text."""


def _fits(found: Json, form: Mapping[str, type]) -> bool:
    if not form:
        return isinstance(found, str)
    if not isinstance(found, dict) or any(type(found.get(name)) is not kind for name, kind in form.items()):
        return False
    return "length" not in form or bool(_TORN.fullmatch(str(found["file"])))
