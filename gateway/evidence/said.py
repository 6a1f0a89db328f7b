"""Records that are looked at again once everything was read: what they say of other records, files and logs.

The one list of their kinds, for `verify`, and for the archiver, which writes them beside each segment so that a quick
check need not search it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

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
