"""A disk whose every sync takes its time: agents wait for it together, and only they."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
from crash.scene import Target, assert_intact, serving
from crash.test_strace import read, tracer
from e2e.running import connection_table, write_home

DELAY = 40_000
"""Microseconds."""
AGENTS, STATEMENTS = 12, 6


def test_many_agents_share_the_syncs_of_a_slow_disk(target: Target, tmp_path: Path) -> None:
    strace, trace = tracer(), tmp_path / "trace"
    options = ["-D", "-f", "--seccomp-bpf", "-yy", "-e", "trace=fdatasync", "-e", "signal=none"]
    options += ["-e", f"inject=fdatasync:delay_enter={DELAY}", "-o", str(trace)]
    target.ask("CREATE TABLE written (id text PRIMARY KEY)")
    write_home(tmp_path, target.server.password, [connection_table("target", target.server, target.database)])
    with serving(tmp_path, [strace, *options]) as gateway:
        arguments = gateway.connect_arguments("target", gateway.token())

        def work(agent: int) -> None:
            with psycopg.connect(**arguments, autocommit=True) as connection:
                for number in range(STATEMENTS):
                    connection.execute("INSERT INTO written VALUES (%s)", (f"<{agent}.{number}>",))

        with ThreadPoolExecutor(AGENTS) as agents:
            working = [agents.submit(work, agent) for agent in range(AGENTS)]
            told = gateway.command("status", "-c", str(gateway.config), "--json").stdout
            assert json.loads(told)["healthy"] is True
            for one in working:
                one.result(60)
        assert gateway.stop() == 0, gateway.log

    syncs = [call for call in read(trace) if "/logs/w1/journal/" in call.arguments]
    assert STATEMENTS <= len(syncs) < AGENTS * STATEMENTS, "each statement waited for a sync of its own"
    written = set(target.ask("SELECT id FROM written"))
    assert len(written) == AGENTS * STATEMENTS
    assert written == {row["id"] for row in gateway.query("SELECT parameters[1] AS id FROM statements")}
    assert_intact(gateway)
