"""One local client's session, carried to the gateway: TLS and the token are added here, everything else is passed on.

The session is renewed with `SELECT hoop.renew(…)` in a moment in which the client awaits nothing; its answer stays
here. Promises that the client's bytes are passed unchanged and in order, that a renewal never comes between the
messages of one statement, and that the token goes nowhere but into the TLS connection to the gateway.
"""

from __future__ import annotations

import hmac
import logging
import ssl
from dataclasses import dataclass, field

import trio

from gateway.agent.tokens import Held, Tokens
from gateway.errors import ClientFault, IssuerFault
from gateway.pgwire.backend import AUTHENTICATION_CLEARTEXT, Report, error_response
from gateway.pgwire.framing import UINT32, Message, MessageReader
from gateway.pgwire.frontend import cancel_request, password, query, ssl_request
from gateway.pgwire.startup import CancelRequested, DirectTls, Greeting, GssencRequested, SslRequested, StartupReceived

LOGIN_SECONDS = 30
_MESSAGE_LIMIT = (1 << 30) + 1024
"""PostgreSQL's own bound of a message; the gateway has a stricter one."""
_READ = 65_536
logger = logging.getLogger(__name__)

Tls = trio.SSLStream[trio.SocketStream]


@dataclass(frozen=True, slots=True)
class Upstream:
    """The gateway, and how to prove that it is the one: `tls` verifies its certificate for `host`."""

    host: str
    port: int
    tls: ssl.SSLContext = field(repr=False)

    async def connect(self) -> Tls:
        """Return a TLS connection. Raises OSError, trio.BrokenResourceError and ssl.SSLError."""
        stream = await trio.open_tcp_stream(self.host, self.port)
        try:
            await stream.send_all(ssl_request())
            if await stream.receive_some(1) != b"S":
                raise trio.BrokenResourceError("the gateway does not speak TLS")  # noqa: TRY301  one clean-up for all
            secured = trio.SSLStream(stream, self.tls, server_hostname=self.host)
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured


class LocalDoor:
    """Serves local clients. With `secret` they must give it as their password (for a port that others can reach)."""

    def __init__(self, upstream: Upstream, tokens: Tokens, secret: bytes | None = None) -> None:
        self._upstream, self._tokens, self._secret = upstream, tokens, secret

    async def handle(self, client: trio.SocketStream) -> None:
        """Serve one client to its end; a failure ends this client alone."""
        try:
            async with client:
                await self._serve(client)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, ClientFault, ssl.SSLError, OSError) as group:
            logger.debug("a local connection ended: %s", group.exceptions)

    async def _serve(self, client: trio.SocketStream) -> None:
        reader = MessageReader(_MESSAGE_LIMIT)
        startup = None
        with trio.move_on_after(LOGIN_SECONDS) as patience:
            startup = await self._greet(client, reader)
            if startup is None or not await self._prove(client, reader):
                return
            try:
                held = await self._tokens.current()
                upstream = await self._upstream.connect()
            except (IssuerFault, OSError, trio.BrokenResourceError, ssl.SSLError) as fault:
                logger.warning("no session could be opened: %s", fault)
                words = f"hoop-gateway agent: {fault}"
                await client.send_all(error_response("08001", words, severity="FATAL"))
                return
        if patience.cancelled_caught or startup is None:
            return
        try:
            await upstream.send_all(startup)
            await Relay(client, reader, upstream, self._tokens, held).run()
        finally:
            await trio.aclose_forcefully(upstream)

    async def _greet(self, client: trio.SocketStream, reader: MessageReader) -> bytes | None:
        """Return the client's StartupMessage as it was sent; None: it is over. Encryption is declined."""
        greeting = Greeting()
        sent = bytearray()
        while True:
            data = await client.receive_some(_READ)
            if not data:
                return None
            sent += data
            for event in greeting.feed(bytes(data)):
                match event:
                    case SslRequested() | GssencRequested():
                        await client.send_all(b"N")
                        del sent[:8]
                    case CancelRequested(pid, key):
                        await self._cancel(pid, key)
                        return None
                    case DirectTls():
                        return None
                    case StartupReceived():
                        length = UINT32.unpack_from(sent)[0]
                        reader.feed(greeting.leftover)
                        return bytes(sent[:length])

    async def _prove(self, client: trio.SocketStream, reader: MessageReader) -> bool:
        if self._secret is None:
            return True
        await client.send_all(AUTHENTICATION_CLEARTEXT)
        found = await _next(client, reader)
        if found is not None and found.kind == b"p" and hmac.compare_digest(found.body, self._secret + b"\0"):
            return True
        words = "hoop-gateway agent: not the password that it gave its command"
        await client.send_all(error_response("28P01", words, severity="FATAL"))
        return False

    async def _cancel(self, pid: int, key: bytes) -> None:
        upstream = await self._upstream.connect()
        try:
            await upstream.send_all(cancel_request(pid, key))
            await upstream.receive_some(1)
        finally:
            await trio.aclose_forcefully(upstream)


class Relay:
    """Passes messages both ways, and renews."""

    def __init__(
        self, client: trio.SocketStream, reader: MessageReader, upstream: Tls, tokens: Tokens, held: Held
    ) -> None:
        self._client, self._from_client, self._upstream = client, reader, upstream
        self._from_gateway = MessageReader(_MESSAGE_LIMIT)
        self._tokens, self._held = tokens, held
        self._owed = 1
        """ReadyForQuery messages that the client awaits; the first one ends its login."""
        self._open = False
        """Messages of the extended protocol were sent since the last Sync."""
        self._turn = trio.Lock()
        self._moved = trio.Event()
        self._renewed: trio.Event | None = None

    async def run(self) -> None:
        """Relay until either side is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew)
            nursery.start_soon(self._upwards, nursery.cancel_scope)
            await self._downwards()
            nursery.cancel_scope.cancel()

    async def _upwards(self, over: trio.CancelScope) -> None:
        while (found := await _next(self._client, self._from_client)) is not None:
            async with self._turn:
                if found.kind in b"QSF":
                    self._owed += 1
                    self._open = False
                elif found.kind in b"PBDEC":
                    self._open = True
                await self._upstream.send_all(found.encode())
        over.cancel()

    async def _downwards(self) -> None:
        while (found := await _next(self._upstream, self._from_gateway)) is not None:
            if found.kind == b"R" and found.body == AUTHENTICATION_CLEARTEXT[5:]:
                await self._upstream.send_all(password(self._held.token.encode()))
            elif self._renewed is None or found.kind in b"NAS":
                await self._client.send_all(found.encode())
                if found.kind == b"Z":
                    self._owed -= 1
                    self._wake()
            elif found.kind == b"E" and Report.decode(found.body).severity != "ERROR":
                await self._client.send_all(found.encode())
            elif found.kind == b"E":
                logger.warning("the session could not be renewed: %s", Report.decode(found.body).get("M"))
            elif found.kind == b"Z":
                self._renewed.set()

    async def _renew(self) -> None:
        """Give the session a new token whenever the one it has gets stale, once nothing is awaited."""
        while True:
            await trio.sleep_until(self._held.stale)
            try:
                fresh = await self._tokens.current()
            except IssuerFault as fault:
                logger.warning("no token to renew the session with: %s", fault)
                self._held = Held(self._held.token, trio.current_time() + 1, self._held.ends)
                continue
            if fresh.token == self._held.token:  # the issuer could not be asked
                self._held = fresh if fresh.stale > trio.current_time() else self._later()
                continue
            while True:
                while self._owed or self._open:
                    await self._moved.wait()
                async with self._turn:
                    if self._owed or self._open:
                        continue
                    self._renewed = trio.Event()
                    await self._upstream.send_all(query(b"SELECT hoop.renew('" + fresh.token.encode() + b"')"))
                    await self._renewed.wait()
                    self._renewed = None
                    self._held = fresh
                break

    def _later(self) -> Held:
        return Held(self._held.token, trio.current_time() + 1, self._held.ends)

    def _wake(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()


async def _next(stream: trio.abc.ReceiveStream, reader: MessageReader) -> Message | None:
    """Return the next whole message, None at the end."""
    while (found := reader.next()) is None:
        data = await stream.receive_some(_READ)
        if not data:
            return None
        reader.feed(data)
    return found
