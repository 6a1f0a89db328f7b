"""Agent and target both send more than any buffer holds, at once: neither side waits for the other for ever."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
from crash.scene import Target, serving
from e2e.running import connection_table, write_home

LARGE = "SELECT repeat('x', 100000) FROM generate_series(1, %s)"


def test_a_large_message_behind_a_large_result(target: Target, tmp_path: Path) -> None:
    """The target does not read the second message before its first answer was read."""
    write_home(tmp_path, target.server.password, [connection_table("target", target.server, target.database)])
    with serving(tmp_path) as gateway:
        with psycopg.connect(**gateway.connect_arguments("target", gateway.token()), autocommit=True) as agent:
            watch = threading.Timer(30, gateway.process.kill)  # the agent would wait as long as the gateway does
            watch.start()
            with agent.pipeline():
                first = agent.execute(LARGE, (200,))
                second = agent.execute("SELECT length(%s::text)", ("y" * 8_000_000,))
                third = agent.execute("SELECT length(%s::text)", ("y" * 8_000_000,))
            watch.cancel()
            assert len(first.fetchall()) == 200
            assert second.fetchone() == third.fetchone() == (8_000_000,)
        assert gateway.stop() == 0, gateway.log
