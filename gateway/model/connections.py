"""A connection as configured: target, credential's reference, marks, rules and their tests.

A value here has passed the checks of `gateway.settings`; a secret is never in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.model.agents import Principal
from gateway.model.names import Micros
from gateway.model.times import Hours
from gateway.model.verdicts import VerdictKind


class MaskStyle(StrEnum):
    """How a masked value looks (INTERFACE.md, "Mask styles")."""

    REDACT = "redact"
    LAST4 = "last4"
    PSEUDONYM = "pseudonym"
    ZERO = "zero"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Mark:
    """A column marked sensitive. Names are as PostgreSQL folds them: unquoted parts in lower case."""

    schema: str
    relation: str
    column: str
    style: MaskStyle = MaskStyle.REDACT

    def __str__(self) -> str:
        return f"{self.schema}.{self.relation}.{self.column}"


@dataclass(frozen=True, slots=True)
class TargetAddress:
    """Where a target listens; `host` may be a directory that holds a Unix socket."""

    host: str
    port: int
    database: str
    sslmode: str = "prefer"
    sslrootcert: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class RelationPattern:
    """A relation that a rule names, or all of a schema (`name` None). Names are as PostgreSQL folds them."""

    schema: str
    name: str | None

    def __str__(self) -> str:
        return f"{self.schema}.{self.name if self.name is not None else '*'}"


@dataclass(frozen=True, slots=True)
class ConnectionRule:
    """One `[[connection.rule]]`: every kind of condition that is given must hold, each by any of its values."""

    name: str
    action: VerdictKind
    operations: tuple[str, ...] = ()
    relations: tuple[RelationPattern, ...] = ()
    functions: tuple[str, ...] = ()
    """`schema.function`, or `schema.*`."""
    columns: tuple[Mark, ...] = ()
    hours: tuple[Hours, ...] = ()
    subjects: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    approvals: int = 1
    """How many of the reviewers must approve; 0: one for each entry of `reviewers`."""
    session: bool = False
    """`approve-session`: a reviewer may let the agent through for a period."""
    effect: bool = False
    """`approve-effect`: it runs first, in a transaction that waits for the decision; milder than `approve`."""
    rows_over: int | None = None
    """It matches only where a subject would read or change more rows than that within `window`; likewise bytes."""
    bytes_over: int | None = None
    window: int = 3_600_000_000
    """Microseconds."""
    replaces: str | None = None
    """The line of the preset that it stands for where it matches."""
    accept_risk: str | None = None
    where: str = ""
    """Where it is written: file and key."""


@dataclass(frozen=True, slots=True)
class ConnectionTest:
    """One `[[connection.test]]`: what the rules should say of a statement."""

    sql: str
    verdict: VerdictKind
    rule: str | None = None
    subject: str = "agent"
    groups: tuple[str, ...] = ()
    at: Micros = field(default=Micros(0))
    where: str = ""
    effect: bool = False
    """It is to be held after it ran."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A named way to one target, as configured: who may use it, with which credential, marks and policy.

    `password` is a reference (`env:NAME`, `file:PATH`) or None; the secret itself is fetched at connecting and kept
    nowhere else.
    """

    name: str
    target: TargetAddress
    username: str
    password: str | None
    agents: tuple[str, ...]
    search_path: tuple[str, ...] = ("public",)
    marks: tuple[Mark, ...] = ()
    policy: str = "standard"
    access: str = "read-write"
    statement_timeout: int | None = None
    """Milliseconds that a statement may run at most; the agent may ask for less."""
    hold: str = "wait"
    functions: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    rules: tuple[ConnectionRule, ...] = ()
    tests: tuple[ConnectionTest, ...] = ()

    def admits(self, principal: Principal) -> bool:
        """Say whether `principal` may connect: `agents` has `any`, `sub:SUBJECT` or `group:GROUP` of its token."""
        allowed = set(self.agents)
        return (
            "any" in allowed
            or f"sub:{principal.subject}" in allowed
            or any(f"group:{group}" in allowed for group in principal.groups)
        )
