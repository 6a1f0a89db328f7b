"""What the listener hands over, and what it asks of the rest of the gateway. Values only; no I/O.

Never shows a token or a cancel key in a repr.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.listener.tls_stream import TlsStream
from gateway.pgwire.startup import STARTUP_LIMIT


@dataclass(frozen=True, slots=True)
class Arrival:
    """A client inside TLS that sent its StartupMessage and a token, neither judged yet.

    The handler owns `stream` until it returns; the listener closes it then, with close_notify. `leftover` are bytes
    that followed the token. `protocol_minor` is what the session speaks (0, 1 or 2: from 2 on, long cancel keys).
    """

    stream: TlsStream
    startup_parameters: Mapping[str, str]
    """As sent, `user` and `database` included, `_pq_.` options left out (the client was told of them)."""
    user: str
    database: str
    """The connection's name; the user's where the client gave none, as in PostgreSQL."""
    token: str = field(repr=False)
    protocol_minor: int
    client_address: str
    leftover: bytes = field(default=b"", repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    """The client's certificate (DER), verified, where it showed one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection that the listener turned away before anybody's identity was known."""

    client_address: str
    reason: str
    sqlstate: str
    database: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """Where to listen and what to put up with. Times in seconds, sizes in bytes."""

    host: str
    port: int
    tls: ssl.SSLContext
    login_seconds: float = 10.0
    """From accept to the whole token."""
    connections: int = 200
    """Sessions that may be open at once; as many again may be at the door, on their way to one."""
    doorstep: int | None = None
    """How many may be at the door instead; None: as many as `connections`."""
    startup_bytes: int = STARTUP_LIMIT
    token_bytes: int = 16 * 1024
    discovery: str | None = None
    """Where set, tokens come by OAUTHBEARER, and this is the issuer's discovery document; else as the password."""


Handler: TypeAlias = Callable[[Arrival], Awaitable[None]]
"""Runs one session; whatever it raises ends that session alone."""
Cancel: TypeAlias = Callable[[int, bytes], Awaitable[None]]
"""Takes the pid and key of a CancelRequest; it must not say whether they named anything."""
Refused: TypeAlias = Callable[[Refusal], Awaitable[None]]
"""Records a refusal; the client hears of it after this returned."""
