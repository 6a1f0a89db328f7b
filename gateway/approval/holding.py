"""The wait of one session for people (Trio): asked, decided, used up, or let go.

Promises that a wait ends (decided, expired, cancelled, or `EvidenceFault` once the control log is broken) and that an
approval returned to a session is used up by it; whatever ends the wait itself, the ledger is told how. It never judges
who may decide, and never lets anything be asked once the gateway stops.
"""

from __future__ import annotations

from typing import Protocol

import trio

from gateway.approval.ledger import Abandoned, Approval, Cancelled, Left, Opened, Rejected, Used
from gateway.approval.receipt import digest
from gateway.approval.settling import ENDS, Settling
from gateway.errors import EvidenceFault
from gateway.model import ApprovalId, Decision, DecisionKind, HoldRequest, HoldState


class Waitable(Protocol):
    """Something that happens once, like `trio.Event`."""

    async def wait(self) -> None:
        """Return once it happened."""


class Holding:
    """Opens requests, and waits for what comes of them; `linger` microseconds after the agent hung up."""

    def __init__(self, settling: Settling, linger: int) -> None:
        self._settling, self._linger = settling, linger
        self.shut: str | None = None
        """Why nothing is asked any more, once that is so."""

    async def hold(self, request: HoldRequest, cancelled: Waitable, gone: Waitable | None = None) -> Decision:
        """Ask people about `request` and return what came of it, for the session that waits.

        `cancelled` ends the request; `gone` (the client hung up) ends this wait only, and the request stays open for
        the linger time. Raises EvidenceFault. Cancelling this call cancels the request.
        """
        why_not = self.open(request, waiting=True)
        if why_not is not None:
            kind = DecisionKind.EXPIRED if why_not.code == "expired" else DecisionKind.REFUSED
            return Decision(request.approval, kind, request.operation_hash, reason=why_not.message)
        decision: Decision | None = None
        fault: EvidenceFault | None = None
        hung_up = delivered = False

        async def on_cancel() -> None:
            await cancelled.wait()
            self._settling.attempt(Cancelled(request.approval, "cancelled by the agent"))

        async def on_gone(event: Waitable, scope: trio.CancelScope) -> None:
            nonlocal hung_up
            await event.wait()
            hung_up = True
            scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(on_cancel)
                if gone is not None:
                    nursery.start_soon(on_gone, gone, nursery.cancel_scope)
                try:
                    decision = await self._decision(request)
                except EvidenceFault as broken:
                    fault = broken  # raised again below, outside the nursery's exception group
                nursery.cancel_scope.cancel()
            delivered = True
        finally:
            self._let_go(request.approval, decision, delivered=delivered, hung_up=hung_up)
        if decision is not None:
            return decision
        if fault is not None:
            raise fault
        return Decision(request.approval, DecisionKind.CANCELLED, request.operation_hash, reason="the agent hung up")

    def open(self, request: HoldRequest, *, waiting: bool) -> Rejected | None:
        """Ask people about `request`, for a session that waits or not; return why it is not asked, if it is not."""
        if self.shut is not None:
            return Rejected("unavailable", self.shut)
        for effect in self._settling.step(Opened(request, waiting)):
            if isinstance(effect, Rejected):
                return effect
        return None

    def use(self, approval: Approval) -> Decision | None:
        """Use up an approval that was given: only once, and by the identity that asked; None where that fails."""
        principal = approval.request.session.principal
        used = Used(approval.id, approval.request.operation_hash, principal.issuer, principal.subject)
        if any(isinstance(effect, Rejected) for effect in self._settling.step(used)):
            return None
        return self._told(approval)

    def _let_go(self, approval: ApprovalId, decision: Decision | None, *, delivered: bool, hung_up: bool) -> None:
        """Tell the ledger how a wait ended, where it ended without a decision that its session has got."""
        if decision is None and delivered and hung_up:
            self._settling.attempt(Left(approval, self._linger))
        elif decision is None:
            self._settling.attempt(Cancelled(approval, "the session ended"))
        elif not delivered:
            self._settling.attempt(Abandoned(approval, "the session ended"))

    async def _decision(self, request: HoldRequest) -> Decision:
        """Wait until `request` is decided, and use up its approval."""
        settling, approval = self._settling, request.approval
        while True:
            await settling.until(lambda: settling.state(approval) not in {None, HoldState.PENDING})
            found = settling.settled[approval]
            if found.state is not HoldState.APPROVED:
                return self._told(found)
            decision = self.use(found)
            if decision is not None:
                return decision
            await settling.until(lambda: settling.state(approval) is not HoldState.APPROVED)

    def _told(self, approval: Approval) -> Decision:
        return Decision(
            approval.id,
            ENDS[approval.state],
            approval.request.operation_hash,
            approval.approver,
            approval.assurance,
            approval.reason,
            self._settling.quotes.get(approval.id),
            None if approval.receipt is None else digest(approval.receipt),
        )
