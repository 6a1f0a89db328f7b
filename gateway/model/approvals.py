"""What a person is asked about a held operation, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum

from gateway.model.agents import SessionInfo
from gateway.model.effects import ShownEffect
from gateway.model.names import ApprovalId, LogName, Micros, OperationHash
from gateway.model.verdicts import Ask


class DecisionKind(Enum):
    """How a hold ended."""

    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Quote:
    """Names one entry of another log by place and chain hash, so that `verify` can check the order across logs."""

    log: LogName
    seq: int
    chain: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The end of a hold: what was decided, by whom, and the quote of its durable record in the control log."""

    approval: ApprovalId
    kind: DecisionKind
    operation_hash: OperationHash
    approver: str | None = None
    assurance: str | None = None
    reason: str = ""
    quote: Quote | None = None
    receipt: str | None = None
    """SHA-256 of the receipt, lower-case hex."""
    granted: bool = False
    """It is leave for a period, given with another operation of the same agent's."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A statement's text and parameters as they were sent, withheld literals among them: for one look of a reviewer."""

    statement: str = field(repr=False)
    parameters: tuple[str | None, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A worker asks for a person: everything a reviewer needs, and the hash of exactly what will run."""

    approval: ApprovalId
    session: SessionInfo
    operation_hash: OperationHash
    statement: str
    """The statement's text as a reviewer may see it."""
    parameters: tuple[str | None, ...]
    operation: str
    rule: str
    reason: str
    reviewers: tuple[str, ...]
    requested: Micros
    expires: Micros
    relations: tuple[str, ...] = ()
    in_transaction: bool = False
    exact: Exact | None = field(default=None, repr=False)
    """What was sent, where `statement` and `parameters` withhold something of it."""
    asks: tuple[Ask, ...] = ()
    """As of the verdict; `asked` is never empty."""
    policy: str = ""
    """Hash of the policy by which it was held."""
    sessions: tuple[str, ...] = ()
    """As of the verdict: what a reviewer may grant for a period."""
    effect: ShownEffect | None = field(default=None, repr=False)
    """What it did already, where it is held after it ran."""

    @property
    def asked(self) -> tuple[Ask, ...]:
        """Whose approvals are needed."""
        return self.asks or (Ask(self.reviewers),)


class HoldState(StrEnum):
    """Where a held operation stands."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    EXECUTED = "executed"


@dataclass(frozen=True, slots=True)
class BrokenGlass:
    """Once, `by` approved an operation of `subject`'s in the place of everybody who was missing."""

    approval: ApprovalId
    at: Micros
    by: str
    subject: str
    connection: str
    rule: str


@dataclass(frozen=True, slots=True)
class Impact:
    """What is known of a held operation beside its text, at the moment it was asked about; None: not known."""

    rows: int | None = None
    """Rows that the target's planner expects to come out."""
    changed: int | None = None
    """Rows that it expects to be changed."""
    transaction_ms: int | None = None
    """Age of the transaction that the session has open; None also where none is."""
    writes: bool | None = None
    """That transaction has changed something already."""
    blocks: int | None = None
    """Sessions that wait for it."""
    locks: tuple[tuple[str, str], ...] = ()
    """What it holds: (relation, lock mode)."""
