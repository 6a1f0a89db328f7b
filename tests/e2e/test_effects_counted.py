"""`approve-effect`: what is counted, shown and recorded of what ran, and that clients see an ordinary answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from effects_seen import DELETE, FILL, card, count, gateway_before, held, states
from operating import approve, ask, deny
from running import RunningGateway
from wire_client import Wire, bind, direct, errors, eventually, kinds, notices, prepare, rows, run, shown, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import SYNC, execute, query


@pytest.fixture(scope="module")
def gateway(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with gateway_before(postgres, tmp_path_factory.mktemp("effects_counted"), "effects_counted") as found:
        yield found


@pytest.fixture
def admin(postgres: PostgresServer) -> Iterator[Wire]:
    with direct(postgres, "effects_counted", application_name="admin") as wire:
        wire.query(FILL)
        yield wire


@pytest.fixture
def agent(gateway: RunningGateway) -> Iterator[Wire]:
    wire = through(gateway, "effects", gateway.token())
    yield wire
    wire.stream.close()


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
