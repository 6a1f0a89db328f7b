"""From what the ledger decided to what everybody may see (Trio): record, sync, then publish and wake.

Promises that a change is on disk before anybody is shown it or woken by it, that records stand in the order in which
the ledger decided, and that after a failed write nothing is decided any more and every wait ends in `EvidenceFault`,
until the log was opened anew and `resume` begins with an empty ledger.
`run` must be running for anything to settle; it also lets time pass for the ledger.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import trio

from gateway.approval.card import card
from gateway.approval.events import Ran
from gateway.approval.ledger import Approval, Changed, Effect, Event, Ledger, Ticked, step
from gateway.approval.people import Receipt, missing
from gateway.approval.restart import LeftApproved, LeftOver
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.commit import Log
from gateway.evidence.frontier import MOST_BROKEN
from gateway.evidence.journal import Ticket
from gateway.model import (
    ApprovalId,
    BrokenGlass,
    Clock,
    DecisionKind,
    Draft,
    HoldRequest,
    HoldState,
    Json,
    Micros,
    Outcome,
    Quote,
    format_time,
)

Publish: TypeAlias = Callable[[str, Mapping[str, Json]], None]
"""Tells consoles of an event; never blocks."""
ENDS: Mapping[HoldState, DecisionKind] = {
    HoldState.APPROVED: DecisionKind.APPROVED,
    HoldState.REFUSED: DecisionKind.REFUSED,
    HoldState.EXPIRED: DecisionKind.EXPIRED,
    HoldState.CANCELLED: DecisionKind.CANCELLED,
}
"""The states that a decision record stands for."""
BROKEN_SHOWN = 24 * 3600 * 1_000_000
"""How long a broken glass stays in `status` and above the console, in microseconds."""
_LONGEST_SLEEP = 1.0
"""Seconds after which the wall clock is looked at again while something is open: it may have been set meanwhile."""


@dataclass(frozen=True, slots=True)
class _Change:
    """One change on its way to the disk and then to everyone who waits for it."""

    approval: Approval
    event: str
    ticket: Ticket | None
    glass: BrokenGlass | None = None


class Settling:
    """The ledger of one gateway, and what of it is on disk."""

    def __init__(self, ledger: Ledger, control_log: Log, clock: Clock, publish: Publish) -> None:
        self.ledger = ledger
        """What is decided; it may not be on disk yet."""
        self.settled: dict[ApprovalId, Approval] = dict(ledger.approvals)
        """What is on disk, which is all that anybody is shown."""
        self.quotes: dict[ApprovalId, Quote] = {}
        """The latest record of each approval."""
        self.broken_glass: deque[BrokenGlass] = deque(maxlen=MOST_BROKEN)
        """The last times that somebody broke the glass, the oldest first."""
        self.broken: EvidenceFault | None = None
        self._opening = 0
        """Counts how often the log was opened anew: who waited before that learns of the fault in any case."""
        self._last_fault = EvidenceFault("the record cannot be written")
        self._log = control_log
        self._clock = clock
        self._publish = publish
        self._queue: list[_Change] = []
        self._queued = trio.Event()
        self._moved = trio.Event()

    async def run(self) -> None:
        """Settle changes and let time pass, until cancelled. Raises EvidenceFault once the control log is broken."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_time)
            await self._settle()
            nursery.cancel_scope.cancel()
        if self.broken is not None:
            raise self.broken

    def step(self, event: Event) -> tuple[Effect, ...]:
        """Let the ledger decide, and give what it decided its place in the log. Never waits. Raises EvidenceFault."""
        if self.broken is not None:
            raise self.broken
        self.ledger, effects = step(self.ledger, event, self._clock.now())
        self._enqueue(effect for effect in effects if isinstance(effect, Changed))
        return effects

    def attempt(self, event: Event) -> None:
        """Step where that still works; where the log is broken, whoever waits learns it from the wait."""
        with contextlib.suppress(EvidenceFault):
            self.step(event)

    def refuse(self, left: Iterable[HoldRequest], why: str) -> None:
        """Enter requests that a former process left pending, as refused."""
        for request in left:
            approval = Approval(
                request, HoldState.REFUSED, request.expires, waiting=False, decided=self._clock.now(), reason=why
            )
            self.ledger = replace(self.ledger, approvals={**self.ledger.approvals, request.approval: approval})
            self._enqueue([Changed(HoldState.PENDING, approval)])

    def end(self, left: Iterable[LeftApproved], why: str) -> None:
        """Enter approvals whose end is not recorded: what was released may have run, anything else is cancelled."""
        for each in left:
            request = each.request
            ran = Ran(request.operation_hash, Outcome.LOST.value, None, None) if each.released else None
            state = HoldState.CANCELLED if ran is None else HoldState.EXECUTED
            approval = Approval(
                request, state, request.expires, waiting=False, decided=self._clock.now(), reason=why, ran=ran
            )
            self.ledger = replace(self.ledger, approvals={**self.ledger.approvals, request.approval: approval})
            self._enqueue([Changed(HoldState.APPROVED, approval)])

    def resume(self, left: LeftOver, why: str) -> None:
        """Go on after the log was opened anew: what was open is refused, with `left` as the log tells it.

        What a session is about to run, or runs, stays that session's to end.
        """
        self._opening += 1
        self._last_fault, self.broken = self.broken or self._last_fault, None
        known = {one.request.approval for one in left.approved}
        in_use = {
            name: one
            for name, one in self.ledger.approvals.items()
            if name in known and one.state is HoldState.APPROVED and one.used
        }
        self.ledger = Ledger(in_use, self.ledger.terms)
        self.settled, self._queue = dict(in_use), []
        self.quotes = {name: quote for name, quote in self.quotes.items() if name in in_use}
        self.refuse(left.pending, why)
        self.end([one for one in left.approved if one.request.approval not in in_use], why)
        self._wake()

    def moving(self, approval: ApprovalId | None = None) -> bool:
        """Whether a change (of `approval`) is not on disk yet."""
        return any(approval in {None, change.approval.id} for change in self._queue)

    def state(self, approval: ApprovalId) -> HoldState | None:
        """Return the state on disk, None where nothing is."""
        found = self.settled.get(approval)
        return None if found is None else found.state

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`, looking again whenever something settled. Raises EvidenceFault once the log is broken."""
        opening = self._opening
        while True:
            if self.broken is not None or self._opening != opening:
                raise self.broken or self._last_fault
            if ready():
                return
            await self._moved.wait()

    def _enqueue(self, changes: Iterable[Changed]) -> None:
        try:
            for change in changes:
                self._queue.append(self._recorded(change))
        except EvidenceFault as fault:
            self._break(fault)
            raise
        self._queued.set()

    def _recorded(self, changed: Changed) -> _Change:
        approval = changed.approval
        if changed.before is None:
            return _Change(approval, "approval.pending", self._log.append(record.requested(approval.request)))
        glass = None
        if approval.break_glass and approval.state is HoldState.APPROVED and changed.before is HoldState.PENDING:
            glass = _glass(approval)
            self._log.append(_alarm(approval))  # before the decision, which is not on disk without it
        draft = _draft(changed)
        return _Change(approval, "approval.changed", None if draft is None else self._log.append(draft), glass)

    async def _settle(self) -> None:
        """Take changes to the disk in order, until the log is broken."""
        while self.broken is None:
            await self._queued.wait()
            self._queued = trio.Event()
            while self._queue and self.broken is None:
                change = self._queue[0]
                try:
                    if change.ticket is not None:
                        self.quotes[change.approval.id] = (await self._log.durable(change.ticket)).quote
                except EvidenceFault as fault:
                    self._break(fault)
                    return
                del self._queue[0]
                self.settled[change.approval.id] = change.approval
                if change.glass is not None:
                    self.broken_glass.append(change.glass)
                self._forget()
                self._publish(change.event, card(change.approval))
                self._wake()

    async def _watch_time(self) -> None:
        while True:
            moved = self._moved
            due = self.ledger.next_change()
            if due is None:
                await moved.wait()
                continue
            left = (due - self._clock.now()) / 1_000_000
            with trio.move_on_after(max(0.0, min(left, _LONGEST_SLEEP))):
                await moved.wait()
            if self._clock.now() >= due:
                self.attempt(Ticked())
                with contextlib.suppress(EvidenceFault):
                    await self.until(lambda: not self._queue)

    def _forget(self) -> None:
        """Drop what the ledger dropped, except what is still on its way."""
        if len(self.settled) <= len(self.ledger.approvals):
            return
        known = self.ledger.approvals.keys() | {change.approval.id for change in self._queue}
        for approval in self.settled.keys() - known:
            del self.settled[approval]
            self.quotes.pop(approval, None)

    def _break(self, fault: EvidenceFault) -> None:
        self.broken = fault
        self._queued.set()
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()


def _draft(changed: Changed) -> Draft | None:
    """Return the record of a change, None where nothing was decided (a client that left, an approval in use)."""
    approval, vote = changed.approval, changed.vote
    if vote is not None:
        who = vote.approver
        return record.agreed(
            approval.request,
            approver=who.name,
            assurance=who.assurance,
            reason=vote.reason,
            receipt=_receipt(vote.receipt),
        )
    if changed.escalated:
        return record.escalated(approval.request, approval.escalated_to)
    if approval.state is changed.before:
        return None
    if approval.state is HoldState.EXECUTED and approval.ran is not None:
        return record.executed(approval.request, approval.ran.outcome, approval.ran.rows)
    return record.decision(
        approval.request,
        ENDS[approval.state],
        approver=approval.approver,
        assurance=approval.assurance,
        reason=approval.reason,
        receipt=_receipt(approval.receipt),
        break_glass=approval.break_glass and approval.state is HoldState.APPROVED,
    )


def shown_broken(broken: Iterable[BrokenGlass], now: Micros) -> list[Json]:
    """Return those of the last day, the latest first, as the control socket shows them."""
    return [
        {
            "id": each.approval,
            "at": format_time(each.at),
            "by": each.by,
            "subject": each.subject,
            "connection": each.connection,
            "rule": each.rule,
        }
        for each in reversed([*broken])
        if each.at > now - BROKEN_SHOWN
    ]


def _glass(approval: Approval) -> BrokenGlass:
    request, by = approval.request, approval.votes[-1]
    session = request.session
    return BrokenGlass(
        approval.id, by.at, by.approver.name, session.principal.subject, session.connection, request.rule
    )


def _alarm(approval: Approval) -> Draft:
    """The alarm that tells of it."""
    told = f"{approval.id} on {approval.request.session.connection} approved by {approval.approver}"
    asked = " and ".join(map(str, missing(approval.request, approval.votes[:-1])))
    detail = f"{told} in the place of {asked}: {approval.reason}"
    return record.alarm(approval.request.session, None, "break-glass", detail)


def _receipt(receipt: Receipt | None) -> Mapping[str, str | None] | None:
    if receipt is None:
        return None
    return {
        "receipt": receipt.text,
        "signature": receipt.signature,
        "signer": receipt.signer,
        "countersignature": receipt.countersignature,
    }
