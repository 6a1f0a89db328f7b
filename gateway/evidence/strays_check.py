"""Files of a log that views read and that hold none of its records, or hold them a second time: for `verify`.

Promises a finding for each file in the places that views read from, by any name, that shows a reader what no record
tells of: rows in the files that keep an empty place, in segments and journal files under names of no segment, payloads
of other segments, and a journal file beside its segment that is not what was archived from it. Reads those files and
nothing else; what a running gateway made since the check began is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb

from gateway.evidence.checked_log import CheckedLog
from gateway.evidence.entry import Malformed
from gateway.evidence.segments import entries_path, journal_numbers, journal_path, payload_path, segment_numbers
from gateway.evidence.sources import journal_lines, segment_lines
from gateway.evidence.views import located

_READ = 1 << 20


def check_strays(log: CheckedLog, database: duckdb.DuckDBPyConnection) -> None:
    """Find what lies where views read and is none of the log's own. `database` is one that `connect` made."""
    directory, find = log.directory, log.state.find
    for path in [*_strange(log), directory / "checkpoints" / "0.note"]:
        if _shows(database, path):
            find("tampered", log.state.expected, f"{_name(path)} is none of the log's own, and views read it")
    for path in _orphans(log):
        foreign = _foreign(database, path)
        if foreign:
            find("tampered", log.state.expected, f"{_name(path)} is none of the log's own, and views read it")
        elif foreign is not None:
            find("note", log.state.expected, f"{_name(path)} belongs to no records: archiving was cut, or goes on")
    for number in log.segments:
        path = journal_path(directory, number)
        if path.is_file() and not _same(database, directory, number):
            find("tampered", log.begins(number), f"{_name(path)} is not what was archived from it")


def _strange(log: CheckedLog) -> Iterator[Path]:
    """Yield the files of segments and journals that have no number, or the number 0."""
    for kind, pattern, numbers in (
        ("entries", "seg-*.parquet", segment_numbers),
        ("payload", "seg-*.parquet", segment_numbers),
        ("journal", "*.tsv", journal_numbers),
    ):
        for path in sorted((log.directory / kind).glob(pattern)):
            if not numbers([path.name]):
                yield path


def _shows(database: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Say whether a reader would find anything in `path`, or fail over it."""
    try:
        if path.suffix != ".parquet":
            with path.open("rb") as file:
                return any(block.strip(b"\0") for block in iter(lambda: file.read(_READ), b""))
        sql = f"SELECT 1 FROM read_parquet({located(path)}) LIMIT 1"  # noqa: S608  a path, quoted
        return database.execute(sql).fetchone() is not None
    except FileNotFoundError:
        return False
    except (OSError, duckdb.Error):
        return path.exists()


def _orphans(log: CheckedLog) -> Iterator[Path]:
    """Yield the files of payloads beside which there is no segment."""
    for number in segment_numbers(path.name for path in (log.directory / "payload").glob("seg-*.parquet")):
        if number not in log.segments and not entries_path(log.directory, number).exists():
            yield payload_path(log.directory, number)


def _foreign(database: duckdb.DuckDBPyConnection, path: Path) -> bool | None:
    """Say whether a file of payloads holds some of another segment; None: it holds nothing, or is gone again."""
    own = f"{path.parent.parent.name}/{path.stem.removeprefix('seg-')}"
    try:
        told = database.execute(f"SELECT DISTINCT segment FROM read_parquet({located(path)})").fetchall()  # noqa: S608
    except duckdb.Error:
        return True if path.exists() else None
    return any(one != own for (one,) in told) if told else None


def _same(database: duckdb.DuckDBPyConnection, directory: Path, number: int) -> bool:
    """Say whether a journal file holds the very lines of its segment; so it does if either went meanwhile."""
    path, entries, payload = (place(directory, number) for place in (journal_path, entries_path, payload_path))
    try:
        archived = segment_lines(database, entries, payload if payload.is_file() else None)
        same = all(whole and next(archived, None) == raw for raw, whole in journal_lines(path))
        return (same and next(archived, None) is None) or not path.exists()  # an erasure removes it, then the payload
    except (OSError, duckdb.Error, Malformed):
        return not (path.exists() and entries.exists())


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
