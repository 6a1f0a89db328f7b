"""Marks that moved: a column that received values of a marked one carries its mark from then on. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model import MaskStyle


@dataclass(frozen=True, slots=True)
class Carried:
    """The mark of a column that a statement filled from marked columns.

    `number` is its place, where the name is not known beforehand; both empty: every column of the relation. `oid` is
    that of the relation once the catalog shows it, and the mark then follows it through renames; 0 before.
    """

    schema: str
    relation: str
    column: str = ""
    number: int = 0
    sources: frozenset[str] = frozenset()
    style: MaskStyle = MaskStyle.REDACT
    plain: bool = False
    """The values are those of one marked column itself: styles that show a part of them go on applying."""
    oid: int = 0

    def __str__(self) -> str:
        column = self.column or (f"column {self.number}" if self.number else "*")
        return f"{self.schema}.{self.relation}.{column}"

    @property
    def place(self) -> tuple[int, str, str, str, int]:
        """What makes two of them the same column."""
        return self.oid, self.schema, self.relation, self.column, self.number
