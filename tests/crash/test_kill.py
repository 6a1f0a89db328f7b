"""`kill -9` at any moment under load: no row in the target without its record, and the next start puts things right."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash.conftest import Target
from crash.load import SCHEMA, WAYS, Load
from e2e.running import RunningGateway, connection_table, start, write_home

ROUNDS = int(os.environ.get("HOOP_CRASH_ROUNDS", "12"))

RECORDED = """
SELECT 'simple' AS kind, sql AS said FROM statements WHERE verdict = 'allow' AND protocol = 'simple'
UNION ALL
SELECT 'extended', array_to_string(parameters, ' ') FROM statements AS s WHERE verdict = 'allow' AND EXISTS (
    SELECT 1 FROM records AS r
    WHERE r.kind = 'execute' AND r.session_id = s.session_id AND CAST(r.entry ->> 'of' AS BIGINT) = s.n)
UNION ALL
SELECT 'copy', text FROM transcript WHERE direction = 'in' AND contains(text, chr(10))
UNION ALL
SELECT coalesce(end_reason, 'open'), session_id FROM sessions
"""
"""Texts that hold the id of each row that may have been written (in the statement, in the parameters of what was
executed, in COPY data), and all sessions, by how they ended."""

pytestmark = pytest.mark.crash


@dataclass(frozen=True)
class Known:
    """What the evidence says: ids of rows, and ids of sessions by how they ended (`open`, `lost`, …)."""

    rows: set[str]
    sessions: dict[str, set[str]]


def recorded(gateway: RunningGateway) -> Known:
    rows, sessions = set[str](), defaultdict[str, set[str]](set)
    for found in gateway.query(RECORDED):
        if found["kind"] in ("simple", "extended", "copy"):
            rows |= set(re.findall(r"<[^>]*>", found["said"] or ""))
        else:
            sessions[found["kind"]].add(found["said"])
    return Known(rows, sessions)


def assert_intact(gateway: RunningGateway) -> None:
    verified = gateway.command("evidence", "verify", str(gateway.evidence), check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


@contextmanager
def killed(home: Path) -> Iterator[RunningGateway]:
    """A gateway that is killed at the end of the block, by the very first thing that happens there."""
    gateway = start(home)
    try:
        yield gateway
    finally:
        gateway.process.kill()
        gateway.process.wait()
        assert gateway.process.stdout is not None
        gateway.process.stdout.close()


def kill_while_starting(home: Path, seconds: float) -> None:
    """Start a gateway and kill it somewhere between its first line of code and `ready`, or just after."""
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "-c", str(home / "gateway.toml")],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    else:
        raise AssertionError((home / "log").read_text())


def test_no_row_without_its_record(target: Target, tmp_path: Path) -> None:
    target.ask(SCHEMA)
    write_home(tmp_path, target.server.password, [connection_table("target", target.server, target.database)])
    token, everything, lost = "", set[str](), set[str]()
    for number in range(ROUNDS):
        chance = random.Random(number)
        if number % 4 == 3:
            kill_while_starting(tmp_path, chance.uniform(0.4, 1.2))

        load = Load(f"r{number}")
        with killed(tmp_path) as gateway:
            token = token or gateway.token(ttl="2h")
            load.start(gateway.connect_arguments("target", token))
            load.wait(chance.randrange(400))
            threading.Event().wait(chance.uniform(0, 0.004))
        load.join()
        target.wait_until_left()

        written = set(target.ask(f"SELECT id FROM written WHERE id LIKE '<r{number}.%'"))
        known = recorded(gateway)
        assert not written - known.rows, "written, and not recorded"
        assert not load.acknowledged - written, "acknowledged, and not written"
        assert known.sessions["lost"] == lost, "a session of a former process was not ended by the restart"
        everything |= written
        lost |= known.sessions["open"]

    gateway = start(tmp_path)
    assert_intact(gateway)
    assert gateway.stop() == 0, gateway.log
    assert gateway.process.stdout is not None
    gateway.process.stdout.close()
    assert_intact(gateway)
    known = recorded(gateway)
    assert not everything - known.rows, "forgotten by a restart"
    assert known.sessions == {"lost": lost}
    assert len(lost) >= ROUNDS, "hardly a session was open when the gateway was killed"
    assert ROUNDS < 10 or {each.split(".")[1] for each in everything} == set(WAYS), "one way wrote nothing"
