"""Two workers before one server: sessions in both, and one of everything that they share."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from operating import approve, ask, pending, sessions
from running import RunningGateway, connection_table, start, write_home
from wire_client import Wire, error, eventually, kinds, send_cancel, shown, through
from workers_seen import WORKERS, held, log_of, runs, workers

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import query

LIMITS = "[limits]\nconnections = 12\nconnections_per_subject = 8\n"
SESSION_RULE = """
[[connection.rule]]
name = "visit"
operation = "insert"
relation = "public.visits"
action = "approve-session"
"""


@pytest.fixture(scope="module")
def moving(postgres: PostgresServer) -> str:
    postgres.create_database("workers")
    postgres.execute(
        "CREATE TABLE users (id int PRIMARY KEY, email text);"
        "INSERT INTO users SELECT i, 'person' || i || '@secret.example' FROM generate_series(1, 3) i;"
        "CREATE TABLE notes (id int, words text); CREATE TABLE scratch (id int PRIMARY KEY);"
        "CREATE TABLE visits (id int)",
        "workers",
    )
    return "workers"


@pytest.fixture(scope="module")
def home(postgres: PostgresServer, moving: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("workers")
    tables = [
        connection_table("moving", postgres, moving, mask=["public.users.email"]) + SESSION_RULE,
        connection_table("plain", postgres, moving),
    ]
    write_home(place, postgres.password, tables, LIMITS)
    return place


@pytest.fixture(scope="module")
def gateway(home: Path) -> Iterator[RunningGateway]:
    """Two workers; afterwards the evidence of all three logs holds."""
    found = start(home, WORKERS)
    try:
        yield found
        assert found.stop() == 0, found.log
        assert "Traceback" not in found.log, found.log
    finally:
        found.stop(signal.SIGKILL)
        assert found.process.stdout is not None
        found.process.stdout.close()
    done = found.command("evidence", "verify", str(found.evidence), check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    for log in ("control", "w1", "w2"):
        assert f"gw-1/{log}" in done.stdout


@pytest.fixture
def two(gateway: RunningGateway) -> Iterator[tuple[Wire, Wire]]:
    """Two sessions, each in a worker of its own."""
    with Both(gateway) as found:
        yield found


class Both:
    """Two sessions of one agent; who comes second goes to the worker that has fewer."""

    def __init__(self, gateway: RunningGateway, connection: str = "moving", **more: str) -> None:
        self._gateway = gateway
        self._open = lambda: through(gateway, connection, gateway.token("agent-two"), **more)

    def __enter__(self) -> tuple[Wire, Wire]:
        eventually(lambda: ask(self._gateway, "status")["sessions"] == 0)  # who is about to leave still counts
        self._found = self._open(), self._open()
        return self._found

    def __exit__(self, *_: object) -> None:
        for wire in self._found:
            with closing(wire.stream):
                pass


def test_sessions_are_in_both(gateway: RunningGateway, two: tuple[Wire, Wire]) -> None:
    assert {log_of(gateway, wire) for wire in two} == {"gw-1/w1", "gw-1/w2"}
    assert set(workers(gateway)) == {"w1", "w2"}
    for pid in workers(gateway).values():
        assert os.getsid(pid) == pid, "a terminal's Ctrl-C would reach a worker"
    status = ask(gateway, "status")
    assert status["healthy"] is True
    assert set(status["evidence"]) == {"gw-1/control", "gw-1/w1", "gw-1/w2"}
    assert status["sessions"] == 2


def test_what_is_held_anywhere_is_approved_at_one_place(gateway: RunningGateway, two: tuple[Wire, Wire]) -> None:
    two[0].rows("INSERT INTO scratch SELECT generate_series(1, 4)")
    for number, wire in enumerate(two, 1):
        approve(gateway, held(wire, f"DELETE FROM scratch WHERE id = {number}"))
        assert kinds(wire.until()) == "CZ"
    released = gateway.query("SELECT log FROM records WHERE kind = 'release' ORDER BY log")
    assert [each["log"] for each in released] == ["gw-1/w1", "gw-1/w2"]


def test_a_kill_finds_its_session_and_no_other(gateway: RunningGateway) -> None:
    for meant in (0, 1):
        with Both(gateway, application_name=f"killed-{meant}") as two:
            first, second = sessions(gateway, f"killed-{meant}")
            by_pid = {each["id"]: each for each in (first, second)}
            assert len(by_pid) == 2
            order = sorted(by_pid.values(), key=lambda each: each["started"])
            ask(gateway, "sessions.kill", id=order[meant]["id"], reason="enough")
            assert error(two[meant].rest())[1].endswith("killed by an operator: enough")
            assert two[1 - meant].rows("SELECT 1") == [("1",)]


def test_who_is_struck_is_out_of_every_worker(gateway: RunningGateway) -> None:
    token = gateway.token("agent-struck")
    with through(gateway, "moving", token) as one, through(gateway, "moving", token) as other:
        struck = ask(gateway, "kill_list.add", kind="subject", value="agent-struck", reason="lost")
        assert struck["sessions_cut"] == 2
        for wire in (one, other):
            words = error(wire.rest())[1]  # the same of the strike, and of a look at the token that came first
            assert re.fullmatch("hoop: the session was cut: revoked by .+: lost", words), words
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError, match="was revoked by"):
            psycopg.connect(**gateway.connect_arguments("moving", token))


def test_a_cancel_reaches_its_session_by_way_of_any_worker(
    gateway: RunningGateway, postgres: PostgresServer, two: tuple[Wire, Wire]
) -> None:
    runs = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(600)'"
    for _ in range(2):  # requests come to the workers in turn
        for wire in two:
            wire.send(query(b"SELECT pg_sleep(600)"))
            eventually(lambda: postgres.execute(runs, "workers").strip() == "1")
            assert send_cancel(gateway, wire) == b""
            assert error(wire.until())[0] == "57014"


def test_places_are_counted_over_all_workers(gateway: RunningGateway) -> None:
    tokens = [gateway.token("agent-many"), gateway.token("agent-more")]
    opened = [psycopg.connect(**gateway.connect_arguments("plain", tokens[0])) for _ in range(8)]
    try:
        with pytest.raises(psycopg.OperationalError, match="as many sessions as one subject may"):
            psycopg.connect(**gateway.connect_arguments("plain", tokens[0]))
        opened += [psycopg.connect(**gateway.connect_arguments("plain", tokens[1])) for _ in range(4)]
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            psycopg.connect(**gateway.connect_arguments("plain", tokens[1]))
    finally:
        for each in opened:
            each.close()
    eventually(lambda: ask(gateway, "status")["sessions"] == 0)


def test_a_mark_that_moves_is_in_force_in_every_worker(gateway: RunningGateway, two: tuple[Wire, Wire]) -> None:
    for writer, reader in (two, two[::-1]):
        table = f"notes_{log_of(gateway, writer)[-2:]}"
        approve(gateway, held(writer, f"CREATE TABLE {table} (id int, words text)"))
        writer.until()
        assert reader.rows(f"SELECT words FROM {table}") == []
        approve(gateway, held(writer, f"INSERT INTO {table} SELECT id, email FROM users"))
        assert kinds(writer.until()) == "CZ"
        assert set(reader.rows(f"SELECT words FROM {table}")) == {("***",)}
        assert set(writer.rows(f"SELECT words FROM {table}")) == {("***",)}
        assert b"secret" not in reader.received + writer.received
    alarms = gateway.query("SELECT seq FROM alarms WHERE alarm = 'marks-carried'")
    assert len(alarms) == 2, "one alarm for each column, whatever the number of workers"


def test_an_approval_asked_for_in_one_worker_is_used_once_in_another(gateway: RunningGateway) -> None:
    with Both(gateway, options="-c hoop.hold=refuse") as (one, other):
        one.rows("INSERT INTO scratch SELECT generate_series(100, 102)")
        sql = "DELETE FROM scratch WHERE id = 100"
        found = error(one.query(sql))
        assert found[1] == "hoop: approval needed"
        (waiting,) = [each for each in items(ask(gateway, "approvals.list", decided=False)) if each["statement"] == sql]
        assert error(other.query(sql))[1] == "hoop: approval needed"
        asked = [each for each in items(ask(gateway, "approvals.list", decided=False)) if each["statement"] == sql]
        assert len(asked) == 1, "the same question was asked twice"
        approve(gateway, waiting["id"])
        assert kinds(other.query(sql)) == "CZ"
        assert error(one.query(sql))[1] == "hoop: approval needed", "it was used up"


def test_a_grant_holds_in_every_worker_until_it_is_withdrawn(gateway: RunningGateway, two: tuple[Wire, Wire]) -> None:
    sql = "INSERT INTO visits VALUES (1)"
    approval = held(two[0], sql)
    card = pending(gateway, approval)
    assert card is not None
    ask(gateway, "approvals.approve", id=approval, hash=card["hash"], reason="for a while", seconds=600)
    two[0].until()
    for wire in two:
        assert kinds(wire.query(sql)) == "CZ"
    ask(gateway, "grants.withdraw", id=approval, reason="enough")
    for wire in two:
        assert ask(gateway, "approvals.deny", id=held(wire, sql), reason="no")
        assert error(wire.until())[1] == "hoop: refused"


def items(answer: Any) -> list[dict[str, Any]]:
    return answer["items"] if isinstance(answer, dict) else answer


def test_the_tail_shows_every_worker(gateway: RunningGateway, two: tuple[Wire, Wire]) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as connected:
        connected.settimeout(20)
        connected.connect(str(gateway.home / "state" / "control.sock"))
        with connected.makefile("rwb") as lines:
            for words in (
                {"type": "hello", "version": 1, "client": "test", "resume": None},
                {"type": "request", "id": 1, "method": "subscribe", "params": {"topics": ["records"]}},
            ):
                lines.write(json.dumps(words).encode() + b"\n")
                lines.flush()
                lines.readline()
            ask(gateway, "status")  # to which every worker had to answer: it knows by now
            for wire in two:
                wire.rows("SELECT 'watched'")
            told: set[str] = set()
            while told != {"gw-1/w1", "gw-1/w2"}:
                event = json.loads(lines.readline())
                if "watched" in json.dumps(event):
                    told.add(event["data"]["log"])


def test_a_worker_that_dies_takes_its_sessions_along_and_is_replaced(gateway: RunningGateway) -> None:
    with Both(gateway, application_name="mourned") as two:
        logs = [log_of(gateway, wire) for wire in two]
        killed = workers(gateway)[logs[0][-2:]]
        approval = held(two[0], "DELETE FROM scratch WHERE id = 4")
        os.kill(killed, signal.SIGKILL)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            two[0].rest()
        assert two[1].rows("SELECT 1") == [("1",)]
        eventually(lambda: len(workers(gateway)) == 2)
        assert workers(gateway)[logs[0][-2:]] != killed
        assert len(sessions(gateway, "mourned")) == 1
        assert approval not in {each["id"] for each in items(ask(gateway, "approvals.list", decided=False))}
        eventually(lambda: all(ask(gateway, "status")["evidence"].values()))
        with through(gateway, "moving", gateway.token("agent-two")) as again:
            assert log_of(gateway, again) == logs[0]
    lost = gateway.query("SELECT log FROM records WHERE kind = 'session_end' AND entry->>'reason' = 'lost'")
    assert [each["log"] for each in lost] == [logs[0]]
    assert gateway.query("SELECT seq FROM alarms WHERE alarm = 'worker-ended'")


def test_a_stop_drains_every_worker_and_a_crash_of_the_supervisor_ends_them(
    home: Path, postgres: PostgresServer, moving: str, tmp_path: Path
) -> None:
    write_home(tmp_path, postgres.password, [connection_table("plain", postgres, moving)])
    gateway = start(tmp_path, WORKERS)
    with Both(gateway, "plain") as two:
        children = workers(gateway).values()
        assert gateway.stop(signal.SIGKILL) != 0
        for wire in two:
            assert error(wire.rest())[0] in {"57P01", "58030"}
        eventually(lambda: not any(runs(pid) for pid in children))
    gateway.process.stdout.close()
    gateway = start(tmp_path, WORKERS)
    with Both(gateway, "plain") as two:
        two[0].send(query(b"SELECT pg_sleep(600)"))
        assert gateway.stop() == 0, gateway.log
        for wire in two:
            assert "draining" in shown(wire.rest()[-1:])
    gateway.process.stdout.close()
    ends = gateway.query("SELECT log, entry->>'reason' AS why FROM records WHERE kind = 'session_end' ORDER BY log")
    assert [each["log"] for each in ends] == ["gw-1/w1", "gw-1/w1", "gw-1/w2", "gw-1/w2"]
    assert {each["why"] for each in ends} <= {"draining", "evidence"}
    assert gateway.command("evidence", "verify", str(gateway.evidence), check=False).returncode == 0
