"""`rows_over` and `bytes_over`: asked before by estimate, stopped before the row that would pass, over all sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import RunningGateway, connection_table, running
from wire_client import (
    COPY_DONE,
    Wire,
    bind,
    copy_data,
    direct,
    error,
    errors,
    kinds,
    prepare,
    rows,
    run,
    shown,
    status,
    through,
)

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import SYNC, execute, query

SCHEMA = """
CREATE TABLE stock (id int PRIMARY KEY, kind text NOT NULL, words text);
INSERT INTO stock SELECT i, 'a', repeat('w', 100) FROM generate_series(1, 5000) i;
CREATE TABLE log (id int, words text);
ANALYZE;
"""
RULES = """
[[connection.rule]]
name = "bulk"
operation = ["select", "copy-out"]
relation = "public.stock"
rows_over = 100
action = "approve"

[[connection.rule]]
name = "heavy"
operation = "select"
relation = "public.stock"
bytes_over = "60kB"
action = "deny"

[[connection.rule]]
name = "flood"
operation = ["insert", "delete"]
relation = "public.log"
rows_over = 50
window = "1d"
action = "deny"
"""
HIDDEN = "SELECT id FROM stock WHERE kind || '' = 'a'"
"""The planner takes it for 25 rows; it is all 5,000."""


@pytest.fixture(scope="module")
def gateway(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    postgres.create_database("limited")
    postgres.execute(SCHEMA, "limited")
    home: Path = tmp_path_factory.mktemp("limited")
    tables = [connection_table("limited", postgres, "limited", hold="refuse") + RULES]
    with running(home, postgres, tables) as found:
        yield found
    assert "Traceback" not in found.log, found.log


@pytest.fixture
def agent(gateway: RunningGateway, request: pytest.FixtureRequest) -> Iterator[Callable[[], Wire]]:
    """Open sessions of one subject, which no other test has."""
    token = gateway.token(request.node.name[:60])
    opened: list[Wire] = []

    def connect() -> Wire:
        opened.append(through(gateway, "limited", token))
        return opened[-1]

    yield connect
    for wire in opened:
        wire.stream.close()


def stopped(found: list, rule: str = "bulk") -> str:  # type: ignore[type-arg]
    (said,) = errors(found)
    assert (said.sqlstate, said.get("D")) == ("42501", f"Rule: {rule}"), shown(found)
    return said.get("M") or ""


def test_it_is_asked_before_by_estimate_and_counted_over_all_sessions(agent: Callable[[], Wire]) -> None:
    wire = agent()
    assert "approval needed" in error(wire.query("SELECT id FROM stock"))[1]
    assert len(rows(wire.query("SELECT id FROM stock WHERE id <= 60"))) == 60
    assert len(rows(agent().query("SELECT id FROM stock WHERE id <= 30"))) == 30
    assert "approval needed" in error(agent().query("SELECT id FROM stock WHERE id <= 30"))[1]
    assert len(rows(wire.query("SELECT id FROM stock WHERE id <= 10"))) == 10
    assert "approval needed" in error(agent().query("SELECT id FROM stock WHERE id = 1"))[1]
    assert rows(wire.query("SELECT count(*) FROM log")) == [("0",)]  # others are not concerned


def test_a_simple_query_stops_before_the_row_that_would_pass(agent: Callable[[], Wire]) -> None:
    wire = agent()
    found = wire.query(HIDDEN)
    assert len(rows(found)) == 100
    assert "stopped before the row" in stopped(found)
    assert status(found) == "I"
    assert kinds(found)[-2:] == "EZ"
    assert rows(wire.query("SELECT 7")) == [("7",)]


def test_in_a_transaction_the_refusal_aborts_it(agent: Callable[[], Wire]) -> None:
    wire = agent()
    wire.query("BEGIN")
    found = wire.query(HIDDEN)
    assert len(rows(found)) == 100
    assert status(found) == "E"
    assert error(wire.query("SELECT 1"))[0] == "25P02"
    assert status(wire.query("ROLLBACK")) == "I"


@pytest.mark.parametrize("parts", [0, 30])
def test_a_portal_stops_too_also_in_parts(agent: Callable[[], Wire], parts: int) -> None:
    wire = agent()
    wire.query("BEGIN")
    had = 0
    found = wire.send(prepare(HIDDEN) + bind(portal="p") + execute(b"p", parts) + SYNC).until()
    while not errors(found):
        had += len(rows(found))
        found = wire.send(execute(b"p", parts) + SYNC).until()
    had += len(rows(found))
    assert had == 100
    stopped(found)
    assert status(found) == "E"
    wire.query("ROLLBACK")
    assert rows(wire.send(run("SELECT 8") + SYNC).until()) == [("8",)]


def test_a_cursor_is_counted_as_it_is_fetched(agent: Callable[[], Wire]) -> None:
    wire = agent()
    wire.query("BEGIN")
    assert not errors(wire.query(f"DECLARE c CURSOR FOR {HIDDEN}"))
    assert len(rows(wire.query("FETCH 80 FROM c"))) == 80
    found = wire.query("FETCH 80 FROM c")
    assert len(rows(found)) == 20
    stopped(found)
    assert status(found) == "E"


@pytest.mark.parametrize("extended", [False, True])
def test_copy_out_stops_before_the_row_that_would_pass(agent: Callable[[], Wire], extended: bool) -> None:
    wire = agent()
    sql = f"COPY ({HIDDEN}) TO STDOUT"
    found = wire.send(run(sql) + SYNC).until() if extended else wire.query(sql)
    assert kinds(found).count("d") == 100
    stopped(found)
    assert status(found) == "I"
    assert rows(wire.query("SELECT 7")) == [("7",)]


def test_bytes_count_as_rows_do(agent: Callable[[], Wire], gateway: RunningGateway) -> None:
    wire = agent()
    found = wire.query("SELECT repeat(words, 20) FROM stock WHERE id <= 50")
    assert 25 <= len(rows(found)) <= 30
    assert "bytes within 1h" in stopped(found, "heavy")
    assert "bytes within 1h" in stopped(wire.query("SELECT repeat(words, 5) FROM stock WHERE id <= 90"), "heavy")


def test_what_is_changed_counts_and_is_not_committed_beyond(
    agent: Callable[[], Wire], postgres: PostgresServer
) -> None:
    wire = agent()
    with direct(postgres, "limited") as admin:
        admin.rows("TRUNCATE log")
        assert not errors(wire.query("INSERT INTO log SELECT id, 'x' FROM generate_series(1, 40) id"))
        hidden = "INSERT INTO log SELECT 1, 'y' FROM (SELECT unnest(array_fill(1, ARRAY[20]))) x"
        for found in (
            wire.query("INSERT INTO log SELECT id, 'x' FROM generate_series(1, 400) id"),
            wire.query(hidden),
            wire.send(run(hidden) + SYNC).until(),
            wire.query(f"BEGIN; {hidden}; COMMIT"),
        ):
            stopped(found, "flood")
            assert status(found) == "I"
        values = ", ".join("(1, 'z')" for _ in range(11))
        stopped(wire.query(f"INSERT INTO log VALUES {values}"), "flood")
        assert admin.rows("SELECT count(*) FROM log") == [("40",)]
        sent = [query(b"COPY log FROM STDIN"), *[copy_data(b"5\tq\n")] * 11, COPY_DONE]
        found = wire.send(*sent).until()
        stopped(found, "flood")
        assert admin.rows("SELECT count(*) FROM log") == [("40",)]
        assert not errors(wire.query("INSERT INTO log VALUES (1, 'z')"))
        assert admin.rows("SELECT count(*) FROM log") == [("41",)]


def test_what_a_person_said_yes_to_may_pass_the_limit_once(agent: Callable[[], Wire], gateway: RunningGateway) -> None:
    wire = agent()
    assert (
        len(rows(wire.query("SELECT id FROM stock WHERE id <= 3"))) == 3
    )  # a statement of the same shape tells nothing
    sql = "SELECT id FROM stock WHERE id <= 3000"
    assert "approval needed" in error(wire.query(sql))[1]
    (waiting,) = [each for each in gateway.approvals() if each["statement"] == sql]
    assert "more are expected" in waiting["reason"]
    command = ("approvals", "approve", waiting["id"], "--hash", waiting["hash"][:8], "--reason", "ok")
    gateway.command(*command, "-c", str(gateway.config))
    assert len(rows(wire.query(sql))) == 3000
    assert "approval needed" in error(wire.query(sql))[1]


def test_the_record_and_an_alarm_say_that_it_was_stopped(agent: Callable[[], Wire], gateway: RunningGateway) -> None:
    sql = f"{HIDDEN} AND 9 = 9"
    stopped(agent().query(sql))
    quoted = sql.replace("'", "''")
    (found,) = gateway.query(f"SELECT verdict, outcome, sqlstate, rows FROM statements WHERE sql = '{quoted}'")
    assert (found["verdict"], found["outcome"], found["sqlstate"], found["rows"]) == ("allow", "denied", "42501", 100)
    assert gateway.query("SELECT 1 FROM alarms WHERE alarm = 'stopped' AND detail LIKE '%100 is the most%'")
