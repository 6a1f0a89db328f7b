"""What a PostgreSQL client may say before its session: requests for encryption, a cancel, or a StartupMessage.

`Greeting` promises that no byte read before TLS is ever taken for one that came inside it, that at most `limit` bytes
are held, and that anything malformed is a `ClientFault` with the SQLSTATE the client is told. It never decides who may
enter: parameters are handed over raw.
Source: PostgreSQL 18, "Protocol Flow: Start-up", "SSL Session Encryption", "Canceling Requests in Progress".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gateway.errors import ClientFault, OurBug
from gateway.pgwire.backend import negotiate_protocol_version
from gateway.pgwire.framing import UINT32, BodyReader
from gateway.pgwire.frontend import CANCEL_REQUEST, GSSENC_REQUEST, PROTOCOL_3_2, SSL_REQUEST

STARTUP_LIMIT: Final = 10_000
"""MAX_STARTUP_PACKET_LENGTH of PostgreSQL: bytes of a StartupMessage, its length included."""
NEWEST_MINOR: Final = PROTOCOL_3_2 & 0xFFFF
ALPN: Final = "postgresql"
_TLS_HANDSHAKE: Final = 0x16
_REQUEST_NAMES: Final = {SSL_REQUEST: "SSL", GSSENC_REQUEST: "GSSAPI encryption"}


@dataclass(frozen=True, slots=True)
class SslRequested:
    """Answer `S`, run the TLS handshake, then call `Greeting.secured`."""


@dataclass(frozen=True, slots=True)
class GssencRequested:
    """Answer `N`; the client goes on in plain text or asks for TLS."""


@dataclass(frozen=True, slots=True)
class DirectTls:
    """A TLS handshake without a request before it: `received` are its first bytes. ALPN must be `postgresql`.

    Run the handshake, check ALPN, then call `Greeting.secured`.
    """

    received: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Cancel what runs in the session that `pid` and `key` (4 to 256 bytes) name; then close without an answer."""

    pid: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StartupReceived:
    """A StartupMessage: the minor version asked for, the parameters as sent, and the `_pq_.` options among them."""

    minor: int
    parameters: Mapping[str, str]
    unknown_options: tuple[str, ...] = ()

    @property
    def effective_minor(self) -> int:
        """The minor version that the session speaks."""
        return min(self.minor, NEWEST_MINOR)

    def negotiation(self) -> bytes:
        """Return the NegotiateProtocolVersion to send before asking for authentication; b"" where none is needed.

        It names the version in full (major << 16 | minor), as PostgreSQL does and libpq expects.
        """
        if self.minor <= NEWEST_MINOR and not self.unknown_options:
            return b""
        return negotiate_protocol_version(3 << 16 | self.effective_minor, self.unknown_options)


GreetingEvent: TypeAlias = SslRequested | GssencRequested | DirectTls | CancelRequested | StartupReceived


class Greeting:
    """The machine: feed what the client sends, act on each event; a cancel or a StartupMessage is the last one."""

    __slots__ = ("_asked", "_buffer", "_done", "_limit", "_secured", "_untouched", "_waiting")

    def __init__(self, limit: int = STARTUP_LIMIT) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._untouched = True
        self._secured = False
        self._waiting = False
        self._done = False
        self._asked: set[int] = set()

    @property
    def is_secured(self) -> bool:
        """Whether what is fed now comes from inside TLS."""
        return self._secured

    @property
    def leftover(self) -> bytes:
        """What followed the StartupMessage."""
        return bytes(self._buffer) if self._done else b""

    def secured(self) -> None:
        """Note that the TLS handshake is done: from now on the client speaks inside it, and may not ask again."""
        if not self._waiting:
            raise OurBug("TLS was established without being asked for")
        self._waiting = False
        self._secured = True

    def feed(self, data: bytes) -> list[GreetingEvent]:
        """Take bytes and return what they say; raises ClientFault where they break the protocol."""
        if self._done or self._waiting:
            raise OurBug("the greeting was fed although it waits for nothing")
        if self._untouched and data:
            self._untouched = False
            if data[0] == _TLS_HANDSHAKE:
                self._waiting = True
                return [DirectTls(data)]
        self._buffer += data
        event = self._next()
        if event is None:
            return []
        if isinstance(event, SslRequested | GssencRequested) and self._buffer:
            # Bytes that came with the request were sent before encryption: by a man in the middle, perhaps
            # (CVE-2021-23214). PostgreSQL refuses them too.
            raise ClientFault("received unencrypted data after a request for encryption")
        return [event]

    def _next(self) -> GreetingEvent | None:
        if len(self._buffer) < 4:
            return None
        length = int(UINT32.unpack_from(self._buffer)[0])
        if not 8 <= length <= self._limit:
            raise ClientFault("invalid length of startup packet")
        if len(self._buffer) < length:
            return None
        packet = bytes(self._buffer[4:length])
        del self._buffer[:length]
        return self._read(packet)

    def _read(self, packet: bytes) -> GreetingEvent:
        body = BodyReader(packet)
        code = body.uint32()
        if code == CANCEL_REQUEST:
            return self._cancel(body)
        if code in _REQUEST_NAMES and not self._secured and code not in self._asked:
            if body.rest:
                raise ClientFault(f"invalid length of {_REQUEST_NAMES[code]} request")
            self._asked.add(code)
            if code == GSSENC_REQUEST:
                return GssencRequested()
            self._waiting = True
            return SslRequested()
        if code >> 16 != 3:
            raise ClientFault(
                f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}: server supports 3.0 to 3.2", "0A000"
            )
        self._done = True
        return _startup(code & 0xFFFF, body)

    def _cancel(self, body: BodyReader) -> CancelRequested:
        pid, key = body.int32(), body.rest
        if not 4 <= len(key) <= 256:
            raise ClientFault("invalid length of cancel key")
        self._done = True
        return CancelRequested(pid, key)


def _startup(minor: int, body: BodyReader) -> StartupReceived:
    parameters: dict[str, str] = {}
    unknown: list[str] = []
    while name := _text(body):
        value = _text(body)
        if name.startswith("_pq_."):
            unknown.append(name)
        elif name in parameters:
            # PostgreSQL takes the last one; a checker that looked at the first would be deceived.
            raise ClientFault(f'startup parameter "{name}" is given twice')
        else:
            parameters[name] = value
    if body.rest:
        raise ClientFault("invalid startup packet layout: expected terminator as last byte")
    return StartupReceived(minor, parameters, tuple(unknown))


def _text(body: BodyReader) -> str:
    try:
        return body.cstring().decode()
    except UnicodeDecodeError:
        raise ClientFault('invalid byte sequence for encoding "UTF8" in the startup packet', "22021") from None
