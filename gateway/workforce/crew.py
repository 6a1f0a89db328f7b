"""Several workers, each a process of its own, and one supervisor that holds what they share.

Promises that a client is handed to the worker that has fewest; that every worker has a mark in force before a marked
value moves; that a worker which ends is recorded and replaced, its sessions being over; and that where one cannot stay
up, the gateway stops and says so.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import trio

from gateway.archiving import Archived
from gateway.doors import open_shared_doors
from gateway.errors import EvidenceFault, GatewayError, OurBug
from gateway.evidence.lasting import FIRST, LONGEST
from gateway.listener.arrival import ListenerOptions
from gateway.logs import worker_places, write_views
from gateway.masking.carried import Carried
from gateway.model import Json, LogName, SessionId, SessionInfo
from gateway.settings import Settings
from gateway.worker.desk import moved
from gateway.workforce.answers import Answers, Bureau
from gateway.workforce.channel import Channel
from gateway.workforce.force import DRAIN_SECONDS, LogState
from gateway.workforce.member import Member
from gateway.workforce.messages import (
    Adopt,
    Adopted,
    Begin,
    CancelKey,
    Carry,
    CatalogChanged,
    Cut,
    Describe,
    Described,
    Done,
    Heed,
    Outstanding,
    Sign,
    Watched,
)

logger = logging.getLogger(__name__)

_LIVES, _WITHIN = 5, 60.0
"""A worker that ended so often within so many seconds is not started again."""
_SAY_SECONDS = 5.0
"""Within this a worker says how it is, or is left out."""


class WorkerLost(GatewayError):
    """A worker cannot be kept running."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What all workers of a crew begin with."""

    issuer: str
    salt: bytes
    accept_loss: bool
    outstanding: Callable[[], Outstanding]
    refuse: Callable[[], Awaitable[None]]
    """Ends what is held, when the gateway stops."""
    marks_moved: Callable[[], None]


class Crew:
    """See `gateway.workforce.force.Workforce`."""

    def __init__(self, settings: Settings, doors: Sequence[ListenerOptions], bureau: Bureau, terms: Terms) -> None:
        self._settings, self._doors, self._bureau, self._terms = settings, doors, bureau, terms
        name = settings.gateway.name
        self._members = tuple(
            Member(place, LogName(f"{name}/{place}")) for place in worker_places(settings.gateway.workers)
        )
        self._stop = trio.Event()
        self._lost: WorkerLost | None = None
        self._marking = trio.Lock()
        self._carried: dict[str, dict[object, Carried]] = {}
        """By connection, columns that were marked while a worker was starting, by their places."""
        self._records = False

    def __len__(self) -> int:
        return len(tuple(self.infos()))

    def infos(self) -> Iterable[SessionInfo]:
        """See `Workforce`."""
        return [info for each in self._members if each.answers is not None for info in each.answers.infos.values()]

    # --- their lives ---------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Workforce`. Raises `WorkerLost`, too, where one does not start."""
        async with trio.open_nursery() as nursery:
            for member in self._members:
                await nursery.start(self._keep, member)
            await trio.to_thread.run_sync(write_views, self._settings.evidence_dir)
            task_status.started()

    async def _keep(self, member: Member, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have the member's place filled, until the gateway stops."""
        ends: deque[float] = deque(maxlen=_LIVES)
        tries = 0
        begun = False

        async def settle(channel: Channel, has_begun: Callable[[], None]) -> None:
            nonlocal begun, tries
            async with self._marking:  # what it read of marks at its start may be older than what others have by now
                for connection, carried in self._carried.items():
                    await channel.ask(Adopt(connection, tuple(carried.values())), Adopted)
                has_begun()
                self._forget_carried()
            member.tell(self._terms.outstanding())
            member.tell(Watched(self._records))
            tries = 0
            if not begun:
                begun = True
                task_status.started()

        while not self._stop.is_set():
            fault = await self._live(member, settle)
            if not begun:
                raise fault or WorkerLost(f"{member.log}: the worker did not start; what it said stands above")
            if fault is not None:
                logger.error("%s: %s", member.log, fault)
            if self._stop.is_set():
                return
            if isinstance(fault, EvidenceFault):  # as after a fault of a running one's log: until it can be opened
                tries += 1
                await trio.sleep(min(FIRST * 2 ** (tries - 1), LONGEST))
                continue
            ends.append(trio.current_time())
            self._bureau.alarm("worker-ended", f"{member.log}: the worker's process ended, and its sessions with it")
            if len(ends) == _LIVES and ends[-1] - ends[0] < _WITHIN:
                words = f"{member.log}: the worker ended {_LIVES} times within {_WITHIN:g} s; the gateway stops"
                self._lost = WorkerLost(words)
                self._stop.set()
                return
            await trio.sleep(min(2.0 ** (len(ends) - 3), 8.0) if len(ends) > 1 else 0.0)

    async def _live(
        self, member: Member, settle: Callable[[Channel, Callable[[], None]], Awaitable[None]]
    ) -> GatewayError | None:
        """Have one process in the member's place, from its start to its end; return why it could not begin, if so."""
        answers = Answers(self._bureau, self)
        try:
            await member.live(self._begin(member), answers, settle)
        except GatewayError as fault:
            return fault
        finally:
            answers.gone("the worker ended")
        return None

    def _begin(self, member: Member) -> Begin:
        settings, terms = self._settings, self._terms
        path, text = settings.source
        workers, loss = settings.gateway.workers, terms.accept_loss
        return Begin(str(path), text, member.place, workers, terms.salt, terms.issuer, loss)

    async def serve(self, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Workforce`. Raises `WorkerLost`, after all was drained, where a worker does not stay up."""
        listening = trio.CancelScope()
        async with trio.open_nursery() as doors:
            task_status.started(await doors.start(open_shared_doors, self._doors, self._give, listening))
            await self._stop.wait()
            logger.info("stopping: %d sessions", len(self))
            listening.cancel()
        with trio.move_on_after(DRAIN_SECONDS):
            await self._terms.refuse()
        async with trio.open_nursery() as draining:
            for member in self._members:
                draining.start_soon(member.drain, DRAIN_SECONDS)
        if self._lost is not None:
            raise self._lost

    def stop(self) -> None:
        """See `Workforce`."""
        self._stop.set()

    def _give(self, door: int, client: socket.socket, address: tuple[str, int]) -> None:
        """Hand a client to the worker that has fewest, of those whose log takes records if there are any.

        Else all would come to the one whose log is broken: it has fewest. Where none takes it, the client is gone.
        """
        for member in sorted(self._members, key=lambda each: (each.broken, each.clients)):
            if member.give(door, client, address):
                return
        client.close()

    # --- what concerns all of them -------------------------------------------------------------------------------

    async def carry(self, asked: Carry) -> None:
        """See `gateway.workforce.answers.Others`."""
        new: dict[object, Carried] = {}

        async def adopt(member: Member) -> None:
            adopted = await member.obey(Adopt(asked.connection, asked.carried), Adopted)
            new.update({each.place: each for each in (adopted.new if adopted is not None else ())})

        async with self._marking:
            known = self._carried.setdefault(asked.connection, {})
            for each in asked.carried:
                known.setdefault(each.place, each)
            await self._all(adopt)
            self._forget_carried()
        for each in new.values():
            self._bureau.alarm("marks-carried", moved(asked.connection, each, asked.who))
        if new:
            self._terms.marks_moved()

    def _forget_carried(self) -> None:
        """Who starts from now on reads them from the disk."""
        if all(member.begun for member in self._members):
            self._carried.clear()

    async def cancel(self, asked: CancelKey, but: object) -> None:
        """See `gateway.workforce.answers.Others`."""

        async def cancel(member: Member) -> None:
            if member.answers is not but:
                await member.obey(asked, Done)

        await self._all(cancel)

    def changed(self, told: CatalogChanged, but: object) -> None:
        """See `gateway.workforce.answers.Others`."""
        for member in self._members:
            if member.answers is not but:
                member.tell(told)

    def usable(self) -> None:
        """See `Workforce`."""
        outstanding = self._terms.outstanding()
        for member in self._members:
            member.tell(outstanding)

    async def in_force(self) -> None:
        """See `Workforce`."""

        async def heed(member: Member) -> None:
            await member.obey(Heed(), Done)

        await self._all(heed)

    def watched(self, *, records: bool) -> None:
        """See `Workforce`."""
        self._records = records
        for member in self._members:
            member.tell(Watched(records))

    async def _all(self, work: Callable[[Member], Awaitable[None]]) -> None:
        """Do something with every worker at once. Raises the first fault, after all are done."""
        faults: list[GatewayError] = []

        async def one(member: Member) -> None:
            try:
                await work(member)
            except GatewayError as fault:
                faults.append(fault)

        async with trio.open_nursery() as nursery:
            for member in self._members:
                nursery.start_soon(one, member)
        for fault in faults:
            raise fault

    # --- what the control socket asks ----------------------------------------------------------------------------

    async def sessions(self) -> list[dict[str, Json]]:
        """See `Workforce`."""
        return [_object(each) for found in await self._described() for each in found.sessions]

    async def catalogs(self) -> list[Json]:
        """See `Workforce`. Each worker watches for itself; what is told is the worst of them."""
        told: dict[Json, list[dict[str, Json]]] = {}
        for found in await self._described():
            for each in map(_object, found.catalogs):
                told.setdefault(each["connection"], []).append(each)
        return [min(each, key=_well) for each in told.values()]

    async def cut(self, session: SessionId, words: str, reason: str) -> None:
        """See `Workforce`."""
        for member in self._members:
            if member.answers is not None and any(info.id == session for info in member.answers.infos.values()):
                await member.obey(Cut(session, words, reason), Done)

    @property
    def archived(self) -> Sequence[Archived]:
        """See `Workforce`."""
        return self._members

    async def states(self) -> list[LogState]:
        """See `Workforce`."""
        return [_state(member) for member in self._members]

    async def sign(self, *, rotate: LogName | None = None) -> None:
        """See `Workforce`."""

        async def sign(member: Member) -> None:
            await member.ask(Sign(member.log == rotate), Done)

        await self._all(sign)

    def reached(self) -> dict[str, int]:
        """See `Workforce`."""
        return {each.log: 0 if each.described is None else each.described.reached for each in self._members}

    def witnesses(self) -> list[dict[str, Json]]:
        """See `Workforce`."""
        found = [each.described for each in self._members if each.described is not None]
        return [_object(each) for described in found for each in described.witnesses]

    @property
    def refused(self) -> str | None:
        """See `Workforce`."""
        found = (each.described.refused for each in self._members if each.described is not None)
        return next((words for words in found if words is not None), None)

    async def _described(self) -> list[Described]:
        """Ask every worker how it is; one that is not there, or does not say, is left out."""
        found: dict[LogName, Described] = {}

        async def ask(member: Member) -> None:
            with contextlib.suppress(EvidenceFault), trio.move_on_after(_SAY_SECONDS):
                found[member.log] = await member.ask(Describe(sessions=True), Described)

        await self._all(ask)
        return [found[member.log] for member in self._members if member.log in found]


def _state(member: Member) -> LogState:
    described = member.described
    if described is None:
        return LogState(member.log, "the worker is not there", None)
    head = described.head
    return LogState(member.log, described.broken, None if head is None else _object(head))


def _well(catalog: dict[str, Json]) -> int:
    """How well a catalog is, as one worker sees it; those by which no agent came are no matter."""
    unused = catalog["epoch"] is None and not catalog["marks_unmatched"]
    return 2 if unused else int(catalog["watched"] is True and not catalog["marks_unmatched"])


def _object(found: object) -> dict[str, Json]:
    """Return what a worker says, which is made of our own JSON."""
    if not isinstance(found, dict):
        raise OurBug("a worker's word is no object")
    return found
