"""What the gateway told the console, as frozen values: sessions, approvals, the tail, logins.

What is the same here as within the gateway is the model's own value (`Impact`, `ShownEffect`). Texts in all of these
were scrubbed at the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from gateway.model import ApprovalId, HoldState, Impact, Micros, SessionId, ShownEffect
from hoop_tui.clock import GatewayTime


class Phase(Enum):
    """How the line to the gateway stands."""

    CONNECTING = "connecting"
    LIVE = "connected"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Link:
    """The line to the gateway: since when (monotonic µs), and when the next try is due."""

    phase: Phase = Phase.CONNECTING
    since: int = 0
    retry_at: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """Who logged in at the issuer from this terminal, and until when that lets them decide."""

    operator: str
    subject: str
    roles: frozenset[str]
    groups: frozenset[str]
    until: Micros | None


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave for a period that a reviewer gave an agent; `id` is the approval's that gave it."""

    id: ApprovalId
    subject: str
    connection: str
    scope: str
    rules: tuple[str, ...]
    expires: Micros | None
    by: str


@dataclass(frozen=True, slots=True)
class Gateway:
    """Whom the console talks to, and who its operator is there."""

    name: str
    version: str
    operator: str
    subject: str
    roles: frozenset[str]
    groups: frozenset[str]
    assurance: str
    time: GatewayTime
    login: Login | None = None

    @property
    def needs_login(self) -> bool:
        """Whether deciding takes a login that there is not."""
        return self.assurance != "uid" and self.login is None

    @property
    def decides(self) -> bool:
        """Whether this operator may decide at all, as things are."""
        roles = self.roles if self.login is None else self.login.roles
        return not self.needs_login and "decide" in roles

    @property
    def person(self) -> tuple[str, str, frozenset[str]]:
        """Name, subject and groups of who decides here: of the login, else of the account."""
        if self.login is not None:
            return self.login.operator, self.login.subject, self.login.groups
        return self.operator, self.subject, self.groups


@dataclass(frozen=True, slots=True)
class Session:
    """A live session of an agent."""

    id: SessionId
    subject: str
    owner: str
    connection: str
    target: str
    client_address: str
    application: str
    user: str
    started: Micros | None
    statements: int
    denied: int
    held: int
    rows: int
    state: str
    current: str


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of an approved operation."""

    outcome: str
    rows: int | None
    duration_us: int | None


def without_rows(effect: ShownEffect) -> bool:
    """Say whether its sample is still to be asked for: lists and events carry the counts alone."""
    return effect.sample is None and not effect.no_sample


@dataclass(frozen=True, slots=True)
class Approval:
    """An operation that waits, or waited, for a person."""

    id: ApprovalId
    hash: str
    state: str
    subject: str
    issuer: str
    owner: str
    connection: str
    target: str
    role: str
    session_id: str
    statement: str
    parameters: tuple[str | None, ...]
    operation: str
    rule: str
    reason: str
    reviewers: tuple[str, ...]
    relations: tuple[str, ...]
    requested: Micros | None
    expires: Micros | None
    in_transaction: bool
    development: bool
    token_expires: Micros | None
    client_address: str
    approver: str
    decided: Micros | None
    decision_reason: str
    result: Ran | None
    warnings: tuple[str, ...]
    hidden: int
    cut: bool
    """The statement is not whole, or what it did: lists and events carry the beginning, and counts without rows."""
    length: int
    """Characters of the whole statement."""
    needed: int = 1
    """How many people must approve."""
    agreed: tuple[str, ...] = ()
    """Who approved already."""
    missing: tuple[str, ...] = ()
    """Whose approvals are missing."""
    sessions: tuple[str, ...] = ()
    """Rules for which the agent may be let through for a period."""
    impact: Impact | None = None
    effect: ShownEffect | None = None
    escalates: Micros | None = None
    """When others are asked too."""
    escalated_to: tuple[str, ...] = ()
    """Who was asked too, and may decide since."""
    escalated: bool = False
    break_glass: bool = False
    """One person approved it in the place of everybody who was missing."""

    @property
    def pending(self) -> bool:
        """Whether it can still be decided."""
        return self.state == HoldState.PENDING


class AttemptPhase(Enum):
    """What is known of a decision that was sent."""

    SIGNING = "signing"
    SENT = "sent"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Attempt:
    """Our own decision on a request, and what the gateway said of it."""

    approve: bool
    phase: AttemptPhase
    message: str = ""


@dataclass(frozen=True, slots=True)
class Tail:
    """One record of the tail."""

    log: str
    seq: int
    ts: Micros | None
    session_id: str
    kind: str
    subject: str
    connection: str
    verdict: str
    rule: str
    operation: str
    text: str
    outcome: str
    rows: int | None
    duration_us: int | None
    sqlstate: str


@dataclass(frozen=True, slots=True)
class Past:
    """A statement that the evidence has of an agent."""

    at: Micros | None
    connection: str
    verdict: str
    outcome: str
    text: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier request with the very same text, and what became of it; empty: not decided."""

    id: ApprovalId
    requested: Micros | None
    subject: str
    state: str
    approver: str
    reason: str


@dataclass(frozen=True, slots=True)
class History:
    """What the evidence says of the time before a request; `why_not`: why it says nothing."""

    lately: tuple[Past, ...] = ()
    earlier: tuple[Earlier, ...] = ()
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """Somebody broke the glass: `by` approved `subject`'s operation in the place of everybody who was missing."""

    id: ApprovalId
    at: Micros | None
    by: str
    subject: str
    connection: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that the gateway numbered and this console never saw."""

    first: int
    last: int
    why: str


TailItem: TypeAlias = Tail | Gap
