"""A bounded list that forgets its oldest items and keeps their numbers: what the tail is held in.

Items are numbered from 0 as they come and keep their number; `first` is the oldest still held. Memory is bounded by the
capacity, whatever an agent sends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """At most `capacity` newest items."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self.end = 0
        """Number of the item that comes next."""

    @property
    def first(self) -> int:
        """Number of the oldest item held."""
        return self.end - len(self._items)

    def append(self, item: T) -> None:
        """Add an item; the oldest goes where there is no room."""
        self._items.append(item)
        self.end += 1

    def extend(self, items: Iterable[T]) -> None:
        """Add several items."""
        for item in items:
            self.append(item)

    def copy(self) -> Ring[T]:
        """Return a ring that holds what this one holds now."""
        twin: Ring[T] = Ring(self._items.maxlen or 0)
        twin._items.extend(self._items)
        twin.end = self.end
        return twin

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def get(self, number: int) -> T | None:
        """Return the item of that number, None where it is gone or not there yet."""
        place = number - self.first
        return self._items[place] if 0 <= place < len(self._items) else None

    def since(self, number: int) -> list[T]:
        """Return the items from `number` on that are still held."""
        return list(islice(self._items, max(0, number - self.first), None))
