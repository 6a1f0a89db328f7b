"""What policy says of a statement, and whom it asks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class VerdictKind(StrEnum):
    """What policy says of an operation, from mild to strict."""

    ALLOW = "allow"
    MASK = "mask"
    APPROVE = "approve"
    DENY = "deny"

    @property
    def strictness(self) -> int:
        """Order of strictness: the strictest match wins."""
        return list(VerdictKind).index(self)


@dataclass(frozen=True, slots=True)
class Ask:
    """Approvals that a held operation needs: by `count` different people, each among `reviewers` (empty: anyone)."""

    reviewers: tuple[str, ...] = ()
    count: int = 1

    def __str__(self) -> str:
        people = ", ".join(self.reviewers) or "anyone who may decide"
        return people if self.count == 1 else f"{self.count} of {people}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What policy decided of a statement, by which rule, and the fact that matched, in one sentence."""

    kind: VerdictKind
    rule: str
    reason: str
    operation: str
    """What the statement does, in the policy's words: `select`, `delete`, `copy-out`, …"""
    hint: str = ""
    would: VerdictKind | None = None
    """Under `observe`: what `standard` would have said."""
    reviewers: tuple[str, ...] = ()
    sqlstate: str = "42501"
    """SQLSTATE of the refusal: 42501, or PostgreSQL's own for a syntax error (then `reason` is PostgreSQL's words)."""
    position: int | None = None
    """Character position of a syntax error, from 1."""
    where: str = ""
    """Where `rule` is written: a preset, or file and key."""
    asks: tuple[Ask, ...] = ()
    """Whose approvals are needed, all of them, each by another person; empty: one, by any of `reviewers`."""
    sessions: tuple[str, ...] = ()
    """Rules with `action = "approve-session"`, where no other rule holds it: a grant for these lets it through."""
    effect: bool = False
    """It is held after it ran, before its answer and its COMMIT: rules with `approve-effect` alone hold it."""
