"""A held statement as its agent sees it: a notice at once, then its result or why not; what runs, runs once."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from holds import held, ids
from operating import approve, deny, pending
from running import RunningGateway, connection_table, running
from wire_client import (
    Wire,
    bind,
    copy_data,
    error,
    errors,
    eventually,
    flood,
    kinds,
    memory,
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
from gateway.pgwire.framing import Message
from gateway.pgwire.frontend import SYNC, TERMINATE, describe, execute, query

DELETE = "DELETE FROM scratch WHERE id = {}"


def by_command(gateway: RunningGateway, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return gateway.command("approvals", *words, "-c", str(gateway.config), check=check)


def test_approved_in_the_simple_protocol(gateway: RunningGateway, agent: Callable[..., Wire], three: Wire) -> None:
    wire = agent()
    wire.send(query(DELETE.format(1).encode()), query(b"SELECT 'after'"))
    approval = held(wire)
    found = pending(gateway, approval)
    assert found is not None
    assert (found["subject"], found["connection"], found["statement"]) == ("agent-1", "plain", DELETE.format(1))
    assert ids(three) == [1, 2, 3]
    assert wire.silent(0.1), "something overtook the held statement"
    by_command(gateway, "approve", approval, "--hash", found["hash"][:8], "--reason", "looks right")
    found_messages = wire.until("Z", 2)
    assert kinds(found_messages) == "CZTDCZ", shown(found_messages)
    assert found_messages[0].body == b"DELETE 1\0"
    assert ids(three) == [2, 3]
    evidence = gateway.query(f"SELECT * FROM approvals WHERE approval_id = '{approval}'")
    assert [(row["decision"], row["reason"]) for row in evidence] == [("approved", "looks right")]
    assert evidence[0]["operation_hash"] == evidence[0]["executed_hash"]


def test_approved_in_the_extended_protocol_with_its_parameters(
    gateway: RunningGateway, agent: Callable[..., Wire], three: Wire
) -> None:
    wire = agent()
    parsed = prepare("DELETE FROM scratch WHERE id = $1 RETURNING id", "d", (23,))
    assert kinds(wire.send(parsed, describe(b"S", b"d"), SYNC).until()) == "1tTZ"  # held at Bind, not before
    wire.send(run("INSERT INTO scratch VALUES (7)"), bind(b"2", statement="d"), execute(b""), run("SELECT 1"), SYNC)
    assert kinds(wire.until("C")) == "12C"
    approval = held(wire)
    found = pending(gateway, approval)
    assert found is not None
    assert found["parameters"] == ["2"]
    assert found["in_transaction"] is True
    assert ids(three) == [1, 2, 3]
    approve(gateway, approval)
    messages = wire.until()
    assert kinds(messages) == "2DC12DCZ", shown(messages)
    assert ids(three) == [1, 3, 7]


def test_nobody_is_asked_where_the_pipeline_failed_before(
    gateway: RunningGateway, agent: Callable[..., Wire], three: Wire
) -> None:
    wire = agent()
    found = wire.send(run("SELECT 1/0"), run(DELETE.format(1)), SYNC).until()
    assert error(found)[0] == "22012"
    assert not notices(found)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_refused(
    gateway: RunningGateway, agent: Callable[..., Wire], three: Wire, *, extended: bool, within: bool
) -> None:
    wire = agent()
    if within:
        wire.rows("BEGIN")
        wire.rows("INSERT INTO scratch VALUES (9)")
        wire.rows("SAVEPOINT s")
    sql = DELETE.format(1)
    wire.send(run(sql) + SYNC if extended else query(sql.encode()))
    if extended:
        wire.expect("1")
    deny(gateway, held(wire))
    found = wire.until()
    assert kinds(found) == "EZ", shown(found)
    (said,) = errors(found)
    assert (said.sqlstate, said.get("M"), said.get("D")) == ("42501", "hoop: refused", "not on a Friday")
    assert status(found) == ("E" if within else "I")
    if within:
        assert status(wire.query("ROLLBACK TO s")) == "T"
        wire.rows("COMMIT")
    assert ids(three) == ([1, 2, 3, 9] if within else [1, 2, 3])


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("extended", [False, True])
def test_cancelled_while_held(
    gateway: RunningGateway, agent: Callable[..., Wire], three: Wire, *, extended: bool, tls: bool
) -> None:
    wire = agent()
    sql = DELETE.format(1)
    wire.send(run(sql) + SYNC if extended else query(sql.encode()))
    approval = held(wire)
    assert send_cancel(gateway, wire, tls=tls) == b""
    found = wire.until()
    assert error(found) == ("57014", "canceling statement due to user request")
    assert pending(gateway, approval) is None
    assert wire.rows("SELECT 1") == [("1",)]
    assert ids(three) == [1, 2, 3]


@pytest.mark.parametrize("how", ["terminate", "close"])
def test_a_client_that_leaves_runs_nothing(
    gateway: RunningGateway, agent: Callable[..., Wire], three: Wire, how: str
) -> None:
    name = f"leaves-held-{how}"
    wire = agent("plain", application_name=name)
    wire.send(query(DELETE.format(1).encode()))
    approval = held(wire)
    if how == "terminate":
        wire.send(TERMINATE)
    wire.stream.close()
    at_target = f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{name}'"
    eventually(lambda: not three.rows(at_target))
    approve(gateway, approval)  # it lingers: the same agent may come back for it
    assert ids(three) == [1, 2, 3]
    back = agent("plain")
    found = back.query(DELETE.format(1))
    assert kinds(found) == "CZ", shown(found)
    assert ids(three) == [2, 3]
    again = agent("plain")
    again.send(query(DELETE.format(2).encode()))
    held(again)  # another statement is another question
    three.rows("INSERT INTO scratch VALUES (1)")
    again = agent("plain")
    again.send(query(DELETE.format(1).encode()))
    held(again)  # and the approval is used up


def test_hold_refuse_asks_and_the_same_statement_then_runs_once(
    gateway: RunningGateway, agent: Callable[..., Wire], three: Wire
) -> None:
    wire = agent("plain", options="-c hoop.hold=refuse")
    sql = DELETE.format(3)
    found = wire.query(sql)
    (said,) = errors(found)
    assert (said.sqlstate, said.get("M")) == ("42501", "hoop: approval needed")
    approval = (said.get("D") or "").removeprefix("Approval: ")
    assert approval in (said.get("H") or "")
    (again,) = errors(wire.query(sql))
    assert again.get("D") == said.get("D"), "the same question was asked twice"
    approve(gateway, approval)
    other = agent("plain", gateway.token("agent-2"), options="-c hoop.hold=refuse")
    (theirs,) = errors(other.query(sql))
    assert theirs.get("D") != said.get("D"), "another identity used the approval"
    (changed,) = errors(wire.query(sql + " "))
    assert changed.get("D") != said.get("D"), "other bytes used the approval"
    assert ids(three) == [1, 2, 3]
    assert kinds(wire.query(sql)) == "CZ"
    assert ids(three) == [1, 2]
    assert error(wire.query(sql))[1] == "hoop: approval needed"
    assert by_command(gateway, "wait", approval).returncode == 0


def test_a_stale_hash_approves_nothing(gateway: RunningGateway, agent: Callable[..., Wire], three: Wire) -> None:
    wire = agent()
    wire.send(query(DELETE.format(1).encode()))
    approval = held(wire)
    refused = by_command(gateway, "approve", approval, "--hash", "00000000", "--reason", "x", check=False)
    assert refused.returncode != 0
    assert refused.stderr.startswith("hoop-gateway: ")
    assert wire.silent(0.1)
    deny(gateway, approval)
    assert error(wire.until())[1] == "hoop: refused"
    assert ids(three) == [1, 2, 3]


def test_a_held_statement_delays_nobody_else(gateway: RunningGateway, agent: Callable[..., Wire], three: Wire) -> None:
    wire, other = agent(), agent()
    wire.send(query(DELETE.format(1).encode()))
    approval = held(wire)
    began = time.monotonic()
    for _ in range(20):
        assert other.rows("SELECT 1") == [("1",)]
    assert time.monotonic() - began < 5
    deny(gateway, approval)


def test_a_flood_behind_a_held_statement_is_not_read(
    gateway: RunningGateway, agent: Callable[..., Wire], three: Wire
) -> None:
    """The gateway stops reading: its memory is not the client's buffer."""
    wire = agent()
    wire.send(query(DELETE.format(1).encode()))
    approval = held(wire)
    before = memory(gateway)
    taken = flood(wire, query(b"SELECT 1 -- " + b"x" * 60_000), 128 << 20)
    assert taken < 64 << 20
    assert memory(gateway) - before < 32 << 20
    deny(gateway, approval)


# --- a gateway with short times ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty(postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    tables = [
        connection_table("plain", postgres, orders),
        connection_table("asks", postgres, orders, hold="refuse"),
    ]
    approvals = '[approvals]\ntimeout = "2s"\nin_transaction_timeout = "1s"\n[evidence]\nresults = "durable"\n'
    with running(tmp_path_factory.mktemp("hasty"), postgres, tables, approvals) as found:
        yield found


def outcome(gateway: RunningGateway, approval: str) -> list[object]:
    found = gateway.query(f"SELECT outcome FROM statements WHERE approval_id = '{approval}'")
    return [row["outcome"] for row in found]


@pytest.mark.parametrize("within", [False, True])
def test_nobody_decides_in_time(hasty: RunningGateway, three: Wire, *, within: bool) -> None:
    with through(hasty, "plain", hasty.token()) as wire:
        if within:
            wire.rows("BEGIN")
        began = time.monotonic()
        wire.send(query(DELETE.format(1).encode()))
        approval = held(wire)
        found = wire.until()
        assert error(found) == ("42501", "hoop: approval expired")
        assert 0.8 < time.monotonic() - began < (1.9 if within else 4)
        assert status(found) == ("E" if within else "I")
        assert ids(three) == [1, 2, 3]
        eventually(lambda: outcome(hasty, approval) == ["expired"])


def test_a_hold_ends_with_the_token(hasty: RunningGateway, three: Wire) -> None:
    with through(hasty, "plain", hasty.token(ttl="3s")) as wire:
        while True:  # the last hold's deadline is the token's expiry, not the timeout
            wire.send(query(DELETE.format(1).encode()))
            found: list[Message] = []
            while (new := wire.message()) is not None and new.kind != b"Z":
                found.append(new)
            if new is None:
                break
            assert error(found)[1] == "hoop: approval expired"
        assert [said.sqlstate for said in errors(found)][-1:] == ["57P01"], hasty.log + shown(found)
    assert ids(three) == [1, 2, 3]


def test_the_connection_may_refuse_by_itself(hasty: RunningGateway, three: Wire) -> None:
    with through(hasty, "asks", hasty.token()) as wire:
        assert error(wire.query(DELETE.format(1)))[1] == "hoop: approval needed"
    with through(hasty, "asks", hasty.token(), options="-c hoop.hold=wait") as wire:
        wire.send(query(DELETE.format(1).encode()))
        deny(hasty, held(wire))
        assert error(wire.until())[1] == "hoop: refused"


def test_a_held_copy_takes_its_data_after_the_approval(
    gateway: RunningGateway, agent: Callable[..., Wire], three: Wire
) -> None:
    """COPY into a marked column needs approval; its data waits behind the hold."""
    wire = agent("orders")
    copy = b"COPY users (id, name, email) FROM STDIN"
    wire.send(query(copy), copy_data(b"900\tnew\tnew@secret.example\n"), b"c\0\0\0\4")
    approval = held(wire)
    approve(gateway, approval)
    found = wire.until()
    assert kinds(found) == "GCZ", shown(found)
    assert three.rows("SELECT name FROM users WHERE id = 900") == [("new",)]
    three.rows("DELETE FROM users WHERE id = 900")


def test_approvals_list_is_json_for_programs(gateway: RunningGateway, agent: Callable[..., Wire], three: Wire) -> None:
    wire = agent()
    wire.send(query(DELETE.format(2).encode()))
    approval = held(wire)
    listed = json.loads(by_command(gateway, "list", "--json").stdout)
    found = next(each for each in listed if each["id"] == approval)
    assert {"id", "hash", "subject", "connection", "statement", "rule", "expires"} <= set(found)
    by_command(gateway, "deny", approval, "--reason", "enough")
    assert rows(wire.until()) == []
