"""How much of a marked column a value may hold: the lattice clean < derived < direct < unknown.

Frozen values shared by the catalog, lineage and mask plans. `join` never loses a source and never lowers a level.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from gateway.model import MaskStyle


class Level(IntEnum):
    """How a value relates to marked columns; everything above `CLEAN` is masked as a whole."""

    CLEAN = 0
    DERIVED = 1
    DIRECT = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Flow:
    """A level, the marked columns it comes from (`public.users.email`), and the style their marks ask for."""

    level: Level = Level.CLEAN
    sources: frozenset[str] = frozenset()
    style: MaskStyle = MaskStyle.REDACT
    plain: bool = False
    """In every branch the value is a marked column itself, neither computed nor cast: styles may show a part of it."""
    mixed: bool = False
    """It was computed from clean columns too: where it is tested, it says something of the others of its row."""

    @property
    def clean(self) -> bool:
        """No marked value can be in it."""
        return self.level is Level.CLEAN

    def derived(self) -> Flow:
        """Return the flow of a value computed from this one."""
        return (
            self if self.level is not Level.DIRECT else Flow(Level.DERIVED, self.sources, self.style, False, self.mixed)
        )

    def blurred(self) -> Flow:
        """Return the flow of a value that may be another than the column held before."""
        return Flow(self.level, self.sources, self.style, False, self.mixed) if self.plain else self


CLEAN = Flow()
UNKNOWN = Flow(Level.UNKNOWN)


def join(flows: Iterable[Flow]) -> Flow:
    """Return the least flow that covers all of `flows`; where styles differ, `redact`, which applies everywhere.

    It is plain only if each of them is: a branch that is clean makes a column whose value an agent may choose.
    """
    level, sources, styles, plain, mixed = Level.CLEAN, set[str](), set[MaskStyle](), True, False
    for flow in flows:
        level, plain, mixed = max(level, flow.level), plain and flow.plain, mixed or flow.mixed
        if flow.level is not Level.CLEAN:
            sources |= flow.sources
            styles.add(flow.style)
    if level is Level.CLEAN:
        return CLEAN
    style = styles.pop() if len(styles) == 1 else MaskStyle.REDACT
    return Flow(level, frozenset(sources), style, plain, mixed)


@dataclass(frozen=True, slots=True)
class Output:
    """One result column by lineage: its name (empty: not known) and what flows into it.

    `many`: stands for a number of columns that is not known, each with this flow.
    """

    name: str
    flow: Flow = CLEAN
    many: bool = False
    rows: Flow = CLEAN
    """What decides on the number of rows that it has."""
