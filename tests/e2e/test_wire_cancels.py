"""Cancelling, and the many ways in which a session ends: each with its words, its record, and no half-open rest."""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from operating import sessions
from running import RunningGateway, connection_table, running
from wire_client import (
    Wire,
    bind,
    copy_data,
    error,
    errors,
    eventually,
    kinds,
    prepare,
    run,
    send_cancel,
    shown,
    through,
)

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import PROTOCOL_3_2, SYNC, query

SLEEP = "SELECT pg_sleep(600)"


def busy(admin: Wire, words: str = "pg_sleep") -> int:
    """How many backends of agents run a statement with these words."""
    active = f"state = 'active' AND pid <> {admin.pid}"
    text = f"SELECT count(*) FROM pg_stat_activity WHERE {active} AND query LIKE '%{words}%'"
    return int(admin.rows(text)[0][0] or 0)


def backends(admin: Wire, application: str) -> int:
    text = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{application}'"
    return int(admin.rows(text)[0][0] or 0)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("protocol", [3 << 16, PROTOCOL_3_2])
def test_cancel_what_runs(
    gateway: RunningGateway, agent: Callable[..., Wire], admin: Wire, *, tls: bool, protocol: int
) -> None:
    wire = agent("observed", protocol=protocol)
    assert len(wire.key) == (4 if protocol == 3 << 16 else 32)
    wire.send(query(SLEEP.encode()))
    eventually(lambda: busy(admin) == 1)
    assert send_cancel(gateway, wire, tls=tls) == b""
    found = wire.until()
    assert error(found) == ("57014", "canceling statement due to user request")
    assert wire.rows("SELECT 1") == [("1",)]


def test_a_wrong_key_cancels_nothing(gateway: RunningGateway, agent: Callable[..., Wire], admin: Wire) -> None:
    wire, other = agent("observed", protocol=PROTOCOL_3_2), agent("observed")
    wire.send(query(b"SELECT pg_sleep(600), 'wrong key'"))
    eventually(lambda: busy(admin, "wrong key") == 1)
    for key in (b"\0" * 4, wire.key[:4], wire.key[:-1], wire.key + b"\0", other.key):
        assert send_cancel(gateway, wire, key=key) == b""
    assert busy(admin, "wrong key") == 1
    assert wire.silent(0.1)
    send_cancel(gateway, wire)
    assert error(wire.until())[0] == "57014"


def test_cancel_in_a_pipeline_ends_the_one_that_runs(
    gateway: RunningGateway, agent: Callable[..., Wire], scratch: Wire
) -> None:
    wire = agent("observed")
    insert = run("INSERT INTO scratch (id) VALUES (1)")
    wire.send(insert, run(SLEEP), insert, SYNC, run("SELECT 'after'"), SYNC)
    eventually(lambda: busy(scratch) == 1)
    send_cancel(gateway, wire)
    found = wire.until("Z", 2)
    assert kinds(found) == "12C12EZ12DCZ", shown(found)
    assert errors(found)[0].sqlstate == "57014"
    assert scratch.rows("SELECT * FROM scratch") == []


@pytest.mark.parametrize("stage", ["parse", "bind", "commit"])
def test_cancel_while_the_target_waits_elsewhere(
    gateway: RunningGateway, agent: Callable[..., Wire], scratch: Wire, postgres: PostgresServer, stage: str
) -> None:
    """Parse waits for a lock on the relation, Bind for one on a value's row, Sync for a deferred constraint's."""
    wire, blocker = agent("plain"), agent("observed")
    scratch.rows("INSERT INTO parents VALUES (1, 'one')")
    if stage == "commit":
        blocker.rows("BEGIN")
        blocker.rows("DELETE FROM parents WHERE id = 1")
        wire.send(run("INSERT INTO children VALUES (1, 1, 1)"), SYNC)
    else:
        if stage == "bind":
            wire.send(prepare("SELECT * FROM scratch", "s"), SYNC).until()
        blocker.rows("BEGIN")
        blocker.rows("LOCK TABLE scratch")
        wire.send(prepare("SELECT * FROM scratch") if stage == "parse" else bind(statement="s"), SYNC)
    eventually(lambda: scratch.rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
    send_cancel(gateway, wire)
    found = wire.until()
    assert error(found)[0] == "57014", shown(found)
    blocker.rows("ROLLBACK")
    assert wire.rows("SELECT 1") == [("1",)]


def test_a_cancel_of_nothing_is_recorded_and_harmless(gateway: RunningGateway, agent: Callable[..., Wire]) -> None:
    wire = agent("plain", application_name="idle-cancel")
    send_cancel(gateway, wire)
    assert wire.rows("SELECT 1") == [("1",)]
    found = gateway.query(
        "SELECT count(*) AS n FROM records JOIN sessions USING (session_id) "
        "WHERE kind = 'cancel' AND agent_application = 'idle-cancel'"
    )
    assert found == [{"n": 1}]


# --- ends -----------------------------------------------------------------------------------------------------------


def end_reason(gateway: RunningGateway, application: str) -> str | None:
    found = gateway.query(f"SELECT end_reason FROM sessions WHERE agent_application = '{application}'")
    assert len(found) == 1
    reason: str | None = found[0]["end_reason"]
    return reason


@pytest.mark.parametrize("how", ["terminate", "close", "reset"])
def test_a_client_that_leaves(gateway: RunningGateway, agent: Callable[..., Wire], admin: Wire, how: str) -> None:
    name = f"leaves-{how}"
    wire = agent("plain", application_name=name)
    wire.rows("BEGIN")
    if how == "terminate":
        wire.leave()  # raises where the gateway does not say close_notify
    elif how == "close":
        wire.stream.close()
    else:
        wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.stream.close()
    eventually(lambda: backends(admin, name) == 0)
    eventually(lambda: end_reason(gateway, name) is not None)


def test_a_target_that_goes_away(gateway: RunningGateway, agent: Callable[..., Wire], admin: Wire) -> None:
    wire = agent("plain", application_name="doomed")
    admin.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doomed'")
    found = wire.rest()
    assert [(said.severity, said.sqlstate) for said in errors(found)] == [("FATAL", "57P01")]
    eventually(lambda: end_reason(gateway, "doomed") is not None)


@pytest.mark.parametrize("busy_with", ["nothing", "a transaction", "a statement", "copy"])
def test_kill(gateway: RunningGateway, agent: Callable[..., Wire], scratch: Wire, busy_with: str) -> None:
    name = f"killed-{busy_with.replace(' ', '-')}"
    wire = agent("observed", application_name=name)
    match busy_with:
        case "a transaction":
            wire.rows("BEGIN")
            wire.rows("INSERT INTO scratch VALUES (1)")
        case "a statement":
            wire.send(query(b"SELECT pg_sleep(600), 'to kill'"), query(b"INSERT INTO scratch VALUES (2)"))
            eventually(lambda: busy(scratch, "to kill") == 1)
        case "copy":
            wire.send(query(b"COPY scratch (id) FROM STDIN"), copy_data(b"3\n")).until("G")
    (live,) = sessions(gateway, name)
    assert live["state"] == ("running" if busy_with in ("a statement", "copy") else "idle")
    gateway.command("sessions", "kill", live["id"], "--reason", "it ran wild", "-c", str(gateway.config))
    found = wire.rest()
    fatal = errors(found)[-1]
    assert (fatal.severity, fatal.sqlstate) == ("FATAL", "57P01"), shown(found)
    assert "it ran wild" in (fatal.get("M") or "")
    eventually(lambda: backends(scratch, name) == 0)
    eventually(lambda: end_reason(gateway, name) == "killed")
    assert scratch.rows("SELECT * FROM scratch") == []


def expiry(token: str) -> float:
    claims = token.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])


@pytest.mark.parametrize("busy_with", ["nothing", "a statement", "many statements"])
def test_the_tokens_expiry_ends_the_session(
    gateway: RunningGateway, agent: Callable[..., Wire], scratch: Wire, busy_with: str
) -> None:
    secret = gateway.token("short-lived", ttl="4s")
    until = expiry(secret)
    wire = agent("observed", secret, application_name="expires")
    if busy_with == "a statement":
        wire.send(query(SLEEP.encode()))
    elif busy_with == "many statements":
        wire.send(*[query(b"SELECT pg_sleep(600)"), query(b"INSERT INTO scratch VALUES (1)"), query(SLEEP.encode())])
    found = wire.rest()
    assert until - 0.1 < time.time() < until + 4
    assert [said.sqlstate for said in errors(found)] == ([] if busy_with == "nothing" else ["57014"]) + ["57P01"]
    assert errors(found)[-1].severity == "FATAL"
    assert "expired" in (errors(found)[-1].get("M") or "")
    assert scratch.rows("SELECT * FROM scratch") == []
    eventually(lambda: backends(scratch, "expires") == 0)


@pytest.fixture
def own(postgres: PostgresServer, orders: str, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway of this test's own, which it may stop."""
    with running(
        tmp_path / "gw", postgres, [connection_table("observed", postgres, orders, policy="observe")]
    ) as found:
        yield found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_gateway_tells_everyone(own: RunningGateway, scratch: Wire, number: signal.Signals) -> None:
    secret = own.token()
    idle, within, runs = (through(own, "observed", secret, application_name="drained") for _ in range(3))
    within.rows("BEGIN")
    within.rows("INSERT INTO scratch VALUES (1)")
    runs.send(query(b"SELECT pg_sleep(1), 'drains'"), query(b"INSERT INTO scratch VALUES (2)"))
    eventually(lambda: busy(scratch, "drains") == 1)
    own.process.send_signal(number)
    for wire in (idle, within, runs):
        found = wire.rest()  # raises where close_notify is missing
        said = errors(found)[-1]
        assert (said.severity, said.sqlstate) == ("FATAL", "57P01")
        if wire is runs:
            assert "D" in kinds(found), "what ran was not let end"
        wire.stream.close()
    assert own.process.wait(30) == 0, own.log
    with pytest.raises((ConnectionRefusedError, ssl.SSLError)):
        through(own, "observed", secret)
    assert "Traceback" not in own.log
    assert backends(scratch, "drained") == 0
    assert scratch.rows("SELECT * FROM scratch") == []
    assert own.command("evidence", "verify", str(own.evidence)).returncode == 0
    found = own.query("SELECT end_reason, count(*) AS n FROM sessions GROUP BY 1")
    assert found == [{"end_reason": "draining", "n": 3}]
