"""The stage: a real PostgreSQL with the corpora's schema, and a gateway in front of it, for the time of a `with` block.

Everything listens on 127.0.0.1 and is stopped at the end. `relaxed` is a second connection on which a person has said
yes to whatever `standard` asks people, and `observed` refuses only what could let a marked value out: what is approved
or merely observed must be masked as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.demo.postgres import PostgresServer
from gateway.listener.certificate import make_self_signed
from gateway.model import Connection, Mark, TargetAddress, VerdictKind
from gateway.policy.presets import STANDARD
from score.corpus import FUNCTIONS, SETTINGS, Schema
from score.wire import PlayFault, Wire, direct, through

DATABASE = "corpus"
CONNECTIONS = ("corpus", "relaxed", "observed")
_PINS = {"search_path": "public", "client_encoding": "UTF8", "application_name": "score"}
"""What the gateway asks of its target, so that both sides answer alike."""
_RELAXED = tuple(rule.name for rule in STANDARD if rule.action is VerdictKind.APPROVE)


@dataclass(frozen=True, slots=True)
class World:
    """A server and a gateway that run."""

    server: PostgresServer
    schema: Schema
    port: int
    home: Path
    token: str

    def direct(self) -> Wire:
        """Return a session with the server itself."""
        return direct(self.server.port, self.server.user, DATABASE, self.server.password, _PINS)

    def through(self, connection: str = DATABASE) -> Wire:
        """Return an agent's session."""
        return through(self.port, self.home / "cert.pem", connection, self.token)

    def connection(self) -> Connection:
        """Return the connection as the gateway has it, for judging without one."""
        address = TargetAddress(self.server.host, self.server.port, DATABASE, "disable")
        return Connection(
            DATABASE, address, self.server.user, f"file:{self.home / 'password'}", ("any",),
            marks=self.schema.marks, functions=FUNCTIONS, settings=SETTINGS,
        )  # fmt: skip

    def log(self) -> str:
        """Return the end of what the gateway logged."""
        return (self.home / "log").read_text()[-2000:]

    def recorded(self) -> list[dict[str, Any]]:
        """Return what the gateway recorded: session, statement, verdict and rule, in order."""
        return self.ask("SELECT session_id, connection, sql, verdict, rule FROM statements ORDER BY log, seq")

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Ask the evidence, as an auditor does."""
        folder = str(self.home / "state" / "evidence")
        found: list[dict[str, Any]] = json.loads(_hoop("evidence", "query", folder, sql, "--format", "json"))
        return found


@contextmanager
def world(schema: Schema, home: Path, server: PostgresServer) -> Iterator[World]:
    """Start a gateway in the empty folder `home`, in front of a new database of `server`."""
    server.create_database(DATABASE)
    try:
        server.execute(schema.sql, DATABASE)
        _write(schema, home, server)
        with (home / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "-c", str(home / "gateway.toml")],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        try:
            said = process.stdout.readline() if process.stdout else ""
            if not said.startswith("ready"):
                raise PlayFault(f"the gateway did not start: {(home / 'log').read_text()[-2000:]}")
            token = _hoop("token", "-c", str(home / "gateway.toml"), "--subject", "score", "--ttl", "2h").strip()
            yield World(server, schema, _port(home / "log"), home, token)
        finally:
            process.terminate()
            process.wait(30)
            if process.stdout:
                process.stdout.close()
    finally:
        server.drop_database(DATABASE)


def _write(schema: Schema, home: Path, server: PostgresServer) -> None:
    make_self_signed(home / "cert.pem", home / "key.pem", ["127.0.0.1", "localhost"])
    secret = home / "password"
    secret.touch(mode=0o600)
    secret.write_text(server.password)
    head = """[gateway]
name = "score"
state_dir = "state"
control_socket = "state/control.sock"
[postgres]
listen = "127.0.0.1:0"
tls_cert = "cert.pem"
tls_key = "key.pem"
[identity]
development = true
"""
    tables = [_table(name, schema, server) for name in CONNECTIONS]
    (home / "gateway.toml").write_text("\n".join([head, *tables]))


def _table(name: str, schema: Schema, server: PostgresServer) -> str:
    marks = [_mark(mark) for mark in schema.marks]
    keys: dict[str, object] = {
        "name": name,
        "target": f"postgresql://127.0.0.1:{server.port}/{DATABASE}?sslmode=disable",
        "username": server.user,
        "password": "file:password",
        "agents": ["any"],
        "hold": "refuse",
        "functions": list(FUNCTIONS),
        "settings": list(SETTINGS),
    }
    if name == "observed":
        keys["policy"] = "observe"
    lines = ["[[connection]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    lines.append(f"mask = [{', '.join(marks)}]")
    for place, rule in enumerate(_RELAXED if name == "relaxed" else ()):
        lines += ["[[connection.rule]]", f'name = "said-yes-{place}"', f'replaces = "{rule}"', 'action = "allow"',
                  'accept_risk = "a person said yes"']  # fmt: skip
    return "\n".join(lines) + "\n"


def _mark(mark: Mark) -> str:
    parts = ('"' + part.replace('"', '""') + '"' for part in (mark.schema, mark.relation, mark.column))
    return f"{{ column = {json.dumps('.'.join(parts))}, style = {json.dumps(mark.style.value)} }}"


def _port(log: Path) -> int:
    for line in log.read_text().splitlines():
        if "listening on" in line:
            return int(line.rsplit(":", 1)[1])
    raise PlayFault("the gateway does not say where it listens")


def _hoop(*arguments: str) -> str:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
