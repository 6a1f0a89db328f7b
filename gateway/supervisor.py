"""The supervisor: puts the gateway together, and starts and stops it in order.

Promises that nothing is served before the evidence is open and its start recorded; that a stop drains: the port
closes first, what is held is refused and said so, what runs may end, the rest is cut with a reason; and that every
part has an owner in the nursery. No CPU-heavy work happens here: DuckDB runs in processes of its own, and with more
than one worker so do sessions.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import trio

from gateway import __version__
from gateway.answering import Answering, archived_logs
from gateway.approval.ledger import Ledger
from gateway.approval.waiting import Approvals
from gateway.archiving import keep_archiving
from gateway.authority import Authority
from gateway.control.events import Events
from gateway.control.server import ControlServer, make_socket_directory
from gateway.doors import doors_of
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.listener.tls import server_context
from gateway.logs import Logs, configuration, open_logs
from gateway.model import Clock, Entropy, Json
from gateway.notify.opening import notifier_of
from gateway.people import People
from gateway.policy.rules import compile_rules
from gateway.settings import Settings
from gateway.witnessing import Witnessing, keepers_of
from gateway.worker.keeping import Keeping
from gateway.workforce.force import Workforce
from gateway.workforce.making import Parts, make_workforce

logger = logging.getLogger(__name__)

_WITNESS_SECONDS = 5.0
"""How long a stop waits for witnesses to see what was recorded up to it."""


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
        self.stop = trio.Event()
        self._resumed = trio.Event()
        self._workforce: Workforce | None = None

    async def run(self, on_ready: Callable[[Ready], None]) -> None:
        """Serve until `stop`; returns after everything was drained and recorded.

        Raises `ConfigurationFault` where something configured cannot be had, `EvidenceFault` where the evidence
        cannot be opened, `WorkerLost` where a worker's process does not stay up.
        """
        settings = self._settings
        postgres = settings.postgres
        self._tls = server_context(postgres.tls_cert, postgres.tls_key, postgres.client_ca)
        self._authority = Authority(settings, self._clock, self._entropy)
        Keeping(settings.gateway.state_dir, self._entropy)  # makes what workers only read
        self._people = People(settings, self._authority, self._clock, self._entropy)
        make_socket_directory(settings.gateway.control_socket)
        with open_logs(settings, self._clock, self._entropy, accept_loss=self._accept_loss) as logs:
            self._logs = logs
            keepers = keepers_of(settings, logs.control, DiskStorage())
            self._witnessing = Witnessing(keepers, logs.all, DiskStorage(), self._clock, self._alarm)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._witnessing.run)
                await self._serve(logs, nursery, on_ready)
                with trio.move_on_after(_WITNESS_SECONDS):
                    await self._witnessing.last()
                nursery.cancel_scope.cancel()

    async def _serve(self, logs: Logs, nursery: trio.Nursery, on_ready: Callable[[Ready], None]) -> None:
        settings = self._settings
        events = self._events = Events(self._clock)
        approvals = self._approvals = self._make_approvals(logs, nursery)
        nursery.start_soon(logs.control.run, self._control_resumed)
        for resting in logs.resting:
            nursery.start_soon(resting.run, lambda: None)
        nursery.start_soon(self._run_approvals)
        await approvals.end_left_over(logs.left)
        logins = self._people.logins(logs.control.record)
        workforce = self._workforce = self._make_workforce(logs)
        events.on_records = lambda watched: workforce.watched(records=watched)
        answering = Answering(
            settings, self._clock, self._started, logs, self._authority, approvals, logins, self._witnessing,
            workforce, lambda: self._bound,
        )  # fmt: skip
        await nursery.start(self._authority.serve, answering.is_ours, answering.logged_out)
        await nursery.start(workforce.run)
        archived, terms = archived_logs(logs, workforce), settings.evidence.retention.terms()
        nursery.start_soon(keep_archiving, settings.evidence_dir, archived, terms, self._reached)
        rules = {each.name: compile_rules(each).hash for each in settings.connections()}
        deciding = self._people.deciding(approvals, logins, rules.__getitem__)
        control = ControlServer(
            settings.gateway.control_socket,
            answering,
            approvals,
            events,
            gateway=settings.gateway.name,
            version=__version__,
            operators=settings.operators(),
            development=settings.identity.development,
            logins=logins,
            deciding=deciding,
            clock=self._clock,
        )
        await nursery.start(control.serve)
        async with trio.open_nursery() as serving:
            host, port = await serving.start(workforce.serve)
            self._bound = f"{host}:{port}"
            on_ready(Ready(host, port, self._authority.issuer_url))
            await self.stop.wait()
            workforce.stop()

    def _make_approvals(self, logs: Logs, nursery: trio.Nursery) -> Approvals:
        settings, events = self._settings, self._events
        notifier = notifier_of(settings, self._clock, self._alarm)
        if notifier is not None:
            nursery.start_soon(notifier.run)
        publish = events.publish if notifier is None else notifier.beside(events.publish)

        def told(event: str, data: Mapping[str, Json]) -> None:
            publish(event, data)
            if self._workforce is not None:
                self._workforce.usable()

        return Approvals(
            Ledger(terms=settings.approvals.terms()),
            logs.control,
            self._clock,
            told,
            linger=settings.approvals.linger,
            objection=self._people.objection,
        )

    def _make_workforce(self, logs: Logs) -> Workforce:
        parts = Parts(
            settings=self._settings,
            clock=self._clock,
            entropy=self._entropy,
            logs=logs,
            admission=self._authority.admission,
            approvals=self._approvals,
            events=self._events,
            seen=self._people.agents.add,
            alarm=self._alarm,
            marks_moved=self._marks_moved,
            refuse=self._refuse,
            issuer=self._authority.issuer_url,
            accept_loss=self._accept_loss,
        )
        return make_workforce(parts, doors_of(self._settings, self._tls, self._authority.issuer_url))

    def _marks_moved(self) -> None:
        """Columns received values of marked ones: what is marked from now on stands in a record of its own."""
        self._logs.control.append(configuration(self._settings))

    def _reached(self) -> dict[str, int] | None:
        """Return by log how many records were seen outside; None where nobody is configured to look."""
        mine = self._witnessing.reached()
        return None if mine is None or self._workforce is None else {**mine, **self._workforce.reached()}

    async def _refuse(self) -> None:
        """Refuse what is held, since the gateway stops."""
        with contextlib.suppress(EvidenceFault):
            await self._approvals.close("the gateway is stopping")

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

    def _alarm(self, name: str, detail: str) -> None:
        logger.warning("%s: %s", name, detail)
        with contextlib.suppress(EvidenceFault):  # a broken journal refuses whoever caused the alarm, too
            self._logs.control.append(record.alarm(None, None, name, detail))
