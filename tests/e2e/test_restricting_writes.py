"""A WHERE that restricts by its text: the planner is asked before, and what was changed is counted before COMMIT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import RunningGateway, connection_table, running
from wire_client import Wire, bind, comparable, direct, error, errors, kinds, prepare, rows, run, shown, status, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.framing import Message
from gateway.pgwire.frontend import SYNC, execute

SCHEMA = """
CREATE TABLE big (id int PRIMARY KEY, kind text NOT NULL, v int NOT NULL DEFAULT 0);
INSERT INTO big SELECT i, 'a' FROM generate_series(1, 20000) i;
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED, note text);
INSERT INTO parents VALUES (1);
INSERT INTO children SELECT i, 1, 'n' FROM generate_series(1, 20) i;
CREATE TABLE parts (id int, day int, v int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
INSERT INTO parts SELECT i, i % 200, 0 FROM generate_series(1, 20000) i;
ANALYZE;
"""
RULES = """
[[connection.rule]]
name = "deletes-are-free"
replaces = "standard/delete"
action = "allow"
"""
ALL = "kind || '' = 'a'"
"""The planner takes it for half a percent of the rows; it is all of them."""
HIDDEN = f"UPDATE big SET v = v + 1 WHERE {ALL}"


@pytest.fixture(scope="module")
def gateway(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    postgres.create_database("writes")
    postgres.execute(SCHEMA, "writes")
    tables = [connection_table("writes", postgres, "writes") + RULES]
    home: Path = tmp_path_factory.mktemp("writes")
    with running(home, postgres, tables) as found:
        yield found
    assert "Traceback" not in found.log, found.log


@pytest.fixture
def agent(gateway: RunningGateway) -> Iterator[Wire]:
    wire = through(gateway, "writes", gateway.token())
    yield wire
    wire.stream.close()


@pytest.fixture
def admin(postgres: PostgresServer) -> Iterator[Wire]:
    with direct(postgres, "writes", application_name="admin") as wire:
        wire.rows("UPDATE big SET v = 0 WHERE v <> 0; UPDATE parts SET v = 0 WHERE v <> 0")
        wire.rows("VACUUM (FULL, ANALYZE) big")  # what was rolled back leaves pages, by which the planner goes
        yield wire


def changed(admin: Wire, table: str = "big") -> int:
    return int(admin.rows(f"SELECT count(*) FROM {table} WHERE v <> 0")[0][0] or 0)


def denied(found: list[Message], rule: str = "standard/update-all") -> str:
    (said,) = errors(found)
    assert said.sqlstate == "42501", shown(found)
    assert (said.get("M") or "").startswith("hoop: denied: "), shown(found)
    assert said.get("D") == f"Rule: {rule}"
    return said.get("M") or ""


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("UPDATE big SET v = 1 WHERE id > 10", "standard/update-all"),
        ("UPDATE big SET v = 1 WHERE kind = 'a'", "standard/update-all"),
        ("DELETE FROM big WHERE id <> 7", "standard/delete-all"),
        ("WITH d AS (DELETE FROM big WHERE id > 9 RETURNING *) SELECT count(*) FROM d", "standard/delete-all"),
        ("UPDATE parts SET v = 1 WHERE day < 150", "standard/update-all"),
        ("BEGIN; UPDATE big SET v = 1 WHERE id < 5; COMMIT", "standard/update-all"),
    ],
)
def test_what_the_planner_expects_to_change_too_much_is_refused_before(
    agent: Wire, admin: Wire, sql: str, rule: str
) -> None:
    found = agent.query(sql)
    words = denied(found, rule)
    assert ("the planner expects" in words) is ("COMMIT" not in sql)
    assert status(found) == "I"
    assert changed(admin) == changed(admin, "parts") == 0
    assert rows(agent.query("SELECT 1")) == [("1",)]


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("UPDATE big SET v = 1 WHERE id <= 500", 500),
        ("UPDATE big SET v = 1 WHERE id = 5", 1),
        ("UPDATE big SET v = 1 WHERE id IN (1, 2, 3)", 3),
        ("BEGIN; UPDATE big SET v = 1 WHERE id = 5; COMMIT", 1),
        ("UPDATE big SET v = 1 WHERE id < 10; UPDATE big SET v = 1 WHERE id BETWEEN 20 AND 28", 18),
        ("WITH u AS (UPDATE big SET v = 1 WHERE id < 10 RETURNING *) SELECT count(*) FROM u", 9),
        ("EXPLAIN (ANALYZE off, ANALYZE) UPDATE big SET v = 1 WHERE id < 10", 9),
        ("EXPLAIN UPDATE big SET v = 1 WHERE id < 10", 0),
        ("PREPARE p(int) AS UPDATE big SET v = 1 WHERE id < $1; EXECUTE p(10)", 9),
    ],
)
def test_what_restricts_runs_as_ever_and_is_committed(agent: Wire, admin: Wire, sql: str, count: int) -> None:
    found = agent.query(sql)
    assert not errors(found), shown(found)
    assert status(found) == "I"
    assert changed(admin) == count


HIDING = (
    HIDDEN,
    f"{HIDDEN} RETURNING id",
    f"DELETE FROM big WHERE {ALL}",
    f"SELECT 1; {HIDDEN}; SELECT 2",
    f"WITH u AS ({HIDDEN} RETURNING *) SELECT count(*) FROM u",
    f"EXPLAIN ANALYZE {HIDDEN}",
    f"COPY ({HIDDEN} RETURNING id) TO STDOUT",
    f"PREPARE p AS {HIDDEN}; EXECUTE p; DEALLOCATE p",
    "MERGE INTO big USING (VALUES ('a')) x (k) ON big.kind || '' = x.k WHEN MATCHED THEN UPDATE SET v = 1",
)


@pytest.mark.parametrize("sql", HIDING)
@pytest.mark.parametrize("block", [False, True])
def test_what_changed_too_much_in_fact_is_never_committed(agent: Wire, admin: Wire, sql: str, block: bool) -> None:
    """Simple protocol: outside a transaction, and in one, where COMMIT then rolls back as after any error."""
    if sql.startswith("MERGE"):
        sql = "UPDATE big SET v = 1 FROM parents p WHERE big.kind || '' = 'a' AND p.id = 1 AND big.id > p.id - 9"
    if block:
        agent.query("BEGIN")
    found = agent.query(sql)
    words = denied(found, "standard/delete-all" if "DELETE" in sql else "standard/update-all")
    assert "changed" in words, words
    assert status(found) == ("E" if block else "I")
    if block:
        assert error(agent.query("SELECT 1"))[0] == "25P02"
        assert status(agent.query("COMMIT")) == "I"
    assert changed(admin) == 0
    assert admin.rows("SELECT count(*) FROM big") == [("20000",)]
    agent.query("DEALLOCATE ALL")
    assert rows(agent.query("SELECT 1")) == [("1",)]


@pytest.mark.parametrize(
    "sql", [HIDDEN, f"{HIDDEN} RETURNING id", f"WITH u AS ({HIDDEN} RETURNING *) SELECT count(*) FROM u"]
)
@pytest.mark.parametrize("block", [False, True])
def test_the_extended_protocol_waits_for_the_count_before_its_sync(
    agent: Wire, admin: Wire, sql: str, block: bool
) -> None:
    if block:
        agent.query("BEGIN")
    more = run("UPDATE big SET v = 1 WHERE id = 3")
    found = agent.send(run("UPDATE big SET v = 1 WHERE id = 2") + run(sql) + more + SYNC).until()
    assert "changed" in denied(found), shown(found)
    assert status(found) == ("E" if block else "I")
    if block:
        agent.query("ROLLBACK")
    assert changed(admin) == 0  # what came before it in the pipeline, too
    found = agent.send(run("UPDATE big SET v = 1 WHERE id < 20") + run("SELECT 5") + SYNC).until()
    assert kinds(found) == "12C12DCZ", shown(found)
    assert changed(admin) == 19


def test_a_write_cannot_be_fetched_in_parts_past_the_count(agent: Wire, admin: Wire) -> None:
    """The target runs all of it with the first part, and Sync commits before its tag says how many rows that were."""
    sql = f"{HIDDEN} RETURNING id"
    found = agent.send(prepare(sql) + bind() + execute(b"", 1) + SYNC).until()
    assert "in parts" in denied(found)
    assert changed(admin) == 0
    agent.query("BEGIN")
    agent.send(prepare(sql) + bind(portal="p") + execute(b"p", 1) + SYNC).until()
    agent.query("COMMIT")
    assert changed(admin) == 0


def test_a_savepoint_takes_back_what_was_refused(agent: Wire, admin: Wire) -> None:
    agent.query("BEGIN")
    agent.query("UPDATE big SET v = 1 WHERE id = 1")
    agent.query("SAVEPOINT a")
    denied(agent.query(HIDDEN))
    assert status(agent.query("ROLLBACK TO a")) == "T"
    assert not errors(agent.query("UPDATE big SET v = 1 WHERE id = 2"))
    agent.query("COMMIT")
    assert changed(admin) == 2


def test_parameters_count_as_they_are_bound(agent: Wire, admin: Wire) -> None:
    sql = "UPDATE big SET v = 1 WHERE id > $1"
    agent.send(prepare(sql, "p") + SYNC).until()
    found = agent.send(bind(b"19990", statement="p") + execute(b"") + SYNC).until()
    assert not errors(found), shown(found)
    found = agent.send(bind(b"5", statement="p") + execute(b"") + SYNC).until()
    assert "and 2000 is the most" in denied(found)
    found = agent.send(bind(b"19980", statement="p") + execute(b"") + SYNC).until()
    assert not errors(found), shown(found)
    assert changed(admin) == 20


def test_a_commit_that_fails_is_the_statements_error(agent: Wire, admin: Wire, postgres: PostgresServer) -> None:
    """Outside a transaction a guarded query runs inside one of the gateway's: a deferred constraint ends it as ever."""
    sql = "UPDATE children SET parent = 99 WHERE note = 'n' AND id < 5"
    found = agent.query(sql)
    with direct(postgres, "writes") as wire:
        assert comparable(found) == comparable(wire.query(sql))
    assert error(found)[0] == "23503"
    assert admin.rows("SELECT count(*) FROM children WHERE parent = 99") == [("0",)]
    assert rows(agent.query("SELECT 1")) == [("1",)]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE big SET v = 1 WHERE id < 10 RETURNING id, v",
        "UPDATE big SET v = 1 WHERE id < 10; SELECT 1; UPDATE big SET v = 2 WHERE id < 3",
        "UPDATE big SET v = 1 WHERE id < 10; SELECT 1 / 0",
        "UPDATE big SET v = 1 / 0 WHERE id < 10",
        "UPDATE big SET v = 0 WHERE id < 0 RETURNING id",
    ],
)
@pytest.mark.parametrize("block", [False, True])
def test_the_wire_is_otherwise_as_without_a_gateway(
    agent: Wire, postgres: PostgresServer, admin: Wire, sql: str, block: bool
) -> None:
    with direct(postgres, "writes") as wire:
        heard = []
        for each in (agent, wire):
            if block:
                each.query("BEGIN")
            heard.append(comparable(each.query(sql)))
            each.query("ROLLBACK")
            admin.rows("UPDATE big SET v = 0 WHERE v <> 0")
            found = each.send(run(sql.partition(";")[0]) + SYNC).until()
            heard[-1] += comparable(found)
            admin.rows("UPDATE big SET v = 0 WHERE v <> 0")
    assert heard[0] == heard[1]


def test_the_record_says_that_it_was_refused_after_it_ran(gateway: RunningGateway, agent: Wire, admin: Wire) -> None:
    sql = f"{HIDDEN} AND 7 = 7"
    denied(agent.query(sql))
    (found,) = gateway.query(
        f"SELECT verdict, outcome, sqlstate FROM statements WHERE sql = '{sql.replace(chr(39), chr(39) * 2)}'"
    )
    assert (found["verdict"], found["outcome"], found["sqlstate"]) == ("allow", "denied", "42501")
    alarms = gateway.query("SELECT detail FROM alarms WHERE alarm = 'stopped'")
    assert any("20000 rows" in each["detail"] for each in alarms)
