"""A read-only connection is read-only at the target too, whatever an agent says; a bounded timeout stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import RunningGateway, connection_table, running
from wire_client import Wire, direct, error, errors, rows, run, shown, status, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import SYNC

SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, 0);
CREATE SEQUENCE s;
CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS 'BEGIN UPDATE t SET v = 1; RETURN 1; END';
CREATE FUNCTION wide() RETURNS int LANGUAGE plpgsql SET transaction_read_only = off AS
    'BEGIN UPDATE t SET v = 1; RETURN 1; END';
CREATE PROCEDURE sneaks() LANGUAGE plpgsql AS 'BEGIN COMMIT; SET TRANSACTION READ WRITE; UPDATE t SET v = 2; END';
CREATE PROCEDURE turns() LANGUAGE plpgsql AS 'BEGIN SET TRANSACTION READ WRITE; UPDATE t SET v = 2; END';
CREATE PROCEDURE lasts() LANGUAGE plpgsql AS 'BEGIN SET SESSION default_transaction_read_only = off; END';
"""
CALLS = """
[[connection.rule]]
name = "calls"
replaces = "standard/call"
action = "allow"
accept_risk = "to see what a procedure can do"
"""
FREE = """
[[connection.rule]]
name = "locks"
replaces = "read-only/for-update"
action = "allow"
accept_risk = "to see what the target says"

[[connection.rule]]
name = "writing"
replaces = "read-only/insert"
action = "allow"
accept_risk = "to see what the target says"
"""
REFUSED = (
    "BEGIN READ WRITE",
    "START TRANSACTION READ WRITE",
    "BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE",
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET default_transaction_read_only = off",
    "SET LOCAL transaction_read_only = 'f'",
    "SET default_transaction_read_only TO false",
    "SELECT set_config('default_transaction_read_only', 'off', false)",
    "SELECT set_config('transaction_read_only', lower('OFF'), true)",
    "DO $$ BEGIN UPDATE t SET v = 1; END $$",
    "COMMIT AND CHAIN; BEGIN READ WRITE; UPDATE t SET v = 1 WHERE id = 1; COMMIT",
    "SET default_transaction_read_only TO DEFAULT; UPDATE t SET v = 1 WHERE id = 1",
    "RESET ALL; UPDATE t SET v = 1 WHERE id = 1",
    "DISCARD ALL",
    "INSERT INTO t VALUES (2, 2)",
    "SELECT writes()",
    "SELECT wide()",
    "SELECT nextval('s')",
    "SELECT * FROM t FOR UPDATE",
    "WITH i AS (INSERT INTO t VALUES (3, 3) RETURNING 1) SELECT * FROM i",
)


@pytest.fixture(scope="module")
def gateway(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """`narrow`: the preset read-only at a read-only target; `wide`: a policy that lets writes through to it."""
    postgres.create_database("read_only")
    postgres.execute(SCHEMA, "read_only")
    functions = ["public.writes", "public.wide"]
    tables = [
        connection_table("narrow", postgres, "read_only", policy="read-only", access="read-only", functions=functions),
        connection_table("wide", postgres, "read_only", policy="read-only", access="read-only", functions=functions)
        + FREE,
        connection_table("calls", postgres, "read_only", policy="read-only", access="read-only") + CALLS,
        connection_table("short", postgres, "read_only", statement_timeout="300ms"),
        connection_table("watched", postgres, "read_only", policy="observe", access="read-only"),
    ]
    home: Path = tmp_path_factory.mktemp("read-only")
    with running(home, postgres, tables) as found:
        yield found


@pytest.fixture
def admin(postgres: PostgresServer) -> Iterator[Wire]:
    with direct(postgres, "read_only") as wire:
        yield wire


@pytest.mark.parametrize("connection", ["narrow", "wide"])
def test_nothing_that_an_agent_says_writes(gateway: RunningGateway, admin: Wire, connection: str) -> None:
    with through(gateway, connection, gateway.token()) as wire:
        for sql in REFUSED:
            for found in (wire.query(sql), wire.send(run(sql) + SYNC).until()):
                harmless = sql == "DISCARD ALL" and not errors(found)
                assert harmless or errors(found), f"{sql}: {shown(found)}"
            wire.query("ROLLBACK")
            found = wire.query("INSERT INTO t VALUES (9, 9)")
            assert error(found)[0] in {"25006", "42501"}, f"after {sql}: {shown(found)}"
        assert rows(wire.query("SHOW transaction_read_only")) == [("on",)]
        assert status(wire.query("SELECT 1")) == "I"
    assert admin.rows("SELECT * FROM t ORDER BY id") == [("1", "0")]


def test_no_procedure_writes_either(gateway: RunningGateway, admin: Wire) -> None:
    with through(gateway, "calls", gateway.token()) as wire:
        for call in ("CALL sneaks()", "BEGIN; CALL sneaks(); COMMIT"):
            for found in (wire.query(call), wire.send(run(call) + SYNC).until()):
                assert error(found)[0] in {"42501", "42601"}, shown(found)
        for call in ("CALL sneaks()", "CALL turns()"):
            wire.query("BEGIN")
            assert error(wire.query(call))[0] in {"2D000", "25001"}
            wire.query("ROLLBACK")
        assert not errors(wire.query("BEGIN"))
        with pytest.raises(AssertionError, match="the pinned setting default_transaction_read_only was changed"):
            wire.query("CALL lasts()")  # the target says that the setting changed, and the session is over
    assert admin.rows("SELECT * FROM t ORDER BY id") == [("1", "0")]


def test_the_target_itself_refuses_where_policy_would_not(gateway: RunningGateway, admin: Wire) -> None:
    with through(gateway, "watched", gateway.token()) as wire:
        assert error(wire.query("UPDATE t SET v = 5"))[0] == "25006"
    assert admin.rows("SELECT v FROM t") == [("0",)]


def test_a_bounded_timeout_ends_what_runs_and_cannot_be_raised(gateway: RunningGateway) -> None:
    slow = "SELECT count(*) FROM generate_series(1, 1000000000)"
    with through(gateway, "short", gateway.token(), statement_timeout="0") as wire:
        assert rows(wire.query("SHOW statement_timeout")) == [("300ms",)]
        for sql in ("SET statement_timeout = 0", "SELECT set_config('statement_timeout', '1h', false)"):
            assert error(wire.query(sql))[0] == "42501"
            assert error(wire.query(slow))[0] == "57014"
        for sql in ("RESET ALL", "DISCARD ALL", "SET statement_timeout TO DEFAULT", "RESET statement_timeout"):
            assert not errors(wire.query(sql)), sql
            assert rows(wire.query("SHOW statement_timeout")) == [("300ms",)]
        assert not errors(wire.query("SET statement_timeout = '100ms'"))
        assert error(wire.query(slow))[0] == "57014"
