"""Starts the servers that are compared, each as a user would run it, all with TLS where the target can speak it.

Every side is a context manager that yields a `Side`: the name and the environment with which a libpq client reaches
the same database. Nothing here measures. Everything listens on 127.0.0.1 and is stopped at the end.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.demo.binaries import server_account
from gateway.demo.postgres import PostgresServer
from gateway.listener.certificate import make_self_signed

DATABASE = "bench"
ROLE = "bench"


class BenchFault(Exception):
    """A side did not start; the message is for the person who runs the benchmark."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to the database; `environment` holds libpq variables, the password among them."""

    name: str
    environment: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Side {self.name}>"


@contextmanager
def direct(server: PostgresServer, password: str) -> Iterator[Side]:
    """PostgreSQL itself."""
    yield Side("direct", _libpq(server.port, DATABASE, password, tls=server.binaries.tls))


@contextmanager
def pgbouncer(program: str, server: PostgresServer, password: str, folder: Path) -> Iterator[Side]:
    """PgBouncer in session mode, which records nothing: TLS on both legs where the target has it."""
    port = _free_port()
    folder.mkdir(mode=0o700)
    make_self_signed(folder / "cert.pem", folder / "key.pem", ["localhost", "127.0.0.1"])
    (folder / "users.txt").write_text(f'"{ROLE}" "{password}"\n')
    tls = "require" if server.binaries.tls else "disable"
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
{DATABASE} = host=127.0.0.1 port={server.port} dbname={DATABASE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = session
default_pool_size = 64
max_client_conn = 200
client_tls_sslmode = {tls}
client_tls_cert_file = {folder}/cert.pem
client_tls_key_file = {folder}/key.pem
server_tls_sslmode = {tls}
log_connections = 0
log_disconnections = 0
log_stats = 0
"""
    )
    account = server_account()
    if account:  # it refuses to run as root
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.uid, account.gid)
    command = [program, str(folder / "pgbouncer.ini")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            user=account.uid if account else None, group=account.gid if account else None,
            extra_groups=[] if account else None,
        )  # fmt: skip
    try:
        _wait_for_port(port, process, folder / "log")
        yield Side("pgbouncer", _libpq(port, DATABASE, password, tls=server.binaries.tls))
    finally:
        _stop(process)


@contextmanager
def gateway(
    server: PostgresServer, password: str, folder: Path, policy: str = "standard", workers: int = 1
) -> Iterator[Side]:
    """The gateway with its development issuer: TLS from the client always, to the target where it has it."""
    port = _free_port()
    folder.mkdir(mode=0o700)
    secret = folder / "target-password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    query = f"sslmode=verify-full&sslrootcert={server.tls_root}" if server.binaries.tls else "sslmode=disable"
    make_self_signed(folder / "cert.pem", folder / "key.pem", ["localhost", "127.0.0.1"])
    config = folder / "gateway.toml"
    config.write_text(
        f"""[gateway]
name = "bench"
workers = {workers}
state_dir = "state"
control_socket = "state/control.sock"
[postgres]
listen = "127.0.0.1:{port}"
tls_cert = "cert.pem"
tls_key = "key.pem"
[identity]
development = true
[[connection]]
name = "{DATABASE}"
kind = "postgres"
target = "postgresql://127.0.0.1:{server.port}/{DATABASE}?{query}"
username = "{ROLE}"
password = "file:target-password"
agents = ["any"]
policy = "{policy}"
"""
    )
    hoop = [sys.executable, "-m", "gateway"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*hoop, "serve", "-c", config], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
    try:
        line = process.stdout.readline() if process.stdout else b""
        if line.strip() != b"ready":
            process.wait(10)
            raise BenchFault(f"the gateway did not start: {(folder / 'log').read_text()[-2000:]}")
        token = subprocess.run(
            [*hoop, "token", "-c", config, "--subject", "bench", "--ttl", "2h"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        yield Side(
            "gateway" if workers == 1 else f"gateway, {workers} workers", _libpq(port, DATABASE, token, tls=True)
        )
    finally:
        _stop(process)
        if process.stdout:
            process.stdout.close()


def _libpq(port: int, database: str, password: str, *, tls: bool) -> dict[str, str]:
    return {
        "PATH": os.defpath, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGDATABASE": database, "PGUSER": ROLE,
        "PGPASSWORD": password, "PGSSLMODE": "require" if tls else "disable", "PGCONNECT_TIMEOUT": "20",
    }  # fmt: skip


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise BenchFault(f"{process.args!r} did not start: {log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
