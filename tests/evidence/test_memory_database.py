"""Nothing but what we print comes out: JSON on standard output stays JSON, however long a query takes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import gateway
from gateway import archiving
from gateway.evidence.memory_database import memory_database

SHOWN = """
import duckdb
from gateway.evidence.memory_database import memory_database
database = {}
database.execute("SET progress_bar_time = 1")
database.execute("SELECT sum(a.i * b.i) FROM range(15000) a(i), range(15000) b(i)").fetchall()
"""


@pytest.mark.parametrize(("made", "shown"), [("duckdb.connect()", True), ("memory_database({'threads': 1})", False)])
def test_a_long_query_shows_no_progress(made: str, shown: bool) -> None:
    """The first case is what DuckDB does by itself; should it stop, the module can go."""
    done = subprocess.run([sys.executable, "-c", SHOWN.format(made)], capture_output=True, check=True)
    assert bool(done.stdout) is shown


def test_a_cursor_is_as_quiet() -> None:
    with memory_database() as database:
        for one in (database, database.cursor()):
            assert one.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (False,)


def test_nobody_opens_one_in_another_way() -> None:
    root = Path(str(gateway.__file__)).parent
    opening = {
        path.name
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "connect" and ast.unparse(node.value) == "duckdb"
    }
    assert opening == {"memory_database.py", "standalone.py", "standalone_export.py"}


async def test_an_archiver_that_says_something_else_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def said(*_: object, **__: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess([], 0, b"\r 55% of something\n", b"")

    monkeypatch.setattr(trio, "run_process", said)
    await archiving.archive_once(tmp_path, [])
    assert "no record" in caplog.text
