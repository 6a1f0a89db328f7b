"""The sockets of all live sessions, watched by one task: their bytes go to the machines, one sync serves all of them.

Promises that no session waits for another but for a bounded piece of its work: 64 KiB of each side's bytes, as many
messages as `Limits.turn`, and the sync that all of them share. A fault of a session ends that session alone. A side
that takes nothing is asked again only once it can; a side that must not be read now is left alone, gone or not.
Source: epoll(7), level-triggered.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import trio

from gateway.errors import EvidenceFault
from gateway.evidence.commit import GroupCommit
from gateway.pgwire.actions import Source
from gateway.pipeline import Pipeline
from gateway.worker.outbox import Outbox

_TURNS = 4
"""Turns before the other tasks of the process have theirs."""
_ROUNDS = 4
"""How often what came meanwhile is taken too, before the sync."""
_SIDES = 256
"""Sides that are read in one turn."""
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT


class Readable(Protocol):
    """A stream that is read without waiting (`gateway.listener.stream`)."""

    ended: bool

    def fileno(self) -> int:
        """Return the number of its file."""

    def read_now(self) -> bytes | None:
        """Return what is there; None: nothing; b"": end of file."""


@dataclass(slots=True)
class Leg:
    """One side of a session: where it is read, and what it is sent. `leftover` was read before."""

    source: Source
    stream: Readable
    outbox: Outbox
    leftover: bytes = b""
    number: int = -1
    """Of its file, while it is served."""
    watched: int = 0
    """For what epoll watches it now; 0: it does not."""


@dataclass(slots=True, eq=False)
class Line:
    """One session's two legs. `pipeline` is None until it is served, and once it is over."""

    client: Leg
    target: Leg
    pipeline: Pipeline | None = None
    held: int = 0
    """Bytes that it keeps, as last seen."""


class Reactor:
    """Serves the sessions of one worker, whose records go to `log`, while `run` runs."""

    def __init__(self, log: GroupCommit, bound: int = 256 << 20) -> None:
        """Keep no more than `bound` bytes for all sessions together (`[limits] buffered`)."""
        self._log = log
        self._held, self._bound = 0, bound
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, _READ)
        self._legs: dict[int, tuple[Line, Leg]] = {}
        self._touched: dict[Line, None] = {}
        """Sessions for which something was done, in order."""
        self._waiting: dict[Line, None] = {}
        """Those among them that wait for a sync in a thread."""
        self._asleep = False
        self._syncing = False

    def adopt(self, log: GroupCommit) -> None:
        """The log was opened anew: sessions that begin from now on record there, and those before it are over."""
        self._log = log

    @contextlib.contextmanager
    def serving(self, line: Line, pipeline: Pipeline) -> Iterator[None]:
        """Serve a session until the block ends; whoever ends it sends what is left, or drops it."""
        line.pipeline = pipeline
        for leg in (line.target, line.client):
            leg.number = leg.stream.fileno()
            self._legs[leg.number] = (line, leg)
        try:
            for leg in (line.target, line.client):
                leftover, leg.leftover = leg.leftover, b""
                if leftover:
                    self._guarded(line, pipeline.take, leg.source, leftover)
                self._guarded(line, self._read, pipeline, leg)  # TLS may hold what no poll would tell of
            self.touch(line)
            yield
        finally:
            line.pipeline = None
            self._held -= line.held
            line.held = 0
            for leg in (line.target, line.client):
                del self._legs[leg.number]
                self._watch(leg, 0)
            self._touched.pop(line, None)
            self._waiting.pop(line, None)

    def touch(self, line: Line) -> None:
        """See to `line` in the next turn: something was queued for it, or may be read that was not before."""
        self._touched[line] = None
        if self._asleep:
            self._asleep = False
            os.eventfd_write(self._bell, 1)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    for _ in range(_TURNS):
                        events = self._epoll.poll(0, _SIDES)
                        if not (events or self._touched):
                            break
                        self._turn(events, nursery)
                    else:
                        await trio.lowlevel.checkpoint()
                        continue
                    self._asleep = True
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    self._asleep = False
        finally:
            self._epoll.close()
            os.close(self._bell)

    def _turn(self, events: list[tuple[int, int]], nursery: trio.Nursery) -> None:
        """Take what came, and what comes meanwhile; then have one sync for all of it, and send what it covers."""
        touched: dict[Line, None] = {}
        for _ in range(_ROUNDS):
            touched |= self._round(events)
            events = self._epoll.poll(0, _SIDES)
            if not events:
                break
        if events:
            touched |= self._round(events)
        if touched:
            self._sync(touched, nursery)
            for line in touched:
                if line.pipeline is not None:
                    self._guarded(line, self._see_to, line, line.pipeline)

    def _round(self, events: list[tuple[int, int]]) -> dict[Line, None]:
        """Take what came; send what waits for nothing, and return the sessions that wait for the disk."""
        for number, what in events:
            found = self._legs.get(number)
            if found is None:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._bell)
                continue
            line, leg = found
            self._touched[line] = None
            pipeline = line.pipeline
            if what & ~_WRITE and pipeline is not None:
                try:
                    self._read(pipeline, leg)
                except Exception as fault:  # noqa: BLE001  a session's border, as in `_guarded`
                    pipeline.fail(fault)
        for line in tuple(self._touched):
            if line.pipeline is not None and line.pipeline.rests:
                self._guarded(line, line.pipeline.go_on)
        touched, self._touched = self._touched, {}
        waiting: dict[Line, None] = {}
        for line in touched:
            pipeline = line.pipeline
            if pipeline is None:
                continue
            if pipeline.unrecorded:
                waiting[line] = None
            else:
                self._guarded(line, self._see_to, line, pipeline)
        return waiting

    def _read(self, pipeline: Pipeline, leg: Leg) -> None:
        if not pipeline.wants(leg.source):
            return
        data = leg.stream.read_now()
        if data is not None:
            pipeline.take(leg.source, data)
        if data and leg.stream.ended:
            pipeline.take(leg.source, b"")

    def _sync(self, lines: dict[Line, None], nursery: trio.Nursery) -> None:
        """Have on disk what these sessions wait for: now where that is quick, else by a task of its own."""
        with contextlib.suppress(EvidenceFault):  # each session learns of it as it sends
            if self._log.commit_now():
                return
            self._waiting |= lines
            if not self._syncing:
                self._syncing = True
                nursery.start_soon(self._sync_slowly)

    async def _sync_slowly(self) -> None:
        try:
            await self._log.commit_once()
        except EvidenceFault:
            pass  # each session learns of it as it sends
        finally:
            self._syncing = False
        waiting, self._waiting = self._waiting, {}
        for line in waiting:
            self.touch(line)

    def _count(self, line: Line, held: int) -> None:
        """Keep the sum of what sessions keep; above the bound, the one that keeps most has to go."""
        self._held += held - line.held
        line.held = held
        if self._held > self._bound:
            most = max((each for each, _ in self._legs.values()), key=lambda each: each.held)
            if most.pipeline is not None:
                self._guarded(most, most.pipeline.give_up)
                self._held += most.pipeline.held - most.held
                most.held = most.pipeline.held

    def _see_to(self, line: Line, pipeline: Pipeline) -> None:
        pipeline.flush()
        if line.held == 0 and line.client.watched == line.target.watched == _READ and pipeline.calm:
            return
        held = pipeline.held
        if held != line.held:
            self._count(line, held)
        if pipeline.rests:
            self._touched[line] = None
        for leg in (line.client, line.target):
            wanted = (_READ if pipeline.wants(leg.source) else 0) | (_WRITE if leg.outbox.blocked else 0)
            if wanted != leg.watched:
                self._watch(leg, wanted)

    def _watch(self, leg: Leg, wanted: int) -> None:
        """Have epoll watch for what is wanted; asked for nothing, it would still tell of a side that is gone."""
        number = leg.number
        if self._epoll.closed:
            return
        if not leg.watched and wanted:
            self._epoll.register(number, wanted)
        elif leg.watched and wanted:
            self._epoll.modify(number, wanted)
        elif leg.watched:
            self._epoll.unregister(number)
        leg.watched = wanted

    def _guarded(self, line: Line, work: Callable[..., None], *arguments: object) -> None:
        """The border of a session: what breaks in it ends it alone."""
        try:
            work(*arguments)
        except Exception as fault:  # noqa: BLE001  a session's border
            if line.pipeline is not None:
                line.pipeline.fail(fault)
