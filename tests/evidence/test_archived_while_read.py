"""A journal file that goes while somebody reads: when it goes, what DuckDB says, and that who asks again has it all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import duckdb
import pytest
from evidence_double import StepClock
from evidence_samples import request, result, session
from test_archiving import CLOCK, opened, place, record_archived, run

from gateway.errors import ClientFault
from gateway.evidence import journal, reader, record
from gateway.evidence.archiver import KEPT, KEPT_READ
from gateway.evidence.memory_database import memory_database
from gateway.evidence.read_lock import being_read
from gateway.evidence.reader import select
from gateway.evidence.segments import journal_path
from gateway.evidence.views import NAME, view_sql, write_views

__all__ = ["place"]
OPEN = """
import duckdb, sys
if sys.argv[2] == "attached":
    database = duckdb.connect()
    database.execute(f"ATTACH '{sys.argv[1]}' AS evidence (READ_ONLY)")
else:
    database = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
sys.stdin.readline()
"""


@contextmanager
def reading(path: Path, how: str) -> Iterator[None]:
    """Another process that has the views open for the time of a block."""
    command = [sys.executable, "-I", "-c", OPEN, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield
        process.communicate("\n")
    assert process.returncode == 0


def present(place: Path) -> list[str]:
    return [path.name for path in sorted((place / "evidence/logs/w1/journal").glob("*.tsv")) if int(path.stem)]


@pytest.mark.parametrize("how", ["opened", "attached"])
def test_a_journal_file_stays_while_somebody_has_the_views_open(place: Path, how: str) -> None:
    views = write_views(place / "evidence")
    assert record_archived(place) == 3
    assert not being_read(views)
    with reading(views, how):
        assert being_read(views)
        run(place, StepClock(CLOCK.at + KEPT + 1_000_000))
        assert present(place) == [f"0000000{number}.tsv" for number in (1, 2, 3, 4)]
    assert not being_read(views)
    run(place, StepClock(CLOCK.at + KEPT + 2_000_000))
    assert present(place) == ["00000004.tsv"]


def test_but_not_for_ever(place: Path) -> None:
    views = write_views(place / "evidence")
    record_archived(place)
    with reading(views, "opened"):
        run(place, StepClock(CLOCK.at + KEPT_READ - 60_000_000))
        assert len(present(place)) == 4
        run(place, StepClock(CLOCK.at + KEPT_READ + 1_000_000))
        assert present(place) == ["00000004.tsv"]
        assert select(place / "evidence", "SELECT count(*) FROM statements")[1] == [(13,)]


def test_nobody_has_what_is_not_there(tmp_path: Path) -> None:
    assert not being_read(tmp_path / NAME)


def many(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Evidence whose three closed files, each larger than what DuckDB fetches ahead, were archived just now."""
    with monkeypatch.context() as small:
        small.setattr(journal, "ROTATE_RECORDS", 4000)
        log = opened(place)
        log.append(record.session_start(session()))
        for index in range(6500):
            log.append(request(2 * index + 1, f"SELECT {index}"))
            log.append(result(2 * index + 2, 2 * index + 1))
            if index % 500 == 499:
                log.flush()
        log.close()
    record_archived(place)
    return place / "evidence"


def test_the_second_ask_of_a_duckdb_that_lost_a_file_has_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that goes between listing and opening is one error, never a record too few."""
    evidence = many(tmp_path, monkeypatch)
    counted = "SELECT count(*), count(DISTINCT (log, seq)), count(DISTINCT entry) FROM records"
    with memory_database({"threads": 1}) as database:
        database.execute(view_sql(evidence))
        expected = database.execute(counted).fetchone()
        cursor = database.execute("SELECT seq, entry FROM records")  # lists the files, and opens the first
        journal_path(evidence / "logs/w1", 3).unlink()
        with pytest.raises(duckdb.IOException, match="No such file"):
            cursor.fetchall()
        assert database.execute(counted).fetchone() == expected
    assert expected is not None
    assert len({*expected}) == 1


class Losing:
    """A database whose files lose one as soon as the question was put, before all of them were read."""

    def __init__(self, path: Path) -> None:
        self._real, self._path = memory_database(), path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def execute(self, sql: str, *bound: object) -> duckdb.DuckDBPyConnection:
        found = self._real.execute(sql, *bound)
        if sql == LISTED:
            self._path.unlink(missing_ok=True)
        return found


LISTED = "SELECT seq, entry FROM records"


def test_the_reader_asks_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = many(tmp_path, monkeypatch)
    whole, asked = sorted(select(evidence, LISTED)[1]), 0
    third = journal_path(evidence / "logs/w1", 3)

    def losing() -> Losing:
        nonlocal asked
        asked += 1
        return Losing(third)

    monkeypatch.setattr(reader, "memory_database", losing)
    assert sorted(select(evidence, LISTED)[1]) == whole
    assert (asked, third.exists()) == (2, False), "DuckDB was asked twice, and only the second time for less files"
    monkeypatch.setattr(reader, "TRIES", 1)
    monkeypatch.setattr(reader, "memory_database", lambda: Losing(journal_path(evidence / "logs/w1", 2)))
    with pytest.raises(ClientFault, match="No such file"):
        select(evidence, LISTED)
