"""Proofs of single records and of growth: RFC 6962, sections 2.1.1 and 2.1.2, over the log as it is read once.

Pure: entries in, about 20 hashes out for a log of a million. A proof shows that a record is in the log that was signed,
without the rest of the log; its checker trusts the checkpoint's key alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.evidence.tree import Tree, leaf, node


@dataclass(frozen=True, slots=True)
class Step:
    """One subtree of an audit path: its leaves, and on which side it stands."""

    low: int
    high: int
    left: bool


def audit_path(index: int, size: int) -> list[Step]:
    """Return the subtrees whose roots prove leaf `index` in a tree of `size`, from the leaf up (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    low, high, down = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            down.append(Step(middle, high, left=False))
            high = middle
        else:
            down.append(Step(low, middle, left=True))
            low = middle
    return down[::-1]


def consistency_path(old: int, size: int) -> list[tuple[int, int]]:
    """Return the leaves of the subtrees that prove that a tree of `old` grew into one of `size` (RFC 6962, 2.1.2)."""
    if not 0 < old <= size:
        raise ValueError(f"a tree of {old} does not grow to {size}")
    low, high, whole, found = 0, size, True, []
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            found.append((middle, high))
            high = middle
        else:
            found.append((low, middle))
            low, whole = middle, False
    if not whole:
        found.append((low, high))
    return found[::-1]


def roots(entries: Iterable[bytes], ranges: Sequence[tuple[int, int]], first: int = 0) -> list[bytes]:
    """Return the root over each range of the entries, of which the first has number `first`; ranges do not overlap.

    Raises ValueError where the entries end before the ranges do.
    """
    places = sorted(range(len(ranges)), key=lambda place: ranges[place])
    trees = [Tree() for _ in ranges]
    due = iter(places)
    place = next(due, None)
    for number, entry in enumerate(entries, first):
        while place is not None and number >= ranges[place][1]:
            place = next(due, None)
        if place is None:
            break
        if number >= ranges[place][0]:
            trees[place].append(entry)
    for (low, high), tree in zip(ranges, trees, strict=True):
        if tree.size != high - low:
            raise ValueError(f"the log ends before record {high - 1}")
    return [tree.root for tree in trees]


def root_of(entry: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes:
    """Return the root that the audit path `hashes` gives for `entry`. Raises ValueError for a wrong length."""
    steps = audit_path(index, size)
    if len(steps) != len(hashes):
        raise ValueError(f"{len(hashes)} hashes; a path to {index} of {size} has {len(steps)}")
    found = leaf(entry)
    for step, other in zip(steps, hashes, strict=True):
        found = node(other, found) if step.left else node(found, other)
    return found


def grown(old: int, old_root: bytes, size: int, root: bytes, hashes: Sequence[bytes]) -> bool:
    """Say whether `hashes` prove that the tree of `old` leaves is the beginning of the one of `size`."""
    if not 0 < old <= size:
        return False
    ranges = consistency_path(old, size)
    if len(ranges) != len(hashes):
        return False
    if old == size:
        return old_root == root
    known = dict(zip(ranges, hashes, strict=True))
    if (0, old) not in known and old & (old - 1) == 0:
        known[0, old] = old_root  # a whole subtree of the new tree: left out of the proof
    try:
        return _root(known, 0, old) == old_root and _root(known, 0, size) == root
    except KeyError:
        return False


def _root(known: dict[tuple[int, int], bytes], low: int, high: int) -> bytes:
    """Return the root over leaves `low` to `high` from the known subtrees. Raises KeyError where one lacks."""
    found = known.get((low, high))
    if found is not None:
        return found
    if high - low < 2:
        raise KeyError(low)
    middle = low + _split(high - low)
    return node(_root(known, low, middle), _root(known, middle, high))


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
