"""Which subtrees prove some records of a log, and the root that follows from both. Pure.

For any set of leaves of an RFC 6962 tree, the largest subtrees without any of them, at most about log2(size) a leaf:
with the leaves themselves they give the root that was signed, and show nothing else of the log.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from gateway.evidence.tree import node


def uncovered(leaves: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Return the largest subtrees of a tree of `size` that hold none of `leaves`, which are sorted, from the left."""
    found, stack = [], [(0, size)]
    while stack:
        low, high = stack.pop()
        begin = bisect_left(leaves, low)
        inside = bisect_left(leaves, high, begin) - begin
        if not inside:
            found.append((low, high))
        elif inside < high - low:
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            stack += [(middle, high), (low, middle)]
    return found


def root_over(parts: Iterable[tuple[int, int, bytes]], size: int) -> bytes:
    """Return the root of a tree of `size` from its parts, each a subtree with its hash, in order.

    Raises ValueError where they do not follow each other or do not make up the tree.
    """
    stack: list[tuple[int, int, bytes]] = []
    end = 0
    for low, high, value in parts:
        if low != end or high <= low or len(value) != 32:
            raise ValueError(f"what proves records from {end} on is missing")
        end = high
        stack.append((low, high, value))
        while len(stack) > 1 and _join(stack[-2], stack[-1]):
            _, last, right = stack.pop()
            first, _, left = stack.pop()
            stack.append((first, last, node(left, right)))
    if end != size or not stack:
        raise ValueError(f"it proves {end} records, and {size} were signed")
    low, high, value = stack.pop()
    while stack:
        first, last, left = stack.pop()
        if not _whole(first, last) or high - low > last - first:
            raise ValueError("the subtrees are not those of the tree")
        low, value = first, node(left, value)
    return value


def _whole(low: int, high: int) -> bool:
    """Say whether a range is a whole subtree in its place."""
    width = high - low
    return width & (width - 1) == 0 and low % width == 0


def _join(left: tuple[int, int, bytes], right: tuple[int, int, bytes]) -> bool:
    """Say whether two neighbours are the halves of a whole subtree."""
    width = left[1] - left[0]
    return width == right[1] - right[0] and _whole(left[0], left[1]) and left[0] % (2 * width) == 0
