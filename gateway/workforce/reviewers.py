"""People, as a worker in another process reaches them: through the supervisor, which alone decides and records.

Promises that an approval which reached a session that was gone by then is given up, so that nothing runs by it. What
answers at once (`claim`, `open_for`, `granted`) is what the supervisor told last; nothing is forwarded by it alone:
`confirmed` and `granted_now` ask. The worst that a late word can do is that a person is asked once more.
"""

from __future__ import annotations

import trio

from gateway.approval.grants import Grant, Grants
from gateway.approval.holding import Waitable
from gateway.model import (
    ApprovalId,
    Clock,
    Decision,
    DecisionKind,
    HoldRequest,
    Impact,
    OperationHash,
    Outcome,
    Principal,
)
from gateway.workforce.channel import Channel
from gateway.workforce.messages import (
    Abandoned,
    Asked,
    Claim,
    Claimed,
    Decided,
    Done,
    EndHold,
    Executed,
    Granting,
    GrantNow,
    Held,
    Objection,
    Open,
    Opened,
    Outstanding,
    Weighed,
    Words,
)


class Reviewers:
    """See `gateway.worker.reviewing.Reviewing`."""

    def __init__(self, channel: Channel, clock: Clock) -> None:
        self._channel, self._clock = channel, clock
        self._usable: dict[tuple[OperationHash, str, str], tuple[ApprovalId, bool]] = {}
        self._grants = Grants()

    def told(self, outstanding: Outstanding) -> None:
        """Take the supervisor's word on what is outstanding now."""
        self._usable = {(oh, iss, sub): (approval, yes) for oh, iss, sub, approval, yes in outstanding.usable}
        self._grants = Grants({each.approval: each for each in outstanding.grants})

    def claim(self, operation_hash: OperationHash, principal: Principal) -> Decision | None:
        """See `Reviewing`: a decision that is not whole before `confirmed`."""
        approval, approved = self._known(operation_hash, principal)
        if approval is None or not approved:
            return None
        return Decision(approval, DecisionKind.APPROVED, operation_hash)

    async def confirmed(self, claimed: Decision, principal: Principal) -> Decision | None:
        """See `Reviewing`."""
        claim = Claim(claimed.operation_hash, principal)
        found = (await self._channel.ask(claim, Claimed, late=self._late_claim)).decision
        if found is not None and found.approval != claimed.approval:  # not what its request names
            self._late(found)
            return None
        return found

    def open_for(self, operation_hash: OperationHash, principal: Principal) -> ApprovalId | None:
        """See `Reviewing`."""
        return self._known(operation_hash, principal)[0]

    def granted(self, principal: Principal, connection: str, rules: tuple[str, ...]) -> Grant | None:
        """See `Reviewing`."""
        return self._grants.covering(principal, connection, rules, self._clock.now())

    async def granted_now(self, principal: Principal, connection: str, rules: tuple[str, ...]) -> Grant | None:
        """See `Reviewing`."""
        return (await self._channel.ask(GrantNow(principal, connection, rules), Granting)).grant

    async def hold(self, request: HoldRequest, cancelled: Waitable, gone: Waitable | None = None) -> Decision:
        """See `Reviewing`."""
        number = 0
        decided: Decision | None = None
        fault: Exception | None = None

        def asked(given: int) -> None:
            nonlocal number
            number = given

        async def ends(event: Waitable, *, hung_up: bool) -> None:
            await event.wait()
            self._channel.tell(EndHold(number, hung_up))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: ends(cancelled, hung_up=False))
            if gone is not None:
                left = gone
                nursery.start_soon(lambda: ends(left, hung_up=True))
            try:
                answer = await self._channel.ask(Held(request), Decided, asked=asked, late=self._late_hold)
                decided = answer.decision
            except Exception as broken:  # noqa: BLE001  raised again below, outside the nursery's exception group
                fault = broken
            nursery.cancel_scope.cancel()
        if decided is None:
            raise fault or AssertionError("a hold ended without a decision")
        return decided

    async def ask(self, request: HoldRequest) -> Open:
        """See `Reviewing`."""
        return await self._channel.ask(Asked(request), Open)

    async def opened(self, approval: ApprovalId) -> None:
        """See `Reviewing`."""
        await self._channel.ask(Opened(approval), Done)

    def weigh(self, approval: ApprovalId, impact: Impact) -> None:
        """See `Reviewing`."""
        self._channel.tell(Weighed(approval, impact))

    async def speaks_against(self, approval: ApprovalId) -> str | None:
        """See `Reviewing`."""
        return (await self._channel.ask(Objection(approval), Words)).text

    def executed(
        self, approval: ApprovalId, executed_hash: OperationHash, outcome: Outcome, rows: int, duration_us: int
    ) -> None:
        """See `Reviewing`."""
        self._channel.tell(Executed(approval, executed_hash, outcome, rows, duration_us))

    def abandoned(self, approval: ApprovalId, why: str) -> None:
        """See `Reviewing`."""
        self._channel.tell(Abandoned(approval, why))

    def _known(self, operation_hash: OperationHash, principal: Principal) -> tuple[ApprovalId | None, bool]:
        return self._usable.get((operation_hash, principal.issuer, principal.subject), (None, False))

    def _late_hold(self, answer: Decided) -> None:
        self._late(answer.decision)

    def _late_claim(self, answer: Claimed) -> None:
        if answer.decision is not None:
            self._late(answer.decision)

    def _late(self, decision: Decision) -> None:
        if decision.kind is DecisionKind.APPROVED:
            self.abandoned(decision.approval, "the session ended")
