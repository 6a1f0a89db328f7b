"""What the console knows, as frozen values, and the pure step from one to the next.

`reduce(state, happening)` is the only way the state changes: no I/O, no clock, no widget. A decided request never turns
pending again, whatever order messages arrive in; a decision that was sent is shown as sent until the gateway answers,
and as unknown when the line breaks before it does. Texts in these values were scrubbed at the border.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.model import ApprovalId, Micros, SessionId
from hoop_tui.clock import GatewayTime

PENDING: Final = "pending"
MOST_HISTORIES: Final = 50
"""Requests whose past is kept."""
MOST_DECIDED: Final = 200
"""Decided requests kept in sight; older ones are the evidence's business."""


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


@dataclass(frozen=True, slots=True)
class Impact:
    """What the gateway found out about a held operation; None: not known."""

    rows: int | None
    changed: int | None
    transaction_ms: int | None
    writes: bool
    blocks: int
    locks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sampled:
    """One changed row, value by value: as it was and as it is; None where it is not there."""

    before: tuple[str | None, ...] | None
    after: tuple[str | None, ...] | None


@dataclass(frozen=True, slots=True)
class Effect:
    """What an operation did that ran already and waits to be committed or rolled back."""

    rows: int | None
    """None: its rows are fetched in parts, so that it reported none."""
    relations: tuple[tuple[str, int, int, int], ...] | None
    """(relation, rows inserted, updated, deleted); None: the target does not count them."""
    more: int
    """Relations beside those."""
    columns: tuple[str, ...]
    masked: frozenset[str]
    """Columns whose values nobody is shown: whether they changed is not known."""
    sample: tuple[Sampled, ...]
    no_sample: str
    """Why there is no sample."""
    whole: bool
    """Lists and events carry the counts without the sample."""


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
    effect: Effect | None = None
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
        return self.state == PENDING


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


@dataclass(frozen=True, slots=True)
class State:
    """Everything the console knows but the tail, which has its own ring."""

    link: Link = Link()
    gateway: Gateway | None = None
    head: str = ""
    window: str = ""
    """How much of the evidence nobody outside has seen; empty where nobody is asked to look."""
    fault: str = ""
    sessions: Mapping[SessionId, Session] = field(default_factory=lambda: MappingProxyType({}))
    approvals: Mapping[ApprovalId, Approval] = field(default_factory=lambda: MappingProxyType({}))
    attempts: Mapping[ApprovalId, Attempt] = field(default_factory=lambda: MappingProxyType({}))
    grants: tuple[Grant, ...] = ()
    broken: tuple[Broken, ...] = ()
    """The last times that somebody broke the glass, the latest first, as long as the gateway names them."""
    histories: Mapping[ApprovalId, History] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def live(self) -> bool:
        """Whether what is shown is current."""
        return self.link.phase is Phase.LIVE

    @property
    def pending(self) -> tuple[Approval, ...]:
        """The requests that wait, soonest expiry first."""
        return tuple(sorted((a for a in self.approvals.values() if a.pending), key=_by_expiry))


@dataclass(frozen=True, slots=True)
class Connecting:
    """A try to reach the gateway begins."""

    at: int


@dataclass(frozen=True, slots=True)
class Greeted:
    """The gateway answered the greeting."""

    gateway: Gateway
    at: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The line broke, or could not be had; the next try is due at `retry_at`."""

    why: str
    at: int
    retry_at: int


@dataclass(frozen=True, slots=True)
class SessionsListed:
    """The gateway's list of live sessions: replaces ours."""

    sessions: tuple[Session, ...]


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """A session opened, or changed."""

    session: Session


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """A session ended."""

    id: SessionId


@dataclass(frozen=True, slots=True)
class ApprovalsListed:
    """The gateway's list of requests: replaces ours, but for what we sent and have no answer to."""

    approvals: tuple[Approval, ...]


@dataclass(frozen=True, slots=True)
class ApprovalChanged:
    """A request appeared, or was decided, or ran."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class Attempted:
    """We sent a decision, or learned what became of it."""

    id: ApprovalId
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class HealthSeen:
    """The gateway told the heads of its logs, what of them nobody outside has seen, faults, and broken glass."""

    head: str
    window: str
    fault: str
    broken: tuple[Broken, ...] = ()


@dataclass(frozen=True, slots=True)
class HistorySeen:
    """The gateway told what the evidence says of the time before a request."""

    id: ApprovalId
    history: History


@dataclass(frozen=True, slots=True)
class LoginSeen:
    """The gateway told who is logged in from this terminal; None: nobody."""

    login: Login | None


@dataclass(frozen=True, slots=True)
class GrantsListed:
    """The gateway's list of what is granted for a period: replaces ours."""

    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class TailSeen:
    """Something for the tail; the state itself stays as it is."""

    item: TailItem


Happening: TypeAlias = (
    Connecting
    | Greeted
    | Lost
    | SessionsListed
    | SessionChanged
    | SessionClosed
    | ApprovalsListed
    | ApprovalChanged
    | Attempted
    | HealthSeen
    | HistorySeen
    | LoginSeen
    | GrantsListed
    | TailSeen
)


def reduce(state: State, happening: Happening) -> State:
    """Return the state after `happening`. Pure and total."""
    match happening:
        case Connecting() | Greeted() | Lost():
            return _line(state, happening)
        case SessionsListed(sessions=sessions):
            return replace(state, sessions=_frozen({session.id: session for session in sessions}))
        case SessionChanged(session=session):
            return replace(state, sessions=_frozen({**state.sessions, session.id: session}))
        case SessionClosed(id=closed):
            kept = {id_: session for id_, session in state.sessions.items() if id_ != closed}
            return replace(state, sessions=_frozen(kept))
        case ApprovalsListed(approvals=approvals):
            return _listed(state, approvals)
        case ApprovalChanged(approval=approval):
            merged = _later(state.approvals.get(approval.id), approval)
            after = replace(state, approvals=_bounded({**state.approvals, approval.id: merged}))
            return replace(after, broken=_with_broken(state.broken, approval))
        case Attempted(id=id_, attempt=attempt):
            return replace(state, attempts=_frozen({**state.attempts, id_: attempt}))
        case HealthSeen(head=head, window=window, fault=fault, broken=broken):
            return replace(state, head=head, window=window, fault=fault, broken=broken)
        case HistorySeen(id=id_, history=history):
            before = [(key, one) for key, one in state.histories.items() if key != id_][1 - MOST_HISTORIES :]
            return replace(state, histories=_frozen({**dict(before), id_: history}))
        case LoginSeen(login=login):
            known = state.gateway
            return state if known is None else replace(state, gateway=replace(known, login=login))
        case GrantsListed(grants=grants):
            return replace(state, grants=grants)
        case TailSeen():
            return state


def _line(state: State, happening: Connecting | Greeted | Lost) -> State:
    match happening:
        case Connecting(at=at):
            since = at if state.link.phase is Phase.LIVE else state.link.since
            phase = Phase.CONNECTING if state.gateway is None else Phase.LOST
            return replace(state, link=Link(phase, since, None, state.link.why))
        case Greeted(gateway=gateway, at=at):
            return replace(state, gateway=gateway, link=Link(Phase.LIVE, at))
        case Lost(why=why, at=at, retry_at=retry_at):
            return _lost(state, why, at, retry_at)


def _with_broken(broken: tuple[Broken, ...], approval: Approval) -> tuple[Broken, ...]:
    """Name a broken glass at once, before the gateway's health is asked for again."""
    if not approval.break_glass or not approval.approver or any(each.id == approval.id for each in broken):
        return broken
    by = approval.approver.rpartition(", ")[2]
    return (Broken(approval.id, approval.decided, by, approval.subject, approval.connection), *broken)


def _lost(state: State, why: str, at: int, retry_at: int) -> State:
    since = at if state.link.phase is Phase.LIVE else state.link.since
    attempts = {
        id_: replace(attempt, phase=AttemptPhase.UNKNOWN) if attempt.phase is AttemptPhase.SENT else attempt
        for id_, attempt in state.attempts.items()
    }
    return replace(state, link=Link(Phase.LOST, since, retry_at, why), attempts=_frozen(attempts))


def _listed(state: State, approvals: tuple[Approval, ...]) -> State:
    unsettled = {
        id_: state.approvals[id_]
        for id_, attempt in state.attempts.items()
        if attempt.phase in {AttemptPhase.SENT, AttemptPhase.UNKNOWN} and id_ in state.approvals
    }
    fresh = {approval.id: _later(state.approvals.get(approval.id), approval) for approval in approvals}
    return replace(state, approvals=_bounded({**unsettled, **fresh}))


def _later(known: Approval | None, told: Approval) -> Approval:
    """Keep what is further along (pending, decided, executed), and the whole statement once it is known."""
    if known is None or known.hash != told.hash:
        return told
    later = known if _progress(known) > _progress(told) else told
    whole = told if known.cut else known
    if later.cut and not whole.cut:
        hidden = max(known.hidden, told.hidden)
        return replace(later, statement=whole.statement, effect=whole.effect, cut=False, hidden=hidden)
    return later


def _progress(approval: Approval) -> int:
    if approval.pending:
        return 0
    return 2 if approval.result is not None or approval.state == "executed" else 1


def _bounded(approvals: dict[ApprovalId, Approval]) -> Mapping[ApprovalId, Approval]:
    decided = [approval for approval in approvals.values() if not approval.pending]
    if len(decided) > MOST_DECIDED:
        decided.sort(key=lambda approval: approval.decided or approval.requested or 0)
        for approval in decided[: len(decided) - MOST_DECIDED]:
            del approvals[approval.id]
    return _frozen(approvals)


def _frozen(content: dict) -> MappingProxyType:  # type: ignore[type-arg]  # one helper for three key types
    return MappingProxyType(content)


def _by_expiry(approval: Approval) -> tuple[int, str]:
    return (approval.expires if approval.expires is not None else 2**62, approval.id)
