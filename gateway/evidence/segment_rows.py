"""Following one segment: what DuckDB proves of many records at once, it proves; the rest is looked at one by one.

Promises what `Following.record` finds for each record, at a third of its price: typed columns, written out as an entry,
are compared with the entry's exact bytes, which shows form and columns in one step. Records come by column, as texts
with a separator between: that costs a fifth of values one by one. Reads the two files of one segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import duckdb

from gateway.evidence import columns
from gateway.evidence.entry import Malformed
from gateway.evidence.following import Following, Stretch, committed
from gateway.evidence.memory_database import memory_database
from gateway.evidence.segments import entries_path, payload_path
from gateway.evidence.views import located

_PROVED = "2"
_SHOWN = 20
"""Findings of one kind in one segment, at most: a column that is wrong in every row is one fault."""
_Paid: TypeAlias = tuple[str | None, bytes | None]
"""A record's salt and payload."""


_BELIEVING = "statistics_propagation,filter_pushdown,join_filter_pushdown"
"""Optimizers that take a file's word for the least and greatest values of its columns: whoever forges a file forges its
footer, and a comparison that the footer answers is not made."""


def connect() -> duckdb.DuckDBPyConnection:
    """Return a database that reads segments with one thread and bounded memory, and believes no footer."""
    safe = {"disabled_optimizers": _BELIEVING, "temp_directory": ""}
    return memory_database({"memory_limit": "2GB", "threads": 1, **safe})


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


class _Group(NamedTuple):
    """Records that stand together in the file, by column, as `columns.grouped` has them."""

    first: int
    proved: str
    chains: str
    entries: list[bytes]
    times: list[str]
    kinds: list[str]
    sids: list[str | None]
    ns: list[int | None]
    ofs: list[int | None]

    @classmethod
    def read(cls, entries: list[bytes], texts: Sequence[Any]) -> _Group | None:
        """Take the texts of so many records apart; None where they do not tell what belongs to which record."""
        first, in_order, proved, sids, chains, *rest = texts
        sessions: list[str | None] = sids.split("\n")
        if columns.NONE in sids:
            sessions = [None if one == columns.NONE else one for one in sessions]
        times, kinds, ns, ofs = (text.split(",") for text in rest)
        counted = {len(proved), chains.count(",") + 1, *map(len, (sessions, times, kinds, ns, ofs))}
        if not in_order or counted != {len(entries)} or None in entries:
            return None
        try:
            return cls(first, proved, chains, entries, times, kinds, sessions, _numbers(ns), _numbers(ofs))
        except ValueError:
            return None  # a column of numbers became one of another type

    def stretch(self, begin: int, end: int) -> Stretch:
        """Return the records from `begin` up to `end`, by their places among these."""
        if begin == 0 and end == len(self.proved):
            return Stretch(self.first, *self[2:])
        rest: list[Any] = [one[begin:end] for one in self[3:]]
        return Stretch(self.first + begin, ",".join(self.chains.split(",")[begin:end]), *rest)


def _numbers(texts: list[str]) -> list[int | None]:
    if all(texts):
        return list(map(int, texts))
    return [int(one) if one else None for one in texts]


class _Payloads:
    """The payloads of one file: those of small kinds all at once, the many only where they are asked for."""

    def __init__(self, database: duckdb.DuckDBPyConnection, path: Path | None) -> None:
        self._database, self._path = database, path
        self._few: dict[int, _Paid] | None = None

    def of(self, first: int, last: int, *, many: bool) -> dict[int, _Paid]:
        """Return those of the records from `first` to `last`; `many`: also of statements and answers."""
        if self._path is None:
            return {}
        what = "seq, salt, encode(payload)"
        if self._few is None:
            few, _ = columns.paid(located(self._path), what)
            self._few = self._read(few)
        if not many:
            return self._few
        _, bulk = columns.paid(located(self._path), what, first, last)
        return self._few | self._read(bulk)

    def _read(self, sql: str) -> dict[int, _Paid]:
        rows = self._database.execute(sql).fetchall()
        found = {seq: (salt, payload) for seq, salt, payload in rows}
        if len(found) < len(rows):
            raise Malformed("it holds two payloads for one record")
        return found


class _Rows:
    def __init__(
        self, log: Following, database: duckdb.DuckDBPyConnection, entries: Path, payload: Path, segment: str
    ) -> None:
        self._log, self._database, self._name = log, database, entries.name
        self._entries, self._payload, self._segment = located(entries), located(payload), segment
        self._kept = _Payloads(database, payload if log.payloads else None)
        self._untold, self._astray = 0, False

    def follow(self) -> None:
        paid = self._paid() if self._log.payloads else None
        cursor, entries = self._database.cursor(), self._database.cursor()
        row: tuple[Any, ...] | None = None
        try:
            row = cursor.execute(columns.grouped(self._entries, self._segment)).fetchone()
        except duckdb.Error:
            self._each(guarded=True)  # an entry that is no JSON
        # Only now: it takes the memory that the query before it had. As texts they would cost three times as much.
        entries.execute(columns.entries(self._entries))
        while row is not None:
            number, count, due, *texts = row
            encoded = [entry for (entry,) in entries.fetchmany(count)]
            group = _Group.read(encoded, texts) if paid is None or paid.get(number, 0) == due else None
            if group is None:
                self._each(number)
            else:
                self._group(group)
            row = cursor.fetchone()
        if self._astray:
            stray = columns.stray(self._payload, self._entries, self._segment)
            if (found := self._database.execute(stray).fetchone()) is not None:
                what = f"payload/{self._name} holds a payload of no record here, or says that it is of another"
                self._log.find("tampered", found[0], what)

    def _paid(self) -> dict[int | None, int]:
        """Return for each group how many payloads it has; -1: they are not just those that its columns commit to."""
        found, cursor = dict[int | None, int](), self._database.cursor()
        cursor.execute(columns.commitments(self._payload, self._entries, self._segment))
        while (row := cursor.fetchone()) is not None:
            number, count, whole, salts, payloads, pcs = row
            good = whole and committed(salts, payloads.encode().split(b"\n"), pcs)
            found[number] = count if good else -1
        self._astray = -1 in found.values()
        return found

    def _group(self, group: _Group) -> None:
        """Follow some records: stretches that are proved at once, the others one by one."""
        end = 0
        for proved, run in groupby(group.proved):
            begin, end = end, end + len(list(run))
            if proved == _PROVED and self._log.expected == 0:
                begin += self._one_by_one(group, begin, begin + 1)  # the first record names the log
            if proved != _PROVED or (begin < end and not self._log.stretch(group.stretch(begin, end))):
                self._one_by_one(group, begin, end)

    def _one_by_one(self, group: _Group, begin: int, end: int) -> int:
        paid = dict[int, _Paid]()
        if "0" in group.proved[begin:end] or "decision" in group.kinds[begin:end]:
            many = not columns.BULK.isdisjoint(group.kinds[begin:end])
            paid = self._kept.of(group.first + begin, group.first + end - 1, many=many)
        chains = group.chains.split(",")
        for place in range(begin, end):
            chain, entry = chains[place].encode(), group.entries[place]
            salt, payload = paid.get(group.first + place, (None, None))
            if group.proved[place] == "0":
                self._record(chain, salt, entry, payload)
                self._untrue(group.first + place)
            else:  # what its columns say of its payload holds, and they say what it says
                self._log.record(chain, (salt or "").encode(), entry, payload)
        return end - begin

    def _each(self, number: int | None = None, *, guarded: bool = False) -> None:
        """Follow the records of a group, or all, by themselves."""
        cursor = self._database.cursor()
        cursor.execute(columns.rows(self._entries, self._segment, guarded=guarded, group=number))
        while rows := cursor.fetchmany(columns.GROUP):
            seqs = [seq for seq, *_ in rows if seq is not None] or [0]
            paid = self._kept.of(min(seqs), max(seqs), many=True)
            for seq, chain, entry, proved in rows:
                salt, payload = paid.get(seq, (None, None))
                self._record((chain or "").encode(), salt, entry or b"", payload)
                if not proved:
                    self._untrue(seq)

    def _record(self, chain: bytes, salt: str | None, entry: bytes, payload: bytes | None) -> None:
        self._log.record(chain, (salt or "").encode(), entry, payload or b"")

    def _untrue(self, seq: int | None) -> None:
        self._untold += 1
        if self._untold <= _SHOWN:
            self._log.find("tampered", seq, f"a column of entries/{self._name} is not what its entry says")
