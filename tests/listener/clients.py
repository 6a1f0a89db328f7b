"""Clients of the listener for tests: raw ones that say anything, and a listener with a handler that answers simply."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from gateway.errors import EvidenceFault
from gateway.listener.arrival import Arrival, ListenerOptions, Refusal
from gateway.listener.serve import serve_postgres
from gateway.listener.stream import PlainStream
from gateway.listener.tls import server_context
from gateway.listener.tls_stream import TlsStream
from gateway.pgwire.backend import (
    AUTHENTICATION_OK,
    Report,
    backend_key_data,
    parameter_status,
    ready_for_query,
)
from gateway.pgwire.framing import Message, MessageReader, message
from gateway.pgwire.frontend import password, ssl_request, startup

HELLO = {"user": "agent", "database": "orders"}
TOKEN = "header.claims.signature"


def trusting(*protocols: str) -> ssl.SSLContext:
    """Return a client's context that verifies nothing and offers these ALPN protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


class Client:
    """Speaks to one port; reads message by message."""

    def __init__(self, stream: PlainStream | TlsStream) -> None:
        self.stream = stream
        self._reader = MessageReader(1 << 20)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def secure(self, *protocols: str) -> None:
        assert isinstance(self.stream, PlainStream)
        inside = TlsStream(self.stream, trusting(*protocols), server_hostname="localhost")
        await inside.do_handshake()
        self.stream = inside

    async def ask_for_tls(self) -> None:
        await self.send(ssl_request())
        assert await self.stream.receive_some(1) == b"S"
        await self.secure()

    async def message(self) -> Message | None:
        """Return the next message; None at end of file."""
        while (found := self._reader.next()) is None:
            data = await self.stream.receive_some()
            if not data:
                assert self._reader.pending == 0
                return None
            self._reader.feed(data)
        return found

    async def error(self) -> tuple[str, str, str]:
        """Return severity, SQLSTATE and text of an error that must be the last message."""
        found = await self.message()
        assert found is not None
        assert found.kind == b"E", found
        said = Report.decode(found.body)
        assert await self.message() is None
        return said.severity, said.sqlstate, said.get("M") or ""

    async def log_in(self, token: str = TOKEN, parameters: dict[str, str] = HELLO) -> None:
        """Go through TLS to the token, and send it."""
        await self.ask_for_tls()
        await self.send(startup(parameters))
        found = await self.message()
        assert found == Message(b"R", b"\0\0\0\3")
        await self.send(password(token.encode()))


@dataclass
class Gate:
    """A running listener, and what it handed over, refused and cancelled."""

    port: int = 0
    arrivals: list[Arrival] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    cancels: list[tuple[int, bytes]] = field(default_factory=list)
    refuse_with: Exception | None = None
    raise_in_session: Exception | None = None
    opened: list[PlainStream] = field(default_factory=list)

    async def handle(self, arrival: Arrival) -> None:
        """Say that the session is ready, answer every query with nothing, and end at the first other message."""
        self.arrivals.append(arrival)
        if self.raise_in_session:
            raise self.raise_in_session
        ready = parameter_status("server_version", "18.0") + parameter_status("client_encoding", "UTF8")
        ready += parameter_status("standard_conforming_strings", "on") + backend_key_data(1, b"1234")
        await arrival.stream.send_all(AUTHENTICATION_OK + ready + ready_for_query(b"I"))
        reader = MessageReader(1 << 20)
        data = arrival.leftover or await arrival.stream.receive_some()
        while data:
            reader.feed(data)
            for found in reader:
                if found.kind != b"Q":
                    return
                await arrival.stream.send_all(message(b"I") + ready_for_query(b"I"))
            data = await arrival.stream.receive_some()

    async def cancel(self, pid: int, key: bytes) -> None:
        self.cancels.append((pid, key))

    async def refused(self, refusal: Refusal) -> None:
        if self.refuse_with:
            raise self.refuse_with
        self.refusals.append(refusal)

    async def connect(self) -> Client:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.opened.append(PlainStream(socket.socket(fileno=stream.socket.detach())))
        return Client(self.opened[-1])

    async def session(self) -> Client:
        """Return a client whose session is ready."""
        client = await self.connect()
        await client.log_in()
        while (found := await client.message()) is not None and found.kind != b"Z":
            pass
        assert found is not None
        return client


@asynccontextmanager
async def gate(certificate: tuple[Path, Path], **options: Any) -> AsyncIterator[Gate]:
    opened = Gate()
    wanted = ListenerOptions("127.0.0.1", 0, server_context(*certificate), **options)

    async def run(task_status: trio.TaskStatus[list[tuple[str, int]]]) -> None:
        await serve_postgres(wanted, opened.handle, opened.cancel, opened.refused, task_status=task_status)

    async with trio.open_nursery() as nursery:
        ((_, opened.port),) = await nursery.start(run)
        try:
            with trio.fail_after(30):
                yield opened
        finally:
            for stream in opened.opened:
                stream.close_now()
        nursery.cancel_scope.cancel()


DISK_FULL = EvidenceFault("no space left on device")
