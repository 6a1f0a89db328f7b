"""Signals, dead clients and targets in trouble: everybody is told, everything is recorded, nothing stays half open."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from crash.scene import Target, assert_intact, serving
from e2e.running import RunningGateway, connection_table, write_home

DEAD_PORT = 1


@pytest.fixture
def gateway(target: Target, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway for one test, which may stop it; connections `target`, and `down`, where nobody listens."""
    target.ask("CREATE TABLE written (id text PRIMARY KEY)")
    there = connection_table("target", target.server, target.database)
    down = connection_table("down", target.server, target.database).replace(f":{target.server.port}/", f":{DEAD_PORT}/")
    write_home(tmp_path, target.server.password, [there, down])
    with serving(tmp_path) as found:
        yield found
        if found.process.poll() is None:
            assert found.stop() == 0, found.log
        assert "Traceback" not in found.log
        assert " at\n" not in found.log, "a fault of our own was logged with its place"


def wait_for(target: Target, condition: str) -> None:
    """Return once some session of the database is in a state."""
    deadline = time.monotonic() + 15
    while not target.ask(f"SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND {condition}"):
        assert time.monotonic() < deadline, target.ask("TABLE pg_stat_activity")


def wait_until_closed(port: int) -> None:
    deadline = time.monotonic() + 15
    with suppress(ConnectionRefusedError):
        while True:
            with suppress(ConnectionResetError):  # it was in the queue of the listener that closed
                socket.create_connection(("127.0.0.1", port)).close()
            assert time.monotonic() < deadline


def told(attempt: Future[Any]) -> psycopg.Error:
    fault = attempt.exception(30)
    assert isinstance(fault, psycopg.Error), fault
    return fault


@pytest.mark.parametrize(("number", "freed"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_a_signal_drains(gateway: RunningGateway, target: Target, number: int, freed: bool) -> None:
    """Idle, in a transaction, running and held: what runs may end in a few seconds, and is cancelled then."""
    arguments = gateway.connect_arguments("target", gateway.token())
    idle, block, running, held = (psycopg.connect(**arguments, autocommit=True) for _ in range(4))
    blocker = psycopg.connect(target.server.dsn(target.database))
    silent = socket.create_connection(("127.0.0.1", gateway.port))
    with ThreadPoolExecutor() as agents, blocker, silent, idle, block, running, held:
        block.execute("BEGIN")
        block.execute("INSERT INTO written VALUES ('<block>')")
        blocker.execute("SELECT pg_advisory_lock(1)")
        runs = agents.submit(running.execute, "SELECT pg_advisory_lock(1)")
        wait_for(target, "wait_event = 'advisory'")
        waits = agents.submit(held.execute, "DELETE FROM written WHERE id = '<1>'")
        while not gateway.approvals():
            assert not waits.done()
        began = time.monotonic()
        gateway.process.send_signal(number)
        assert told(waits).sqlstate in ("42501", "57P01")  # both are sent; which one it is told is psycopg's choice
        if freed:
            blocker.execute("SELECT pg_advisory_unlock(1)")
            assert runs.result(30).fetchone() == ("",)
        else:
            assert told(runs).sqlstate in ("57014", "57P01")
        assert gateway.process.wait(30) == 0, gateway.log
        assert time.monotonic() - began < (5 if freed else 14)
        for connection in (idle, block):
            with pytest.raises(psycopg.OperationalError, match="hoop: the session was cut"):
                connection.execute("SELECT 1")
    target.wait_until_left()
    assert not target.ask("SELECT id FROM written")

    ends = gateway.query("SELECT end_reason, count(*) AS n FROM sessions GROUP BY ALL")
    assert ends == [{"end_reason": "draining", "n": 4}]
    shut = gateway.query("SELECT log FROM records WHERE kind = 'shutdown' ORDER BY log")
    assert [row["log"] for row in shut] == ["gw-1/control", "gw-1/w1"]
    (approval,) = gateway.query("SELECT decision FROM approvals")
    assert approval["decision"] == "refused"
    outcomes = gateway.query("SELECT coalesce(outcome, 'none') AS o, count(*) AS n FROM statements GROUP BY ALL")
    expected = {"ok": 3, "refused": 1} if freed else {"ok": 2, "error": 1, "refused": 1}
    assert {row["o"]: row["n"] for row in outcomes} == expected
    assert_intact(gateway)


def test_a_second_signal_ends_it_at_once(gateway: RunningGateway, target: Target) -> None:
    arguments = gateway.connect_arguments("target", gateway.token())
    blocker = psycopg.connect(target.server.dsn(target.database))
    with psycopg.connect(**arguments, autocommit=True) as running, blocker, ThreadPoolExecutor() as agents:
        blocker.execute("SELECT pg_advisory_lock(1)")
        runs = agents.submit(running.execute, "SELECT pg_advisory_lock(1)")
        wait_for(target, "wait_event = 'advisory'")
        gateway.process.send_signal(signal.SIGTERM)
        wait_until_closed(gateway.port)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(5) == 128 + signal.SIGTERM
        assert isinstance(told(runs), psycopg.OperationalError)
    target.wait_until_left()
    with serving(gateway.home) as again:
        assert again.query("SELECT end_reason FROM sessions") == [{"end_reason": "lost"}]
        assert_intact(again)
        assert again.stop() == 0, again.log


def test_a_target_that_is_down(gateway: RunningGateway) -> None:
    with pytest.raises(psycopg.OperationalError, match="FATAL:  hoop: the target cannot be reached"):
        psycopg.connect(**gateway.connect_arguments("down", gateway.token()))
    (refused,) = gateway.query("SELECT reason FROM logins WHERE outcome = 'refused'")
    assert f"127.0.0.1:{DEAD_PORT}" in refused["reason"]
    told = [line for line in gateway.log.splitlines() if " WARNING " in line or " ERROR " in line]
    assert told
    assert all(f"127.0.0.1:{DEAD_PORT}" in line for line in told), told


def test_a_target_that_ends_the_session(gateway: RunningGateway, target: Target) -> None:
    arguments = gateway.connect_arguments("target", gateway.token())
    with psycopg.connect(**arguments, autocommit=True) as agent:
        (pid,) = agent.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        target.ask(f"SELECT pg_terminate_backend({pid}, 5000)")
        with pytest.raises(psycopg.OperationalError, match="terminating connection due to administrator command"):
            agent.execute("INSERT INTO written VALUES ('<late>')")
    with psycopg.connect(**arguments, autocommit=True) as agent:
        agent.execute("INSERT INTO written VALUES ('<again>')")
    assert gateway.stop() == 0, gateway.log
    target.wait_until_left()
    ends = gateway.query("SELECT end_reason FROM sessions ORDER BY started")
    assert [row["end_reason"] for row in ends] == ["the target ended the session: 57P01", "client"]
    assert_intact(gateway)


DIES = """
import os, signal, sys, psycopg
agent = psycopg.connect(**eval(sys.stdin.read()))
agent.execute("INSERT INTO written VALUES ('<uncommitted>')")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_client_that_dies(gateway: RunningGateway, target: Target) -> None:
    """Killed in the middle of a transaction: it is rolled back, and both sides of the session are gone."""
    arguments = gateway.connect_arguments("target", gateway.token())
    died = subprocess.run([sys.executable, "-c", DIES], input=repr(arguments), text=True)
    assert died.returncode == -signal.SIGKILL
    wait_for_end(gateway)
    assert target.ask("SELECT count(*) FROM pg_locks WHERE relation = 'written'::regclass") == ["0"]
    assert not target.ask("SELECT id FROM written")
    assert gateway.stop() == 0, gateway.log
    target.wait_until_left()
    (end,) = gateway.query("SELECT end_reason FROM sessions")
    assert end["end_reason"] == "client"
    assert_intact(gateway)


def wait_for_end(gateway: RunningGateway) -> None:
    deadline = time.monotonic() + 15
    while gateway.query("SELECT 1 FROM sessions WHERE ended IS NULL"):
        assert time.monotonic() < deadline
