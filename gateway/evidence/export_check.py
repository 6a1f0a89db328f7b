"""Checking an export by itself: signatures, proofs, commitments, chain, counts, and that its tables follow from it.

Promises to believe nothing in the file but what follows from the signatures of the logs' keys; which keys those are the
reader compares with the ones given on another way. Opens the file read-only, with nothing else in reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path
from typing import Any

import duckdb

from gateway.errors import EvidenceFault
from gateway.evidence.chain import Chain, commitment
from gateway.evidence.entry import Malformed, parse, parse_time
from gateway.evidence.export import FORMAT, Wanted, derive
from gateway.evidence.export_tree import root_over
from gateway.evidence.findings import Finding, Grade
from gateway.evidence.memory_database import memory_database
from gateway.evidence.note import Verifier, open_note
from gateway.evidence.signatures import UNSIGNED
from gateway.evidence.tree import leaf
from gateway.evidence.verifiers import VIEWS, programs
from gateway.evidence.views import quoted

_OWN = ("manifest", "counts", "logs", "notes", "tree", "entries", "programs")
_NONE = ("views", "functions", "types")
"""What an export has none of, as DuckDB's own functions list it."""
_BOTH = ("made", "memory.again")
_SHOWN = 20
_ROWS = 2048
_NOTHING: tuple[Any, ...] = (None, None, None, None, "", "")


@dataclass(slots=True)
class Checked:
    """What the check found, and for each log its key, and how many records of how many are exported."""

    findings: list[Finding] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    records: dict[str, tuple[int, int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    wanted: Wanted = field(default_factory=Wanted)

    @property
    def intact(self) -> bool:
        """Say whether nothing is wrong."""
        return all(one.grade == "note" for one in self.findings)

    def find(self, grade: Grade, log: str, seq: int | None, what: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(grade, log, seq, what))


def check_export(path: Path, keys: Sequence[str] = (), progress: Callable[[int, int], None] | None = None) -> Checked:
    """Check the export at `path`; with `keys`, each log must be signed by one of them. Raises `EvidenceFault`."""
    if not path.is_file():
        raise EvidenceFault(f"{path}: no such file")
    found = Checked()
    try:
        with memory_database({"memory_limit": "2GB", "temp_directory": ""}) as database:
            database.execute(f"ATTACH {quoted(str(path.resolve()))} AS made (READ_ONLY)")
            database.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
            database.execute("SET enable_external_access = false; SET lock_configuration = true")
            _shape(database)
            _manifest(database, found)
            logs = database.execute('SELECT log, "key", size, pruned FROM made.logs ORDER BY log').fetchall()
            for place, log in enumerate(logs):
                _log(database, found, log, keys)
                if progress is not None:
                    progress(place + 1, len(logs) + 1)
            _tables(database, found)
    except duckdb.Error as fault:
        raise EvidenceFault(f"{path} is no export: {str(fault).splitlines()[0]}") from None
    return found


def _shape(database: duckdb.DuckDBPyConnection) -> None:
    """Refuse a file that holds anything but the tables of an export: a view could be anything, and so could a macro."""
    more = [f"SELECT 1 FROM duckdb_{kind}() WHERE database_name = 'made' AND NOT internal" for kind in _NONE]  # noqa: S608  ours
    names = database.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'made'").fetchall()
    schemas = "SELECT DISTINCT schema_name FROM duckdb_schemas() WHERE database_name = 'made' AND NOT internal"
    others = {str(name) for (name,) in database.execute(schemas).fetchall()} - {"main"}
    others |= {str(one) for sql in more for one in database.execute(sql).fetchall()}
    if others or {str(name) for (name,) in names} != {*_OWN, *VIEWS}:
        raise EvidenceFault("it does not hold the tables of an export, and only those")


def _manifest(database: duckdb.DuckDBPyConnection, found: Checked) -> None:
    rows = database.execute("SELECT format, since, before, session_id FROM made.manifest").fetchall()
    if len(rows) != 1 or rows[0][0] != FORMAT:
        raise EvidenceFault(f"it is no export of format {FORMAT}")
    found.wanted = Wanted(*rows[0][1:])
    found.counts = {str(name): int(rows) for name, rows in database.execute("FROM made.counts").fetchall()}
    for name in ("entries", "notes", "tree", "logs", *VIEWS):
        row = database.execute(f"SELECT count(*) FROM made.{name}").fetchone()  # noqa: S608  names of ours
        if row is None or found.counts.get(name) != row[0]:
            found.find(
                "tampered",
                "export",
                None,
                f"{name} has {row and row[0]} rows and not the {found.counts.get(name)} stated",
            )
    stray = "SELECT DISTINCT log FROM made.entries WHERE log NOT IN (SELECT log FROM made.logs)"
    for (log,) in database.execute(stray).fetchall():
        found.find("tampered", str(log), None, "it has records and is not among the logs")


def _log(database: duckdb.DuckDBPyConnection, found: Checked, log: tuple[Any, ...], keys: Sequence[str]) -> None:
    name, key, size = str(log[0]), log[1], int(log[2] or 0)
    parts: list[tuple[int, int, bytes]] = []
    taken, before, unsigned = 0, _NOTHING, list[str]()
    for row in _rows(database, name):
        _entry(found, name, row, before)
        before, taken = row, taken + 1
        if row[0] is not None and row[0] < size:
            parts.append((row[0], row[0] + 1, leaf(str(row[2]).encode())))
        else:
            unsigned.append(str(row[2]))
    found.records[name] = (taken, max(size, taken))
    if key is None:
        found.find("incomplete", name, None, "nobody signed this log: it has no key")
        return
    found.keys[name] = str(key)
    if keys and str(key) not in keys:
        found.find("tampered", name, None, "it is signed by another key than those given")
    tree = database.execute("SELECT low, high, hash FROM made.tree WHERE log = $1 ORDER BY low", [name]).fetchall()
    try:
        verifier = Verifier.parse(str(key))
        roots = {}
        for at, note in database.execute("SELECT size, note FROM made.notes WHERE log = $1", [name]).fetchall():
            opened = open_note(str(note).encode(), verifier)
            if opened.size != at or opened.origin != name:
                raise Malformed(f"a checkpoint says {opened.size} records of {opened.origin}")  # noqa: TRY301
            roots[opened.size] = opened.root
        others = [(int(low), int(high), bytes.fromhex(value)) for low, high, value in tree]
        if size and (size not in roots or root_over(merge(parts, others), size) != roots[size]):
            raise Malformed("the records are not those that were signed")  # noqa: TRY301
    except (Malformed, ValueError, TypeError) as fault:
        found.find("tampered", name, None, str(fault))
    if unsigned:
        grade: Grade = "incomplete" if not size or _late(unsigned) else "note"
        found.find(grade, name, size, f"{len(unsigned)} records from here on are covered by no checkpoint")


def _late(entries: Sequence[str]) -> bool:
    """Say whether these records reach over more time than is left unsigned."""
    try:
        first, last = (parse_time(str(parse(one.encode()).get("ts"))) for one in (entries[0], entries[-1]))
    except Malformed:
        return True
    return last - first > UNSIGNED


def _rows(database: duckdb.DuckDBPyConnection, log: str) -> Iterator[tuple[Any, ...]]:
    cursor = database.cursor()
    cursor.execute("SELECT seq, chain, entry, salt, payload FROM made.entries WHERE log = $1 ORDER BY seq", [log])
    while rows := cursor.fetchmany(_ROWS):
        yield from rows


def _entry(found: Checked, log: str, row: tuple[Any, ...], before: tuple[Any, ...]) -> None:
    seq, chain, encoded, salt, payload = row
    try:
        entry = parse(str(encoded).encode())
        if entry.get("seq") != seq or entry.get("log") != log:
            raise Malformed("the entry says that it stands elsewhere")  # noqa: TRY301  one place says where
        follows = before[0] is not None and seq == before[0] + 1
        if follows and Chain(bytes.fromhex(str(before[1]))).after(str(encoded).encode()).decode() != chain:
            raise Malformed("its chain value does not follow from the record before")  # noqa: TRY301
        if payload is None and "pc" in entry:
            found.find("note", log, seq, "its payload was erased before the export, or is left out")
        elif payload is not None and commitment(bytes.fromhex(str(salt)), str(payload).encode()) != entry.get("pc"):
            raise Malformed("its payload is not the one that the entry commits to")  # noqa: TRY301
    except (Malformed, ValueError) as fault:
        found.find("tampered", log, seq if isinstance(seq, int) else None, str(fault))


def _tables(database: duckdb.DuckDBPyConnection, found: Checked) -> None:
    """Make the views' tables again from the entries, and compare."""
    told, ours = sorted(database.execute("FROM made.programs").fetchall()), sorted(programs().items())
    if told != ours:
        what = "it holds other programs than this version writes: check it with the version that its manifest names"
        found.find("incomplete", "export", None, what)
    database.execute("CREATE SCHEMA memory.again")
    derive(database, found.wanted, into="memory.again")
    for name in VIEWS:
        shapes = [[row[:2] for row in database.execute(f"DESCRIBE {at}.{name}").fetchall()] for at in _BOTH]
        if shapes[0] != shapes[1]:
            found.find("tampered", "export", None, f"the columns of {name} are not those of the view")
            continue
        for one, other in (_BOTH, _BOTH[::-1]):
            sql = f"SELECT count(*) FROM (FROM {one}.{name} EXCEPT ALL FROM {other}.{name})"  # noqa: S608  names of ours
            try:
                row = database.execute(sql).fetchone()
            except duckdb.Error:
                row = (1,)  # other columns
            if row is None or row[0]:
                found.find("tampered", "export", None, f"the table {name} does not follow from the entries")
                break
