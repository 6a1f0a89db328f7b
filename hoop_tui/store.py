"""Holds the state and the tail, and says when they changed. The only mutable thing between the line and the screens.

`apply` is called for each happening in order; `changed(urgent)` tells the screens: urgent where a person waits
(requests, the line), else whenever the next flush comes. Holds no widget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.model import Clock, Micros
from hoop_tui.happenings import ApprovalChanged, ApprovalsListed, Attempted, Greeted, Happening, Lost, TailSeen
from hoop_tui.known import Approval, Tail, TailItem
from hoop_tui.ring import Ring
from hoop_tui.state import State, reduce

TAIL_KEPT: Final = 10_000
LATELY: Final = 6
EARLIER: Final = 5


class Store:
    """The state as of now, and the newest records."""

    def __init__(self, clock: Clock, changed: Callable[[bool], None]) -> None:
        self.state = State()
        self.tail: Ring[TailItem] = Ring(TAIL_KEPT)
        self.clock = clock
        self._changed = changed

    def apply(self, happening: Happening) -> None:
        """Take the next happening in."""
        if isinstance(happening, TailSeen):
            self.tail.append(happening.item)
            self._changed(False)
            return
        before, self.state = self.state, reduce(self.state, happening)
        urgent = isinstance(happening, ApprovalChanged | ApprovalsListed | Attempted | Greeted | Lost)
        if urgent or before != self.state:
            self._changed(urgent)

    def now(self) -> Micros | None:
        """Return the gateway's time; None before it was ever told."""
        gateway = self.state.gateway
        return None if gateway is None else gateway.time.now(self.clock)

    def lately(self, approval: Approval) -> list[Tail]:
        """Return the newest records of the request's agent, newest first."""
        found: list[Tail] = []
        for item in reversed(self.tail.since(0)):
            if isinstance(item, Tail) and item.subject == approval.subject and item.verdict:
                found.append(item)
                if len(found) == LATELY:
                    break
        return found

    def earlier(self, approval: Approval) -> list[Approval]:
        """Return other requests with the same text, newest first."""
        same = [
            other
            for other in self.state.approvals.values()
            if other.id != approval.id and other.statement == approval.statement
        ]
        same.sort(key=lambda other: other.requested or 0, reverse=True)
        return same[:EARLIER]
