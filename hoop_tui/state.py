"""What the console knows, as frozen values, and the pure step from one to the next.

`reduce(state, happening)` is the only way the state changes: no I/O, no clock, no widget. A decided request never turns
pending again, whatever order messages arrive in; a decision that was sent is shown as sent until the gateway answers,
and as unknown when the line breaks before it does. Texts in these values were scrubbed at the border.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from gateway.model import ApprovalId, HoldState, SessionId
from hoop_tui.happenings import (
    ApprovalChanged,
    ApprovalsListed,
    Attempted,
    Connecting,
    GrantsListed,
    Greeted,
    Happening,
    HealthAsked,
    HealthSeen,
    HistorySeen,
    LoginSeen,
    Lost,
    SessionChanged,
    SessionClosed,
    SessionsListed,
    TailSeen,
)
from hoop_tui.known import Approval, Attempt, AttemptPhase, Broken, Gateway, Grant, History, Link, Phase, Session

MOST_HISTORIES: Final = 50
"""Requests whose past is kept."""


MOST_DECIDED: Final = 200
"""Decided requests kept in sight; older ones are the evidence's business."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything the console knows but the tail, which has its own ring."""

    link: Link = field(default_factory=Link)
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
    broken_since: tuple[Broken, ...] = ()
    """Those of them that an event told since the gateway was last asked: its answer may be older than they are."""
    histories: Mapping[ApprovalId, History] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def live(self) -> bool:
        """Whether what is shown is current."""
        return self.link.phase is Phase.LIVE

    @property
    def pending(self) -> tuple[Approval, ...]:
        """The requests that wait, soonest expiry first."""
        return tuple(sorted((a for a in self.approvals.values() if a.pending), key=_by_expiry))


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
            return _with_broken(after, approval)
        case Attempted(id=id_, attempt=attempt):
            return replace(state, attempts=_frozen({**state.attempts, id_: attempt}))
        case HealthAsked():
            return replace(state, broken_since=())
        case HealthSeen(head=head, window=window, fault=fault, broken=broken):
            named = {each.id for each in broken}
            younger = tuple(each for each in state.broken_since if each.id not in named)
            return replace(state, head=head, window=window, fault=fault, broken=(*younger, *broken))
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


def _with_broken(state: State, approval: Approval) -> State:
    """Name a broken glass at once, before the gateway's health is asked for again."""
    known = any(each.id == approval.id for each in state.broken)
    if not approval.break_glass or not approval.approver or known:
        return state
    by = approval.approver.rpartition(", ")[2]
    told = Broken(approval.id, approval.decided, by, approval.subject, approval.connection)
    return replace(state, broken=(told, *state.broken), broken_since=(told, *state.broken_since))


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
    return 2 if approval.result is not None or approval.state == HoldState.EXECUTED else 1


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
