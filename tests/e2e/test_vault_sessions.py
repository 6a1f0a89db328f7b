"""A password in the vault: sessions with it, a new one without a restart, and no secret or token anywhere else."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from operating import ask
from running import RunningGateway, start, write_home
from wire_client import Wire, error, secure, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import PROTOCOL_3_0, password, startup

FIRST, SECOND = "hunter2-Sesame/ä", "another-Sesame'x"


@pytest.fixture
def home(postgres: PostgresServer, tmp_path: Path) -> Iterator[Path]:
    """The home of a gateway whose only password lies in the vault, for a role of its own."""
    postgres.execute(f"CREATE ROLE vaulted LOGIN PASSWORD '{FIRST}'")
    table = (
        f'[[connection]]\nname = "vaulted"\ntarget = "postgresql://127.0.0.1:{postgres.port}/postgres"\n'
        'username = "vaulted"\npassword = "vault:orders"\nagents = ["any"]\n'
    )
    write_home(tmp_path / "home", "unused", [table])
    (tmp_path / "home" / "password").unlink()
    yield tmp_path / "home"
    postgres.execute("DROP ROLE vaulted")


def secret(home: Path, *arguments: str, value: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "secret", *arguments, "-c", str(home / "gateway.toml")]
    return subprocess.run(command, input=value, capture_output=True, text=True, check=False, timeout=60)


def ended(gateway: RunningGateway) -> None:
    """Stop it, whatever the test found."""
    code = gateway.stop()
    assert gateway.process.stdout is not None
    gateway.process.stdout.close()
    assert code == 0, gateway.log


def test_a_password_is_changed_without_a_restart(home: Path, postgres: PostgresServer) -> None:
    done = secret(home, "set", "orders", value=FIRST + "\n")
    assert (done.returncode, done.stdout) == (0, "set orders\n")
    gateway = start(home)
    try:
        token = gateway.token()
        with through(gateway, "vaulted", token) as wire:
            assert wire.rows("SELECT current_user") == [("vaulted",)]
            quoted = SECOND.replace("'", "''")
            postgres.execute(f"ALTER ROLE vaulted PASSWORD '{quoted}'")
            assert login_error(gateway, token) == ("08001", "hoop: the target cannot be reached")
            assert secret(home, "set", "orders", value=SECOND).stdout == "replaced orders\n"
            with through(gateway, "vaulted", token) as other:
                assert other.rows("SELECT 1") == [("1",)]
            assert wire.rows("SELECT 2") == [("2",)]
            assert secret(home, "remove", "orders").returncode == 0
            assert login_error(gateway, token) == ("08001", "hoop: the target cannot be reached")
            assert wire.rows("SELECT 3") == [("3",)]
    finally:
        ended(gateway)
    assert "vault:orders is not there" in gateway.log


def login_error(gateway: RunningGateway, token: str) -> tuple[str, str]:
    """What a login that must fail is told."""
    with Wire(secure(gateway)) as wire:
        wire.send(startup({"user": "agent", "database": "vaulted"}, PROTOCOL_3_0))
        wire.expect("R")
        wire.send(password(token.encode()))
        return error(wire.rest())


def test_no_secret_or_token_is_anywhere(home: Path) -> None:
    secret(home, "set", "orders", value=FIRST)
    gateway = start(home)
    try:
        tokens = [gateway.token(), gateway.token(ttl="1s"), gateway.token(subject="other")]
        with through(gateway, "vaulted", tokens[0]) as wire:
            wire.rows("SELECT 1")
            wire.query("DROP TABLE nothing")
            wire.query("SELECT syntax error from")
            wire.query(f"SELECT hoop.renew('{gateway.token()}')")
            wire.query(f"SELECT hoop.renew('{tokens[2]}')")
        for bad in (tokens[0] + "x", tokens[0][:-4]):
            login_error(gateway, bad)
        shown = [str(ask(gateway, method)) for method in ("status", "sessions.list", "approvals.list")]
        processes = [path.read_bytes() for path in Path("/proc").glob(f"{gateway.process.pid}/task/*/cmdline")]
        processes += [path.read_bytes() for path in Path("/proc").glob(f"{gateway.process.pid}/environ")]
        shown.append(gateway.command("evidence", "query", str(gateway.evidence), "FROM records").stdout)
        shown.append(gateway.command("evidence", "query", str(gateway.evidence), "FROM transcript").stdout)
    finally:
        ended(gateway)
    listed = [secret(home, "list"), secret(home, "list", "--json"), secret(home, "rekey")]
    shown += [done.stdout + done.stderr for done in listed]
    vault_key = (home / "state" / "vault" / "identity").read_text().strip()
    needles = {FIRST.encode(), base64.b64encode(FIRST.encode()), vault_key.encode()}
    needles |= {token.rsplit(".", 1)[1].encode() for token in tokens} | {token.encode() for token in tokens}
    haystacks = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    haystacks |= {f"shown {n}": text.encode() for n, text in enumerate(shown)}
    haystacks |= {f"process {n}": text for n, text in enumerate(processes)}
    assert len(processes) > 1
    assert any(name.endswith(".tsv") and re.search(rb'"login"', text) for name, text in haystacks.items())
    found = {(name, needle) for name, text in haystacks.items() for needle in needles if needle in text}
    assert found == {(str(home / "state" / "vault" / "identity"), vault_key.encode())}
