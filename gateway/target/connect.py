"""Reaches a target: connects, agrees on TLS, logs in; and cancels what runs there.

Promises that every wait ends at the deadline, that a target in trouble is a TargetFault of one line without secrets,
and that sslmode's guarantees are those of libpq. What the agent sent never reaches this module except as parameters
that policy let through; user and database are always the connection's own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import trio

from gateway.errors import OurBug, TargetFault
from gateway.evidence.storage import SystemEntropy
from gateway.listener.stream import PlainStream, keep_alive
from gateway.listener.tls_stream import Stream, TlsStream
from gateway.model import Connection, Entropy, TargetAddress
from gateway.pgwire.frontend import cancel_request, ssl_request
from gateway.target.credentials import Secret
from gateway.target.login import Credentials, LoggedIn, LoginRejected, log_in
from gateway.target.tls import attempts, client_context, is_local

SYSTEM_ENTROPY: Final = SystemEntropy()
_LOOPBACK = ("127.", "::1")
_PG_HBA_REFUSED = "28000"


@dataclass(frozen=True, slots=True)
class BackendKey:
    """What a cancel of this session must show."""

    pid: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CancelRoute:
    """How to reach the very server that runs a session (a name may stand for several), and its key."""

    address: TargetAddress
    peer: str
    """The numeric address that the session is connected to, or the directory of its Unix socket."""
    encrypted: bool
    backend_key: BackendKey


@dataclass(frozen=True, slots=True)
class TargetSession:
    """A session on the target, ready for queries. Whoever holds it closes `stream`."""

    stream: Stream
    parameters: dict[str, str]
    """ParameterStatus as seen until the first ReadyForQuery."""
    backend_key: BackendKey
    role: str
    cancel_route: CancelRoute
    leftover: bytes = b""
    """Bytes that followed the first ReadyForQuery."""

    @property
    def pid(self) -> int:
        """Process id of the target's backend."""
        return self.backend_key.pid


async def connect_target(
    connection: Connection,
    startup_parameters: Mapping[str, str],
    secret: Secret | bytes | None,
    deadline: float,
    *,
    entropy: Entropy = SYSTEM_ENTROPY,
) -> TargetSession:
    """Open a session on `connection`'s target before `deadline` (absolute, `trio.current_time()`).

    Sends exactly `startup_parameters` beside the connection's own user and database. Raises TargetFault.
    """
    if not {"user", "database"}.isdisjoint(startup_parameters):
        raise OurBug("user and database of a target session come from its connection")
    parameters = {
        "user": connection.username,
        "database": connection.target.database,
        **startup_parameters,
    }
    password = secret.reveal() if isinstance(secret, Secret) else secret
    with trio.CancelScope(deadline=deadline) as scope:
        try:
            return await _first_that_works(connection, parameters, password, entropy)
        except TargetFault as fault:
            raise TargetFault(f"target {connection.target}: {fault}") from fault
    assert scope.cancelled_caught  # noqa: S101  the block returns or raises otherwise
    raise TargetFault(f"target {connection.target}: no answer in time")


async def cancel_target(route: CancelRoute, deadline: float) -> None:
    """Ask the target to cancel what that session runs, before `deadline`; returns when the target has taken it.

    Raises TargetFault where it cannot be reached.
    """
    with trio.CancelScope(deadline=deadline) as scope:
        try:
            stream, _ = await _open(route.address, route.peer, encrypted=route.encrypted)
        except TargetFault as fault:
            raise TargetFault(f"target {route.address}: cannot cancel: {fault}") from fault
        try:
            with contextlib.suppress(trio.BrokenResourceError):  # the server may close first: it has taken the request
                await stream.send_all(cancel_request(route.backend_key.pid, route.backend_key.key))
                while await stream.receive_some():
                    pass
        finally:
            with trio.CancelScope(shield=True):
                await stream.aclose()
    if scope.cancelled_caught:
        raise TargetFault(f"target {route.address}: cannot cancel: no answer in time")


async def _first_that_works(
    connection: Connection, parameters: Mapping[str, str], password: bytes | None, entropy: Entropy
) -> TargetSession:
    """Try with and without TLS, in the order that sslmode gives."""
    tries = attempts(connection.target)
    for number, encrypted in enumerate(tries, 1):
        try:
            return await _session(connection, parameters, password, entropy, encrypted=encrypted)
        except _NoTls:
            if number == len(tries):
                raise
        except LoginRejected as fault:
            # Only "no pg_hba.conf entry" may be different the other way; a wrong password stays wrong.
            if number == len(tries) or fault.sqlstate != _PG_HBA_REFUSED:
                raise
    raise OurBug("no way to connect was tried")


async def _session(
    connection: Connection,
    parameters: Mapping[str, str],
    password: bytes | None,
    entropy: Entropy,
    *,
    encrypted: bool,
) -> TargetSession:
    address = connection.target
    stream, peer = await _open(address, address.host, encrypted=encrypted)
    try:
        harmless = encrypted or is_local(address) or peer.startswith(_LOOPBACK) or address.sslmode == "disable"
        credentials = Credentials(connection.username, password, clear_text=harmless)
        logged_in = await log_in(stream, parameters, credentials, entropy)
    except BaseException:
        with trio.CancelScope(shield=True):
            await stream.aclose()
        raise
    return _describe(stream, logged_in, connection, peer, encrypted=encrypted)


def _describe(
    stream: Stream, logged_in: LoggedIn, connection: Connection, peer: str, *, encrypted: bool
) -> TargetSession:
    key = BackendKey(logged_in.pid, logged_in.key)
    return TargetSession(
        stream=stream,
        parameters=logged_in.parameters,
        backend_key=key,
        role=connection.username,
        cancel_route=CancelRoute(connection.target, peer, encrypted, key),
        leftover=logged_in.leftover,
    )


class _NoTls(TargetFault):
    """TLS could not be agreed on."""


async def _open(address: TargetAddress, host: str, *, encrypted: bool) -> tuple[Stream, str]:
    """Connect to `host` (the address's own, or a number for it) and agree on TLS; return the stream and the peer."""
    plain, peer = await _dial(host, address.port)
    if not encrypted:
        return plain, peer
    try:
        return await _secure(plain, address), peer
    except BaseException:
        plain.close_now()
        raise


async def _dial(host: str, port: int) -> tuple[PlainStream, str]:
    try:
        if host.startswith("/"):
            return await _dial_unix(f"{host}/.s.PGSQL.{port}"), host
        opened = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise TargetFault(f"cannot be reached: {_why(error)}") from None
    except UnicodeError:
        raise TargetFault("cannot be reached: the host is not a valid name") from None
    connected = socket.socket(fileno=opened.socket.detach())
    try:
        peer: str = connected.getpeername()[0]
        keep_alive(connected)
    except OSError as error:
        connected.close()
        raise TargetFault(f"cannot be reached: {_why(error)}") from None
    return PlainStream(connected), peer


async def _dial_unix(path: str) -> PlainStream:
    opened = await trio.open_unix_socket(path)
    return PlainStream(socket.socket(fileno=opened.socket.detach()))


def _why(error: OSError) -> str:
    """Name the system's reason; trio wraps those of several addresses in a group."""
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    inner = cause if isinstance(cause, OSError) else error
    words = os.strerror(inner.errno) if inner.errno and inner.errno > 0 else inner.strerror  # gaierror counts down
    return (words or "no connection").lower()


async def _secure(plain: PlainStream, address: TargetAddress) -> TlsStream:
    context = client_context(address)
    try:
        await plain.send_all(ssl_request())
        # Exactly one byte: what would follow it came unencrypted and must not be taken for TLS (CVE-2021-23222).
        answer = await plain.receive_some(1)
        if answer != b"S":
            raise _NoTls(_declined(answer))
        secured = TlsStream(plain, context, server_hostname=address.host)
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        raise _NoTls(f"TLS failed: {error}") from None
    except (ssl.CertificateError, ValueError, UnicodeError):
        raise _NoTls("TLS failed: the host is no name that a certificate could hold") from None
    return secured


def _declined(answer: bytes) -> str:
    if answer == b"N":
        return "does not offer TLS, which sslmode asks for"
    return "closed the connection when asked for TLS" if not answer else "does not speak the PostgreSQL protocol"
