"""A held operation and what may happen to it: the values of the approval ledger. Pure.

An `Approval` is one held operation with everything decided about it; events say what people, sessions and time did,
effects what came of that. `gateway.approval.ledger` is the state machine over them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.approval.people import Approver, Leave, Receipt, Vote
from gateway.model import ApprovalId, DecisionKind, HoldRequest, HoldState, Impact, Micros, OperationHash


@dataclass(frozen=True, slots=True)
class Ran:
    """How the approved operation ended."""

    executed_hash: OperationHash
    outcome: str
    rows: int | None
    duration_us: int | None


@dataclass(frozen=True, slots=True)
class Approval:
    """One held operation and everything decided about it."""

    request: HoldRequest
    state: HoldState
    expires: Micros
    waiting: bool
    """A session waits for the decision; else whoever sends the same operation in time may use it."""
    used: bool = False
    approver: str | None = None
    assurance: str | None = None
    decided: Micros | None = None
    reason: str = ""
    ran: Ran | None = None
    impact: Impact | None = None
    votes: tuple[Vote, ...] = ()
    """Who approved, in order; enough of them once it is approved."""
    receipt: Receipt | None = field(default=None, repr=False)
    """What the person who ended it, by approving last or refusing, was given."""
    escalates: Micros | None = None
    """When others are asked too, should it still be pending then."""
    escalated: Micros | None = None
    """When they were; from then on `request.asked` names `escalated_to` among the rest."""
    escalated_to: tuple[str, ...] = ()
    break_glass: bool = False
    """It was approved by one who put themselves in the place of everybody who was missing."""

    @property
    def id(self) -> ApprovalId:
        """The approval's id."""
        return self.request.approval

    @property
    def open(self) -> bool:
        """Whether something may still come of it: pending, or approved and not used yet."""
        return self.state is HoldState.PENDING or (self.state is HoldState.APPROVED and not self.used)


@dataclass(frozen=True, slots=True)
class Opened:
    """An operation needs a person; `waiting` as in Approval."""

    request: HoldRequest
    waiting: bool


@dataclass(frozen=True, slots=True)
class Weighed:
    """It became known what the operation would do; a reviewer is shown it."""

    approval: ApprovalId
    impact: Impact


@dataclass(frozen=True, slots=True)
class Decided:
    """A person decides; `hash_prefix` is what they quote of the hash they saw."""

    approval: ApprovalId
    kind: DecisionKind
    approver: Approver
    reason: str
    hash_prefix: str | None = None
    receipt: Receipt | None = field(default=None, repr=False)
    leave: Leave | None = None
    break_glass: bool = False
    """An approval in the place of everybody who is missing."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The operation is not wanted any more: cancel request, session killed, token revoked."""

    approval: ApprovalId
    why: str


@dataclass(frozen=True, slots=True)
class Left:
    """The client is gone; the request stays open for `linger` microseconds at most."""

    approval: ApprovalId
    linger: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time went on."""


@dataclass(frozen=True, slots=True)
class Used:
    """Somebody is about to forward the operation; from here on nobody else can."""

    approval: ApprovalId
    operation_hash: OperationHash
    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The operation ran and ended."""

    approval: ApprovalId
    ran: Ran


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Who had used the approval did not forward the operation after all (it had changed while waiting)."""

    approval: ApprovalId
    why: str


@dataclass(frozen=True, slots=True)
class Shut:
    """The gateway stops: whatever is open is refused."""

    why: str


Event: TypeAlias = Opened | Weighed | Decided | Cancelled | Left | Ticked | Used | Finished | Abandoned | Shut


@dataclass(frozen=True, slots=True)
class Changed:
    """An approval is new or changed; `before` is its former state, None for a new one."""

    before: HoldState | None
    approval: Approval
    vote: Vote | None = None
    """Who approved just now, though others are still asked."""
    escalated: bool = False
    """Just now others were asked too."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The event did not fit: a code of the control protocol and words for who sent it."""

    code: str
    message: str


Effect: TypeAlias = Changed | Rejected
