"""What every session of a worker shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import trio

from gateway.control.events import Later
from gateway.evidence.commit import GroupCommit
from gateway.model import Clock, Entropy, Json
from gateway.pgwire.actions import Limits
from gateway.worker.live import LiveSessions
from gateway.worker.reactor import Reactor
from gateway.worker.sealing import SealingTerms

Publish = Callable[[str, Mapping[str, Json] | Later], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every session of a worker shares."""

    log: GroupCommit
    live: LiveSessions
    publish: Publish
    clock: Clock
    entropy: Entropy
    limits: Limits
    reactor: Reactor
    results_wait: bool
    """`[evidence] results = "durable"`: an answer leaves only once its result record is on disk."""
    sealing: SealingTerms
    changed: Callable[[str], None] = lambda _: None
    """Tells other workers that a session changed definitions of a connection's target."""
    large: trio.Lock = field(default_factory=trio.Lock)
    """Held while the record of a large statement is made and written: one at a time is in memory."""
    heard: Callable[[], bool] = lambda: True
    """Whether anybody hears of single records, or may ask for what was told: else no event is made of one."""
