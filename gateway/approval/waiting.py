"""Waiting for people (Trio): what sessions, consoles and commands may do about held operations.

Promises that every wait ends (decided, expired, cancelled, or `EvidenceFault` once the control log is broken), that
what is returned is on disk, and that an approval returned to a session is used up by it. Nothing here judges who may
decide; the ledger does. `run` must be running.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from gateway.approval.granting import Granting
from gateway.approval.grants import Grant
from gateway.approval.holding import Holding, Waitable
from gateway.approval.ledger import (
    Abandoned,
    Approval,
    Approver,
    Cancelled,
    Decided,
    Finished,
    Ledger,
    Ran,
    Rejected,
    Shut,
    Terms,
    Weighed,
)
from gateway.approval.people import Leave, Receipt, agreed_leave
from gateway.approval.reasons import clean_reason
from gateway.approval.restart import LeftOver
from gateway.approval.revealing import Revealing
from gateway.approval.settling import Publish, Settling, shown_broken
from gateway.control.messages import Refusal
from gateway.errors import EvidenceFault
from gateway.evidence.commit import Log
from gateway.model import (
    ApprovalId,
    Clock,
    Decision,
    DecisionKind,
    Exact,
    HoldRequest,
    HoldState,
    Impact,
    Json,
    OperationHash,
    Outcome,
    Principal,
)


class Approvals:
    """Every held operation of this gateway, and the only way to decide about one."""

    def __init__(
        self,
        ledger: Ledger,
        control_log: Log,
        clock: Clock,
        publish: Publish,
        *,
        linger: int = 0,
        objection: Callable[[Approver], str | None] = lambda _: None,
    ) -> None:
        self._settling = Settling(ledger, control_log, clock, publish)
        self._granting = Granting(control_log, clock, publish)
        self._holding, self._revealing = Holding(self._settling, linger), Revealing()
        self._clock, self._objection = clock, objection

    async def run(self) -> None:
        """Settle decisions, let holds and grants expire, until cancelled. Raises EvidenceFault on a broken log."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._granting.run)
            fault: EvidenceFault | None = None
            try:
                await self._settling.run()
            except EvidenceFault as broken:
                fault = broken  # raised below, outside the nursery's exception group
            nursery.cancel_scope.cancel()
        if fault is not None:
            raise fault

    async def hold(self, request: HoldRequest, cancelled: Waitable, gone: Waitable | None = None) -> Decision:
        """Ask people about `request` and return what came of it, for the session that waits; see `Holding.hold`."""
        return await self._holding.hold(request, cancelled, gone)

    async def opened(self, approval: ApprovalId) -> None:
        """Return once the request is on disk and people can see it. Raises EvidenceFault."""
        await self._settling.until(lambda: self._settling.state(approval) is not None)

    def weigh(self, approval: ApprovalId, impact: Impact) -> None:
        """Show reviewers what became known of an open request."""
        self._settling.attempt(Weighed(approval, impact))

    async def ask(self, request: HoldRequest) -> Approval:
        """Ask people about `request` without waiting; the same question of the same identity is asked once.

        Returns the open approval, on disk: this one or the earlier one. Raises Refusal and EvidenceFault.
        """
        principal = request.session.principal
        known = self._settling.ledger.usable(request.operation_hash, principal.issuer, principal.subject)
        if known is None:
            why_not = self._holding.open(request, waiting=False)
            if why_not is not None:
                raise Refusal(why_not.code, why_not.message)
        approval = request.approval if known is None else known.id
        await self.opened(approval)
        return self.get(approval)

    def open_for(self, operation_hash: OperationHash, principal: Principal) -> ApprovalId | None:
        """Return the approval that this very question of this identity has already, pending or not yet used."""
        known = self._settling.ledger.usable(operation_hash, principal.issuer, principal.subject)
        return None if known is None else known.id

    def usable(self) -> tuple[tuple[OperationHash, str, str, ApprovalId, bool], ...]:
        """Return what was asked without waiting: (hash, issuer, subject, approval, whether it was approved)."""
        found = []
        for each in self._settling.settled.values():
            if each.open and not each.waiting:
                request, principal = each.request, each.request.session.principal
                yes = each.state is HoldState.APPROVED
                found.append((request.operation_hash, principal.issuer, principal.subject, each.id, yes))
        return tuple(found)

    def claim(self, operation_hash: OperationHash, principal: Principal) -> Decision | None:
        """Use up an approval that this identity was given for this very operation without waiting, if there is one."""
        found = self._settling.ledger.usable(operation_hash, principal.issuer, principal.subject)
        if found is None or found.state is not HoldState.APPROVED or self._settling.moving(found.id):
            return None
        return self._holding.use(found)

    async def confirmed(self, claimed: Decision, _principal: Principal) -> Decision | None:
        """Return a claim, which `claim` used up already; see `gateway.worker.reviewing`."""
        return claimed

    async def decide(
        self,
        approval: ApprovalId,
        hash_prefix: str | None,
        approver: Approver,
        kind: DecisionKind,
        reason: str,
        receipt: Receipt | None = None,
        leave: Leave | None = None,
        *,
        break_glass: bool = False,
    ) -> Approval:
        """Approve or refuse; returns once the decision is on disk, and what it grants. Raises Refusal by the codes."""
        event = Decided(approval, kind, approver, clean_reason(reason), hash_prefix, receipt, leave, break_glass)
        for effect in self._settling.step(event):
            if isinstance(effect, Rejected):
                raise Refusal(effect.code, effect.message)
        await self._settling.until(lambda: not self._settling.moving(approval))
        decided = self.get(approval)
        given = agreed_leave(decided.votes) if kind is DecisionKind.APPROVED and decided.receipt is receipt else None
        quote = self._settling.quotes.get(approval)
        if given is not None and quote is not None and decided.approver is not None:
            await self._granting.give(decided, given, quote)
        return decided

    def granted(self, principal: Principal, connection: str, rules: tuple[str, ...]) -> Grant | None:
        """Return the leave that lets a statement of `principal` through which `rules` would hold, None without."""
        grant = self._granting.covering(principal, connection, rules)
        if grant is not None and any(self._objection(person) for person in grant.people):
            return None
        return grant

    async def granted_now(self, principal: Principal, connection: str, rules: tuple[str, ...]) -> Grant | None:
        """See `granted`, which is always as of now; see `gateway.worker.reviewing`."""
        return self.granted(principal, connection, rules)

    def grants(self) -> tuple[Grant, ...]:
        """Return what is granted now, the soonest to end first."""
        return self._granting.held()

    async def withdraw(self, approval: ApprovalId, by: str, reason: str) -> Grant:
        """Take a grant back: nothing is let through by it any more, from now on. Raises Refusal, EvidenceFault."""
        reason = clean_reason(reason)
        if self._granting.get(approval) is not None:
            # The operation with which the grant was given may not have run yet: it does not run now.
            self._settling.attempt(Cancelled(approval, f"withdrawn by {by}"))
        grant = await self._granting.withdraw(approval, by, reason)
        await self._settling.until(lambda: not self._settling.moving(approval))
        return grant

    async def withdraw_from(self, meant: Callable[[Principal], bool], by: str, reason: str) -> None:
        """Take back every grant of agents that are no longer let in, all at once. Raises EvidenceFault afterwards."""
        await self._granting.withdraw_from(meant, by, reason)

    def objection(self, approval: ApprovalId) -> str | None:
        """Say why an approval or grant that was given is worth nothing any more, None where nothing speaks against it.

        One that is not known any more is worth nothing: nobody could say who gave it.
        """
        known, grant = self._settling.ledger.approvals.get(approval), self._granting.get(approval)
        if known is None and grant is None:
            return "who approved it is not known any more"
        people = [vote.approver for vote in known.votes] if known is not None else []
        found = (self._objection(person) for person in (*people, *(grant.people if grant is not None else ())))
        return next((why for why in found if why is not None), None)

    async def speaks_against(self, approval: ApprovalId) -> str | None:
        """See `objection`; see `gateway.worker.reviewing`."""
        return self.objection(approval)

    async def wait(self, approval: ApprovalId) -> Approval:
        """Return the approval once it is decided. Raises Refusal `not_found` and EvidenceFault."""
        self.get(approval)
        await self._settling.until(lambda: self._settling.state(approval) is not HoldState.PENDING)
        return self.get(approval)

    def cancel(self, approval: ApprovalId, why: str) -> None:
        """End an open request: its session was killed, its token revoked. Without effect on what is decided."""
        self._settling.step(Cancelled(approval, why))

    def executed(
        self,
        approval: ApprovalId,
        executed_hash: OperationHash,
        outcome: Outcome,
        rows: int | None,
        duration_us: int | None,
    ) -> None:
        """Tell how the operation that used this approval ended; shown to people, recorded in the worker's own log."""
        self._settling.step(Finished(approval, Ran(executed_hash, outcome.value, rows, duration_us)))

    def abandoned(self, approval: ApprovalId, why: str) -> None:
        """Tell that the approved operation was not forwarded after all; the approval is spent."""
        self._settling.step(Abandoned(approval, why))

    def pending(self) -> tuple[Approval, ...]:
        """Return what waits for a person, the soonest to expire first."""
        return Ledger(self._settling.settled).pending()

    def decided(self) -> tuple[Approval, ...]:
        """Return what was decided lately, newest first."""
        found = [each for each in self._settling.settled.values() if each.state is not HoldState.PENDING]
        return tuple(sorted(found, key=lambda each: (-(each.decided or 0), each.id)))

    @property
    def terms(self) -> Terms:
        """What `[approvals]` says of whatever is held."""
        return self._settling.ledger.terms

    def current(self, approval: ApprovalId) -> Approval:
        """Return one approval as the next decision meets it: it may not be on disk yet, so nobody is shown it.

        Raises Refusal `not_found`.
        """
        self.get(approval)
        found = self._settling.ledger.approvals.get(approval)
        if found is None:
            raise Refusal("not_found", "no such approval; it may have been decided long ago")
        return found

    def get(self, approval: ApprovalId) -> Approval:
        """Return one approval. Raises Refusal `not_found`."""
        found = self._settling.settled.get(approval)
        if found is None:
            raise Refusal("not_found", "no such approval; it may have been decided long ago")
        return found

    def reveal(self, approval: ApprovalId, approver: Approver) -> Exact:
        """Return what was sent, literals that are withheld included; see `Revealing.reveal`. Raises Refusal."""
        return self._revealing.reveal(self.get(approval), approver)

    async def end_left_over(self, left: LeftOver) -> None:
        """Refuse what a former process left pending, and record the end of what it had approved or granted.

        Returns once that is on disk. Raises EvidenceFault.
        """
        self._settling.broken_glass.extend(left.broken_glass)
        self._settling.refuse(left.pending, "the gateway restarted while this waited")
        self._settling.end(left.approved, "the gateway ended before the end of this was recorded")
        await self._granting.end_left_over(left.grants)
        await self._settling.until(lambda: not self._settling.moving())

    def broken_glass(self) -> list[Json]:
        """Return each breaking of the glass of the last day, the latest first, as the control socket shows it."""
        return shown_broken(self._settling.broken_glass, self._clock.now())

    def resume(self, left: LeftOver) -> None:
        """Go on after the control log broke and was opened anew, where `left` is open: nobody waits for that."""
        self._settling.resume(left, "the evidence could not be written while this waited")

    async def close(self, why: str = "the gateway is stopping") -> None:
        """Refuse whatever is open and everything asked from now on; returns once that is on disk."""
        self._holding.shut = why
        await self._granting.withdraw_from(lambda _: True, "gateway", why)
        self._settling.step(Shut(why))
        await self._settling.until(lambda: not self._settling.moving())
