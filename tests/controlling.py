"""A control server over real approvals, and clients that speak raw lines to it: for tests of it and of its commands."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Container
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from approving import SECOND, Desk, TrioClock, open_desk

from gateway.approval.events import Approval
from gateway.control.deciding import Deciding
from gateway.control.events import Events
from gateway.control.framing import Lines
from gateway.control.logins import Door, Logins
from gateway.control.messages import Hello, Refusal, Request, ServerMessage, Welcome, decode_server, encode
from gateway.control.operators import Operator
from gateway.control.server import ControlServer
from gateway.errors import TargetFault
from gateway.evidence.storage import SystemEntropy
from gateway.model import Json, SessionId


@dataclass
class Backend:
    """The rest of the gateway, as far as the socket asks."""

    live: list[dict[str, Json]] = field(default_factory=list)
    killed: list[tuple[str, str, str]] = field(default_factory=list)
    struck: list[dict[str, Json]] = field(default_factory=list)

    async def status(self) -> dict[str, Json]:
        return {"healthy": True, "version": "0.1.0"}

    async def sessions(self) -> list[dict[str, Json]]:
        return self.live

    async def kill(self, session: SessionId, by: str, reason: str) -> None:
        if session == "crash":
            raise ZeroDivisionError("secret detail")
        if session not in {each["id"] for each in self.live}:
            raise Refusal("not_found", "no such session")
        self.killed.append((session, by, reason))

    async def in_force(self) -> None:
        """There is one worker."""

    async def kill_list(self) -> list[dict[str, Json]]:
        return self.struck

    async def strike(self, kind: str, value: str, by: str, reason: str) -> int:
        self.struck.append({"kind": kind, "value": value, "by": by, "reason": reason})
        return 1

    async def unstrike(self, kind: str, value: str, _by: str, _reason: str) -> None:
        left = [each for each in self.struck if (each["kind"], each["value"]) != (kind, value)]
        if len(left) == len(self.struck):
            raise Refusal("not_found", "no such entry")
        self.struck = left

    async def history(self, approval: Approval) -> Json:
        return {"lately": [], "earlier": [{"id": approval.id}]}

    async def replay_sessions(self, limit: int, before: str | None) -> Json:
        if before == "huge":
            return "x" * 2**20
        if before == "fault":
            raise TargetFault("the reader failed")
        return {"limit": limit, "before": before}

    async def replay_transcript(self, session: SessionId, after_seq: int | None, limit: int) -> Json:
        return {"items": [session, after_seq, limit], "next_after": None}


class Raw:
    """One client that says exactly what it is told to."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._lines = Lines()
        self._inbox: list[bytes] = []

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def hear(self) -> ServerMessage | None:
        """The next message, None at the end."""
        with trio.fail_after(5):
            while not self._inbox:
                try:
                    data = await self.stream.receive_some(65_536)
                except trio.BrokenResourceError:
                    return None
                if not data:
                    return None
                self._inbox = self._lines.feed(bytes(data))[::-1]
        return decode_server(self._inbox.pop())

    async def greet(self, resume: int | None = None) -> Welcome:
        await self.say(encode(Hello("test", resume)))
        welcome = await self.hear()
        assert isinstance(welcome, Welcome)
        return welcome

    async def ask(self, method: str, number: int = 1, **params: Any) -> ServerMessage | None:
        await self.say(encode(Request(number, method, params)))
        return await self.hear()


@dataclass
class House:
    """A running server."""

    path: Path
    server: ControlServer
    events: Events
    desk: Desk
    backend: Backend
    logins: Logins
    clients: list[Raw] = field(default_factory=list)

    async def connect(self) -> Raw:
        self.clients.append(Raw(await trio.open_unix_socket(str(self.path))))
        return self.clients[-1]

    async def client(self) -> Raw:
        raw = await self.connect()
        await raw.greet()
        return raw


ME = Operator("dana", os.geteuid(), "sub-dana", ("oncall",), ("watch", "decide"))


@asynccontextmanager
async def open_house(
    directory: Path,
    operators: tuple[Operator, ...] = (ME,),
    *,
    development: bool = True,
    assurance: str = "uid",
    door: Door | None = None,
    agents: Container[str] = (),
) -> AsyncIterator[House]:
    """Start a server in `directory`; `operators` and the like as in the configuration.

    `door` is where people log in, `agents` the subjects that connected as agents.
    """
    path = directory / "run" / "control.sock"
    clock = TrioClock()
    async with open_desk(directory / "log") as desk:
        events, backend = Events(clock), Backend()
        logins = Logins(door, operators, clock, desk.log.record)
        deciding = Deciding(
            desk.approvals,
            logins,
            clock,
            SystemEntropy(),
            gateway="gw-1",
            assurance=assurance,
            grant_limit=3600 * SECOND,
            policy=lambda _: "cd" * 32,
            was_agent=agents.__contains__,
        )
        desk.listeners.append(events.publish)
        server = ControlServer(
            path,
            backend,
            desk.approvals,
            events,
            gateway="gw-1",
            version="0.1.0",
            operators=operators,
            development=development,
            logins=logins,
            deciding=deciding,
            clock=clock,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            house = House(path, server, events, desk, backend, logins)
            try:
                yield house
            finally:
                for client in house.clients:
                    await trio.aclose_forcefully(client.stream)
            nursery.cancel_scope.cancel()


OpenHouse = Callable[..., AbstractAsyncContextManager[House]]
"""`open_house` with a directory of the test's own."""
