"""`approve-effect`: it runs, a person sees what it did, and nothing of it counts or leaves before they said yes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from effects_seen import DELETE, FILL, card, count, gateway_before, held, states
from operating import approve, ask, deny
from running import RunningGateway
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


@pytest.fixture(scope="module")
def gateway(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with gateway_before(postgres, tmp_path_factory.mktemp("effects"), "effects") as found:
        yield found


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
