"""`approve-effect`: it runs, a person sees what it did, and nothing of it counts or leaves before they said yes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from operating import approve, ask, deny
from running import RunningGateway, connection_table, running, start, write_home
from wire_client import (
    Wire,
    bind,
    direct,
    error,
    errors,
    eventually,
    kinds,
    notices,
    prepare,
    rows,
    run,
    send_cancel,
    shown,
    status,
    through,
)

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import SYNC, TERMINATE, execute, query

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, email text, state text NOT NULL, at timestamptz);
CREATE TABLE items (id int PRIMARY KEY, "order" int REFERENCES orders ON DELETE CASCADE, what text);
CREATE TABLE log (id serial PRIMARY KEY, words text);
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.log (words) VALUES (TG_OP); RETURN NULL; END';
CREATE TRIGGER tell AFTER UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION told();
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE wide (id int PRIMARY KEY, words text);
INSERT INTO wide SELECT i, repeat('w', 1000) FROM generate_series(1, 20000) i;
ANALYZE;
"""
FILL = """
TRUNCATE orders, items, log, parents, children CASCADE;
INSERT INTO orders SELECT i, 'customer ' || i, 'mail' || i || '@example.test', 'open', '2026-01-01 10:00Z'
  FROM generate_series(1, 20) i;
INSERT INTO items SELECT i, i % 20 + 1, 'thing' FROM generate_series(1, 60) i;
INSERT INTO parents VALUES (1);
"""
RULES = """
[[connection.rule]]
name = "deletes"
replaces = "standard/delete"
action = "approve-effect"

[[connection.rule]]
name = "writes"
operation = ["update", "insert"]
relation = ["public.orders", "public.children", "public.wide"]
action = "approve-effect"

[[connection.rule]]
name = "marked"
replaces = "standard/marked-write"
action = "approve-effect"

[[connection.rule]]
name = "copies"
operation = "copy-in"
relation = "public.orders"
action = "approve-effect"
"""
DELETE = "DELETE FROM orders WHERE id = {}"
NOTICE = re.compile(r"hoop: held for approval: (ap-[0-9a-f]+) until (\S+Z)$")


@pytest.fixture(scope="module")
def gateway(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    postgres.create_database("effects")
    postgres.execute(SCHEMA, "effects")
    home: Path = tmp_path_factory.mktemp("effects")
    tables = [
        connection_table("effects", postgres, "effects", mask=["public.orders.email"]) + RULES,
        connection_table("sending", postgres, "effects", hold="refuse") + RULES,
    ]
    with running(home, postgres, tables) as found:
        yield found
    assert "Traceback" not in found.log, found.log


@pytest.fixture
def admin(postgres: PostgresServer) -> Iterator[Wire]:
    with direct(postgres, "effects", application_name="admin") as wire:
        wire.query(FILL)
        yield wire


@pytest.fixture
def agent(gateway: RunningGateway) -> Iterator[Wire]:
    wire = through(gateway, "effects", gateway.token())
    yield wire
    wire.stream.close()


def held(wire: Wire) -> str:
    """Read to the notice of a hold, before which nothing came; return the approval's id."""
    found = wire.until("N")
    assert kinds(found).strip("123") == "N", shown(found)
    (said,) = notices(found)
    words = NOTICE.match(said.get("M") or "")
    assert words, said
    return words[1]


def card(gateway: RunningGateway, approval: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(gateway, "approvals.get", id=approval)
    return found


def states(admin: Wire) -> set[str | None]:
    return {row[0] for row in admin.rows("SELECT state FROM orders")}


def count(admin: Wire, table: str = "orders") -> int:
    return int(admin.rows(f"SELECT count(*) FROM {table}")[0][0] or 0)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_approved(gateway: RunningGateway, agent: Wire, admin: Wire, *, extended: bool, within: bool) -> None:
    if within:
        agent.rows("BEGIN")
    sql = DELETE.format(3) + " RETURNING id, email"
    agent.send(run(sql) + SYNC if extended else query(sql.encode()))
    approval = held(agent)
    assert agent.silent(0.2), "something of the answer left"
    assert count(admin) == 20
    effect = card(gateway, approval)["effect"]
    assert effect["rows"] == 1
    changed = {each["relation"]: each for each in effect["relations"]}
    assert changed["public.orders"]["deleted"] == 1
    assert changed["public.items"]["deleted"] == 3
    assert changed["public.log"]["inserted"] == 1
    sample = effect["sample"]
    assert sample["masked"] == ["email"]
    assert sample["columns"][:4] == ["id", "customer", "email", "state"]
    (row,) = sample["rows"]
    assert row["before"][:4] == ["3", "customer 3", "***", "open"]
    assert row["after"] is None
    approve(gateway, approval)
    found = agent.until()
    assert kinds(found).lstrip("2") in {"TDCZ", "DCZ"}, shown(found)
    assert rows(found) == [("3", "***")]
    assert status(found) == ("T" if within else "I")
    assert count(admin) == (20 if within else 19)
    if within:
        agent.rows("COMMIT")
        assert count(admin) == 19


def test_before_and_after_of_an_update_by_parameters(gateway: RunningGateway, agent: Wire, admin: Wire) -> None:
    sql = "UPDATE orders o SET state = $1, email = 'x' /* where */ WHERE o.state = $2 AND o.id <= $3::int -- to the end"
    parsed = prepare(sql, "u", (25, 25))
    agent.send(parsed, bind(b"sent", b"open", b"2", statement="u"), execute(b""), SYNC)
    assert kinds(agent.until("1")) == "1"
    effect = card(gateway, approval := held(agent))["effect"]
    assert (effect["rows"], effect["no_sample"]) == (2, "")
    columns, found = effect["sample"]["columns"], effect["sample"]["rows"]
    pairs = [{name: (row["before"][at], row["after"][at]) for at, name in enumerate(columns)} for row in found]
    assert sorted((pair["id"], pair["state"], pair["email"]) for pair in pairs) == [
        (("1", "1"), ("open", "sent"), ("***", "***")),
        (("2", "2"), ("open", "sent"), ("***", "***")),
    ]
    assert all(pair["at"][0] == pair["at"][1] for pair in pairs)
    assert states(admin) == {"open"}
    approve(gateway, approval)
    assert kinds(agent.until()) == "CZ"
    assert states(admin) == {"open", "sent"}


def test_a_sample_of_an_insert_is_of_its_own_rows(gateway: RunningGateway, agent: Wire, admin: Wire) -> None:
    agent.send(query(b"INSERT INTO orders VALUES (101, 'new', 'secret@example.test', 'open'), (102, 'n', NULL, 'x')"))
    shown_card = card(gateway, approval := held(agent))
    assert "secret" not in json.dumps(shown_card["effect"])
    (relation,) = shown_card["effect"]["relations"]
    assert (relation["relation"], relation["inserted"]) == ("public.orders", 2)
    assert {row["after"][0] for row in shown_card["effect"]["sample"]["rows"]} == {"101", "102"}
    assert all(row["before"] is None for row in shown_card["effect"]["sample"]["rows"])
    assert any("not undone" in words and "sequences" in words for words in shown_card["warnings"])
    deny(gateway, approval)
    assert error(agent.until()) == ("42501", "hoop: refused")
    assert count(admin) == 20


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_refused(gateway: RunningGateway, agent: Wire, admin: Wire, *, extended: bool, within: bool) -> None:
    if within:
        agent.rows("BEGIN")
        agent.rows("INSERT INTO log (words) VALUES ('kept')")
        agent.rows("SAVEPOINT s")
    sql = DELETE.format(3) + " RETURNING id"
    agent.send(run(sql) + SYNC if extended else query(sql.encode()))
    deny(gateway, held(agent))
    found = agent.until()
    assert kinds(found).lstrip("2") == "EZ", shown(found)
    (said,) = errors(found)
    assert (said.sqlstate, said.get("M"), said.get("D")) == ("42501", "hoop: refused", "not on a Friday")
    assert status(found) == ("E" if within else "I")
    admin.rows("UPDATE orders SET state = 'free' WHERE id = 3")  # its lock is gone
    if within:
        assert status(agent.query("ROLLBACK TO s")) == "T"
        agent.rows("COMMIT")
    assert count(admin) == 20
    assert [row[0] for row in admin.rows("SELECT words FROM log WHERE words = 'kept'")] == (["kept"] if within else [])
    assert rows(agent.query("SELECT 7")) == [("7",)]


@pytest.mark.parametrize("extended", [False, True])
def test_an_error_is_told_at_once_without_rows_or_words(
    gateway: RunningGateway, agent: Wire, admin: Wire, *, extended: bool
) -> None:
    sql = "DELETE FROM wide WHERE id IN (1, 2) RETURNING id, 1 / (id - 2), words::int"
    found = agent.send(run(sql) + SYNC if extended else query(sql.encode())).until()
    assert kinds(found).lstrip("12") == "EZ", shown(found)
    (said,) = errors(found)
    assert (said.sqlstate, said.get("D")) == ("22P02", None)
    assert "www" not in json.dumps(said.fields)
    assert count(admin, "wide") == 20000
    (row,) = gateway.query("SELECT outcome, rows FROM statements WHERE sql LIKE '%1 / (id - 2), words%' LIMIT 1")
    assert (row["outcome"], row["rows"]) == ("error", 0)


@pytest.mark.parametrize("extended", [False, True])
def test_a_deferred_constraint_speaks_before_anybody_is_asked(
    gateway: RunningGateway, agent: Wire, admin: Wire, *, extended: bool
) -> None:
    sql = "INSERT INTO children VALUES (1, 77)"
    found = agent.send(run(sql) + SYNC if extended else query(sql.encode())).until()
    assert error(found)[0] == "23503"
    assert not notices(found)
    assert status(found) == "I"
    assert count(admin, "children") == 0
    agent.rows("BEGIN")
    found = agent.send(run(sql) + SYNC if extended else query(sql.encode())).until()
    assert (error(found)[0], status(found)) == ("23503", "E")
    agent.rows("ROLLBACK")
    agent.send(query(b"INSERT INTO children VALUES (2, 1)"))
    approve(gateway, held(agent))
    assert kinds(agent.until()) == "CZ"
    assert count(admin, "children") == 1


def test_later_messages_wait_behind_it(gateway: RunningGateway, agent: Wire, admin: Wire) -> None:
    agent.send(query(DELETE.format(4).encode()), query(b"SELECT 'after'"))
    approval = held(agent)
    assert agent.silent(0.2)
    approve(gateway, approval)
    assert kinds(agent.until("Z", 2)) == "CZTDCZ"
    pipeline = [run("INSERT INTO log (words) VALUES ('p')"), run(DELETE.format(5)), run("SELECT 1"), SYNC]
    agent.send(*pipeline)
    assert kinds(agent.until("C")) == "12C"
    approval = held(agent)
    assert agent.silent(0.2)
    assert count(admin) == 19
    approve(gateway, approval)
    found = agent.until()
    assert kinds(found).lstrip("12") == "C12DCZ", shown(found)
    assert (count(admin), status(found)) == (18, "I")
    agent.send(*pipeline[:1], run(DELETE.format(6)), run("SELECT 1"), SYNC)
    agent.until("C")
    before = count(admin, "log")
    deny(gateway, held(agent))
    found = agent.until()
    assert kinds(found).lstrip("12") == "EZ", shown(found)
    assert (count(admin), count(admin, "log")) == (18, before)  # all of the pipeline is rolled back


@pytest.mark.parametrize("extended", [False, True])
def test_cancelled_while_held(gateway: RunningGateway, agent: Wire, admin: Wire, *, extended: bool) -> None:
    sql = DELETE.format(3)
    agent.send(run(sql) + SYNC if extended else query(sql.encode()))
    approval = held(agent)
    send_cancel(gateway, agent)
    found = agent.until()
    assert error(found)[0] == "57014"
    assert status(found) == "I"
    assert card(gateway, approval)["state"] == "cancelled"
    assert count(admin) == 20


@pytest.mark.parametrize("polite", [False, True])
def test_who_leaves_takes_it_along(gateway: RunningGateway, agent: Wire, admin: Wire, *, polite: bool) -> None:
    agent.send(query(DELETE.format(3).encode()))
    approval = held(agent)
    if polite:
        agent.send(TERMINATE)
    else:
        agent.stream.close()
    eventually(lambda: card(gateway, approval)["state"] == "cancelled")  # it does not linger: it ran here
    admin.rows("UPDATE orders SET state = 'free' WHERE id = 3")
    assert count(admin) == 20


def test_a_killed_session_is_rolled_back(gateway: RunningGateway, agent: Wire, admin: Wire) -> None:
    agent.send(query(DELETE.format(3).encode()))
    session = card(gateway, held(agent))["session_id"]
    ask(gateway, "sessions.kill", id=session, reason="enough")
    assert errors(agent.rest())[0].sqlstate == "57P01"
    admin.rows("UPDATE orders SET state = 'free' WHERE id = 3")
    assert count(admin) == 20


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("BEGIN; DELETE FROM orders WHERE id = 3; COMMIT", "it controls the transaction itself"),
        ("COPY orders FROM STDIN", "COPY data cannot be taken back"),
        ("EXPLAIN ANALYZE DELETE FROM orders WHERE id = 3", "explain is nothing that changes rows"),
        ("PREPARE d AS DELETE FROM orders WHERE id = 3", "prepare is nothing that changes rows"),
    ],
)
def test_what_cannot_run_first_is_held_before(
    gateway: RunningGateway, agent: Wire, admin: Wire, sql: str, why: str
) -> None:
    agent.send(query(sql.encode()))
    found = card(gateway, approval := held(agent))
    assert found["effect"] is None
    assert f"It is held before it runs, not after: {why}" in found["reason"]
    deny(gateway, approval)
    assert error(agent.until()) == ("42501", "hoop: refused")
    assert count(admin) == 20


def test_an_agent_that_does_not_wait_is_held_before(gateway: RunningGateway, admin: Wire) -> None:
    with through(gateway, "sending", gateway.token()) as wire:
        (said,) = errors(wire.query(DELETE.format(8)))
        assert said.get("M") == "hoop: approval needed"
        approval = (said.get("D") or "").removeprefix("Approval: ")
        found = card(gateway, approval)
        assert (found["effect"], found["reason"].endswith("the agent does not wait.")) == (None, True)
        approve(gateway, approval)
        assert kinds(wire.query(DELETE.format(8))) == "CZ"
    assert count(admin) == 19


@pytest.mark.parametrize("within", [False, True])
def test_fetched_in_parts_it_has_run_as_a_whole(
    gateway: RunningGateway, agent: Wire, admin: Wire, *, within: bool
) -> None:
    if within:
        agent.rows("BEGIN")
    sql = "DELETE FROM orders WHERE id IN (3, 4, 5) RETURNING id"
    agent.send(prepare(sql), bind(portal="p"), execute(b"p", 2), SYNC)
    effect = card(gateway, approval := held(agent))["effect"]
    deleted = {each["relation"]: each["deleted"] for each in effect["relations"]}
    assert (effect["rows"], deleted["public.orders"]) == (None, 3)
    assert agent.silent(0.2)
    approve(gateway, approval)
    found = agent.until()
    assert kinds(found).lstrip("12") == "DDsZ", shown(found)
    if within:
        assert kinds(agent.send(execute(b"p", 2), SYNC).until()) == "DCZ"
        agent.rows("COMMIT")
    assert count(admin) == 17


def test_what_is_counted_is_refused_in_parts(agent: Wire, admin: Wire) -> None:
    sql = "DELETE FROM wide WHERE words || '' <> 'y' RETURNING id"
    found = agent.send(prepare(sql), bind(), execute(b"", 1), SYNC).until()
    assert errors(found)[0].get("D") == "Rule: standard/delete-all", shown(found)
    assert count(admin, "wide") == 20000


@pytest.mark.parametrize("extended", [False, True])
def test_an_answer_too_long_to_be_kept_is_rolled_back(agent: Wire, admin: Wire, *, extended: bool) -> None:
    sql = "UPDATE wide SET words = 'x' WHERE id <= 900 RETURNING repeat('w', 11000)"
    found = agent.send(run(sql) + SYNC if extended else query(sql.encode())).until()
    (said,) = errors(found)
    assert "8192 KiB" in (said.get("M") or ""), shown(found)
    assert "D" not in kinds(found)
    assert admin.rows("SELECT count(*) FROM wide WHERE words = 'x'") == [("0",)]
    assert rows(agent.query("SELECT 7")) == [("7",)]


def test_what_changed_more_than_restricts_is_nobodys_to_approve(agent: Wire, admin: Wire) -> None:
    found = agent.query("UPDATE wide SET words = 'x' WHERE words || '' <> 'y'")
    (said,) = errors(found)
    assert said.get("D") == "Rule: standard/update-all", shown(found)
    assert not notices(found)
    assert admin.rows("SELECT count(*) FROM wide WHERE words = 'x'") == [("0",)]


def test_what_cannot_be_sampled_says_why(gateway: RunningGateway, agent: Wire, admin: Wire) -> None:
    agent.rows("BEGIN")
    for sql, words in (
        (DELETE.format(3), ""),
        (DELETE.format(4), "the transaction had changed the table before"),
        ("UPDATE wide SET id = 30000 WHERE id = 7", "it changes the key"),
        ('DELETE FROM items USING orders WHERE orders.id = items."order" AND orders.id = 9', "one table"),
    ):
        agent.send(query(sql.encode()))
        effect = card(gateway, approval := held(agent))["effect"]
        assert words in effect["no_sample"], sql
        assert (effect["sample"] is None) is bool(words)
        approve(gateway, approval)
        assert kinds(agent.until()) == "CZ"
    agent.rows("ROLLBACK")


def test_the_evidence_has_what_was_seen_and_what_the_gateway_asked(
    gateway: RunningGateway, agent: Wire, admin: Wire
) -> None:
    sql = DELETE.format(11)
    agent.send(query(sql.encode()))
    approval = held(agent)
    digest = card(gateway, approval)["effect"]["digest"]
    approve(gateway, approval)
    agent.until()
    (row,) = gateway.query(f"SELECT * FROM approvals WHERE approval_id = '{approval}'")
    assert (row["decision"], row["operation_hash"] == row["executed_hash"]) == ("approved", True)
    assert json.loads(row["receipt"])["effect"]["sha256"] == digest
    (asked,) = gateway.query(f"SELECT session_id, n, outcome, rows FROM statements WHERE sql = '{sql}'")
    assert (asked["outcome"], asked["rows"]) == ("ok", 1)
    own = gateway.query(
        f"SELECT sql, outcome FROM statements WHERE session_id = '{asked['session_id']}' AND rule = 'gateway/effect'"
        " ORDER BY n"
    )
    texts = [each["sql"] for each in own]
    assert (texts[0], texts[2], texts[-1]) == ("BEGIN", "SET CONSTRAINTS ALL IMMEDIATE", "COMMIT")
    assert any(text.startswith('SELECT "orders"."id"') and "email" not in text for text in texts)
    assert {each["outcome"] for each in own} == {"ok"}
    assert gateway.command("evidence", "verify", str(gateway.evidence)).returncode == 0


def test_psycopg_and_psql_see_an_ordinary_answer(gateway: RunningGateway, admin: Wire) -> None:
    token = gateway.token("agent-2")
    environment = gateway.libpq_environment("effects", token)
    command = ["psql", "-XAt", "-c", DELETE.format(12) + " RETURNING id"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as psql:
        approve(gateway, _only(gateway, "12"))
        out, err = psql.communicate(timeout=20)
    assert (psql.returncode, out.splitlines()[0]) == (0, "12"), err
    script = (
        "import os, psycopg\n"
        "with psycopg.connect() as c:\n"
        "    print(c.execute('DELETE FROM orders WHERE id = %s RETURNING id', (13,), prepare=True).fetchall())\n"
        "with psycopg.connect(autocommit=True) as c:\n"
        "    print(c.execute('DELETE FROM orders WHERE id = %s', (14,)).rowcount)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        approve(gateway, _only(gateway, "$1"))
        approve(gateway, _only(gateway, "$1"))
        out, err = client.communicate(timeout=20)
    assert out.splitlines() == ["[(13,)]", "1"], err
    assert count(admin) == 17


def _only(gateway: RunningGateway, words: str) -> str:
    """The approval that waits for a statement with these words, once it is there."""
    found: list[str] = []

    def look() -> bool:
        listed = ask(gateway, "approvals.list", decided=False)
        items = listed["items"] if isinstance(listed, dict) else listed
        found[:] = [each["id"] for each in items if words in each["statement"]]
        return bool(found)

    eventually(look)
    return found[0]


BUDGET = '[approvals]\nin_transaction_timeout = "3s"\neffect_rows = 0\n'
TWICE = RULES.replace('action = "approve-effect"', 'action = "approve-effect"\napprovals = 2', 1)


@pytest.fixture(scope="module")
def short(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway whose lock budget is short."""
    postgres.create_database("budget")
    postgres.execute(SCHEMA, "budget")
    home: Path = tmp_path_factory.mktemp("budget")
    tables = [
        connection_table("budget", postgres, "budget") + RULES,
        connection_table("twice", postgres, "budget") + TWICE,
    ]
    with running(home, postgres, tables, BUDGET) as found:
        yield found


def test_the_lock_budget_ends_it_and_lets_others_go_on(short: RunningGateway, postgres: PostgresServer) -> None:
    with direct(postgres, "budget") as other, through(short, "budget", short.token()) as wire:
        other.rows(FILL)
        wire.send(query(DELETE.format(3).encode()))
        held(wire)
        other.send(query(b"UPDATE orders SET state = 'waited' WHERE id = 3"))
        assert other.silent(0.2), "it does not wait for the lock"
        assert error(wire.until()) == ("42501", "hoop: approval expired")
        assert kinds(other.until()) == "CZ"
        assert other.rows("SELECT state FROM orders WHERE id = 3") == [("waited",)]
        assert rows(wire.query("SELECT 7")) == [("7",)]


def test_a_deadlock_while_it_runs_is_an_ordinary_error(short: RunningGateway, postgres: PostgresServer) -> None:
    with direct(postgres, "budget") as other, through(short, "budget", short.token()) as wire:
        other.rows(FILL)
        other.rows("BEGIN")
        other.rows("UPDATE orders SET state = 'x' WHERE id = 5")
        wire.rows("BEGIN")
        wire.rows("SELECT 1 FROM orders WHERE id = 6 FOR UPDATE")
        wire.send(query(DELETE.format(5).encode()))
        assert wire.silent(0.2)
        other.send(query(b"UPDATE orders SET state = 'x' WHERE id = 6"))
        found, theirs = wire.until(), other.until()
        if errors(found):
            assert (error(found)[0], notices(found)) == ("40P01", [])
        else:  # the other one was the victim: then it goes on to be held, and expires
            assert error(theirs)[0] == "40P01"


def test_no_rows_are_shown_where_none_are_wanted(short: RunningGateway, postgres: PostgresServer) -> None:
    with direct(postgres, "budget") as other, through(short, "budget", short.token()) as wire:
        other.rows(FILL)
        wire.send(query(DELETE.format(7).encode()))
        approval = held(wire)
        effect = card(short, approval)["effect"]
        assert (effect["sample"], effect["no_sample"]) == (None, "samples are turned off")
        deny(short, approval)
        assert error(wire.until()) == ("42501", "hoop: refused")


def test_two_people_have_one_budget(short: RunningGateway, postgres: PostgresServer) -> None:
    with direct(postgres, "budget") as other, through(short, "twice", short.token()) as wire:
        other.rows(FILL)
        wire.send(query(DELETE.format(7).encode()))
        approval = held(wire)
        approve(short, approval)
        shown_card = card(short, approval)
        assert (shown_card["state"], len(shown_card["votes"])) == ("pending", 1)
        assert wire.silent(0.2)
        assert error(wire.until()) == ("42501", "hoop: approval expired")
        assert other.rows("SELECT count(*) FROM orders") == [("20",)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_gateways_end_rolls_it_back(
    postgres: PostgresServer, tmp_path: Path, number: int, request: pytest.FixtureRequest
) -> None:
    database = f"ends_{int(number)}"
    postgres.create_database(database)
    postgres.execute(SCHEMA, database)
    write_home(tmp_path, postgres.password, [connection_table("ends", postgres, database) + RULES])
    gateway = start(tmp_path)
    request.addfinalizer(lambda: gateway.process.stdout and gateway.process.stdout.close())
    with direct(postgres, database) as other, through(gateway, "ends", gateway.token()) as wire:
        other.rows(FILL)
        wire.send(query(DELETE.format(3).encode()))
        approval = held(wire)
        gateway.stop(number)
        eventually(lambda: other.rows("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == [("0",)])
        other.rows("UPDATE orders SET state = 'free' WHERE id = 3")
        assert other.rows("SELECT count(*) FROM orders") == [("20",)]
    gateway.command("evidence", "views", str(gateway.evidence))
    texts = {row["sql"] for row in gateway.query("SELECT sql FROM statements")}
    assert DELETE.format(3) in texts
    assert "COMMIT" not in texts
    assert not gateway.query(f"SELECT 1 FROM approvals WHERE approval_id = '{approval}' AND executed_hash IS NOT NULL")


@pytest.mark.parametrize(
    ("sql", "rows_told", "relations", "sampled"),
    [
        (
            "WITH d AS (DELETE FROM orders WHERE id = 2 RETURNING id) SELECT count(*) FROM d",
            1,
            "items log orders",
            False,
        ),
        (f"{DELETE.format(2)}; UPDATE orders SET state = 'x' WHERE id = 3", 2, "items log orders", False),
        ("PREPARE d (int) AS DELETE FROM orders WHERE id = $1", 1, "items log orders", False),
        ("UPDATE orders SET state = NULL WHERE id = 500", 0, "", False),
        ("INSERT INTO children SELECT i, 1 FROM generate_series(1, 30) i", 30, "children", True),
    ],
)
def test_what_was_changed_is_counted_however_it_was_said(
    gateway: RunningGateway, agent: Wire, admin: Wire, sql: str, rows_told: int, relations: str, sampled: bool
) -> None:
    agent.send(query(sql.encode()))
    approval = held(agent)
    if sql.startswith("PREPARE"):
        approve(gateway, approval)
        agent.until()
        agent.send(query(b"EXECUTE d(2)"))
        approval = held(agent)
    effect = card(gateway, approval)["effect"]
    assert effect["rows"] == rows_told
    assert sorted(each["relation"].removeprefix("public.") for each in effect["relations"]) == relations.split()
    assert (effect["sample"] is not None) is sampled, effect["no_sample"]
    deny(gateway, approval)
    assert errors(agent.until())[0].get("M") == "hoop: refused"
    assert (count(admin), count(admin, "children"), states(admin)) == (20, 0, {"open"})


def test_what_is_swept_by_a_savepoint_is_counted_all_the_same(
    gateway: RunningGateway, agent: Wire, admin: Wire
) -> None:
    agent.rows("BEGIN")
    agent.rows("SAVEPOINT s")
    agent.send(query(b"INSERT INTO children VALUES (5, 1)"))
    effect = card(gateway, approval := held(agent))["effect"]
    (relation,) = effect["relations"]
    assert (relation["inserted"], "savepoint" in effect["no_sample"]) == (1, True)
    approve(gateway, approval)
    agent.until()
    agent.rows("COMMIT")
    assert count(admin, "children") == 1


def test_binary_rows_and_unnamed_statements_pass_unchanged(gateway: RunningGateway, agent: Wire, admin: Wire) -> None:
    again = run("SELECT 1")
    agent.send(prepare(DELETE.format(9) + " RETURNING id"), bind(results=1), execute(b""), again, SYNC)
    approve(gateway, held(agent))
    found = agent.until()
    assert kinds(found).lstrip("2") == "DC12DCZ", shown(found)
    assert next(each for each in found if each.kind == b"D").body[-4:] == b"\0\0\0\x09"
    assert count(admin) == 19
