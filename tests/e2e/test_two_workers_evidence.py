"""Two workers and their logs: originals, erasing, effects, a full disk, a worker less, and one that cannot live.

One home for all: two workers at first, then one, then two again; the evidence of all of it is checked at the end.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest
from operating import approve, ask, deny, pending
from running import RunningGateway, connection_table, serving, start, write_home
from wire_client import Wire, direct, error, eventually, kinds, rows, through
from workers_seen import WORKERS, held, log_of, workers

from gateway.demo.postgres import PostgresServer
from gateway.evidence.segments import journal_path
from gateway.pgwire.frontend import query

ROOM = 1 << 20
"""Bytes that a file of a worker's may have while its disk is full."""
RULES = """
[[connection.rule]]
name = "deletes"
replaces = "standard/delete"
action = "approve-effect"

[[connection.rule]]
name = "marked"
replaces = "standard/marked-write"
action = "approve"
"""


@dataclass
class Home:
    """A home, whoever serves it, and what is known of its first life."""

    place: Path
    identities: list[Path]
    sealed: dict[str, str]
    """A session with originals, by the log that it was recorded in."""
    erasable: str = ""
    """A record of w2 with a payload."""


@pytest.fixture(scope="module")
def home(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Home:
    postgres.create_database("two")
    postgres.execute(
        "CREATE TABLE users (id int PRIMARY KEY, email text);"
        "INSERT INTO users SELECT i, 'person' || i || '@secret.example' FROM generate_series(1, 3) i;"
        "CREATE TABLE orders (id int PRIMARY KEY, note text);"
        "INSERT INTO orders SELECT i, 'note ' || i FROM generate_series(1, 40) i;"
        'CREATE TABLE items (id int PRIMARY KEY, "order" int REFERENCES orders ON DELETE CASCADE);'
        "INSERT INTO items SELECT i, i % 20 + 1 FROM generate_series(1, 40) i",
        "two",
    )
    place = tmp_path_factory.mktemp("two")
    keys = [pyrage.x25519.Identity.generate() for _ in range(2)]
    identities = [place / f"auditor-{number}" for number in range(2)]
    for path, key in zip(identities, keys, strict=True):
        path.write_text(f"{key}\n")
    recipients = json.dumps([str(key.to_public()) for key in keys])
    table = connection_table("two", postgres, "two", mask=["public.users.email"]) + RULES
    write_home(place / "home", postgres.password, [table], f"[evidence]\nrecipients = {recipients}\n")
    return Home(place / "home", identities, {})


@pytest.fixture(scope="module")
def gateway(home: Home) -> Iterator[RunningGateway]:
    with serving(home.place, WORKERS) as found:
        yield found
    assert "Traceback" not in found.log, found.log


@pytest.fixture(scope="module")
def token(gateway: RunningGateway) -> str:
    return gateway.token("agent-two", ttl="5h")


@contextmanager
def in_each(gateway: RunningGateway, token: str) -> Iterator[dict[str, Wire]]:
    """A session in each worker, by its log."""
    eventually(lambda: ask(gateway, "status")["sessions"] == 0)  # who is about to leave still counts
    with through(gateway, "two", token) as one, through(gateway, "two", token) as other:
        found = {log_of(gateway, wire): wire for wire in (one, other)}
        assert set(found) == {"gw-1/w1", "gw-1/w2"}
        yield found


def unseal(gateway: RunningGateway, home: Home, out: Path, session: str) -> dict[str, Any]:
    done = gateway.command(
        "evidence", "unseal", str(gateway.evidence), str(out), "--identity", str(home.identities[0]),
        "--reason", "a test", "--json", "--session", session, check=False,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def erase(gateway: RunningGateway, *what: str) -> list[str]:
    done = gateway.command("evidence", "erase", "-c", str(gateway.config), "--basis", "GDPR 17", "--json", *what)
    found: list[str] = json.loads(done.stdout)["records"]
    return found


def statement(gateway: RunningGateway, text: str) -> dict[str, Any]:
    (found,) = gateway.query(f"SELECT log, seq, session_id, sql FROM statements WHERE sql LIKE '%{text}%'")
    return found


def intact(gateway: RunningGateway) -> None:
    done = gateway.command("evidence", "verify", str(gateway.evidence), check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    for log in ("control", "w1", "w2"):
        assert f"gw-1/{log}" in done.stdout


# --- two workers ---------------------------------------------------------------------------------------------------


def test_what_either_worker_sealed_the_auditor_opens(
    gateway: RunningGateway, home: Home, token: str, tmp_path: Path
) -> None:
    with in_each(gateway, token) as two:
        for log, wire in two.items():
            mark = log.replace("/", "-")
            assert wire.rows(f"SELECT email FROM users WHERE 'kept' <> '{mark}' ORDER BY id") == [("***",)] * 3
    for log in ("gw-1/w1", "gw-1/w2"):
        found = statement(gateway, f"<> ''{log.replace('/', '-')}''")
        assert found["log"] == log
        opened = unseal(gateway, home, tmp_path / log[-2:], found["session_id"])
        assert (opened["values"], opened["findings"]) == (3, [])
        assert "person2@secret.example" in (tmp_path / log[-2:] / f"{found['session_id']}.jsonl").read_text()
        home.sealed[log] = found["session_id"]


def test_a_payload_and_a_session_of_the_second_worker_are_erased_while_it_works(
    gateway: RunningGateway, token: str, home: Home, tmp_path: Path
) -> None:
    with in_each(gateway, token) as two:
        two["gw-1/w2"].rows("SELECT email FROM users WHERE 'erase' = 'erase'")
        found = statement(gateway, "''erase'' = ''erase''")
        named = f"{found['log']}:{found['seq']}"
        assert named.startswith("gw-1/w2:")
        assert erase(gateway, "--record", named) == [named]
        assert erase(gateway, "--session", found["session_id"]) == [f"session:{found['session_id']}"]
        for wire in two.values():
            assert wire.rows("SELECT 'afterwards'") == [("afterwards",)]
    (now,) = gateway.query(f"SELECT sql FROM statements WHERE log = 'gw-1/w2' AND seq = {found['seq']}")
    assert now["sql"] is None
    assert unseal(gateway, home, tmp_path / "out", found["session_id"])["envelopes"] == 0
    told = gateway.query("SELECT log, kind FROM records WHERE kind IN ('archive', 'erasure') ORDER BY kind, log")
    assert [(each["log"], each["kind"]) for each in told] == [
        ("gw-1/w2", "archive"), ("gw-1/control", "erasure"), ("gw-1/control", "erasure"),
    ]  # fmt: skip
    kept = statement(gateway, "<> ''gw-1-w2''")
    home.erasable = f"{kept['log']}:{kept['seq']}"


def test_an_effect_is_held_and_decided_in_whichever_worker(gateway: RunningGateway, token: str) -> None:
    with in_each(gateway, token) as two:
        for number, (log, wire) in enumerate(sorted(two.items()), 1):
            (other,) = (each for name, each in two.items() if name != log)
            approval = held(wire, f"DELETE FROM orders WHERE id = {number} RETURNING id")
            card = ask(gateway, "approvals.get", id=approval)["effect"]
            changed = {each["relation"]: each["deleted"] for each in card["relations"]}
            assert changed == {"public.orders": 1, "public.items": 2}
            assert card["sample"]["rows"][0]["before"] == [str(number), f"note {number}"]
            assert other.rows(f"SELECT id FROM orders WHERE id = {number}") == [(str(number),)], "it counts already"
            approve(gateway, approval)
            assert rows(wire.until()) == [(str(number),)]
            assert other.rows(f"SELECT id FROM orders WHERE id = {number}") == []
            (seen,) = gateway.query(f"SELECT decision FROM approvals WHERE approval_id = '{approval}'")
            assert seen["decision"] == "approved"
            (release,) = gateway.query(
                f"SELECT log FROM records WHERE kind = 'release' AND entry->>'approval' = '{approval}'"
            )
            assert release["log"] == log
        deny(gateway, held(two["gw-1/w2"], "DELETE FROM orders WHERE id = 3"))
        assert error(two["gw-1/w2"].until())[1] == "hoop: refused"
        assert two["gw-1/w1"].rows("SELECT id FROM orders WHERE id = 3") == [("3",)]


def test_what_became_stricter_in_another_worker_is_not_released_as_it_was_shown(
    gateway: RunningGateway, token: str
) -> None:
    with in_each(gateway, token) as two:
        waiting, moving = two["gw-1/w2"], two["gw-1/w1"]
        approval = held(waiting, "DELETE FROM orders WHERE id = 4 RETURNING note")
        approve(gateway, held(moving, "INSERT INTO orders SELECT 100 + id, email FROM users"))
        assert kinds(moving.until()) == "CZ"
        assert moving.rows("SELECT note FROM orders WHERE id = 101") == [("***",)]
        approve(gateway, approval)
        assert error(waiting.until())[1] == "hoop: changed while waiting"
        assert waiting.rows("SELECT note FROM orders WHERE id IN (4, 101)") == [("***",), ("***",)]
        assert b"secret" not in waiting.received + moving.received
        assert b"note 4" not in waiting.received


def test_an_effect_whose_worker_dies_is_taken_back_and_nobody_decides_about_it(
    gateway: RunningGateway, token: str
) -> None:
    with in_each(gateway, token) as two:
        approval = held(two["gw-1/w2"], "DELETE FROM orders WHERE id = 5")
        killed = workers(gateway)["w2"]
        os.kill(killed, signal.SIGKILL)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            two["gw-1/w2"].rest()
        eventually(lambda: pending(gateway, approval) is None)
        approve(gateway, held(two["gw-1/w1"], "DELETE FROM orders WHERE id = 5"))  # its lock is gone
        assert kinds(two["gw-1/w1"].until()) == "CZ"
        eventually(lambda: workers(gateway).get("w2") not in {None, killed})
        eventually(lambda: all(ask(gateway, "status")["evidence"].values()))


def test_a_worker_whose_disk_is_full_stops_and_the_other_goes_on(gateway: RunningGateway, token: str) -> None:
    with in_each(gateway, token) as two:
        pid = workers(gateway)["w2"]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
        assert fill(two["gw-1/w2"]) == ("58030", "hoop: the record cannot be written")
        assert two["gw-1/w1"].rows("SELECT 'on'") == [("on",)]
        told = eventually(lambda: broken(gateway))
        assert told["fault"] == "gw-1/w2: the record cannot be written: File too large"
        assert (told["healthy"], told["forwarding"]) == (False, True)
        assert gateway.log.count("nothing is recorded any more") == 1
        assert "gw-1/w2: nothing is recorded any more: the record cannot be written: File too large" in gateway.log
        more = [through(gateway, "two", token) for _ in range(3)]
        assert {log_of(gateway, wire) for wire in more} == {"gw-1/w1"}, "a client came to the worker that is broken"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        eventually(lambda: ask(gateway, "status")["healthy"])
        with through(gateway, "two", token) as again:
            assert log_of(gateway, again) == "gw-1/w2"
            assert again.rows("SELECT 'again'") == [("again",)]
        for wire in more:
            wire.stream.close()
    assert workers(gateway)["w2"] == pid
    for each in (gateway.process.pid, *workers(gateway).values()):
        assert "duckdb" not in Path(f"/proc/{each}/maps").read_text(), "it is for processes of their own"
    starts = "SELECT entry->>'resumed' AS why FROM records WHERE kind = 'start' AND log = 'gw-1/w2'"
    assert [each["why"] for each in gateway.query(f"SELECT * FROM ({starts}) WHERE why IS NOT NULL")] == [
        "the record cannot be written: File too large"
    ]


# --- one worker, in the same home ------------------------------------------------------------------------------------


def test_the_log_of_a_worker_that_is_no_longer_configured_is_kept_as_the_others(
    home: Home, token: str, gateway: RunningGateway, postgres: PostgresServer, tmp_path: Path
) -> None:
    with direct(postgres, "two") as admin:  # a stop while the catalog is being read, which takes its time
        admin.rows("BEGIN")
        admin.rows("LOCK TABLE pg_catalog.pg_enum IN ACCESS EXCLUSIVE MODE")
        postgres.execute("CREATE TABLE more (id int)", "two")
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'hoop-gateway'"
        )
        eventually(lambda: admin.rows(waits) != [("0",)])
        assert gateway.stop() == 0, gateway.log
    assert "Traceback" not in gateway.log, gateway.log
    with serving(home.place) as alone:
        assert set(ask(alone, "status")["evidence"]) == {"gw-1/control", "gw-1/w1", "gw-1/w2"}
        archives = "SELECT entry->>'segment' AS s FROM records WHERE kind = 'archive' AND log = 'gw-1/w2'"
        eventually(lambda: len(alone.query(archives)) > 1)
        assert erase(alone, "--record", home.erasable) == [home.erasable]
        assert unseal(alone, home, tmp_path / "out", home.sealed["gw-1/w2"])["values"] == 3
        assert erase(alone, "--session", home.sealed["gw-1/w2"]) == [f"session:{home.sealed['gw-1/w2']}"]
        with through(alone, "two", token) as wire:
            assert log_of(alone, wire) == "gw-1/w1"
        assert not journal_path(alone.evidence / "logs" / "w2", 1).exists()
        intact(alone)


# --- two again -------------------------------------------------------------------------------------------------------


def test_a_worker_that_does_not_stay_up_ends_the_gateway(home: Home, token: str, gateway: RunningGateway) -> None:
    assert gateway.process.poll() is not None
    found = start(home.place, WORKERS)
    try:
        with in_each(found, token) as two:
            waiting = held(two["gw-1/w1"], "INSERT INTO orders SELECT 200 + id, email FROM users")
            killed: set[int] = set()
            for _ in range(5):
                pid = eventually(lambda: next_worker(found, killed))
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            assert found.process.wait(30) == 2
            assert error(two["gw-1/w1"].until())[1] == "hoop: refused", "what was held is refused, and said so"
        last = found.log.splitlines()[-1]
        assert last == "hoop-gateway: gw-1/w2: the worker ended 5 times within 60 s; the gateway stops"
        assert "Traceback" not in found.log
        alarms = found.query("SELECT seq FROM alarms WHERE alarm = 'worker-ended' AND detail LIKE 'gw-1/w2%'")
        assert len(alarms) == 5 + 1
        assert waiting
    finally:
        found.stop(signal.SIGKILL)
        assert found.process.stdout is not None
        found.process.stdout.close()
    with serving(home.place, WORKERS) as again:
        lost = again.query("SELECT log FROM sessions JOIN records USING (session_id) WHERE end_reason = 'lost'"
                           " AND kind = 'session_end'")  # fmt: skip
        assert {each["log"] for each in lost} == {"gw-1/w2"}
        assert again.query("SELECT session_id FROM sessions WHERE end_reason IS NULL") == []
    intact(again)


def next_worker(gateway: RunningGateway, but: set[int]) -> int | None:
    found = workers(gateway).get("w2")
    return None if found in but else found


def fill(wire: Wire) -> tuple[str, str]:
    """Send long statements until the session ends; return the error with which it does."""
    long, found = query(f"SELECT {'x' * 400_000!r} IS NULL".encode()), []
    wire.send(long)
    while (new := wire.message()) is not None:
        found.append(new)
        if new.kind == b"Z":
            wire.send(long)
    return error(found)


def broken(gateway: RunningGateway) -> dict[str, Any] | None:
    told: dict[str, Any] = ask(gateway, "status")
    return None if told["healthy"] else told
