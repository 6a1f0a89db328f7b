"""Chooses how a gateway's sessions are carried: by one worker in its own process, or by several in theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.approval.waiting import Approvals
from gateway.control.events import Events
from gateway.identity.admission import Admission
from gateway.listener.arrival import ListenerOptions
from gateway.logs import Logs
from gateway.model import Clock, Entropy
from gateway.settings import Settings
from gateway.worker.live import LiveSessions
from gateway.worker.reactor import Reactor
from gateway.worker.supervision import Beside, Places
from gateway.workforce.alone import Alone
from gateway.workforce.answers import Bureau
from gateway.workforce.building import Ties, build_worker
from gateway.workforce.crew import Crew, Terms
from gateway.workforce.force import Workforce
from gateway.workforce.messages import Outstanding


@dataclass(frozen=True, slots=True)
class Parts:
    """What a supervisor has for its workers."""

    settings: Settings
    clock: Clock
    entropy: Entropy
    logs: Logs
    admission: Admission
    approvals: Approvals
    events: Events
    seen: Callable[[str], None]
    alarm: Callable[[str, str], None]
    marks_moved: Callable[[], None]
    refuse: Callable[[], Awaitable[None]]
    issuer: str
    accept_loss: bool


def make_workforce(parts: Parts, doors: Sequence[ListenerOptions]) -> Workforce:
    """Return the workers that the settings ask for."""
    return _alone(parts, doors) if parts.logs.worker is not None else _crew(parts, doors)


def _alone(parts: Parts, doors: Sequence[ListenerOptions]) -> Alone:
    settings, log = parts.settings, parts.logs.worker
    assert log is not None  # noqa: S101  for the type checker
    live, reactor = LiveSessions(), Reactor(log.now, settings.limits.buffered)
    share = settings.limits.connections_per_subject
    ties = Ties(
        Beside(parts.admission, parts.logs.control, parts.seen, share),
        parts.approvals,
        parts.events.publish,
        parts.alarm,
        parts.entropy.bytes(32),
        parts.marks_moved,
        heard=parts.events.heard,
    )
    worker = build_worker(settings, log.now, live, reactor, parts.clock, parts.entropy, ties)
    return Alone(log, live, reactor, worker, doors, parts.refuse)


def _crew(parts: Parts, doors: Sequence[ListenerOptions]) -> Crew:
    approvals, limits = parts.approvals, parts.settings.limits
    bureau = Bureau(
        parts.admission,
        approvals,
        parts.logs.control,
        Places(limits.connections_per_subject, limits.connections),
        parts.seen,
        parts.alarm,
        parts.events.publish,
        lambda count, unwatched: parts.events.skip(count, unwatched=unwatched),
    )

    def outstanding() -> Outstanding:
        return Outstanding(approvals.usable(), approvals.grants())

    terms = Terms(
        parts.issuer, parts.entropy.bytes(32), parts.accept_loss, outstanding, parts.refuse, parts.marks_moved
    )
    return Crew(parts.settings, doors, bureau, terms)
