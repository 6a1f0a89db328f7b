"""A worker: takes clients that reached the door, proves who they are, connects them, and runs their sessions.

Promises that every login, good or bad, is on disk before the client hears of it; that an unknown connection and a
forbidden one sound the same; and that no target is contacted for somebody who may not use it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import trio

from gateway.errors import ConfigurationFault, EvidenceFault, GatewayError, IssuerFault, LoginRefused, TargetFault
from gateway.identity.admission import Credential, thumbprint
from gateway.listener.arrival import Arrival, Refusal
from gateway.model import Connection, Principal, SessionId, SessionInfo
from gateway.pgwire.backend import error_response
from gateway.policy.startup import StartupPlan, check_startup
from gateway.target.connect import connect_target
from gateway.target.credentials import obtain
from gateway.worker.agent_session import AgentSession
from gateway.worker.desk import Desk
from gateway.worker.holding import Holding, HoldOptions
from gateway.worker.keeping import Keeping
from gateway.worker.reviewing import Reviewing
from gateway.worker.standing import Outage, Standing
from gateway.worker.supervision import Promise, Supervision
from gateway.worker.surroundings import Surroundings

_CONNECT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class HoldTimes:
    """`[approvals]`: durations in microseconds."""

    timeout: int
    in_transaction_timeout: int


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """`[identity] introspect_every` and `issuer_grace`, in microseconds."""

    every: int
    grace: int


class Worker:
    """Runs sessions. `handle`, `cancel` and `refused` are the listener's callbacks."""

    def __init__(
        self,
        around: Surroundings,
        supervision: Supervision,
        reviewing: Reviewing,
        connections: tuple[Connection, ...],
        times: HoldTimes,
        watching: WatchTimes,
        alarm: Callable[[str, str], None],
        keeping: Keeping,
        salt: bytes,
        marks_moved: Callable[[], None] = lambda: None,
        promise: Promise | None = None,
        elsewhere: Callable[[int, bytes], Awaitable[None]] | None = None,
    ) -> None:
        """`salt` is that of operation hashes.

        `promise` tells other workers of columns that receive marked values, `elsewhere` of a CancelRequest that names
        no session here.
        """
        self.around = around
        self._supervision, self._reviewing = supervision, reviewing
        self.desks: Mapping[str, Desk] = {
            each.name: Desk(each, around.clock, keeping, alarm, marks_moved) for each in connections
        }
        self._times, self._watching, self._alarm = times, watching, alarm
        self._outage = Outage(alarm)
        self._watches = trio.CancelScope()
        self._salt, self._promise, self._elsewhere = salt, promise, elsewhere or _nowhere

    async def handle(self, arrival: Arrival) -> None:
        """Log a client in and run its session."""
        principal: Principal | None = None
        place: int | None = None
        try:
            shown = thumbprint(arrival.certificate) if arrival.certificate is not None else None
            credential = await self._supervision.admit(arrival.token, arrival.client_address, shown)
            principal = credential.principal
            place = await self._supervision.enter(principal)
            session = await self._open(arrival, credential, place)
        except (LoginRefused, IssuerFault, TargetFault, ConfigurationFault) as fault:  # the last: a password is gone
            await self._turn_away(arrival, principal, fault)
            return
        except EvidenceFault:
            await arrival.stream.send_all(_fatal("58030", "hoop: the record cannot be written"))
            return
        else:
            await session.run()
        finally:
            if place is not None:
                self._supervision.leave(place)

    async def cancel(self, pid: int, key: bytes) -> None:
        """Take a CancelRequest; one that proves nothing is dropped without a word."""
        if not await self.cancel_here(pid, key):
            await self._elsewhere(pid, key)

    async def cancel_here(self, pid: int, key: bytes) -> bool:
        """Cancel what a session of this worker runs, if one is meant; say whether."""
        live = self.around.live.with_key(pid, key)
        if live is not None:
            await live.cancel()
        return live is not None

    async def refused(self, refusal: Refusal) -> None:
        """Record a client that was turned away at the door."""
        await self._supervision.turned_away(
            client_address=refusal.client_address, connection=refusal.database or "", reason=refusal.reason
        )

    async def watch(self) -> None:
        """Watch the catalog of every connection that an agent came by, until cancelled."""
        with self._watches:
            async with trio.open_nursery() as nursery:
                for desk in self.desks.values():
                    nursery.start_soon(desk.watch.run)

    async def close(self) -> None:
        """Close what the connections hold open, once nobody watches by it any more."""
        self._watches.cancel()
        for desk in self.desks.values():
            await desk.close()

    async def _open(self, arrival: Arrival, credential: Credential, place: int) -> AgentSession:
        if (broken := self.around.log.journal.broken) is not None:
            raise EvidenceFault(broken)  # no target is contacted for a session that could not be recorded
        principal = credential.principal
        desk = self.desks.get(arrival.database)
        if desk is None or not desk.connection.admits(principal):
            reason = "unknown connection" if desk is None else "not among the connection's agents"
            raise LoginRefused("hoop: this connection does not exist or is not open to you", "28000", reason)
        plan = check_startup(arrival.startup_parameters, desk.connection)
        connection = desk.connection
        secret = await obtain(connection.password) if connection.password else None
        await desk.ready()
        deadline = trio.current_time() + _CONNECT_SECONDS
        target = await connect_target(connection, plan.parameters, secret, deadline)
        try:
            info = self._info(arrival, principal, connection, target.role, target.pid)
            await self._supervision.logged_in(place, info)
            return AgentSession(
                self.around,
                arrival,
                info,
                desk.judge,
                target,
                _pinned(plan, target.parameters),
                self._standing(credential),
                partial(self._renew, place),
                lambda session: self._holding(session, desk, plan),
                marked=bool(connection.marks),
                waits=(plan.hold or connection.hold) == "wait",
                read_rows=desk.sampler.rows,
                carry=desk.carry,
                promise=None if self._promise is None else partial(self._promise, connection.name),
            )
        except BaseException:
            with trio.CancelScope(shield=True):
                await target.stream.aclose()
            raise

    def _standing(self, credential: Credential) -> Standing:
        every, grace = self._watching.every / 1_000_000, self._watching.grace / 1_000_000
        return Standing(self._supervision, credential, self._outage, every=every, grace=grace)

    async def _renew(self, place: int, session: AgentSession, token: str) -> tuple[SessionInfo, Credential]:
        """Return what a live session goes on with; either way it is on disk. Raises what `_turn_away` takes."""
        info, old = session.info, session.standing.credential
        try:
            credential = await self._renewed(info, old, token)
        except (LoginRefused, IssuerFault) as fault:
            reason = fault.reason if isinstance(fault, LoginRefused) else str(fault)
            await self._supervision.turned_away(
                client_address=info.client_address,
                connection=info.connection,
                reason=f"renewal: {reason}",
                subject=old.principal.subject,
                issuer=old.principal.issuer,
            )
            raise
        renewed = replace(info, principal=credential.principal)
        await self._supervision.logged_in(place, renewed, renewal=True)
        return renewed, credential

    async def _renewed(self, info: SessionInfo, old: Credential, token: str) -> Credential:
        credential = await self._supervision.renew(old, token, info.client_address)
        if not self.desks[info.connection].connection.admits(credential.principal):
            raise LoginRefused("the connection is not open to it", "28000", "not among the connection's agents")
        return credential

    def _holding(self, session: AgentSession, desk: Desk, plan: StartupPlan) -> Holding:
        hold = plan.hold or desk.connection.hold
        options = HoldOptions(
            timeout=self._times.timeout,
            in_transaction_timeout=self._times.in_transaction_timeout,
            waits=hold == "wait",
            search_path=desk.connection.search_path,
            salt=self._salt,
        )
        return Holding(
            session.session,
            session.info,
            self.around.log,
            self._reviewing,
            session.append,
            session.analyse_again,
            session.notify,
            session.standing.why_not,
            partial(desk.inquirer.impact, pid=session.info.target_pid),
            options,
            self.around.clock,
            self.around.entropy,
        )

    def _info(self, arrival: Arrival, principal: Principal, connection: Connection, role: str, pid: int) -> SessionInfo:
        return SessionInfo(
            id=SessionId(self.around.entropy.bytes(16).hex()),
            principal=principal,
            connection=connection.name,
            target=str(connection.target),
            client_address=arrival.client_address,
            user=arrival.user,
            application=arrival.startup_parameters.get("application_name", ""),
            started=self.around.clock.now(),
            target_role=role,
            target_pid=pid,
        )

    async def _turn_away(self, arrival: Arrival, principal: Principal | None, fault: GatewayError) -> None:
        """Record, then tell; the reason is for the record, the agent hears no more than it may know."""
        match fault:
            case LoginRefused():
                sqlstate, words, reason = fault.sqlstate, str(fault), fault.reason
            case IssuerFault():
                sqlstate, words, reason = "28000", "hoop: the identity issuer cannot be reached; try again", str(fault)
            case _:
                sqlstate, words, reason = "08001", "hoop: the target cannot be reached", str(fault)
        if not isinstance(fault, LoginRefused):
            self._alarm("login", reason)
        try:
            await self._supervision.turned_away(
                client_address=arrival.client_address,
                connection=arrival.database,
                reason=reason,
                subject=principal.subject if principal else None,
                issuer=principal.issuer if principal else None,
            )
        except EvidenceFault:
            sqlstate, words = "58030", "hoop: the record cannot be written"
        with trio.move_on_after(1):
            await arrival.stream.send_all(_fatal(sqlstate, words))
        await arrival.stream.part()


async def _nowhere(_pid: int, _key: bytes) -> None:
    """There is no other worker."""


def _fatal(sqlstate: str, words: str) -> bytes:
    return error_response(sqlstate, words, severity="FATAL")


def _pinned(plan: StartupPlan, reported: Mapping[str, str]) -> dict[str, str]:
    """The pins that the target reports changes of, with the values it reported at login."""
    free = "client_encoding" not in plan.pins  # only what access asks for holds then
    names = plan.pins.keys() & {"default_transaction_read_only"} if free else plan.pins.keys()
    return {name: reported[name] for name in names if name in reported}
