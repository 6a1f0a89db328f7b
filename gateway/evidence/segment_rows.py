"""Following one segment: what DuckDB proves of many records at once, it proves; the rest is looked at one by one.

Promises what `Following.record` finds for each record, at a third of its price: typed columns, written out as an entry,
are compared with the entry's exact bytes, which shows form and columns in one step. Reads the two files of one segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from gateway.evidence import columns
from gateway.evidence.entry import Malformed
from gateway.evidence.following import Following, Paid, Plain
from gateway.evidence.segments import entries_path, payload_path
from gateway.evidence.sources import kept_rows
from gateway.evidence.views import located

_CHUNK = 2048
_SHOWN = 20
"""Findings of one kind in one segment, at most: a column that is wrong in every row is one fault."""


def connect() -> duckdb.DuckDBPyConnection:
    """Return a database that reads segments with one thread and bounded memory."""
    return duckdb.connect(config={"memory_limit": "2GB", "temp_directory": "", "threads": 1})


def follow_segment(log: Following, directory: Path, number: int, database: duckdb.DuckDBPyConnection) -> None:
    """Follow segment `number` of the log in `directory`, which begins where `log` stands; findings are in `log`."""
    entries, payload = entries_path(directory, number), payload_path(directory, number)
    log.payloads = payload.exists()
    if not log.payloads:
        log.unpaid.append(number)
    try:
        _Rows(log, database, entries, payload, f"{directory.name}/{number:08}").follow()
    except (duckdb.Error, Malformed) as fault:
        log.unreadable(f"segment {entries.name} cannot be read: {str(fault).splitlines()[0]}")
    log.sealed.close(number)
    log.payloads = True


class _Rows:
    def __init__(
        self, log: Following, database: duckdb.DuckDBPyConnection, entries: Path, payload: Path, segment: str
    ) -> None:
        self._log, self._database, self._entries, self._payload = log, database, entries, payload
        self._segment, self._untold = segment, 0
        self._safe = database.execute(columns.bounds(located(entries))).fetchone() == (True,)
        self._kept = self._payloads()
        self._due = next(self._kept, None)

    def follow(self) -> None:
        sql = columns.rows(located(self._entries), self._segment, guarded=False)
        cursor = self._database.cursor()
        try:
            cursor.execute(sql)
            chunk = cursor.fetchmany(_CHUNK)
        except duckdb.Error:
            self._safe = False  # an entry that is no JSON: each is looked at by itself
            cursor.execute(columns.rows(located(self._entries), self._segment, guarded=True))
            chunk = cursor.fetchmany(_CHUNK)
        while chunk:
            self._chunk(chunk)
            chunk = cursor.fetchmany(_CHUNK)
        if self._due is not None:
            raise Malformed(f"it holds a payload for {self._due[0]}, which is no record of it, or is out of order")
        if self._log.payloads:
            stray = columns.stray(located(self._payload), located(self._entries), self._segment)
            if (found := self._database.execute(stray).fetchone()) is not None:
                what = f"payload/{self._payload.name} says that it is of another segment or kind"
                self._log.find("tampered", found[0], what)

    def _chunk(self, chunk: Sequence[Plain]) -> None:
        """Follow some records: stretches that are plain at once, the others one by one."""
        plain = [row for row in chunk if row[3]]
        together = b"".join([row[2] for row in plain])
        proved = self._safe and b"\\" not in together and together.count(b'"') == sum([row[5] for row in plain])
        stretch: list[Plain] = []
        for row in chunk:
            if proved and row[3]:
                stretch.append(row)
                continue
            if stretch:
                self._stretch(stretch)
                stretch = []
            self._one(row, self._paid(row[0]))
        if stretch:
            self._stretch(stretch)

    def _stretch(self, rows: list[Plain]) -> None:
        paid = self._paid(rows[-1][0])
        if not self._log.expected or not self._log.stretch(rows, paid):
            for row in rows:
                self._one(row, [one for one in paid if one[0] == row[0]])

    def _paid(self, last: int) -> list[Paid]:
        """Return the payloads up to that of record `last`."""
        found = []
        while self._due is not None and self._due[0] <= last:
            found.append(self._due)
            self._due = next(self._kept, None)
        return found

    def _one(self, row: Plain, paid: list[Paid]) -> None:
        seq, chain, entry, _, told, *_ = row
        *strays, (_, salt, payload) = paid or [(seq, None, None)]
        if strays or (paid and paid[-1][0] != seq):
            raise Malformed(f"it holds a payload for {paid[0][0]}, which is no record of it, or is out of order")
        self._log.record((chain or "").encode(), (salt or "").encode(), entry or b"", payload or b"")
        if not told:
            self._untrue(seq)

    def _untrue(self, seq: int | None) -> None:
        self._untold += 1
        if self._untold <= _SHOWN:
            self._log.find("tampered", seq, f"a column of entries/{self._entries.name} is not what its entry says")

    def _payloads(self) -> Iterator[Paid]:
        if self._log.payloads:
            yield from kept_rows(self._database, self._payload, "seq, salt, encode(payload)")
