"""One worker process, from the supervisor's side: started, asked, watched, and ended.

Promises that a worker which does not do in time what must be done (a cut, a mark) is ended by force, so that nobody
goes on in it who may not; and that nothing of it outlives it here.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from gateway.errors import EvidenceFault, GatewayError
from gateway.model import Draft, LogName
from gateway.workforce.answers import Answers
from gateway.workforce.channel import Channel, Severed
from gateway.workforce.codec import Malformed
from gateway.workforce.handing import hand_over, pair
from gateway.workforce.messages import TO_SUPERVISOR, Append, Begin, Describe, Described, Done, Drain

logger = logging.getLogger(__name__)

OBEY_SECONDS = 15.0
"""Within this a worker has done what it is told; a cut takes up to five."""
_LOOK = 1.0
_EXIT_SECONDS = 5.0
_T = TypeVar("_T")


class Member:
    """A worker's place in the crew, whichever process fills it."""

    def __init__(self, place: str, log: LogName) -> None:
        self.place, self.log = place, log
        self.answers: Answers | None = None
        self.described: Described | None = None
        """How it was a moment ago; None: it is not there."""
        self._channel: Channel | None = None
        self._handed: socket.socket | None = None
        self._process: trio.Process | None = None
        self.begun = False
        """It is up to date, and may have clients."""
        self._drained = False

    @property
    def ready(self) -> bool:
        """Whether clients may be handed over."""
        return self.begun and not self._drained

    @property
    def broken(self) -> bool:
        """Whether its log takes nothing, as far as is known."""
        return self.described is not None and self.described.broken is not None

    @property
    def clients(self) -> int:
        """Return how many clients it has."""
        return 0 if self.answers is None else self.answers.handed

    @property
    def number(self) -> int:
        """Return the number of the journal file that it writes to, as far as is known."""
        return 0 if self.described is None else self.described.file

    async def record(self, draft: Draft) -> None:
        """Record something about its log in it. Raises `EvidenceFault`."""
        await self.ask(Append(draft.kind, dict(draft.fields)), Done)

    async def ask(self, message: object, kind: type[_T]) -> _T:
        """Return its answer. Raises its fault, and `Severed`, also until it has begun: it has nothing to lose yet."""
        if self._channel is None or not self.begun:
            raise Severed(f"{self.log}: this worker is not there; it is being started")
        return await self._channel.ask(message, kind)

    def tell(self, message: object) -> None:
        """Tell it, if it is there and has begun."""
        if self._channel is not None and self.begun:
            self._channel.tell(message)

    async def obey(self, message: object, kind: type[_T]) -> _T | None:
        """Have done what must be done; None where there is nobody left who could fail to. Raises its fault."""
        with trio.move_on_after(OBEY_SECONDS):
            try:
                return await self.ask(message, kind)
            except Severed:
                return None
        self.end(f"it did not do in time what it was told ({type(message).__name__})")
        return None

    def end(self, why: str) -> None:
        """End the process by force."""
        if self._process is not None and self._process.returncode is None:
            logger.error("%s: the worker is ended: %s", self.log, why)
            self._process.kill()

    def give(self, door: int, client: socket.socket, address: tuple[str, int]) -> bool:
        """Hand a client over; False where that cannot be now."""
        if not self.ready or self._handed is None or self.answers is None:
            return False
        if not hand_over(self._handed, door, client, address):
            return False
        self.answers.handed += 1
        return True

    async def drain(self, seconds: float) -> None:
        """Have it end its sessions and itself, in order; by force where that takes too long."""
        self._drained = True
        if self._channel is None:
            return
        with trio.move_on_after(3 * seconds):
            try:
                await self.ask(Drain(seconds), Done)
            except EvidenceFault as fault:
                logger.error("%s: %s", self.log, fault)  # noqa: TRY400  no traceback for a full disk
            if self._channel is not None:
                self._channel.close()
            return
        self.end("it did not end its sessions in time")

    async def live(
        self, begin: Begin, answers: Answers, settle: Callable[[Channel, Callable[[], None]], Awaitable[None]]
    ) -> None:
        """Be one process, from its start to its end.

        Once its log is open, `settle` brings it up to date, and calls what it is given: from then on it is asked and
        told what all are, and has clients. Raises the fault with which it could not begin.
        """
        line, their_line = socket.socketpair()
        handed, their_handed = pair()
        command = [sys.executable, "-P", "-m", "gateway.workforce.process"]
        command += [str(their_line.fileno()), str(their_handed.fileno())]
        with their_line, their_handed, handed:
            line.setblocking(False)
            self.answers, self._handed, self._drained = answers, handed, False
            self._channel = Channel(line, TO_SUPERVISOR, answers.answer, answers.told, answers.arrived)
            self._process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # what a terminal sends to all of its processes is for the supervisor alone
                pass_fds=(their_line.fileno(), their_handed.fileno()),
            )
            their_line.close()
            their_handed.close()
            try:
                await self._serve(self._channel, begin, settle)
            finally:
                self.described = self._channel = self._handed = None
                self.begun = False
                with trio.CancelScope(shield=True):
                    await self._gone(self._process)

    async def _serve(
        self, channel: Channel, begin: Begin, settle: Callable[[Channel, Callable[[], None]], Awaitable[None]]
    ) -> None:
        fault: GatewayError | None = None

        async def speak(scope: trio.CancelScope) -> None:
            try:
                await channel.run()
            except* Malformed:
                self.end("it does not keep to the protocol")
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak, nursery.cancel_scope)
            try:
                await channel.ask(begin, Done)
                self.described = await channel.ask(Describe(sessions=False), Described)
                await settle(channel, self._has_begun)
                await self._look(channel)
            except GatewayError as broken:
                fault = broken
            nursery.cancel_scope.cancel()
        if fault is not None and not isinstance(fault, Severed):
            raise fault

    def _has_begun(self) -> None:
        self.begun = True

    async def _look(self, channel: Channel) -> None:
        """See how it is, again and again; one that says nothing at all is ended."""
        while True:
            await trio.sleep(_LOOK)
            with trio.move_on_after(2 * OBEY_SECONDS):
                self.described = await channel.ask(Describe(sessions=False), Described)
                continue
            self.end("it does not answer")

    async def _gone(self, process: trio.Process) -> None:
        with trio.move_on_after(_EXIT_SECONDS):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
