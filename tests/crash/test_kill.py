"""`kill -9` at any moment under load: no row in the target without its record, and the next start puts things right."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash.load import SCHEMA, WAYS, Load
from crash.scene import Target, assert_intact, serving
from e2e.running import RunningGateway, connection_table, write_home

ROUNDS = int(os.environ.get("HOOP_CRASH_ROUNDS", "12"))
SERIES = [range(first, min(first + 12, ROUNDS)) for first in range(0, ROUNDS, 12)]
"""Kills over the same evidence, one after the other; each series has evidence of its own."""

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


@pytest.mark.parametrize("rounds", SERIES, ids=lambda rounds: f"{rounds.start}-{rounds.stop - 1}")
def test_no_row_without_its_record(target: Target, tmp_path: Path, rounds: range) -> None:
    target.ask(SCHEMA)
    write_home(tmp_path, target.server.password, [connection_table("target", target.server, target.database)])
    token, everything, lost = "", set[str](), set[str]()
    for number in rounds:
        chance = random.Random(number)
        if number % 4 == 3:
            kill_while_starting(tmp_path, chance.uniform(0.4, 1.2))

        load = Load(f"r{number}")
        with serving(tmp_path) as gateway:
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

    with serving(tmp_path) as gateway:
        assert_intact(gateway)
        assert gateway.stop() == 0, gateway.log
    assert_intact(gateway)
    known = recorded(gateway)
    assert not everything - known.rows, "forgotten by a restart"
    assert known.sessions == {"lost": lost}
    assert len(lost) >= len(rounds), "hardly a session was open when the gateway was killed"
    assert len(rounds) < 10 or {each.split(".")[1] for each in everything} == set(WAYS), "one way wrote nothing"
