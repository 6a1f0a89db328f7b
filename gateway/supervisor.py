"""The supervisor: puts the gateway together, starts and stops it in order, and answers for it on the control socket.

Promises that nothing is served before the evidence is open and its start recorded; that a stop drains: the port
closes first, what is held is refused and said so, what runs may end, the rest is cut with a reason; and that every
part has an owner in the nursery. No CPU-heavy work happens here: DuckDB runs in processes of its own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import trio

from gateway import __version__
from gateway.approval.ledger import Approval, Ledger
from gateway.approval.waiting import Approvals
from gateway.archiving import archive_once, keep_archiving
from gateway.authority import Authority
from gateway.control.events import Events
from gateway.control.messages import Refusal
from gateway.control.server import ControlServer, make_socket_directory
from gateway.doors import open_doors
from gateway.errors import EvidenceFault, GatewayError
from gateway.evidence import record
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.identity.claims import Logout
from gateway.identity.kill_list import KillListFault, Strike, Struck
from gateway.listener.tls import server_context
from gateway.logs import Logs, configuration, open_logs
from gateway.model import Clock, Entropy, Json, Micros, SessionId, format_time
from gateway.notify.opening import notifier_of
from gateway.people import People
from gateway.pgwire.actions import Limits
from gateway.settings import Settings
from gateway.witnessing import Witnessing, keepers_of
from gateway.worker.agent_session import Surroundings
from gateway.worker.keeping import Keeping
from gateway.worker.live import LiveSession, LiveSessions
from gateway.worker.reactor import Reactor
from gateway.worker.sealing import SealingTerms
from gateway.worker.worker import HoldTimes, WatchTimes, Worker

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 10.0
_WITNESS_SECONDS = 5.0
"""How long a stop waits for witnesses to see what was recorded up to it."""
_READ_SECONDS = 30.0
_LOGOUT_REMEMBERED = 24 * 3600 * 1_000_000
"""How long a back-channel logout is remembered: longer than any access token of such a session should last."""
_READ_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Ready:
    """What a started gateway tells whoever started it."""

    host: str
    port: int
    issuer: str


class Supervisor:
    """One gateway. `run` serves until `stop` is set."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        *,
        accept_loss: bool = False,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()
        self._accept_loss = accept_loss
        self._started = self._clock.now()
        self._bound = ""
        self.live = LiveSessions()
        self.stop = trio.Event()
        self._resumed = trio.Event()

    async def run(self, on_ready: Callable[[Ready], None]) -> None:
        """Serve until `stop`; returns after everything was drained and recorded.

        Raises `ConfigurationFault` where something configured cannot be had, `EvidenceFault` where the evidence
        cannot be opened.
        """
        settings = self._settings
        postgres = settings.postgres
        tls = server_context(postgres.tls_cert, postgres.tls_key, postgres.client_ca)
        self._authority = Authority(settings, self._clock, self._entropy)
        self._keeping = Keeping(settings.gateway.state_dir, self._entropy)
        self._people = People(settings, self._authority, self._clock, self._entropy)
        make_socket_directory(settings.gateway.control_socket)
        accept_loss = self._accept_loss
        with open_logs(settings, self._clock, self._entropy, accept_loss=accept_loss) as logs:
            self._logs = logs
            keepers = keepers_of(settings, logs.control, DiskStorage())
            self._witnessing = Witnessing(keepers, logs.both, DiskStorage(), self._clock, self._alarm)
            async with trio.open_nursery() as nursery:
                terms, reached = settings.evidence.retention.terms(), self._witnessing.reached
                nursery.start_soon(keep_archiving, settings.evidence_dir, logs.both, terms, reached)
                nursery.start_soon(self._witnessing.run)
                await self._serve(logs, nursery, tls, on_ready)
                with trio.move_on_after(_WITNESS_SECONDS):
                    await self._witnessing.last()
                nursery.cancel_scope.cancel()

    def _marks_moved(self) -> None:
        """Columns received values of marked ones: what is marked from now on stands in a record of its own."""
        self._logs.control.append(configuration(self._settings))

    async def _serve(
        self, logs: Logs, nursery: trio.Nursery, tls: ssl.SSLContext, on_ready: Callable[[Ready], None]
    ) -> None:
        settings = self._settings
        events = Events(self._clock)
        self._events = events
        notifier = notifier_of(settings, self._clock, self._alarm)
        if notifier is not None:
            nursery.start_soon(notifier.run)
        publish = events.publish if notifier is None else notifier.beside(events.publish)
        approvals = Approvals(
            Ledger(terms=settings.approvals.terms()),
            logs.control,
            self._clock,
            publish,
            linger=settings.approvals.linger,
            objection=self._people.objection,
        )
        self._approvals = approvals
        nursery.start_soon(logs.control.run, self._control_resumed)
        nursery.start_soon(self._run_approvals)
        await approvals.end_left_over(logs.left)
        self._logins = self._people.logins(logs.control.record)
        await nursery.start(self._authority.serve, self._is_ours, self._logged_out)
        reactor = self._reactor = Reactor(logs.worker.now, settings.limits.buffered)
        nursery.start_soon(reactor.run)
        worker = self._worker_of = self._worker(logs, approvals, events, reactor)
        nursery.start_soon(logs.worker.run, self._worker_resumed)
        nursery.start_soon(worker.watch)
        control = self._control(approvals, events, worker)
        await nursery.start(control.serve)
        try:
            async with trio.open_nursery() as sessions:
                listening = trio.CancelScope()
                doors = (settings, tls, self._authority.issuer_url, worker, sessions, listening)
                host, port = await nursery.start(open_doors, *doors)
                self._bound = f"{host}:{port}"
                on_ready(Ready(host, port, self._authority.issuer_url))
                await self.stop.wait()
                logger.info("stopping: %d sessions", len(self.live))
                listening.cancel()
                await self._drain(sessions)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(_DRAIN_SECONDS):
                await worker.close()

    async def _drain(self, sessions: trio.Nursery) -> None:
        """Refuse what is held, let what runs end, cut the rest; nobody is waited for longer than the drain time."""
        with trio.move_on_after(_DRAIN_SECONDS):
            with contextlib.suppress(EvidenceFault):
                await self._approvals.close("the gateway is stopping")
            async with trio.open_nursery() as cutting:
                for live in self.live:
                    cutting.start_soon(_part, live)
        sessions.cancel_scope.deadline = trio.current_time() + _DRAIN_SECONDS

    async def _run_approvals(self) -> None:
        while True:
            try:
                await self._approvals.run()
            except EvidenceFault as fault:
                logger.error("approvals stopped: %s", fault)  # noqa: TRY400  no traceback for a full disk
            await self._resumed.wait()
            self._resumed = trio.Event()

    def _control_resumed(self) -> None:
        with contextlib.suppress(EvidenceFault):  # it broke again at once: there will be another time
            self._approvals.resume(self._logs.left)
        self._resumed.set()

    def _worker_resumed(self) -> None:
        """Sessions that begin from now on record in the new journal; those before it are over."""
        self._reactor.adopt(self._logs.worker.now)
        self._worker_of.around = replace(self._worker_of.around, log=self._logs.worker.now)

    def _worker(self, logs: Logs, approvals: Approvals, events: Events, reactor: Reactor) -> Worker:
        settings = self._settings
        around = Surroundings(
            log=logs.worker.now,
            live=self.live,
            publish=events.publish,
            clock=self._clock,
            entropy=self._entropy,
            limits=Limits(
                statement=settings.limits.statement,
                message=settings.limits.message,
                payload=settings.evidence.payload_limit,
                sampled=settings.approvals.effect_rows,
                originals=settings.evidence.originals_kept,
            ),
            reactor=reactor,
            share=settings.limits.connections_per_subject,
            results_wait=settings.evidence.results == "durable",
            sealing=SealingTerms(settings.evidence.recipients, settings.evidence.literals == "seal"),
        )
        times = HoldTimes(settings.approvals.timeout, settings.approvals.in_transaction_timeout)
        watching = WatchTimes(settings.identity.introspect_every, settings.identity.issuer_grace)
        admission = self._authority.admission
        return Worker(
            around,
            logs.control,
            admission,
            approvals,
            settings.connections(),
            times,
            watching,
            self._alarm,
            self._keeping,
            self._marks_moved,
            self._people.agents.add,
        )

    def _control(self, approvals: Approvals, events: Events, worker: Worker) -> ControlServer:
        settings = self._settings
        deciding = self._people.deciding(approvals, self._logins, lambda name: worker.desks[name].rules.hash)
        return ControlServer(
            settings.gateway.control_socket,
            self,
            approvals,
            events,
            gateway=settings.gateway.name,
            version=__version__,
            operators=settings.operators(),
            development=settings.identity.development,
            logins=self._logins,
            deciding=deciding,
            clock=self._clock,
        )

    def _alarm(self, name: str, detail: str) -> None:
        logger.warning("%s: %s", name, detail)
        with contextlib.suppress(EvidenceFault):  # a broken journal refuses whoever caused the alarm, too
            self._logs.control.append(record.alarm(None, None, name, detail))

    # --- what the control socket asks ----------------------------------------------------------------------------

    async def status(self) -> dict[str, Json]:
        """See `gateway.control.methods.ControlBackend`."""
        both = self._logs.both
        broken = next((log.journal.broken for log in both if log.journal.broken is not None), None)
        refused = self._witnessing.fault
        return {
            "healthy": broken is None and refused is None,
            "forwarding": broken is None,
            "fault": broken or refused,
            "gateway": self._settings.gateway.name,
            "version": __version__,
            "started": format_time(self._started),
            "listen": self._bound,
            "development": self._settings.identity.development,
            "sessions": len(self.live),
            "pending": len(self._approvals.pending()),
            "grants": len(self._approvals.grants()),
            "break_glass": self._approvals.broken_glass(),
            "connections": [each.name for each in self._settings.connections()],
            "catalogs": [desk.describe() for desk in self._worker_of.desks.values()],
            "evidence": {log.log: self._witnessing.head(log) for log in both},
            "witnesses": self._witnessing.describe(),
        }

    async def sessions(self) -> list[dict[str, Json]]:
        """See `gateway.control.methods.ControlBackend`."""
        return [live.describe() for live in self.live]

    async def kill(self, session: SessionId, by: str, reason: str) -> None:
        """See `gateway.control.methods.ControlBackend`."""
        live = self.live.get(session)
        if live is None:
            raise Refusal("not_found", "no such live session")
        await self._logs.control.record(record.kill(live.info, by, reason))
        await live.cut(f"hoop: the session was cut: killed by an operator: {reason}", "killed")

    async def kill_list(self) -> list[dict[str, Json]]:
        """See `gateway.control.methods.ControlBackend`."""
        return [_shown_strike(each) for each in self._authority.kill_list.entries()]

    async def strike(self, kind: Struck, value: str, by: str, reason: str) -> int:
        """See `gateway.control.methods.ControlBackend`."""
        return await self._strike(Strike(kind, value, by, reason, self._clock.now()))

    async def unstrike(self, kind: Struck, value: str, by: str, reason: str) -> None:
        """See `gateway.control.methods.ControlBackend`."""
        # Recorded first: whoever is let in again is so by an order that is on disk.
        await self._logs.control.record(record.struck(by, f"{kind}:{value} removed", reason))
        if not self._authority.kill_list.remove(kind, value):
            raise Refusal("not_found", "the kill list has no such entry")

    async def _strike(self, strike: Strike) -> int:
        """Keep somebody out from now on, and cut the live sessions that this means; returns how many.

        In this order, so that nothing that fails leaves a session alive: memory, sessions, and only then faults.
        """
        faults: list[GatewayError] = []
        try:
            self._authority.kill_list.strike(strike)
        except KillListFault as fault:
            faults.append(fault)
        self._logins.strike(lambda person: strike.meets(person.principal()))
        meant = [live for live in self.live if strike.meets(live.info.principal)]
        words = f"hoop: the session was cut: revoked by {strike.by}: {strike.reason}"
        async with trio.open_nursery() as cutting:
            for live in meant:
                cutting.start_soon(live.cut, words, "revoked")
            try:
                what = f"{strike.kind}:{strike.value}"
                await self._approvals.withdraw_from(strike.meets, strike.by, strike.reason)
                await self._logs.control.record(record.struck(strike.by, what, strike.reason))
                for live in meant:
                    await self._logs.control.record(record.kill(live.info, strike.by, strike.reason))
            except EvidenceFault as fault:
                faults.append(fault)
        for each in faults:
            raise each
        return len(meant)

    def _is_ours(self, client: str) -> bool:
        """Whether a back-channel logout to `client` concerns us: it is the gateway's, or a live session's own."""
        identity = self._settings.identity
        return client in {identity.client_id, identity.audience} or any(
            live.info.principal.client == client for live in self.live
        )

    async def _logged_out(self, logout: Logout) -> None:
        """The issuer ended a session of its own, or all of a subject's: their tokens up to then are worth nothing."""
        kind: Struck = "issuer-session" if logout.session is not None else "subject"
        value = logout.session or logout.subject or ""
        now = self._clock.now()
        until = Micros(now + _LOGOUT_REMEMBERED)
        await self._strike(Strike(kind, value, "issuer", "logged out at the issuer", now, until, logout.issued))

    async def accessed(self, by: str, what: str, reason: str) -> int:
        """See `gateway.control.methods.ControlBackend`."""
        recorded = await self._logs.control.record(record.access(by, what, reason))
        for log in (self._logs.control, self._logs.worker):  # what is about to be exported is signed up to here
            await trio.to_thread.run_sync(log.journal.checkpoint)
        return recorded.ticket.seq

    async def archived(self, log: str) -> None:
        """See `gateway.control.methods.ControlBackend`."""
        logs = (self._logs.control, self._logs.worker)
        meant = next((each for each in logs if each.log == log), None)
        if meant is None:
            raise Refusal("not_found", "this gateway writes no such log")
        await meant.now.rotate()
        await archive_once(self._settings.evidence_dir, logs)

    async def erased(self, records: list[str], basis: str, by: str, files: list[tuple[str, str, str]]) -> int:
        """See `gateway.control.methods.ControlBackend`."""
        log = self._logs.control
        recorded = await log.record(record.erasure(records, basis, by, files))
        await trio.to_thread.run_sync(log.journal.checkpoint)
        return recorded.ticket.seq

    async def history(self, approval: Approval) -> Json:
        """See `gateway.control.methods.ControlBackend`."""
        request = approval.request
        principal, now = request.session.principal, format_time(self._clock.now())
        asked: dict[str, Json] = {"subject": principal.subject, "issuer": principal.issuer, "before": now}
        return await self._read({"method": "history", "approval": approval.id, "statement": request.statement, **asked})

    async def replay_sessions(self, limit: int, before: str | None) -> Json:
        """See `gateway.control.methods.ControlBackend`."""
        return await self._read({"method": "sessions", "limit": limit, "before": before})

    async def replay_transcript(self, session: SessionId, after_seq: int | None, limit: int) -> Json:
        """See `gateway.control.methods.ControlBackend`."""
        return await self._read({"method": "transcript", "session_id": session, "after_seq": after_seq, "limit": limit})

    async def _read(self, request: dict[str, Json]) -> Json:
        """Ask the reader, a process of its own."""
        command = [sys.executable, "-P", "-m", "gateway.evidence.reader", str(self._settings.evidence_dir)]
        with trio.move_on_after(_READ_SECONDS) as scope:
            done = await trio.run_process(
                command, stdin=json.dumps(request).encode(), capture_stdout=True, capture_stderr=True, check=False
            )
        if scope.cancelled_caught or done.returncode != 0 or len(done.stdout) > _READ_BYTES:
            raise Refusal("unavailable", "the evidence could not be read; `hoop-gateway evidence verify` may say why")
        answer: Json = json.loads(done.stdout)
        return answer


async def _part(live: LiveSession) -> None:
    with trio.move_on_after(_DRAIN_SECONDS / 2):
        await live.settle()
    await live.cut("hoop: the session was cut: the gateway is draining", "draining")


def _shown_strike(strike: Strike) -> dict[str, Json]:
    """An entry of the kill list as the control socket shows it."""
    return {
        "kind": strike.kind,
        "value": strike.value,
        "by": strike.by,
        "reason": strike.reason,
        "at": format_time(strike.at),
        "until": None if strike.until is None else format_time(strike.until),
        "issued_before": None if strike.issued_before is None else format_time(strike.issued_before),
    }
