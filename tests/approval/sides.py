"""The two sides of a wait: a session that holds an operation, and a person who decides about it."""

from __future__ import annotations

from collections.abc import Callable

import trio
from approving import DANA, HASH

from gateway.approval.waiting import Approvals
from gateway.errors import EvidenceFault
from gateway.model import ApprovalId, Decision, DecisionKind, HoldRequest

A1 = ApprovalId("a1")


class Session:
    """A session that holds one operation in a task of its own."""

    def __init__(self, approvals: Approvals, request: HoldRequest) -> None:
        self.cancelled, self.gone, self.done = trio.Event(), trio.Event(), trio.Event()
        self.scope = trio.CancelScope()
        self.decision: Decision | None = None
        self.fault: Exception | None = None
        self._approvals, self._request = approvals, request

    async def run(self) -> None:
        with self.scope:
            try:
                self.decision = await self._approvals.hold(self._request, self.cancelled, self.gone)
            except EvidenceFault as fault:
                self.fault = fault
        self.done.set()

    async def told(self) -> Decision:
        await self.done.wait()
        assert self.decision is not None
        return self.decision


async def until(ready: Callable[[], bool]) -> None:
    """Let the others run until `ready`, which must not take long."""
    for _ in range(10_000):
        if ready():
            return
        await trio.lowlevel.checkpoint()
    raise AssertionError("it never happened")


async def pending(approvals: Approvals, approval: ApprovalId = A1) -> None:
    """Return once people can see it."""
    await until(lambda: any(each.id == approval for each in approvals.pending()))


async def approve(approvals: Approvals, approval: ApprovalId = A1, reason: str = "fine") -> None:
    await approvals.decide(approval, HASH[:8], DANA, DecisionKind.APPROVED, reason)
