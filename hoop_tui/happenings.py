"""What can happen to a console, as frozen values: `hoop_tui.state.reduce` takes each; nothing else changes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gateway.model import ApprovalId, SessionId
from hoop_tui.known import Approval, Attempt, Broken, Gateway, Grant, History, Login, Session, TailItem


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
class HealthAsked:
    """The gateway is asked how it is; what it tells from now on may be younger than its answer."""


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
    | HealthAsked
    | HealthSeen
    | HistorySeen
    | LoginSeen
    | GrantsListed
    | TailSeen
)
