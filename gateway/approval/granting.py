"""Grants at work (Trio): on disk before they count, gone before their end is on disk.

Promises that a grant counts only after its record is durable, that a withdrawn one lets nothing through from the moment
of the call, and that one whose time is over is recorded so. They live in memory: a gateway that restarts has none.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import trio

from gateway.approval.events import Approval
from gateway.approval.grants import MAX_GRANTS, RULE, Grant, Grants
from gateway.approval.people import Leave
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
        self._changed = trio.Event()

    def covering(self, principal: Principal, connection: str, rules: tuple[str, ...]) -> Grant | None:
        """Return the grant that lets a statement through which `rules` would hold, None without."""
        return self._grants.covering(principal, connection, rules, self._clock.now())

    def held(self) -> tuple[Grant, ...]:
        """Return what is in force, the soonest to end first."""
        now = self._clock.now()
        found = (each for each in self._grants.held.values() if each.expires > now)
        return tuple(sorted(found, key=lambda each: (each.expires, each.approval)))

    async def give(self, decided: Approval, leave: Leave, quote: Quote) -> Grant:
        """Put a grant in force, once its record is on disk. Raises Refusal where there are too many, EvidenceFault."""
        if len(self._grants.held) >= MAX_GRANTS:
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
        )
        place = (quote.log, quote.seq, quote.chain)
        rule = ", ".join(grant.rules) or request.rule
        await self._log.record(
            record.grant(
                grant.session, grant.approval, rule, format_time(grant.expires), place, by=grant.by, scope=leave.scope
            )
        )
        self._grants = self._grants.given(grant)
        self._tell("grant.given", grant)
        return grant

    async def withdraw(self, approval: ApprovalId, by: str, reason: str) -> Grant:
        """Take a grant back. Raises Refusal `not_found`, and EvidenceFault, after which it is gone all the same."""
        grant = self._grants.held.get(approval)
        if grant is None:
            raise Refusal("not_found", "no such grant; it may be over already")
        await self._end(grant, "withdrawn", by, reason)
        return grant

    async def withdraw_from(self, meant: Callable[[Principal], bool], by: str, reason: str) -> None:
        """Take back every grant of the agents that are `meant`, all before anything is recorded. As `withdraw`."""
        ended = [each for each in self._grants.held.values() if meant(each.session.principal)]
        for grant in ended:
            self._grants = self._grants.without(grant.approval)
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
        if grant.approval not in self._grants.held:
            return  # somebody else ended it a moment ago
        self._grants = self._grants.without(grant.approval)
        await self._record_end(grant, how, by, reason)

    async def _record_end(self, grant: Grant, how: str, by: str, reason: str) -> None:
        rule = ", ".join(grant.rules) or "every rule of the connection"
        await self._log.record(record.grant_ended(grant.session, grant.approval, rule, how, by, reason))
        self._tell("grant.ended", grant)

    def _tell(self, event: str, grant: Grant) -> None:
        self._publish(event, grant.describe())
        changed, self._changed = self._changed, trio.Event()
        changed.set()
