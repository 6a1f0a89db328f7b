"""Puts a worker together from the settings, the same way in whichever process it is. No I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.evidence.commit import GroupCommit
from gateway.model import Clock, Entropy
from gateway.pgwire.actions import Limits
from gateway.settings import Settings
from gateway.worker.keeping import Keeping
from gateway.worker.live import LiveSessions
from gateway.worker.reactor import Reactor
from gateway.worker.reviewing import Reviewing
from gateway.worker.sealing import SealingTerms
from gateway.worker.supervision import Promise, Supervision
from gateway.worker.surroundings import Publish, Surroundings
from gateway.worker.worker import HoldTimes, WatchTimes, Worker


@dataclass(frozen=True, slots=True)
class Ties:
    """What ties a worker to its supervisor, and to other workers where there are any."""

    supervision: Supervision
    reviewing: Reviewing
    publish: Publish
    alarm: Callable[[str, str], None]
    salt: bytes
    marks_moved: Callable[[], None] = lambda: None
    promise: Promise | None = None
    changed: Callable[[str], None] = lambda _: None
    elsewhere: Callable[[int, bytes], Awaitable[None]] | None = None
    heard: Callable[[], bool] = lambda: True


def build_worker(
    settings: Settings,
    log: GroupCommit,
    live: LiveSessions,
    reactor: Reactor,
    clock: Clock,
    entropy: Entropy,
    ties: Ties,
) -> Worker:
    """Return the worker whose sessions record in `log` and are served by `reactor`. Raises `ConfigurationFault`."""
    limits, evidence, approvals, identity = settings.limits, settings.evidence, settings.approvals, settings.identity
    around = Surroundings(
        log=log,
        live=live,
        publish=ties.publish,
        clock=clock,
        entropy=entropy,
        limits=Limits(
            statement=limits.statement,
            message=limits.message,
            payload=evidence.payload_limit,
            sampled=approvals.effect_rows,
            originals=evidence.originals_kept,
        ),
        reactor=reactor,
        results_wait=evidence.results == "durable",
        sealing=SealingTerms(evidence.recipients, evidence.literals == "seal"),
        changed=ties.changed,
        heard=ties.heard,
    )
    return Worker(
        around,
        ties.supervision,
        ties.reviewing,
        settings.connections(),
        HoldTimes(approvals.timeout, approvals.in_transaction_timeout),
        WatchTimes(identity.introspect_every, identity.issuer_grace),
        ties.alarm,
        Keeping(settings.gateway.state_dir, entropy),
        ties.salt,
        ties.marks_moved,
        ties.promise,
        ties.elsewhere,
    )
