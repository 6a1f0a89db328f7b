"""Waiting for people (Trio): the ledger joined to the control log, the clock, and everyone who waits.

Promises that a decision is on disk before anybody acts on it or sees it, that records stand in the order in which the
ledger decided, and that every wait ends: decided, expired, cancelled, or `EvidenceFault` once the log is broken.
Nothing here judges who may decide; the ledger does. `run` must be running for anything to be settled.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import trio

from gateway.approval.card import card
from gateway.approval.ledger import (
    Abandoned,
    Approval,
    Approver,
    Cancelled,
    Changed,
    Decided,
    Effect,
    Event,
    Finished,
    HoldState,
    Ledger,
    Left,
    Opened,
    Ran,
    Rejected,
    Shut,
    Ticked,
    Used,
    step,
)
from gateway.control.messages import Refusal
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.commit import GroupCommit
from gateway.evidence.journal import Ticket
from gateway.model import (
    ApprovalId,
    Clock,
    Decision,
    DecisionKind,
    Draft,
    HoldRequest,
    Json,
    OperationHash,
    Outcome,
    Principal,
    Quote,
)

Publish: TypeAlias = Callable[[str, Mapping[str, Json]], None]
"""Tells consoles of an event; never blocks."""
REASON = 1_000
"""Characters of a decision's reason at most."""
_LONGEST_SLEEP = 1.0
"""Seconds after which the wall clock is looked at again while something waits: it may have been set meanwhile."""
_ENDS = {
    HoldState.APPROVED: DecisionKind.APPROVED,
    HoldState.REFUSED: DecisionKind.REFUSED,
    HoldState.EXPIRED: DecisionKind.EXPIRED,
    HoldState.CANCELLED: DecisionKind.CANCELLED,
}


class Waitable(Protocol):
    """Something that happens once, like `trio.Event`."""

    async def wait(self) -> None:
        """Return once it happened."""


@dataclass(slots=True)
class _Settlement:
    """One change on its way to the disk and then to everyone who waits for it."""

    approval: Approval
    event: str
    ticket: Ticket | None


class Approvals:
    """Every held operation of this gateway, and the only way to decide about one."""

    def __init__(
        self, ledger: Ledger, control_log: GroupCommit, clock: Clock, publish: Publish, *, linger: int = 0
    ) -> None:
        self._ledger = ledger
        self._log = control_log
        self._clock = clock
        self._publish = publish
        self._linger = linger
        self._settled: dict[ApprovalId, Approval] = dict(ledger.approvals)
        """What is on disk, which is all that anybody is shown."""
        self._quotes: dict[ApprovalId, Quote] = {}
        self._queue: list[_Settlement] = []
        self._queued = trio.Event()
        self._moved = trio.Event()
        self._broken: EvidenceFault | None = None
        self._shut: str | None = None

    async def run(self) -> None:
        """Settle changes and let time pass, until cancelled. Raises EvidenceFault once the control log is broken."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_time)
            with contextlib.suppress(EvidenceFault):
                await self._settle()
            nursery.cancel_scope.cancel()
        if self._broken is not None:
            raise self._broken

    async def hold(self, request: HoldRequest, cancelled: Waitable, gone: Waitable | None = None) -> Decision:
        """Ask people about `request` and return what came of it, for the session that waits.

        `cancelled` ends the request; `gone` (the client hung up) ends this wait only, and the request stays open for
        the linger time. An approval returned here is used up by it. Raises EvidenceFault. Cancelling this call
        cancels the request.
        """
        why_not = self._open(request, waiting=True)
        if why_not is not None:
            kind = DecisionKind.EXPIRED if why_not.code == "expired" else DecisionKind.REFUSED
            return Decision(request.approval, kind, request.operation_hash, reason=why_not.message)
        decision: Decision | None = None
        hung_up = delivered = False

        async def on_cancel() -> None:
            await cancelled.wait()
            self._try(Cancelled(request.approval, "cancelled by the agent"))

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
                with contextlib.suppress(EvidenceFault):  # raised again below, outside the nursery's exception group
                    decision = await self._decision(request)
                nursery.cancel_scope.cancel()
            delivered = True
        finally:
            if decision is None:
                self._try(
                    Left(request.approval, self._linger)
                    if delivered and hung_up
                    else Cancelled(request.approval, "the session ended")
                )
            elif not delivered:
                self._try(Abandoned(request.approval, "the session ended"))
        if decision is not None:
            return decision
        if self._broken is not None:
            raise self._broken
        return Decision(request.approval, DecisionKind.CANCELLED, request.operation_hash, reason="the agent hung up")

    async def ask(self, request: HoldRequest) -> Approval:
        """Ask people about `request` without waiting; the same question of the same identity is asked once.

        Returns the open approval, on disk: this one or the earlier one. Raises Refusal and EvidenceFault.
        """
        principal = request.session.principal
        known = self._ledger.usable(request.operation_hash, principal.issuer, principal.subject)
        if known is None:
            why_not = self._open(request, waiting=False)
            if why_not is not None:
                raise Refusal(why_not.code, why_not.message)
        approval = request.approval if known is None else known.id
        await self._until(lambda: approval in self._settled)
        return self._settled[approval]

    def claim(self, operation_hash: OperationHash, principal: Principal) -> Decision | None:
        """Use up an approval that this identity was given for this very operation without waiting, if there is one."""
        found = self._ledger.usable(operation_hash, principal.issuer, principal.subject)
        if found is None or self._settled.get(found.id) is not found or found.state is not HoldState.APPROVED:
            return None
        return self._use(found)

    async def decide(
        self,
        approval: ApprovalId,
        hash_prefix: str | None,
        approver: Approver,
        kind: DecisionKind,
        reason: str,
    ) -> Approval:
        """Approve or refuse; returns once the decision is on disk. Raises Refusal with the protocol's codes."""
        effects = self._step(Decided(approval, kind, approver, clean_reason(reason), hash_prefix))
        for effect in effects:
            if isinstance(effect, Rejected):
                raise Refusal(effect.code, effect.message)
        await self._until(lambda: not self._unsettled(approval))
        return self.get(approval)

    async def wait(self, approval: ApprovalId) -> Approval:
        """Return the approval once it is decided. Raises Refusal `not_found` and EvidenceFault."""
        self.get(approval)
        await self._until(lambda: self._settled_state(approval) is not HoldState.PENDING)
        return self.get(approval)

    def cancel(self, approval: ApprovalId, why: str) -> None:
        """End an open request: its session was killed, its token revoked. Without effect on what is decided."""
        self._step(Cancelled(approval, why))

    def executed(
        self,
        approval: ApprovalId,
        executed_hash: OperationHash,
        outcome: Outcome,
        rows: int | None,
        duration_us: int | None,
    ) -> None:
        """Tell how the operation that used this approval ended; shown to people, recorded in the worker's own log."""
        self._step(Finished(approval, Ran(executed_hash, outcome.value, rows, duration_us)))

    def abandoned(self, approval: ApprovalId, why: str) -> None:
        """Tell that the approved operation was not forwarded after all; the approval is spent."""
        self._step(Abandoned(approval, why))

    def pending(self) -> tuple[Approval, ...]:
        """Return what waits for a person, on disk, the soonest to expire first."""
        found = [each for each in self._settled.values() if each.state is HoldState.PENDING]
        return tuple(sorted(found, key=lambda each: (each.expires, each.id)))

    def decided(self) -> tuple[Approval, ...]:
        """Return what was decided lately, newest first."""
        found = [each for each in self._settled.values() if each.state is not HoldState.PENDING]
        return tuple(sorted(found, key=lambda each: (-(each.decided or 0), each.id)))

    def get(self, approval: ApprovalId) -> Approval:
        """Return one approval. Raises Refusal `not_found`."""
        found = self._settled.get(approval)
        if found is None:
            raise Refusal("not_found", "no such approval; it may have been decided long ago")
        return found

    async def close(self, why: str = "the gateway is stopping") -> None:
        """Refuse whatever is open and everything asked from now on; returns once that is on disk."""
        self._shut = why
        self._step(Shut(why))
        await self._until(lambda: not self._queue)

    async def refuse_left_over(self, left: Iterable[HoldRequest]) -> None:
        """Refuse what a former process left pending (`gateway.approval.restart`); returns once that is on disk."""
        now = self._clock.now()
        why = "the gateway restarted while this waited"
        for request in left:
            approval = Approval(request, HoldState.REFUSED, request.expires, waiting=False, decided=now, reason=why)
            self._ledger = Ledger({**self._ledger.approvals, request.approval: approval})
            self._queue.append(self._settlement(Changed(HoldState.PENDING, approval)))
        self._queued.set()
        await self._until(lambda: not self._queue)

    def _open(self, request: HoldRequest, *, waiting: bool) -> Rejected | None:
        if self._shut is not None:
            return Rejected("unavailable", self._shut)
        for effect in self._step(Opened(request, waiting)):
            if isinstance(effect, Rejected):
                return effect
        return None

    def _step(self, event: Event) -> tuple[Effect, ...]:
        """Let the ledger decide, give what it decided its place in the log, and queue it to be settled. Never waits."""
        if self._broken is not None:
            raise self._broken
        self._ledger, effects = step(self._ledger, event, self._clock.now())
        try:
            self._queue += [self._settlement(effect) for effect in effects if isinstance(effect, Changed)]
        except EvidenceFault as fault:
            self._break(fault)
            raise
        self._queued.set()
        return effects

    def _try(self, event: Event) -> None:
        """Step where that still works; where the log is broken, whoever waits learns it from the wait."""
        with contextlib.suppress(EvidenceFault):
            self._step(event)

    def _break(self, fault: EvidenceFault) -> None:
        self._broken = fault
        self._queued.set()
        self._wake()

    def _settlement(self, changed: Changed) -> _Settlement:
        approval = changed.approval
        if changed.before is None:
            return _Settlement(approval, "approval.pending", self._log.append(record.requested(approval.request)))
        ticket = None
        if approval.state is not changed.before and approval.state in _ENDS:
            draft = _decision(
                approval.request, _ENDS[approval.state], approval.approver, approval.assurance, approval.reason
            )
            ticket = self._log.append(draft)
        return _Settlement(approval, "approval.changed", ticket)

    async def _settle(self) -> None:
        while True:
            await self._queued.wait()
            self._queued = trio.Event()
            while self._queue and self._broken is None:
                settlement = self._queue[0]
                try:
                    await self._disk(settlement)
                except EvidenceFault as fault:
                    self._break(fault)
                    break
                del self._queue[0]
                self._settled[settlement.approval.id] = settlement.approval
                self._forget()
                self._publish(settlement.event, card(settlement.approval))
                self._wake()
            if self._broken is not None:
                raise self._broken

    async def _disk(self, settlement: _Settlement) -> None:
        if settlement.ticket is None:
            return
        recorded = await self._log.durable(settlement.ticket)
        self._quotes[settlement.approval.id] = recorded.quote

    async def _watch_time(self) -> None:
        while True:
            moved = self._moved
            due = self._ledger.next_expiry()
            if due is None:
                await moved.wait()
                continue
            left = (due - self._clock.now()) / 1_000_000
            with trio.move_on_after(max(0.0, min(left, _LONGEST_SLEEP))):
                await moved.wait()
            if self._clock.now() >= due:
                self._try(Ticked())
                with contextlib.suppress(EvidenceFault):
                    await self._until(lambda: not self._queue)

    async def _decision(self, request: HoldRequest) -> Decision:
        """Wait until `request` is settled, and use up its approval."""
        while True:
            await self._until(lambda: self._settled_state(request.approval) not in {None, HoldState.PENDING})
            approval = self._settled[request.approval]
            if approval.state is not HoldState.APPROVED:
                return self._told(approval)
            decision = self._use(approval)
            if decision is not None:
                return decision
            await self._until(lambda: self._settled_state(request.approval) is not HoldState.APPROVED)

    def _use(self, approval: Approval) -> Decision | None:
        principal = approval.request.session.principal
        used = Used(approval.id, approval.request.operation_hash, principal.issuer, principal.subject)
        if any(isinstance(effect, Rejected) for effect in self._step(used)):
            return None
        return self._told(approval)

    def _told(self, approval: Approval) -> Decision:
        return Decision(
            approval.id,
            _ENDS[approval.state],
            approval.request.operation_hash,
            approval.approver,
            approval.assurance,
            approval.reason,
            self._quotes.get(approval.id),
        )

    def _settled_state(self, approval: ApprovalId) -> HoldState | None:
        found = self._settled.get(approval)
        return None if found is None else found.state

    def _unsettled(self, approval: ApprovalId) -> bool:
        return any(settlement.approval.id == approval for settlement in self._queue)

    async def _until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`; every settled change looks again. Raises EvidenceFault once the log is broken."""
        while True:
            if self._broken is not None:
                raise self._broken
            if ready():
                return
            await self._moved.wait()

    def _wake(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()

    def _forget(self) -> None:
        """Drop what the ledger dropped, except what is still on its way."""
        if len(self._settled) <= len(self._ledger.approvals):
            return
        known = self._ledger.approvals.keys() | {settlement.approval.id for settlement in self._queue}
        for approval in self._settled.keys() - known:
            del self._settled[approval]
            self._quotes.pop(approval, None)


def clean_reason(reason: str) -> str:
    """Return a decision's reason on one line. Raises Refusal: it is shown to agents and stands in the evidence."""
    line = " ".join(reason.split())
    if not line:
        raise Refusal("bad_request", "a decision needs a reason")
    if len(line) > REASON or any(unicodedata.category(character) in {"Cc", "Cs"} for character in line):
        raise Refusal("bad_request", f"a reason is at most {REASON} characters, without control characters")
    return line


def _decision(
    request: HoldRequest, kind: DecisionKind, approver: str | None, assurance: str | None, reason: str
) -> Draft:
    return record.decision(request, kind, approver=approver, assurance=assurance, reason=reason)
