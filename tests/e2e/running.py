"""A whole gateway as a process, with its configuration in a directory of its own, for tests from the outside."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.__main__ import parser
from gateway.demo.postgres import PostgresServer
from gateway.listener.certificate import make_self_signed

START_SECONDS = 30


@dataclass
class RunningGateway:
    """One `hoop-gateway serve` process. `port` is where agents connect."""

    home: Path
    port: int
    process: subprocess.Popen[str]
    environment: dict[str, str] = field(repr=False)

    @property
    def config(self) -> Path:
        return self.home / "gateway.toml"

    @property
    def evidence(self) -> Path:
        return self.home / "state" / "evidence"

    @property
    def root_certificate(self) -> Path:
        return self.home / "state" / "tls" / "cert.pem"

    def command(self, *arguments: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `hoop-gateway …` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            capture_output=True,
            text=True,
            check=check,
            input=stdin,
            timeout=60,
            env=self.environment,
        )

    def token(self, subject: str = "agent-1", groups: str = "", ttl: str = "60m", owner: str = "") -> str:
        """A token of the development issuer, as `hoop-gateway token` prints it (without the cost of a process)."""
        more = [*(["--groups", groups] if groups else []), *(["--owner", owner] if owner else [])]
        arguments = ["token", "-c", str(self.config), "--subject", subject, "--ttl", ttl, *more]
        args = parser().parse_args(arguments)
        with redirect_stdout(io.StringIO()) as said:
            assert args.run(args) == 0
        return said.getvalue().strip()

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask the evidence, as an auditor does."""
        answer = self.command("evidence", "query", str(self.evidence), sql, "--format", "json").stdout
        found: list[dict[str, Any]] = json.loads(answer)
        return found

    def approvals(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.command("approvals", "list", "--json", "-c", str(self.config)).stdout
        )
        return found

    def connect_arguments(self, connection: str, token: str) -> dict[str, Any]:
        """Keyword arguments for psycopg and its like."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "agent",
            "dbname": connection,
            "password": token,
            "sslmode": "verify-full",
            "sslrootcert": str(self.root_certificate),
        }

    def libpq_environment(self, connection: str, token: str) -> dict[str, str]:
        return {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "agent",
            "PGDATABASE": connection,
            "PGPASSWORD": token,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.root_certificate),
            "PGPASSFILE": os.devnull,
            "PSQLRC": os.devnull,
        }

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the process and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()


def connection_table(name: str, server: PostgresServer, database: str, **keys: object) -> str:
    """One `[[connection]]` for a database of `server`; keys beside the usual ones are written as given."""
    target = f"postgresql://127.0.0.1:{server.port}/{database}"
    lines = [
        "[[connection]]",
        f'name = "{name}"',
        f'target = "{target}"',
        'username = "postgres"',
        'password = "file:password"',
    ]
    lines += [f"{key} = {_toml(value)}" for key, value in {"agents": ["any"], **keys}.items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    return json.dumps(value)


def write_home(
    home: Path,
    password: str,
    connections: Sequence[str],
    tables: str = "",
    postgres_keys: str = "",
    identity_keys: str = "",
) -> None:
    """Write a gateway's configuration and keys into `home`."""
    (home / "state" / "tls").mkdir(parents=True)
    make_self_signed(
        home / "state" / "tls" / "cert.pem", home / "state" / "tls" / "key.pem", ["127.0.0.1", "localhost"]
    )
    (home / "password").write_text(password)
    (home / "password").chmod(0o600)
    head = f'[gateway]\nname = "gw-1"\n[postgres]\nlisten = "127.0.0.1:0"\n{postgres_keys}'
    head += f"[identity]\ndevelopment = true\n{identity_keys}"
    (home / "gateway.toml").write_text("\n".join([head, tables, *connections]))


def start(home: Path, environment: Mapping[str, str] | None = None, wrap: Sequence[str] = ()) -> RunningGateway:
    """Start `serve` on what `write_home` wrote; returns once it is ready. `wrap` goes before the command (strace)."""
    env = {**os.environ, **(environment or {})}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*wrap, sys.executable, "-m", "gateway", "serve", "-c", str(home / "gateway.toml")],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=env,
        )
    assert process.stdout is not None
    line = process.stdout.readline().split()
    if not line or line[0] != "ready":
        process.kill()
        process.wait()
        process.stdout.close()
        raise AssertionError(f"the gateway did not start: {(home / 'log').read_text()}")
    return RunningGateway(home, _listening_port(process.pid, home), process, env)


def _listening_port(pid: int, home: Path) -> int:
    """Find the port from the log line that names it."""
    for line in (home / "log").read_text().splitlines():
        if "listening on" in line:
            return int(line.rsplit(":", 1)[1])
    raise AssertionError(f"process {pid} does not say where it listens")


@contextmanager
def serving(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[RunningGateway]:
    """A gateway on what is in `home`, for the time of a `with` block; it must stop cleanly."""
    gateway = start(home, environment)
    try:
        yield gateway
        assert gateway.stop() == 0, gateway.log
    finally:
        if gateway.process.poll() is None:
            gateway.process.kill()
            gateway.process.wait()
        assert gateway.process.stdout is not None
        gateway.process.stdout.close()


@contextmanager
def running(
    home: Path,
    server: PostgresServer,
    connections: Sequence[str],
    tables: str = "",
    environment: Mapping[str, str] | None = None,
    **keys: str,
) -> Iterator[RunningGateway]:
    """As `serving`, with a configuration that is written first."""
    write_home(home, server.password, connections, tables, **keys)
    with serving(home, environment) as gateway:
        yield gateway
