"""Runs one command beside a local door to the gateway, and ends with it.

The command finds the door by libpq's variables: a Unix socket in a directory that only this user can enter, or a port
on loopback with a password of its own. Promises that the command never gets the client's secret or a token, that
signals reach it, and that nothing is left behind.
"""

from __future__ import annotations

import os
import secrets
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from gateway.agent.relay import LocalDoor, Upstream
from gateway.agent.tokens import Tokens
from gateway.errors import ConfigurationFault
from gateway.identity.issuer import ClientCredentials, Issuer
from gateway.target.credentials import fetch

_PORT = 5432
_PASSED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# What else libpq would read: a leftover of another server must not lead the command past the door.
_CLEARED = frozenset(
    {"PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGHOSTADDR", "PGSSLNEGOTIATION", "PGSSLROOTCERT",
     "PGSSLCERT", "PGSSLKEY", "PGCHANNELBINDING", "PGREQUIREAUTH", "PGREQUIRESSL", "PGREQUIREPEER"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What `hoop-gateway agent run` was told. `secret` is a reference (`env:NAME`, `file:PATH`)."""

    host: str
    port: int
    connection: str
    issuer: str
    client_id: str
    secret: str
    ca: Path | None
    user: str
    tcp: bool


def run_agent(options: AgentOptions, command: Sequence[str]) -> int:
    """Run `command` and return its exit code (128 + N where signal N ended it).

    Raises `ConfigurationFault` and `IssuerFault` where it cannot begin.
    """
    return trio.run(_run, options, command)


async def _run(options: AgentOptions, command: Sequence[str]) -> int:
    fetch(options.secret)
    issuer = Issuer(options.issuer, ClientCredentials(options.client_id, lambda: fetch(options.secret).reveal()))
    tokens = Tokens(issuer.grant)
    upstream = Upstream(options.host, options.port, _context(options.ca))
    try:
        await tokens.current()  # what is wrong with the credentials is said before the command starts
        with tempfile.TemporaryDirectory(prefix="hoop-agent-") as directory:  # 0700
            if options.tcp:
                password = secrets.token_urlsafe(24)
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                place = {"PGHOST": "127.0.0.1", "PGPASSWORD": password}
                port = listeners[0].socket.getsockname()[1]
                door = LocalDoor(upstream, tokens, password.encode())
            else:
                listeners = [await _unix_listener(Path(directory, f".s.PGSQL.{_PORT}"))]
                place, port = {"PGHOST": directory}, _PORT
                door = LocalDoor(upstream, tokens)
            names = {"PGPORT": str(port), "PGDATABASE": options.connection, "PGUSER": options.user, **place}
            process = await _start(command, _environment(options, names))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, door.handle, listeners)
                code = await _wait(process)
                nursery.cancel_scope.cancel()
            return code
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await issuer.aclose()


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationFault(f"--ca {ca}: {error.strerror or error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _unix_listener(path: Path) -> trio.SocketListener:
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await listening.bind(str(path))  # its directory is closed to others
    listening.listen(128)
    return trio.SocketListener(listening)


def _environment(options: AgentOptions, names: Mapping[str, str]) -> dict[str, str]:
    kind, _, variable = options.secret.partition(":")
    hidden = _CLEARED | ({variable} if kind == "env" else set())
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**inherited, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable", **names}


async def _start(command: Sequence[str], environment: Mapping[str, str]) -> trio.Process:
    """Start the command with our own standard streams."""
    try:
        return await trio.lowlevel.open_process(list(command), stdin=None, env=environment)
    except OSError as error:
        raise ConfigurationFault(f"{command[0]}: {error.strerror}") from None


async def _wait(process: trio.Process) -> int:
    """Return its exit code; signals that we get meanwhile are passed on."""
    with trio.open_signal_receiver(*_PASSED) as received:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, received, process)
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
            nursery.cancel_scope.cancel()
    return code if code >= 0 else 128 - code


async def _pass_on(received: AsyncIterator[int], process: trio.Process) -> None:
    async for number in received:
        if number == signal.SIGINT and sys.stdin is not None and sys.stdin.isatty():
            continue  # the terminal sent it to the command, too
        process.send_signal(number)
