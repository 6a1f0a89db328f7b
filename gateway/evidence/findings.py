"""What checking evidence found, in words for people and programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""
Grade: TypeAlias = Literal["tampered", "incomplete", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be: where, and what. Notes are worth knowing and prove nothing wrong."""

    grade: Grade
    log: str
    seq: int | None
    what: str

    def __str__(self) -> str:
        place = self.log if self.seq is None else f"{self.log}:{self.seq}"
        return f"{self.grade}: {place}: {self.what}"


@dataclass(slots=True)
class Report:
    """What `verify` found, and the head of each log: how many records, and the last chain value."""

    findings: list[Finding] = field(default_factory=list)
    heads: dict[str, tuple[int, str]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """By log, its verifier key: compare it with the one that you were given."""
    signed: dict[str, int] = field(default_factory=dict)
    """By log, how many records the newest checkpoint covers."""
    witnessed: dict[str, int] = field(default_factory=dict)
    """By log, up to which record it was held against what a witness kept; only where that was given."""
    records: int = 0

    @property
    def intact(self) -> bool:
        """Say whether nothing is tampered with or incomplete."""
        return all(one.grade == "note" for one in self.findings)
