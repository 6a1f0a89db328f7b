"""A worker in a process of its own: `python -P -m gateway.workforce.process LINE DOORS`, as the supervisor starts it.

The two arguments are numbers of inherited sockets: the line to the supervisor, and the one by which clients are handed
over. Promises its own log, open and with its start on disk before it says so; that it ends its sessions and itself once
the supervisor is gone; and that signals leave it alone: the supervisor says when it stops.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import trio

from gateway.doors import doors_of, worker_doors
from gateway.errors import EvidenceFault, GatewayError
from gateway.evidence.lasting import LastingLog
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.listener.stream import PlainStream
from gateway.listener.tls import server_context
from gateway.logs import close_log, open_log
from gateway.settings import Settings, load
from gateway.witnessing import Witnessing, keepers_of
from gateway.worker.live import LiveSessions
from gateway.worker.reactor import Reactor
from gateway.worker.worker import Worker
from gateway.workforce.alone import drain
from gateway.workforce.building import Ties, build_worker
from gateway.workforce.channel import Channel
from gateway.workforce.duties import Duties
from gateway.workforce.handing import receive_clients
from gateway.workforce.messages import TO_WORKER, Alarm, Begin, CatalogChanged, Closed, Done
from gateway.workforce.reviewers import Reviewers
from gateway.workforce.supervised import Supervised
from gateway.workforce.told import Telling, WitnessRecords

logger = logging.getLogger(__name__)

_YOUNG = 10_000
"""As in `gateway.serving`."""
_WITNESS_SECONDS = 5.0
_GONE_SECONDS = 2.0
"""How long sessions have to end once the supervisor is gone."""


class WorkerProcess:
    """One worker, from its first message to its end."""

    def __init__(self, line: socket.socket, handed: socket.socket) -> None:
        self._clock, self._entropy = SystemClock(), SystemEntropy()
        self._channel = Channel(line, TO_WORKER, self._answer, self._told)
        self._handed = handed
        self._begin: Begin | None = None
        self._begun, self._open, self._over = trio.Event(), trio.Event(), trio.Event()
        self.fault: GatewayError | None = None
        self._duties: Duties | None = None

    async def run(self) -> None:
        """Serve until drained, or the supervisor is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speak)
            await self._begun.wait()
            try:
                if self._begin is not None:
                    await self._work(self._begin)
            except* GatewayError as group:
                self.fault = _first(group)
                self._open.set()
            finally:
                self._over.set()
            with trio.move_on_after(_WITNESS_SECONDS):  # until the answers are out, and the line is closed
                await self._channel.severed.wait()
            nursery.cancel_scope.cancel()

    async def _speak(self) -> None:
        await self._channel.run()
        self._begun.set()
        if self._duties is not None:
            self._left_alone(self._duties)

    def _left_alone(self, duties: Duties) -> None:
        """End: nobody is there any more who could decide, or let anybody in."""
        duties.seconds = _GONE_SECONDS
        duties.draining.set()

    async def _answer(self, message: object, _number: int) -> object:
        """Answer the supervisor; the first message is `Begin`."""
        if isinstance(message, Begin):
            self._begin = message
            self._begun.set()
            await self._open.wait()
            if self.fault is not None:
                raise self.fault
            return Done()
        if self._duties is None:
            raise EvidenceFault("the worker's log is not open")
        return await self._duties.answer(message)

    def _told(self, message: object) -> None:
        if self._duties is not None:
            self._duties.told(message)

    async def _work(self, begin: Begin) -> None:
        settings = load(Path(begin.config), content=begin.text)
        clock, entropy, loss = self._clock, self._entropy, begin.accept_loss
        log = LastingLog(lambda resumed: open_log(settings, begin.place, clock, entropy, resumed, accept_loss=loss))
        try:
            await self._serve(settings, begin, log)
        finally:
            close_log(log.journal, "stopped")

    async def _serve(self, settings: Settings, begin: Begin, log: LastingLog) -> None:
        live, reactor = LiveSessions(), Reactor(log.now, settings.limits.buffered)
        telling, reviewers = Telling(self._channel), Reviewers(self._channel, self._clock)
        worker = self._worker(settings, begin, log, live, reactor, telling, reviewers)
        storage = DiskStorage()
        keepers = keepers_of(settings, WitnessRecords(self._channel), storage)
        witnessing = Witnessing(keepers, [log], storage, self._clock, self._alarm)
        duties = self._duties = Duties(worker, log, live, witnessing, telling, reviewers, self._over)
        if self._channel.severed.is_set():
            self._left_alone(duties)  # while the log was opened

        def resumed() -> None:
            """Sessions that begin from now on record in the new journal; those before it are over."""
            reactor.adopt(log.now)
            worker.around = replace(worker.around, log=log.now)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            nursery.start_soon(log.run, resumed)
            nursery.start_soon(worker.watch)
            nursery.start_soon(witnessing.run)
            try:
                await self._attend(settings, begin, worker, duties)
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(duties.seconds):
                    await worker.close()
            with trio.move_on_after(_WITNESS_SECONDS):
                await witnessing.last()
            nursery.cancel_scope.cancel()

    def _worker(
        self,
        settings: Settings,
        begin: Begin,
        log: LastingLog,
        live: LiveSessions,
        reactor: Reactor,
        telling: Telling,
        reviewers: Reviewers,
    ) -> Worker:
        supervised = Supervised(self._channel)
        ties = Ties(
            supervised,
            reviewers,
            telling.publish,
            self._alarm,
            begin.salt,
            promise=supervised.promise,
            changed=lambda connection: self._channel.tell(CatalogChanged(connection)),
            elsewhere=supervised.cancel,
            heard=telling.heard,
        )
        return build_worker(settings, log.now, live, reactor, self._clock, self._entropy, ties)

    async def _attend(self, settings: Settings, begin: Begin, worker: Worker, duties: Duties) -> None:
        """Serve who is handed over until it is time to drain."""
        postgres = settings.postgres
        tls = server_context(postgres.tls_cert, postgres.tls_key, postgres.client_ca)
        doors = worker_doors(doors_of(settings, tls, begin.issuer), worker)

        async def attend(place: int, client: socket.socket, address: tuple[str, int]) -> None:
            try:
                await doors[place].attend(PlainStream(client), address)
            finally:
                self._channel.tell(Closed())

        def lost() -> None:
            self._channel.tell(Closed())
            doors[0].doorstep.make_room()

        async with trio.open_nursery() as sessions:
            async with trio.open_nursery() as coming:
                coming.start_soon(receive_clients, self._handed, lambda *who: sessions.start_soon(attend, *who), lost)
                gc.collect()
                gc.freeze()
                gc.set_threshold(_YOUNG)
                self._open.set()
                await duties.draining.wait()
                coming.cancel_scope.cancel()
            for door in doors:
                door.close()
            await drain(worker.around.live, _nothing_held, duties.seconds)
            sessions.cancel_scope.deadline = trio.current_time() + duties.seconds

    def _alarm(self, name: str, detail: str) -> None:
        logger.warning("%s: %s", name, detail)
        self._channel.tell(Alarm(name, detail))


async def _nothing_held() -> None:
    """The supervisor refused what was held."""


def _first(group: BaseExceptionGroup[GatewayError]) -> GatewayError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def main() -> int:
    """Run; 0 once it was drained."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    line, handed = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    for each in (line, handed):
        each.set_inheritable(False)  # a parser that outlives us must not keep the line open
        each.setblocking(False)
    handed.setblocking(False)
    worker = WorkerProcess(line, handed)
    trio.run(worker.run)
    return 0 if worker.fault is None else 1


if __name__ == "__main__":
    sys.exit(main())
