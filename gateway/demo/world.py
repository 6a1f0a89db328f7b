"""Builds the demonstration's parts and takes them down: PostgreSQL, configuration, gateway, agent.

Promises that everything lives in one directory and on free loopback ports, so that any number run side by side; that
children die with it, even when it is killed; and that a temporary directory is removed at the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

import trio

from gateway.control.client import connect
from gateway.demo.postgres import PostgresServer
from gateway.errors import ConfigurationFault
from gateway.listener.certificate import make_self_signed

SUBJECT: Final = "shop-agent"
_TTL: Final = "24h"
_STOP_SECONDS: Final = 25
_SOCKET_BYTES: Final = 100
_PR_SET_PDEATHSIG: Final = 1

_CONFIGURATION = """\
# The demonstration's configuration. `hoop-gateway init DIR` writes a commented one of your own.
[gateway]
name = "demo"
control_socket = "{socket}"

[postgres]
listen = "127.0.0.1:0"

[identity]
development = true

[approvals]
timeout = "10m"

[[connection]]
name = "shop"
target = "postgresql://127.0.0.1:{port}/shop"
username = "postgres"
password = "file:state/shop-password"
agents = ["any"]
mask = ["public.customers.email", {{ column = "public.customers.card", style = "null" }}]
functions = ["public.net_price"]
"""


@dataclass(frozen=True, slots=True)
class World:
    """A running demonstration."""

    home: Path
    config: Path
    socket: Path
    evidence: Path
    dsn: str
    """For agents, without the password."""
    token: str = field(repr=False)


@contextlib.contextmanager
def build(directory: Path | None) -> Iterator[World]:
    """Start everything in `directory` (a temporary one without); stops and cleans up at the end of the block.

    Raises `GatewayError` where a part does not start.
    """
    with contextlib.ExitStack() as stack:
        home = _home(directory, stack)
        server = stack.enter_context(PostgresServer(home / "postgres", prefer="embedded"))
        _load(server)
        config = _configure(home, server, stack)
        port = stack.enter_context(_gateway(home, config))
        token = _command("token", "-c", str(config), "--subject", SUBJECT, "--groups", "agents", "--ttl", _TTL)
        root = home / "state" / "tls" / "cert.pem"
        dsn = f"postgresql://{SUBJECT}@127.0.0.1:{port}/shop?sslmode=verify-full&sslrootcert={root}"
        stack.enter_context(_agent(home, dsn, token))
        yield World(home, config, _socket(config), home / "state" / "evidence", dsn, token)


def _home(directory: Path | None, stack: contextlib.ExitStack) -> Path:
    if directory is None:
        temporary = Path(tempfile.mkdtemp(prefix="hoop-demo-"))
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        temporary.chmod(0o711)  # the server's account must reach its own directory below
        return temporary
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigurationFault(f"--dir: {directory}: {fault.strerror}") from fault
    return directory.resolve()


def _load(server: PostgresServer) -> None:
    """Make the sample database, unless an earlier run in this directory did."""
    if "shop" not in server.execute("SELECT datname FROM pg_database").split():
        server.create_database("shop")
        server.execute(files("gateway.demo").joinpath("shop.sql").read_text("utf-8"), "shop")


def _configure(home: Path, server: PostgresServer, stack: contextlib.ExitStack) -> Path:
    """Write configuration and keys; a socket path that would be too long moves to a temporary directory."""
    tls = home / "state" / "tls"
    tls.mkdir(parents=True, exist_ok=True)
    if not (tls / "cert.pem").exists():
        make_self_signed(tls / "cert.pem", tls / "key.pem", ["127.0.0.1", "localhost"])
    socket = home / "state" / "control.sock"
    if len(os.fsencode(socket)) > _SOCKET_BYTES:
        short = Path(tempfile.mkdtemp(prefix="hoop-"))
        stack.callback(shutil.rmtree, short, ignore_errors=True)
        socket = short / "control.sock"
    password = home / "state" / "shop-password"
    password.touch(mode=0o600)
    password.write_text(server.password)
    config = home / "gateway.toml"
    config.write_text(_CONFIGURATION.format(socket=socket, port=server.port))
    return config


def _socket(config: Path) -> Path:
    from gateway.settings import load

    return load(config).gateway.control_socket


@contextlib.contextmanager
def _gateway(home: Path, config: Path) -> Iterator[int]:
    """Run the gateway as a process of its own; yields the port that agents connect to."""
    log = home / "gateway.log"
    with _child(["-m", "gateway", "serve", "-c", str(config)], log, {}) as process:
        if process.stdout is None or process.stdout.readline().strip() != b"ready":
            process.wait()
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
            raise ConfigurationFault(f"the gateway did not start: {last[0]}")
        yield trio.run(_ask_port, _socket(config))


async def _ask_port(socket: Path) -> int:
    async with connect(socket) as client:
        status = (await client.call("status")).result
    if not isinstance(status, dict):
        raise ConfigurationFault("the gateway gave no status")
    return int(str(status["listen"]).rsplit(":", 1)[1])


@contextlib.contextmanager
def _agent(home: Path, dsn: str, token: str) -> Iterator[None]:
    secrets = {"HOOP_DEMO_DSN": dsn, "HOOP_DEMO_TOKEN": token}
    with _child(["-m", "gateway.demo.agent"], home / "agent.log", secrets):
        yield


@contextlib.contextmanager
def _child(arguments: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python with `arguments`, in a session of its own so that Ctrl-C is this process's to handle."""
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  one prctl; no threads run yet
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _die_with_parent() -> None:
    """Have the kernel end this child when its parent dies (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _command(*arguments: str) -> str:
    """Run `hoop-gateway …` and return what it printed."""
    done = subprocess.run([sys.executable, "-m", "gateway", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigurationFault(done.stderr.strip())
    return done.stdout.strip()
