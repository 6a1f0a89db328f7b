"""The same psql scripts, directly and through the gateway: the same words on both streams."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from running import RunningGateway
from wire_client import Wire

from gateway.demo.postgres import PostgresServer
from requires import requires

SCRIPTS = {
    "relations": r"\d" "\n" r"\dt" "\n" r"\di" "\n" r"\dv" "\n" r"\ds" "\n" r"\dt+ items",
    "one relation": r"\d items" "\n" r"\d children" "\n" r"\d parents" "\n" r"\d+ kinds" "\n" r"\d missing",
    "functions and types": r"\df" "\n" r"\df shouts" "\n" r"\dT" "\n" r"\dT+ mood" "\n" r"\dD",
    "schemas and more": r"\dn" "\n" r"\dp items" "\n" r"\encoding" "\n" r"\conninfo_not" "\n" r"\dx" "\n" r"\dC point3",
    "gdesc": r"SELECT id, label, price::numeric(5,2) AS p, made FROM items \gdesc" "\n" r"SELECT 1/0 \gdesc",
    "gset and variables": r"SELECT 7 AS seven \gset"
    "\n"
    r"\echo :seven"
    "\n"
    r"SELECT :seven + 1 \gx"
    "\n"
    "",
    "bind": r"SELECT $1::int + $2::int \bind 1 2 \g" "\n" r"SELECT $1 \bind x \g",
    "errors": "SELECT 1/0;\nSELEC 1;\nSELECT missing FROM items;\n\\set VERBOSITY verbose\nSELECT 'x'::int;",
    "statements": "SELECT * FROM kinds ORDER BY id;\nSELECT shouts('x');\nSELECT 1\\; SELECT 2;\nTABLE scratch;",
    "transactions": "BEGIN;\nINSERT INTO scratch VALUES (1, 'a') RETURNING *;\nSAVEPOINT s;\nSELECT 1/0;\n"
    "ROLLBACK TO s;\nSELECT count(*) FROM scratch;\nROLLBACK;\nSELECT count(*) FROM scratch;",
    "on error rollback": "\\set ON_ERROR_ROLLBACK on\nBEGIN;\nSELECT 1/0;\nINSERT INTO scratch VALUES (3);\nCOMMIT;\n"
    "SELECT id FROM scratch;",
    "fetch count": "\\set FETCH_COUNT 7\nSELECT id FROM items ORDER BY id LIMIT 20;\n\\set FETCH_COUNT 0",
    "copy in and out": "\\copy scratch (id, note) FROM '{file}'\nCOPY scratch (id, note) FROM STDIN;\n8\teight\n\\.\n"
    "\\copy (SELECT id, note FROM scratch ORDER BY id) TO STDOUT\n\\copy scratch TO '{out}' (FORMAT csv)\n"
    "\\! cat '{out}'\n\\copy scratch (id) FROM STDIN\nbad\n\\.\nSELECT count(*) FROM scratch;",
    "prepared": "PREPARE p AS SELECT label FROM items WHERE id = $1;\nEXECUTE p(2);\nDEALLOCATE p;\nEXECUTE p(2);",
    "settings": "SET TimeZone = 'Europe/Berlin';\nSHOW TimeZone;\nSELECT '2024-01-01Z'::timestamptz;\nRESET ALL;\n"
    "\\pset null NULL\nSELECT NULL;\n\\x\nSELECT 1 AS a, 2 AS b;",
}


def psql(environment: dict[str, str], script: str) -> tuple[str, str, int]:
    done = subprocess.run(
        [requires("psql"), "-X", "-q", "-f", "-"], input=script, capture_output=True, text=True, env=environment,
        timeout=60,
    )  # fmt: skip
    return done.stdout, done.stderr, done.returncode


@pytest.mark.parametrize("connection", ["orders", "observed"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_psql_says_the_same(
    postgres: PostgresServer, orders: str, gateway: RunningGateway, token: str, scratch: Wire, tmp_path: Path,
    connection: str, name: str,
) -> None:  # fmt: skip
    (tmp_path / "in").write_text("1\tone\n2\t\\N\n")
    script = SCRIPTS[name].replace("{file}", str(tmp_path / "in")).replace("{out}", str(tmp_path / "out"))
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": postgres.user}
    plain = {**os.environ, **place, "PGPASSWORD": postgres.password, "PGDATABASE": orders, "PGPASSFILE": os.devnull}
    wanted = psql(plain, script)
    scratch.rows("TRUNCATE scratch, children, parents")
    found = psql(gateway.libpq_environment(connection, token), script)
    assert [without_source(text) for text in found[:2]] == [without_source(text) for text in wanted[:2]]
    assert found[2] == wanted[2]


def without_source(text: str) -> str:
    """Leave out where in PostgreSQL's source an error was raised."""
    return "".join(line for line in text.splitlines(keepends=True) if "LOCATION:" not in line)


def test_psql_lists_the_target(gateway: RunningGateway, token: str) -> None:
    out, said, code = psql(gateway.libpq_environment("plain", token), "\\l\n\\du\n\\db\n")
    assert code == 0
    assert "orders" in out or "hoop: denied" in said


def test_psql_sees_masked_values_everywhere(gateway: RunningGateway, token: str, tmp_path: Path) -> None:
    script = f"SELECT * FROM users WHERE id = 1;\nSELECT u FROM users u LIMIT 1;\n\\copy users TO '{tmp_path / 'o'}'\n"
    script += "\\set FETCH_COUNT 3\nSELECT email FROM users LIMIT 5;\nSELECT email FROM users \\gx\n"
    script += "SELECT email::int FROM users;\nTABLE pg_stats;\n"
    out, said, _ = psql(gateway.libpq_environment("orders", token), script)
    assert "***" in out
    assert "secret.example" not in out + said
    assert not (tmp_path / "o").exists() or "secret.example" not in (tmp_path / "o").read_text()
