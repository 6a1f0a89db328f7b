"""A password in OpenBao: a new one without a restart, and neither it nor the token of the vault is anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import start, write_home
from wire_client import Wire, error, secure, through

import openbao_server
from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import PROTOCOL_3_0, password, startup
from openbao_server import OpenBao
from requires import requires

FIRST, SECOND = "openbao-Sesame/1", "openbao-Sesame/2"


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[OpenBao]:
    server = openbao_server.start(requires("openbao"), tmp_path / "bao.log", tmp_path)
    yield server
    server.stop()


@pytest.fixture
def home(postgres: PostgresServer, tmp_path: Path) -> Iterator[Path]:
    """The home of a gateway whose only password lies in OpenBao, for a role of its own."""
    postgres.execute(f"CREATE ROLE kept LOGIN PASSWORD '{FIRST}'")
    table = (
        f'[[connection]]\nname = "kept"\ntarget = "postgresql://127.0.0.1:{postgres.port}/postgres"\n'
        'username = "kept"\npassword = "hashicorp:secret/team/orders#password"\nagents = ["any"]\n'
    )
    write_home(tmp_path / "home", "unused", [table])
    yield tmp_path / "home"
    postgres.execute("DROP ROLE kept")


def test_a_password_is_changed_in_openbao_without_a_restart(home: Path, bao: OpenBao, postgres: PostgresServer) -> None:
    bao.put("team/orders", password=FIRST)
    gateway = start(home, {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.token, "NO_PROXY": "127.0.0.1"})
    try:
        token = gateway.token()
        with through(gateway, "kept", token) as wire:
            assert wire.rows("SELECT current_user") == [("kept",)]
            postgres.execute(f"ALTER ROLE kept PASSWORD '{SECOND}'")
            bao.put("team/orders", password=SECOND)
            with through(gateway, "kept", token) as other:
                assert other.rows("SELECT 1") == [("1",)]
            bao.stop()
            with Wire(secure(gateway)) as kept_out:
                kept_out.send(startup({"user": "agent", "database": "kept"}, PROTOCOL_3_0))
                kept_out.expect("R")
                kept_out.send(password(token.encode()))
                assert error(kept_out.rest()) == ("08001", "hoop: the target cannot be reached")
            assert wire.rows("SELECT 2") == [("2",)], "those who are there go on"
    finally:
        code = gateway.stop()
        assert gateway.process.stdout is not None
        gateway.process.stdout.close()
    assert code == 0, gateway.log
    assert "hashicorp:secret/team/orders: the vault cannot be asked" in gateway.log
    needles = [FIRST.encode(), SECOND.encode(), bao.token.encode()]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path for path in files for needle in needles if needle in path.read_bytes()] == []
