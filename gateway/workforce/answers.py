"""The supervisor's answers to one worker in another process.

Promises that a worker has nothing decided but by the one ledger, one kill list and one count of places, that it can
record logins, alarms and witnesses' words in the control log and nothing else, and that what it held dies with it:
holds are cancelled, approvals that were not used up are given up, places are free again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.approval.waiting import Approvals
from gateway.errors import EvidenceFault, OurBug
from gateway.evidence import record
from gateway.evidence.commit import Log
from gateway.identity.admission import Admission
from gateway.model import ApprovalId, Decision, DecisionKind, Draft, HoldRequest, Json, SessionInfo
from gateway.pipeline import HoldEnds
from gateway.worker.supervision import Places
from gateway.workforce.messages import (
    Abandoned,
    Admit,
    Alarm,
    Asked,
    CancelKey,
    Carry,
    CatalogChanged,
    Claim,
    Claimed,
    Closed,
    Decided,
    Done,
    EndHold,
    Enter,
    Executed,
    Granting,
    GrantNow,
    Held,
    Left,
    LoggedIn,
    Objection,
    Open,
    Opened,
    Published,
    Renewing,
    Skipped,
    Stands,
    TurnedAway,
    Weighed,
    WitnessSaid,
    Words,
)


@dataclass(frozen=True, slots=True)
class Bureau:
    """What the supervisor answers by: the same for all workers."""

    admission: Admission
    approvals: Approvals
    control: Log
    places: Places
    seen: Callable[[str], None]
    """Remembers a subject as an agent's, on disk."""
    alarm: Callable[[str, str], None]
    publish: Callable[[str, dict[str, Json]], None]
    skip: Callable[[int, bool], None]


class Others(Protocol):
    """The other workers, as far as a question of one concerns them."""

    async def carry(self, asked: Carry) -> None:
        """Have columns marked in every worker. Raises `TargetFault`, `EvidenceFault`."""

    async def cancel(self, asked: CancelKey, but: object) -> None:
        """Have the session cancelled that the key names, in whatever worker but that one."""

    def changed(self, told: CatalogChanged, but: object) -> None:
        """Tell every worker but that one that definitions changed."""


class Answers:
    """What one worker process has of the supervisor, from its start to its end."""

    def __init__(self, bureau: Bureau, others: Others) -> None:
        self._bureau, self._others = bureau, others
        self._coming: set[int] = set()
        self._places: dict[int, int] = {}
        self.infos: dict[int, SessionInfo] = {}
        """Who logged in, by the worker's own number of the place."""
        self.handed = 0
        """Clients that were handed over and are still there."""
        self._ends: dict[int, HoldEnds] = {}
        self._used: set[ApprovalId] = set()
        self._shown: dict[str, dict[str, Json]] = {}

    def arrived(self, message: object, number: int) -> None:
        """A question came, which may be taken back before its answer is begun."""
        match message:
            case Held():
                self._ends[number] = HoldEnds()
            case Enter(place):
                self._coming.add(place)

    async def answer(self, message: object, number: int) -> object:
        """Answer a question of the worker's. Raises what its stages know."""
        bureau = self._bureau
        match message:
            case Held(request):
                return Decided(self._remember(await self._hold(request, number)))
            case Claim(operation_hash, principal):
                claimed = bureau.approvals.claim(operation_hash, principal)
                return Claimed(None if claimed is None else self._remember(claimed))
            case Asked(request):
                found = await bureau.approvals.ask(request)
                return Open(found.id, found.expires)
            case Objection(approval):
                return Words(bureau.approvals.objection(approval))
            case GrantNow(principal, connection, rules):
                return Granting(bureau.approvals.granted(principal, connection, rules))
            case Admit(token, address, certificate):
                return await bureau.admission.admit(token, address, certificate)
            case Renewing(old, token, address):
                return await bureau.admission.renew(old, token, address)
            case _:
                await self._do(message)
                return Done()

    async def _do(self, message: object) -> None:
        bureau = self._bureau
        match message:
            case Stands(credential, max_age):
                await bureau.admission.stands(credential, max_age)
            case Enter(place, principal):
                if place in self._coming:  # else it was given up meanwhile
                    self._coming.discard(place)
                    self._places[place] = bureau.places.enter(principal)
            case LoggedIn(place, info, renewal):
                await self._logged_in(place, info, renewal=renewal)
            case TurnedAway(address, connection, reason, subject, issuer):
                draft = record.login_refused(
                    client_address=address, connection=connection, reason=reason, subject=subject, issuer=issuer
                )
                await bureau.control.record(draft)
            case Opened(approval):
                await bureau.approvals.opened(approval)
            case WitnessSaid(fields):
                await bureau.control.record(Draft("witness", fields=fields))  # type: ignore[arg-type]  # our own JSON
            case Carry():
                await self._others.carry(message)
            case CancelKey():
                await self._others.cancel(message, self)
            case _:
                raise OurBug(f"not a question: {type(message).__name__}")

    def told(self, message: object) -> None:
        """Take what is merely told."""
        bureau = self._bureau
        match message:
            case Left(place):
                self._leave(place)
            case Closed():
                self.handed -= 1
            case EndHold(of, gone) if of in self._ends:
                (self._ends[of].gone if gone else self._ends[of].cancelled).set()
            case Weighed(approval, impact):
                bureau.approvals.weigh(approval, impact)
            case Executed(approval, operation_hash, outcome, rows, duration_us):
                self._used.discard(approval)
                with contextlib.suppress(EvidenceFault):  # whoever must know of a broken log does
                    bureau.approvals.executed(approval, operation_hash, outcome, rows, duration_us)
            case Abandoned(approval, why):
                self._abandon(approval, why)
            case Alarm(name, detail):
                bureau.alarm(name, detail)
            case Published(event, dict(data)):
                self._publish(event, data)
            case Skipped(count, unwatched):
                bureau.skip(count, unwatched)
            case CatalogChanged():
                self._others.changed(message, self)

    def gone(self, why: str) -> None:
        """The worker is gone: nothing of it is left. What it held was cancelled with its questions."""
        for approval in tuple(self._used):
            self._abandon(approval, f"{why} before the result was known")
        for place in tuple(self._places):
            self._leave(place)
        for shown in tuple(self._shown.values()):
            self._publish("session.closed", {**shown, "reason": why})
        self.handed = 0

    async def _hold(self, request: HoldRequest, number: int) -> Decision:
        ends = self._ends[number]
        try:
            return await self._bureau.approvals.hold(request, ends.cancelled, ends.gone)
        finally:
            del self._ends[number]

    def _remember(self, decision: Decision) -> Decision:
        if decision.kind is DecisionKind.APPROVED:
            self._used.add(decision.approval)
        return decision

    def _abandon(self, approval: ApprovalId, why: str) -> None:
        self._used.discard(approval)
        with contextlib.suppress(EvidenceFault):
            self._bureau.approvals.abandoned(approval, why)

    async def _logged_in(self, place: int, info: SessionInfo, *, renewal: bool) -> None:
        if place not in self._places:
            raise OurBug("a login without a place")
        if not renewal:
            self._bureau.seen(info.principal.subject)
        await self._bureau.control.record(record.login(info, renewal=renewal))
        if place in self._places:  # else it left meanwhile
            self.infos[place] = info

    def _leave(self, place: int) -> None:
        self._coming.discard(place)
        self.infos.pop(place, None)
        if place in self._places:
            self._bureau.places.leave(self._places.pop(place))

    def _publish(self, event: str, data: dict[str, Json]) -> None:
        if event == "session.opened":
            self._shown[str(data.get("id"))] = data
        elif event == "session.closed":
            self._shown.pop(str(data.get("id")), None)
        self._bureau.publish(event, data)
