"""Following one segment: what DuckDB proves of many records at once, it proves; the rest is looked at one by one.

Promises what `Following.record` finds for each record, at a third of its price: typed columns, written out as an entry,
are compared with the entry's exact bytes, which shows form and columns in one step. Reads the two files of one segment.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

import duckdb

from gateway.evidence import columns
from gateway.evidence.entry import Malformed
from gateway.evidence.following import Following, Paid, Stretch
from gateway.evidence.memory_database import memory_database
from gateway.evidence.segments import entries_path, payload_path
from gateway.evidence.views import located

_CHUNK = 2048
_PROVED = 2
_LAST = 1 << 63
_seq = itemgetter(0)
_Columns: TypeAlias = tuple[tuple[Any, ...], ...]
"""Records by column, as `columns.rows` has them."""
_SHOWN = 20
"""Findings of one kind in one segment, at most: a column that is wrong in every row is one fault."""


def connect() -> duckdb.DuckDBPyConnection:
    """Return a database that reads segments with one thread and bounded memory."""
    return memory_database({"memory_limit": "2GB", "temp_directory": "", "threads": 1})


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
    log.sealed.close(number, log.expected - 1)
    log.payloads = True


class _Payloads:
    """The payloads of one file in the order of their records: the few kinds and the many, each as it comes."""

    def __init__(self, database: duckdb.DuckDBPyConnection, path: Path | None) -> None:
        queries = () if path is None else columns.paid(located(path), "seq, salt, encode(payload)")
        self._cursors = [database.cursor() for _ in queries]
        for cursor, sql in zip(self._cursors, queries, strict=True):
            cursor.execute(sql)
        self._pending: list[list[Paid]] = [[] for _ in queries]

    def up_to(self, last: int) -> list[Paid]:
        """Return those that no earlier call returned, up to that of record `last`."""
        found: list[Paid] = []
        for place, cursor in enumerate(self._cursors):
            pending = self._pending[place]
            while not pending or pending[-1][0] <= last:
                if not (more := cursor.fetchmany(_CHUNK)):
                    break
                pending.extend(more)
            count = bisect_right(pending, last, key=_seq)
            found.extend(pending[:count])
            del pending[:count]
        return sorted(found, key=_seq) if len(self._cursors) > 1 else found

    def rest(self) -> Paid | None:
        """Return one that is left, if any."""
        return next(iter(self.up_to(_LAST)), None)


class _Rows:
    def __init__(
        self, log: Following, database: duckdb.DuckDBPyConnection, entries: Path, payload: Path, segment: str
    ) -> None:
        self._log, self._database, self._entries, self._payload = log, database, entries, payload
        self._segment, self._untold = segment, 0
        bounds = database.execute(columns.bounds(located(entries))).fetchone() or (False, False)
        self._safe, self._quotes = bool(bounds[0]), bool(bounds[1])
        self._kept = _Payloads(database, payload if log.payloads else None)

    def follow(self) -> None:
        cursor = self._database.cursor()
        try:
            cursor.execute(self._sql(guarded=False))
            chunk = cursor.fetchmany(_CHUNK)
        except duckdb.Error:
            self._safe = False  # an entry that is no JSON: each is looked at by itself
            cursor.execute(self._sql(guarded=True))
            chunk = cursor.fetchmany(_CHUNK)
        while chunk:
            self._chunk(tuple(zip(*chunk, strict=True)))
            chunk = cursor.fetchmany(_CHUNK)
        if (left := self._kept.rest()) is not None:
            raise _stray(left)
        if self._log.payloads:
            stray = columns.stray(located(self._payload), located(self._entries), self._segment)
            if (found := self._database.execute(stray).fetchone()) is not None:
                what = f"payload/{self._payload.name} says that it is of another segment or kind"
                self._log.find("tampered", found[0], what)

    def _sql(self, *, guarded: bool) -> str:
        return columns.rows(located(self._entries), self._segment, guarded=guarded, quotes=self._quotes)

    def _chunk(self, by_column: _Columns) -> None:
        """Follow some records: stretches that are proved at once, the others one by one."""
        begin = 0
        for proved, group in groupby(by_column[3]):
            end = begin + len(list(group))
            these = tuple(column[begin:end] for column in by_column)
            paid = self._kept.up_to(these[0][-1])
            whole = proved == _PROVED and self._safe and self._log.expected > 0
            if not whole or not self._log.stretch(Stretch(*these[:3], *these[4:]), paid):
                self._one_by_one(these, paid)
            begin = end

    def _one_by_one(self, these: _Columns, paid: list[Paid]) -> None:
        of = {one[0]: one for one in paid}
        for seq, chain, entry, proved in zip(*these[:4], strict=True):
            _, salt, payload = of.pop(seq, (seq, None, None))
            self._log.record((chain or "").encode(), (salt or "").encode(), entry or b"", payload or b"")
            if not proved:
                self._untrue(seq)
        if of or len({one[0] for one in paid}) < len(paid):
            raise _stray(next(iter(of.values()), paid[0]))

    def _untrue(self, seq: int | None) -> None:
        self._untold += 1
        if self._untold <= _SHOWN:
            self._log.find("tampered", seq, f"a column of entries/{self._entries.name} is not what its entry says")


def _stray(paid: Paid) -> Malformed:
    return Malformed(f"it holds a payload for {paid[0]}, which is no record of it, or is out of order")
