"""The conversation from the first byte to the token, with one client.

Promises: no StartupMessage is obeyed and no password asked for in plain text; nothing read before TLS is taken for
something inside it; what the client says is bounded in size (time is bounded by the caller). Decides nothing about who
may enter, and never logs what a client said.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from gateway.errors import ClientFault, LoginRefused
from gateway.listener.arrival import Arrival, ListenerOptions
from gateway.listener.stream import PlainStream
from gateway.listener.tls_stream import TlsStream
from gateway.pgwire import oauthbearer
from gateway.pgwire.backend import AUTHENTICATION_CLEARTEXT
from gateway.pgwire.framing import BodyReader, MessageReader
from gateway.pgwire.startup import (
    ALPN,
    CancelRequested,
    DirectTls,
    Greeting,
    GreetingEvent,
    GssencRequested,
    SslRequested,
    StartupReceived,
)

_PIECE = 16 * 1024


class HungUp(Exception):
    """The client left without saying what it wanted; psql does so to ask its user for a password."""


class TlsRefused(ClientFault):
    """The TLS handshake failed or was not for PostgreSQL; there is nobody to send a message to."""


@dataclass
class Conversation:
    """One client's way to a token. `stream` is plain first, TLS later; `startup` is set once it was received."""

    stream: PlainStream | TlsStream
    client_address: str
    options: ListenerOptions
    startup: StartupReceived | None = None
    in_handshake: bool = False
    """Between plain text and TLS: nothing of ours would be understood."""

    async def run(self) -> Arrival | CancelRequested:
        """Bring the client to a token or a cancel request; raises HungUp, ClientFault or BrokenResourceError."""
        greeting = Greeting(self.options.startup_bytes)
        while True:
            data = await self.stream.receive_some(_PIECE)
            if not data:
                raise HungUp
            for event in greeting.feed(data):
                if isinstance(event, CancelRequested):
                    return event
                if isinstance(event, StartupReceived):
                    self.startup = event
                    return await self._ask_for_token(event, greeting)
                await self._secure(event, greeting)

    async def _secure(self, event: GreetingEvent, greeting: Greeting) -> None:
        match event:
            case GssencRequested():
                await self.stream.send_all(b"N")
            case SslRequested():
                await self.stream.send_all(b"S")
                await self._handshake(b"")
                greeting.secured()
            case DirectTls(received):
                if await self._handshake(received) != ALPN:
                    # Without it, a browser could be made to speak to us (ALPACA); PostgreSQL refuses it too.
                    raise TlsRefused("direct TLS without the ALPN protocol postgresql")
                greeting.secured()

    async def _handshake(self, received: bytes) -> str | None:
        assert isinstance(self.stream, PlainStream)  # noqa: S101  Greeting lets nobody ask for TLS inside TLS
        secured = TlsStream(self.stream, self.options.tls, server_side=True, received=received)
        self.in_handshake = True
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as error:
            raise TlsRefused(f"TLS handshake failed: {error}") from error
        self.stream, self.in_handshake = secured, False
        return secured.alpn

    async def _ask_for_token(self, startup: StartupReceived, greeting: Greeting) -> Arrival:
        if not isinstance(self.stream, TlsStream):
            raise LoginRefused("hoop: TLS is required; connect with sslmode=require or stricter", "28000", "no TLS")
        user = startup.parameters.get("user", "")
        if not user:
            raise LoginRefused("no PostgreSQL user name specified in startup packet", "28000", "no user name")
        ask = AUTHENTICATION_CLEARTEXT if self.options.discovery is None else oauthbearer.offer()
        await self.stream.send_all(startup.negotiation() + ask)
        token, leftover = await self._read_token(greeting.leftover)
        return Arrival(
            stream=self.stream,
            startup_parameters=startup.parameters,
            user=user,
            database=startup.parameters.get("database") or user,
            token=token,
            protocol_minor=startup.effective_minor,
            client_address=self.client_address,
            leftover=leftover,
            certificate=self.stream.peer_certificate,
        )

    async def _read_token(self, data: bytes) -> tuple[str, bytes]:
        discovery, limit = self.options.discovery, self.options.token_bytes
        if discovery is None:
            body, leftover = await self._read_answer(data, limit + 1)
            return _token(body), leftover
        body, leftover = await self._read_answer(data, oauthbearer.longest(limit))
        token = oauthbearer.initial_token(body)
        if token is not None:
            return token, leftover
        await self.stream.send_all(oauthbearer.no_token(discovery))
        await self._read_answer(leftover, 1)
        raise LoginRefused("hoop: the client sent no access token", "28P01", "no token: asked where tokens come from")

    async def _read_answer(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        """Return the body of the next message, and what came after it."""
        reader = MessageReader(limit)
        while True:
            reader.feed(data)
            header = _peek(reader)
            if header == b"X":
                raise HungUp
            if header not in (None, b"p"):
                raise ClientFault(f"expected password response, got message type {header!r}")
            if (found := reader.next()) is not None:
                # Whatever is still held came with the last piece: before it, the message was not whole.
                return found.body, data[len(data) - reader.pending :]
            data = await self.stream.receive_some(_PIECE)
            if not data:
                raise HungUp


def _peek(reader: MessageReader) -> bytes | None:
    try:
        header = reader.peek()
    except ClientFault as error:
        if error.sqlstate != "54000":
            raise
        raise LoginRefused("hoop: the token is too large", "28P01", "token too large") from None
    return header and header[0]


def _token(body: bytes) -> str:
    reader = BodyReader(body)
    value = reader.cstring()
    reader.end()
    if not value or not value.isascii():
        raise LoginRefused("hoop: the password must be an access token", "28P01", "no token")
    return value.decode("ascii")
