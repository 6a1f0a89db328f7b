"""What the rewriters of COPY data share: values, bounds, and what stands in for a column.

A rewriter takes data in pieces of any size and returns what the agent may see, beside the originals that were replaced,
for whoever seals them. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

LONGEST = 1 << 20
"""Bytes of a masked field that are kept; of a longer one nothing is shown, whatever the style."""


class CopyFault(Exception):
    """The data is not what was announced; nothing more of it may pass."""


@dataclass(frozen=True, slots=True)
class Stand:
    """What stands in for the values of one column; `constant` None stands for NULL.

    A column with a `guard` is watched: values that it gives back pass, and so do those that are too long to be kept.
    """

    name: str
    constant: bytes | None
    rewrite: Callable[[bytes], bytes | None] | None = None
    guard: Callable[[bytes], bytes | None] | None = None

    def of(self, value: bytes) -> bytes | None:
        """Return what stands in for `value`; `value` itself where it may pass."""
        if self.guard is not None:
            return self.guard(value)
        return self.constant if self.rewrite is None else self.rewrite(value)


@dataclass(frozen=True, slots=True)
class Replaced:
    """A value that was replaced: its row and column, from 0, and its bytes; `whole` is False where they are cut."""

    row: int
    column: int
    original: bytes
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Copied:
    """What the agent may see of a piece of COPY data, and what was replaced in it."""

    data: bytes
    replaced: tuple[Replaced, ...] = ()


class Copier(Protocol):
    """Rewrites the data of one COPY."""

    def feed(self, data: bytes) -> Copied:
        """Take data of the target in pieces of any size. Raises `CopyFault`."""

    def end(self) -> None:
        """Take its end. Raises `CopyFault` where data is missing."""
