"""The one worker of a gateway, in the supervisor's own process: nothing crosses a border.

Promises that a stop drains: the port closes first, what runs may end, the rest is cut with a reason.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

import trio

from gateway.archiving import Archived
from gateway.doors import open_doors
from gateway.evidence.lasting import LastingLog
from gateway.listener.arrival import ListenerOptions
from gateway.model import Json, LogName, SessionId, SessionInfo
from gateway.worker.live import LiveSession, LiveSessions
from gateway.worker.reactor import Reactor
from gateway.worker.worker import Worker
from gateway.workforce.force import DRAIN_SECONDS, LogState

logger = logging.getLogger(__name__)


class Alone:
    """See `gateway.workforce.force.Workforce`. `refuse` ends what is held, when the gateway stops."""

    def __init__(
        self,
        log: LastingLog,
        live: LiveSessions,
        reactor: Reactor,
        worker: Worker,
        doors: Sequence[ListenerOptions],
        refuse: Callable[[], Awaitable[None]],
    ) -> None:
        self._log, self._live, self._reactor, self._worker, self._doors = log, live, reactor, worker, doors
        self._refuse = refuse
        self._stop = trio.Event()

    def __len__(self) -> int:
        return len(self._live)

    def infos(self) -> Iterable[SessionInfo]:
        """See `Workforce`."""
        return [live.info for live in self._live]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Workforce`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reactor.run)
            nursery.start_soon(self._log.run, self._resumed)
            nursery.start_soon(self._worker.watch)
            task_status.started()

    async def serve(self, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Workforce`."""
        try:
            async with trio.open_nursery() as sessions:
                listening = trio.CancelScope()
                async with trio.open_nursery() as doors:
                    address = await doors.start(open_doors, self._doors, self._worker, sessions, listening)
                    task_status.started(address)
                    await self._stop.wait()
                    logger.info("stopping: %d sessions", len(self._live))
                    listening.cancel()
                await drain(self._live, self._refuse)
                sessions.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(DRAIN_SECONDS):
                await self._worker.close()

    def stop(self) -> None:
        """See `Workforce`."""
        self._stop.set()

    async def sessions(self) -> list[dict[str, Json]]:
        """See `Workforce`."""
        return [live.describe() for live in self._live]

    async def catalogs(self) -> list[Json]:
        """See `Workforce`."""
        return [desk.describe() for desk in self._worker.desks.values()]

    async def cut(self, session: SessionId, words: str, reason: str) -> None:
        """See `Workforce`."""
        live = self._live.get(session)
        if live is not None:
            await live.cut(words, reason)

    @property
    def archived(self) -> Sequence[Archived]:
        """See `Workforce`."""
        return (self._log,)

    async def states(self) -> list[LogState]:
        """See `Workforce`. The supervisor watches this log with its own."""
        return []

    async def sign(self, *, rotate: LogName | None = None) -> None:
        """See `Workforce`."""
        if rotate == self._log.log:
            await self._log.now.rotate()
        await trio.to_thread.run_sync(self._log.journal.checkpoint)

    def reached(self) -> dict[str, int]:
        """See `Workforce`. The supervisor witnesses this log with its own."""
        return {}

    def witnesses(self) -> list[dict[str, Json]]:
        """See `Workforce`."""
        return []

    @property
    def refused(self) -> str | None:
        """See `Workforce`."""
        return None

    def usable(self) -> None:
        """See `Workforce`: the worker asks the ledger itself."""

    async def in_force(self) -> None:
        """See `Workforce`."""

    def watched(self, *, records: bool) -> None:
        """See `Workforce`: the worker publishes to the consoles itself."""

    def _resumed(self) -> None:
        """Sessions that begin from now on record in the new journal; those before it are over."""
        self._reactor.adopt(self._log.now)
        self._worker.around = replace(self._worker.around, log=self._log.now)


async def drain(live: LiveSessions, refuse: Callable[[], Awaitable[None]], seconds: float = DRAIN_SECONDS) -> None:
    """Refuse what is held, let what runs end, cut the rest; nobody is waited for longer than `seconds`."""
    with trio.move_on_after(seconds):
        await refuse()
        async with trio.open_nursery() as cutting:
            for each in live:
                cutting.start_soon(_part, each, seconds / 2)


async def _part(live: LiveSession, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await live.settle()
    await live.cut("hoop: the session was cut: the gateway is draining", "draining")
