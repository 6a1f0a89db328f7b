"""The machine's clock is set back, or forth, under a running gateway: it records on, says so, and starts again."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psycopg
import pytest
from crash.scene import Target, assert_intact, serving
from e2e.running import RunningGateway, connection_table, write_home

HOUR = 3_600_000_000
STEPPED = """
import sys
from pathlib import Path
from gateway.__main__ import main
from gateway.evidence.storage import SystemClock

now, step = SystemClock.now, Path(sys.argv[1])
SystemClock.now = lambda self: now(self) + (int(step.read_text()) if step.exists() else 0)
sys.exit(main(sys.argv[5:]))
"""
"""A gateway whose wall clock is off by what a file says; after it come the interpreter, `-m`, the program."""


def wrapped(home: Path) -> list[str]:
    write = home / "step"
    return [sys.executable, "-c", STEPPED, str(write)]


def step(home: Path, by: int) -> None:
    beside = home / "step.new"
    beside.write_text(str(by))
    beside.rename(home / "step")


def insert(connection: psycopg.Connection[tuple[object, ...]], mark: str) -> None:
    connection.execute("INSERT INTO written VALUES (%s)", (mark,))


def back(gateway: RunningGateway) -> list[str]:
    """The records of the worker that say that they are earlier than the one before them."""
    sql = "SELECT kind FROM records WHERE entry ->> 'clk' = 'back' AND log = 'gw-1/w1' ORDER BY seq"
    return [row["kind"] for row in gateway.query(sql)]


@pytest.fixture
def home(target: Target, tmp_path: Path) -> Path:
    target.ask("CREATE TABLE written (id text)")
    write_home(tmp_path, target.server.password, [connection_table("target", target.server, target.database)])
    return tmp_path


def test_a_clock_set_back_is_told_once_and_nothing_else_changes(home: Path, target: Target) -> None:
    with serving(home, wrapped(home)) as gateway:
        arguments = gateway.connect_arguments("target", gateway.token())
        with psycopg.connect(**arguments, autocommit=True) as agent:
            insert(agent, "<before>")
            step(home, -HOUR)
            insert(agent, "<after>")
            insert(agent, "<later>")
            assert len(back(gateway)) == 1
            assert_intact(gateway)
        assert gateway.stop() == 0, gateway.log
    assert target.ask("SELECT id FROM written") == ["<before>", "<after>", "<later>"]
    rows = gateway.query("SELECT parameters[1] AS id FROM statements WHERE operation = 'insert' ORDER BY seq")
    assert [row["id"] for row in rows] == ["<before>", "<after>", "<later>"]
    assert_intact(gateway)


def test_a_clock_set_forth_ends_what_is_over_and_the_next_start_is_earlier(home: Path) -> None:
    with serving(home, wrapped(home)) as gateway:
        arguments = gateway.connect_arguments("target", gateway.token(ttl="30m"))
        with psycopg.connect(**arguments, autocommit=True) as agent:
            insert(agent, "<before>")
            step(home, HOUR)
            deadline = time.monotonic() + 60
            while json.loads(gateway.command("sessions", "list", "-c", str(gateway.config), "--json").stdout):
                assert time.monotonic() < deadline, gateway.log
            with pytest.raises(psycopg.OperationalError, match="hoop: the session was cut"):
                insert(agent, "<after the token>")
        assert gateway.stop() == 0, gateway.log
    step(home, 0)
    with serving(home, wrapped(home)) as gateway:
        assert back(gateway) == ["start"]
        with psycopg.connect(**gateway.connect_arguments("target", gateway.token()), autocommit=True) as agent:
            insert(agent, "<again>")
        assert gateway.stop() == 0, gateway.log
    assert_intact(gateway)
