"""Grants at work (Trio): on disk before they count, gone before their end is on disk.

Promises that a grant counts only after its record is durable, that a withdrawn one lets nothing through from the moment
of the call, also where it was about to be given, and that one whose time is over is recorded so. They live in memory:
a gateway that restarts has none, and records the end of those that a crash left.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable

import trio

from gateway.approval.events import Approval
from gateway.approval.grants import MAX_GRANTS, RULE, Grant, Grants
from gateway.approval.people import Leave
from gateway.approval.restart import LeftGrant
from gateway.approval.settling import Publish
from gateway.control.messages import Refusal
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.commit import Log
from gateway.model import ApprovalId, Clock, Micros, Principal, Quote, format_time

_LONGEST_SLEEP = 1.0


class Granting:
    """The grants of one gateway. `run` must be running for the end of their time to be recorded."""

    def __init__(self, control_log: Log, clock: Clock, publish: Publish) -> None:
        self._log, self._clock, self._publish = control_log, clock, publish
        self._grants = Grants()
        self._coming: dict[ApprovalId, Grant] = {}
        """Given, but not on disk yet; one that is withdrawn meanwhile is taken out."""
        self._changed = trio.Event()

    def covering(self, principal: Principal, connection: str, rules: tuple[str, ...]) -> Grant | None:
        """Return the grant that lets a statement through which `rules` would hold, None without."""
        return self._grants.covering(principal, connection, rules, self._clock.now())

    def get(self, approval: ApprovalId) -> Grant | None:
        """Return a grant, also one that is being given; None for one that is over."""
        return self._grants.held.get(approval) or self._coming.get(approval)

    def held(self) -> tuple[Grant, ...]:
        """Return what is in force, the soonest to end first."""
        now = self._clock.now()
        found = (each for each in self._grants.held.values() if each.expires > now)
        return tuple(sorted(found, key=lambda each: (each.expires, each.approval)))

    async def give(self, decided: Approval, leave: Leave, quote: Quote) -> Grant:
        """Put a grant in force, once its record is on disk. Raises Refusal where there are too many, EvidenceFault."""
        if len(self._grants.held) + len(self._coming) >= MAX_GRANTS:
            raise Refusal("unavailable", f"{MAX_GRANTS} grants are in force; the operation is approved, once")
        request, now = decided.request, self._clock.now()
        grant = Grant(
            approval=decided.id,
            session=request.session,
            rules=request.sessions if leave.scope == RULE else (),
            since=now,
            expires=Micros(now + leave.seconds * 1_000_000),
            by=decided.approver or "",
            reason=decided.reason,
            assurance=decided.assurance or "",
            quote=quote,
            people=tuple(vote.approver for vote in decided.votes),
        )
        place = (quote.log, quote.seq, quote.chain)
        rule = ", ".join(grant.rules) or request.rule
        self._coming[grant.approval] = grant
        try:
            until = format_time(grant.expires)
            given = record.grant(grant.session, grant.approval, rule, until, place, by=grant.by, scope=leave.scope)
            await self._log.record(given)
        finally:
            still = self._coming.pop(grant.approval, None)
        if still is None:
            raise Refusal("already_decided", "the grant was withdrawn before it was in force")
        self._grants = self._grants.given(grant)
        self._tell("grant.given", grant)
        return grant

    async def end_left_over(self, left: Iterable[LeftGrant]) -> None:
        """Record the end of what a former process had granted and could not withdraw. Raises EvidenceFault."""
        for grant in left:
            ended = "the gateway ended without withdrawing it; grants end with it"
            await self._log.record(
                record.grant_ended(grant.session, grant.approval, grant.rule, "withdrawn", "gateway", ended)
            )

    async def withdraw(self, approval: ApprovalId, by: str, reason: str) -> Grant:
        """Take a grant back. Raises Refusal `not_found`, and EvidenceFault, after which it is gone all the same."""
        grant = self.get(approval)
        if grant is None:
            raise Refusal("not_found", "no such grant; it may be over already")
        await self._end(grant, "withdrawn", by, reason)
        return grant

    async def withdraw_from(self, meant: Callable[[Principal], bool], by: str, reason: str) -> None:
        """Take back every grant of the agents that are `meant`, all before anything is recorded. As `withdraw`."""
        known = (*self._grants.held.values(), *self._coming.values())
        ended = [each for each in known if meant(each.session.principal)]
        for grant in ended:
            self._drop(grant)
        for grant in ended:
            await self._record_end(grant, "withdrawn", by, reason)

    async def run(self) -> None:
        """Record each grant whose time is over, until cancelled."""
        while True:
            changed = self._changed
            due = min((each.expires for each in self._grants.held.values()), default=None)
            left = None if due is None else max(0.0, (due - self._clock.now()) / 1_000_000)
            with trio.move_on_after(math.inf if left is None else min(left, _LONGEST_SLEEP)):
                await changed.wait()
            for grant in self._grants.over(self._clock.now()):
                with contextlib.suppress(EvidenceFault):  # a broken log ends everything elsewhere
                    await self._end(grant, "expired", "gateway", "its time is over")

    async def _end(self, grant: Grant, how: str, by: str, reason: str) -> None:
        if self.get(grant.approval) is None:
            return  # somebody else ended it a moment ago
        self._drop(grant)
        await self._record_end(grant, how, by, reason)

    def _drop(self, grant: Grant) -> None:
        self._grants = self._grants.without(grant.approval)
        self._coming.pop(grant.approval, None)

    async def _record_end(self, grant: Grant, how: str, by: str, reason: str) -> None:
        rule = ", ".join(grant.rules) or "every rule of the connection"
        await self._log.record(record.grant_ended(grant.session, grant.approval, rule, how, by, reason))
        self._tell("grant.ended", grant)

    def _tell(self, event: str, grant: Grant) -> None:
        self._publish(event, grant.describe())
        changed, self._changed = self._changed, trio.Event()
        changed.set()
