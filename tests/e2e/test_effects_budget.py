"""`approve-effect` and time: the lock budget, a deadlock, two people, and the end of the gateway."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from effects_seen import DELETE, FILL, RULES, SCHEMA, card, held
from operating import approve, deny
from running import RunningGateway, connection_table, running, start, write_home
from wire_client import direct, error, errors, eventually, kinds, notices, rows, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import query

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
