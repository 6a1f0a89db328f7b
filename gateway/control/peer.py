"""One connected console or command (Trio): greets it, answers it, tells it what happened.

Promises that nothing of this peer's outgrows its bounds: one frame is read at a time, a bounded number of its requests
run, whatever is sent to it has a deadline, and events that do not fit are dropped with a word. Malformed input is
answered, not obeyed, and only so often.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from gateway.control.deciding import Caller
from gateway.control.events import Events, Subscriber
from gateway.control.framing import Lines
from gateway.control.messages import (
    TOPICS,
    VERSION,
    Failure,
    Hello,
    Malformed,
    Request,
    Response,
    ServerMessage,
    Welcome,
    decode_client,
    encode,
)
from gateway.control.methods import Methods
from gateway.model import Clock, format_time

HELLO_SECONDS = 10
SEND_SECONDS = 30
"""A peer that takes nothing for so long is disconnected."""
MAX_RUNNING = 16
"""Requests of one peer that are worked on at the same time."""
MAX_MALFORMED = 20
_READ = 65_536


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a gateway says of itself to every peer."""

    gateway: str
    version: str
    assurance: str
    clock: Clock


class Peer:
    """One connected console or command."""

    def __init__(
        self, greeting: Greeting, methods: Methods, events: Events, stream: trio.SocketStream, caller: Caller
    ) -> None:
        self._greeting = greeting
        self._methods = methods
        self._events = events
        self._stream = stream
        self._caller = caller
        self._operator = caller.operator
        self._lines = Lines()
        self._inbox: list[bytes] = []
        self._wake = trio.Event()
        self._subscriber = Subscriber(self._woken)
        self._resume: int | None = None
        self._sending = trio.Lock()
        self._running = 0
        self._malformed = 0

    async def run(self) -> None:
        """Greet, then answer and tell until the peer leaves."""
        with trio.move_on_after(HELLO_SECONDS) as patience:
            greeted = await self._greet()
        if patience.cancelled_caught or not greeted:
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, nursery.cancel_scope)
                await self._listen(nursery)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer is gone, which is its right
        finally:
            self._events.leave(self._subscriber)

    async def _greet(self) -> bool:
        try:
            line = await self._line()
            if line is None:
                return False
            hello = _hello(line)
        except Malformed as fault:
            await self._send(Failure(None, "bad_request", str(fault)))
            return False
        events, self._resume = self._events, hello.resume
        await self._send(
            Welcome(
                gateway=self._greeting.gateway,
                server=self._greeting.version,
                operator=self._operator.name,
                subject=self._operator.subject,
                roles=self._operator.roles,
                groups=self._operator.groups,
                assurance=self._greeting.assurance,
                next=events.next,
                gap=events.missed(hello.resume),
                time=format_time(self._greeting.clock.now()),
                restarted=events.restarted(hello.resume),
            )
        )
        return True

    async def _listen(self, nursery: trio.Nursery) -> None:
        while True:
            try:
                line = await self._line()
            except Malformed as fault:  # too long: where the next message begins cannot be known
                await self._send(Failure(None, "bad_request", str(fault)))
                return
            if line is None:
                return
            try:
                message = decode_client(line)
            except Malformed as fault:
                self._malformed += 1
                await self._send(Failure(None, "bad_request", str(fault)))
                if self._malformed >= MAX_MALFORMED:
                    return
                continue
            if isinstance(message, Hello):
                await self._send(Failure(None, "bad_request", "hello was said already"))
            elif self._running >= MAX_RUNNING:
                await self._send(Failure(message.id, "unavailable", f"{MAX_RUNNING} requests of yours are running"))
            elif message.method == "subscribe":
                await self._send(self._subscribe(message))
            else:
                self._running += 1
                nursery.start_soon(self._answer, message)

    async def _answer(self, request: Request) -> None:
        try:
            await self._send(await self._methods.answer(self._caller, request))
        finally:
            self._running -= 1

    def _subscribe(self, request: Request) -> ServerMessage:
        topics = request.params.get("topics", list(TOPICS))
        if not isinstance(topics, list) or not all(topic in TOPICS for topic in topics):
            return Failure(request.id, "bad_request", f"topics: a list of {', '.join(TOPICS)}")
        self._events.join(self._subscriber, [str(topic) for topic in topics], self._resume)
        self._resume = None
        return Response(request.id, {"topics": topics})

    async def _tell(self, scope: trio.CancelScope) -> None:
        """Send what happened; give up a peer that even approvals overran."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while not self._subscriber.overrun and (data := self._subscriber.take()):
                await self._write(data)
            if self._subscriber.overrun:
                scope.cancel()

    def _woken(self) -> None:
        self._wake.set()

    async def _line(self) -> bytes | None:
        """Return the next line, None at the end. Raises Malformed."""
        while not self._inbox:
            data = await self._stream.receive_some(_READ)
            if not data:
                return None
            self._inbox = self._lines.feed(bytes(data))[::-1]
        return self._inbox.pop()

    async def _send(self, message: ServerMessage) -> None:
        await self._write(encode(message))

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            with trio.move_on_after(SEND_SECONDS) as patience:
                await self._stream.send_all(data)
        if patience.cancelled_caught:
            raise trio.BrokenResourceError("the peer takes nothing")


def _hello(line: bytes) -> Hello:
    hello = decode_client(line)
    if not isinstance(hello, Hello):
        raise Malformed("the first message is hello")
    if hello.version != VERSION:
        raise Malformed(f"this gateway speaks version {VERSION} of the protocol; use its own console")
    return hello
