"""What an operation did that ran and is not committed, as people are shown it.

The values of a masked column are never in here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RelationEffect:
    """Rows of one relation that an operation and what it set off have changed, by the target's statistics."""

    relation: str
    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class SampledRow:
    """One changed row as text, cut, column by column: before and after; None where it is not there."""

    before: tuple[str | None, ...] | None
    after: tuple[str | None, ...] | None


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows that an operation has changed. A masked column's values never left the target: they stand as `***`."""

    relation: str
    columns: tuple[str, ...]
    masked: tuple[bool, ...]
    """One for each column."""
    rows: tuple[SampledRow, ...]


@dataclass(frozen=True, slots=True)
class ShownEffect:
    """What an operation did in its transaction, which is not committed: what a person decides about."""

    rows: int | None
    """Rows that it reported, by its command tags; None: it has not, since its rows are fetched in parts."""
    relations: tuple[RelationEffect, ...] | None
    """None: the target does not count them (`track_counts` is off)."""
    more: int = 0
    """Relations that were changed beside those."""
    sample: Sample | None = None
    no_sample: str = ""
    """Why there is none."""
    lasting: tuple[str, ...] = ()
    """What a rollback does not undo."""
