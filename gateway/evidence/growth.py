"""Proofs that a log only grew, from one size to another: RFC 6962, section 2.1.2, from its newest leaves in memory.

Promises the hashes that a witness asks for, from what the tree was at the old size and the leaves since. Pure; `Leaves`
costs one reference a record and forgets the oldest. What it forgot, `gateway.evidence.regrowth` reads again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

from gateway.evidence.proof import consistency_path
from gateway.evidence.tree import Tree, TreeState

KEPT = 1 << 16
"""Leaves kept in memory, some six megabytes: what a log grew by since its witness was asked last."""


class Leaves:
    """The newest leaves of a growing log."""

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._hashes: deque[bytes] = deque(maxlen=KEPT)

    def add(self, leaf: bytes) -> None:
        """Add the next one."""
        self.size += 1
        self._hashes.append(leaf)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add the next ones."""
        self.size += len(leaves)
        self._hashes.extend(leaves)

    def between(self, old: int, size: int) -> list[bytes] | None:
        """Return the leaves from number `old` to before `size`; None where they are not kept any more."""
        first = self.size - len(self._hashes)
        return None if old < first or size > self.size else list(islice(self._hashes, old - first, size - first))


def proof(old: TreeState, leaves: Sequence[bytes], size: int) -> list[bytes]:
    """Return the proof from `old` to `size`, given the leaves between them. Raises ValueError for too few."""
    if len(leaves) != size - old.size:
        raise ValueError(f"{len(leaves)} leaves between {old.size} and {size}")
    whole = whole_subtrees(old)
    return [
        whole[low, high] if high <= old.size else _root(leaves[low - old.size : high - old.size])
        for low, high in consistency_path(old.size, size)
    ]


def whole_subtrees(state: TreeState) -> dict[tuple[int, int], bytes]:
    """Return the whole subtrees that a tree consists of, by the leaves that they cover."""
    found, low = {}, 0
    sizes = [1 << bit for bit in range(state.size.bit_length()) if state.size >> bit & 1]
    for width, peak in zip(reversed(sizes), state.peaks, strict=True):
        found[low, low + width] = peak
        low += width
    return found


def _root(leaves: Sequence[bytes]) -> bytes:
    tree = Tree()
    for one in leaves:
        tree.add(one)
    return tree.root


def roots_after(before: TreeState, entries: Iterable[bytes], ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return the root over each range of a log whose first records are known by the tree `before` alone.

    `entries` are those that follow; ranges do not overlap. Raises ValueError where a range cannot be had from that.
    """
    trees = {one: _begun(before, one) for one in ranges}
    due = deque(sorted(one for one in ranges if one[1] > before.size))
    for number, entry in enumerate(entries, before.size):
        while due and number >= due[0][1]:
            due.popleft()
        if not due:
            break
        if number >= due[0][0]:
            trees[due[0]].append(entry)
    for (low, high), tree in trees.items():
        if tree.size != high - low:
            raise ValueError(f"the log ends before record {high - 1}")
    return [trees[one].root for one in ranges]


def _begun(before: TreeState, wanted: tuple[int, int]) -> Tree:
    """Return the tree over what a range has in common with the records that `before` stands for."""
    low, high = wanted
    if low >= before.size:
        return Tree()
    known = {one: peak for one, peak in whole_subtrees(before).items() if low <= one[0] and one[1] <= high}
    end = min(high, before.size)
    if sum(last - first for first, last in known) != end - low:
        raise ValueError(f"record {low} was pruned, and its tree is known no closer")
    return Tree(TreeState(end - low, tuple(known.values())))
