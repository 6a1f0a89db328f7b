"""The lines of a log as they stood in its journal, wherever they lie now.

Promises the exact bytes of each line in order, from segments and journal files alike, with bounded memory. Judges
nothing: what cannot be read is said to be broken, and whoever reads decides what that means.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from gateway.evidence import columns
from gateway.evidence.entry import Malformed
from gateway.evidence.segments import entries_path, journal_path, numbers_in, payload_path
from gateway.evidence.views import located

READ = 4 << 20
_BLOCK = 512 << 10
"""Bytes of a journal that are read at once: what is done with them finds them in the processor's cache."""
_ROWS = 2048


def segment_lines(
    database: duckdb.DuckDBPyConnection, entries: Path, payload: Path | None, first: int | None = None
) -> Iterator[bytes]:
    """Yield the journal lines, without line feeds, of the segment in these two files; `payload` None: none is kept.

    With `first`, only those from that sequence number on. Raises `Malformed` where payloads belong to no record, and
    `duckdb.Error` where a file is no such table.
    """
    since = "" if first is None else f" WHERE seq >= {first}"
    kept = iter(()) if payload is None else kept_rows(database, payload, "seq, salt, payload", first)
    rows = _rows(database, f"SELECT seq, chain, entry FROM read_parquet({located(entries)}){since}")  # noqa: S608
    due = next(kept, None)
    for seq, chain, entry in rows:
        if due is not None and due[0] == seq:
            yield f"{chain}\t{due[1] or ''}\t{entry}\t{due[2] or ''}".encode()
            due = next(kept, None)
        else:
            yield f"{chain}\t\t{entry}\t".encode()
    if due is not None:
        raise Malformed(f"it holds a payload for {due[0]}, which is no record of it, or is out of order")


def kept_rows(
    database: duckdb.DuckDBPyConnection, payload: Path, what: str, first: int | None = None
) -> Iterator[tuple[Any, ...]]:
    """Yield `what`, `seq` first, of each payload in the file, in the order of its records. May raise `duckdb.Error`."""
    few, many = (_rows(database, sql) for sql in columns.paid(located(payload), what, first))
    due = next(few, None)
    for row in many:
        while due is not None and due[0] < row[0]:
            yield due
            due = next(few, None)
        yield row
    while due is not None:
        yield due
        due = next(few, None)


def _rows(database: duckdb.DuckDBPyConnection, sql: str) -> Iterator[tuple[Any, ...]]:
    cursor = database.cursor()
    cursor.execute(sql)
    while rows := cursor.fetchmany(_ROWS):
        yield from rows


def journal_lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield each line as `journal_blocks` has them."""
    for lines, whole in journal_blocks(path):
        for raw in lines:
            yield raw, whole


def journal_blocks(path: Path) -> Iterator[tuple[list[bytes], bool]]:
    """Yield lines without their line feeds, as many as are read at once, and whether they are whole.

    The content ends at the first NUL. Anything but zeros after that comes last, as one line that is not whole.
    """
    pending, ended = b"", False
    with path.open("rb") as file:
        while chunk := file.read(_BLOCK):
            pending += chunk
            if not ended:
                content, nul, rest = pending.partition(b"\0")
                *lines, tail = content.split(b"\n")
                if lines:
                    yield lines, True
                ended, pending = bool(nul), tail + nul + rest
                if len(pending) > READ and not ended:  # no line of ours; do not gather it in memory
                    yield [pending], True
                    pending = b""
            if ended:
                pending = pending.rstrip(b"\0") if pending.strip(b"\0") else b""
    if pending:
        yield [pending], False


def log_lines(database: duckdb.DuckDBPyConnection, directory: Path) -> Iterator[bytes]:
    """Yield every whole line of the log in `directory`, archived or live, in order; stops at the first broken one."""
    segments, journals = numbers_in(directory)
    for number in segments:
        payload = payload_path(directory, number)
        yield from segment_lines(database, entries_path(directory, number), payload if payload.exists() else None)
    for number in journals:
        for raw, whole in journal_lines(journal_path(directory, number)):
            if not whole:
                return
            yield raw
