"""One self-contained DuckDB file for an auditor: records as they stand, what proves them, and the views as tables.

Promises every record that was asked for, counted, none cut; tables that follow from the exported entries alone, so that
the check can make them again; and proofs to each log's signed checkpoint without the rest of the log. Sealed originals
are not in it. Reads the evidence only; the file gets its name once it is whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import duckdb

from gateway.errors import ConfigurationFault, EvidenceFault
from gateway.evidence import columns
from gateway.evidence.checkpoints import sizes
from gateway.evidence.entry import Line, Malformed, parse_line, parse_loosely
from gateway.evidence.export_tree import uncovered
from gateway.evidence.frontier import Frontier
from gateway.evidence.growth import roots_after
from gateway.evidence.memory_database import memory_database
from gateway.evidence.note import Verifier, open_note
from gateway.evidence.segments import frontier_path, numbers_in
from gateway.evidence.sources import log_lines
from gateway.evidence.storage import DiskStorage
from gateway.evidence.tree import TreeState
from gateway.evidence.verifiers import VIEWS, derivation, programs
from gateway.evidence.views import located, quoted
from gateway.model import Json

FORMAT = 1
Progress: TypeAlias = Callable[[int, int], None]
_STEP = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: from a time on, before a time, of a session; times as entries have them. None: all."""

    since: str | None = None
    before: str | None = None
    session: str | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.since is None and self.before is None and self.session is None

    def takes(self, entry: Mapping[str, Json]) -> bool:
        """Say whether an entry is among them."""
        at = str(entry.get("ts"))
        if self.session is not None and entry.get("sid") != self.session:
            return False
        return (self.since is None or at >= self.since) and (self.before is None or at < self.before)


@dataclass(frozen=True, slots=True)
class Made:
    """Who made an export, of what, why, and under which record of the gateway's log, if it wrote one."""

    at: str
    by: str
    reason: str
    version: str
    recorded: int | None = None


@dataclass(slots=True)
class Taken:
    """What is exported of one log."""

    directory: Path
    origin: str = ""
    size: int = 0
    """Records that the newest checkpoint covers; 0 where there is none."""
    first: TreeState = field(default_factory=lambda: TreeState(0, ()))
    """The tree over what was pruned."""
    seqs: array[int] = field(default_factory=lambda: array("q"))
    tree: list[tuple[int, int, str]] = field(default_factory=list)


def export(evidence: Path, out: Path, wanted: Wanted, made: Made, live: bool, progress: Progress) -> dict[str, int]:
    """Write the export to `out`, which must not exist; return the number of rows of each table.

    `live`: a gateway writes there, so that records after the newest checkpoint are left for the next export. Raises
    `EvidenceFault`, `ConfigurationFault`.
    """
    evidence = evidence.resolve()
    logs = [Taken(path) for path in sorted((evidence / "logs").glob("*")) if (path / "journal").is_dir()]
    if not logs:
        raise EvidenceFault(f"{evidence} holds no log; give the gateway's state_dir/evidence")
    if out.exists():
        raise ConfigurationFault(f"{out} is there already; name a file that is not")
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        beside.mkdir(mode=0o700)
        told = _Told(progress, sum(_signed(log) for log in logs))
        for log in logs:
            _take(log, wanted, live, beside, told)
        counts = _write(logs, beside, wanted, made, told)
        made_file = beside / "export.duckdb"
        made_file.chmod(0o600)
        _sync(made_file)
        made_file.rename(out)
        _sync(out.parent)
    except (duckdb.Error, OSError) as fault:
        raise EvidenceFault(f"{out} cannot be made: {str(fault).splitlines()[0]}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return counts


def _sync(path: Path) -> None:
    """Return once the file, or the names in the directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- what is taken -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Told:
    """Counts steps: each record once while it is taken, each table as a hundredth of them all."""

    progress: Progress
    records: int
    done: int = 0

    def step(self, count: int) -> None:
        """So much more is done."""
        self.done += count
        self.progress(self.done, max(self.records + self.records // 5, self.done))


def _signed(log: Taken) -> int:
    """Find how many records the newest checkpoint covers."""
    if (log.directory / "log.pub").exists():
        log.size = max(sizes(DiskStorage(), log.directory / "checkpoints"), default=0)
    return log.size


def _take(log: Taken, wanted: Wanted, live: bool, beside: Path, told: _Told) -> None:
    """Write the log's wanted lines beside the export, as they stand, and what proves them."""
    log.first = _pruned(log.directory)
    try:
        chosen = _chosen(log, wanted, live)
        with (beside / f"{log.directory.name}.tsv").open("wb") as file:
            for seq, raw, _ in _lines(log, live):
                if chosen is None or seq in chosen:
                    file.write(raw + b"\n")
                    log.seqs.append(seq)
                if seq % _STEP == 0:
                    told.step(_STEP)
        covered = [seq for seq in log.seqs if seq < log.size]
        rest = uncovered(covered, log.size) if log.size else []
        if rest:
            hashes = roots_after(log.first, (line.entry for _, _, line in _lines(log, live)), rest)
            log.tree = [(low, high, one.hex()) for (low, high), one in zip(rest, hashes, strict=True)]
    except (ValueError, Malformed) as fault:
        raise EvidenceFault(f"{log.directory}: {fault}; `hoop-gateway evidence verify` says more") from None


def _lines(log: Taken, live: bool) -> Iterator[tuple[int, bytes, Line]]:
    with memory_database({"memory_limit": "1GB", "temp_directory": ""}) as database:
        for seq, raw in enumerate(log_lines(database, log.directory), log.first.size):
            if live and log.size and seq >= log.size:
                return
            yield seq, raw, parse_line(raw)


def _chosen(log: Taken, wanted: Wanted, live: bool) -> set[int] | None:
    """Return the wanted records, and the beginnings of the sessions that they are of; None: all."""
    found: set[int] = set()
    starts: dict[str, int] = {}
    sessions: set[str] = set()
    for seq, _, line in _lines(log, live):
        if wanted.everything and log.origin:
            return None
        entry = parse_loosely(line.entry)
        log.origin = log.origin or str(entry.get("log"))
        sid = entry.get("sid")
        if entry.get("kind") == "session_start":
            starts[str(sid)] = seq
        if wanted.takes(entry):
            found.add(seq)
            sessions.add(str(sid))
    found.update(starts[sid] for sid in sessions & starts.keys())
    return None if wanted.everything else found


def _pruned(directory: Path) -> TreeState:
    segments, _ = numbers_in(directory)
    path = frontier_path(directory, segments[0] - 1) if segments else directory / "absent"
    return Frontier.parse(path.read_bytes()).tree if path.exists() else TreeState(0, ())


# --- what is written -----------------------------------------------------------------------------------------------


def _write(logs: list[Taken], beside: Path, wanted: Wanted, made: Made, told: _Told) -> dict[str, int]:
    with memory_database({"memory_limit": "2GB", "temp_directory": str(beside)}) as database:
        database.execute(f"ATTACH {quoted(str(beside / 'export.duckdb'))} AS made (STORAGE_VERSION 'v1.0.0')")
        _tables(database)
        for log in logs:
            _fill(database, log, beside)
            told.step(log.size // 20)
        derive(database, wanted)
        counts = {name: _count(database, name) for name in ("entries", "notes", "tree", "logs", *VIEWS)}
        taken = sum(len(log.seqs) for log in logs)
        if counts["entries"] != taken or counts["records"] != taken:
            raise EvidenceFault(f"{taken} records were taken and {counts['records']} written; nothing is exported")
        for name, text in programs().items():
            database.execute("INSERT INTO made.programs VALUES ($1, $2)", [name, text])
        for name, rows in counts.items():
            database.execute("INSERT INTO made.counts VALUES ($1, $2)", [name, rows])
        database.execute(
            "INSERT INTO made.manifest VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            [FORMAT, made.at, made.by, made.reason, made.version, made.recorded, wanted.since, wanted.before,
             wanted.session],
        )  # fmt: skip
        database.execute("DETACH made")
    return counts


def _tables(database: duckdb.DuckDBPyConnection) -> None:
    manifest = "format BIGINT, made VARCHAR, made_by VARCHAR, reason VARCHAR, gateway_version VARCHAR, recorded BIGINT"
    for sql in (
        f"manifest({manifest}, since VARCHAR, before VARCHAR, session_id VARCHAR)",
        "counts(table_name VARCHAR, rows BIGINT)",
        'logs(log VARCHAR, place VARCHAR, "key" VARCHAR, size BIGINT, records BIGINT, pruned BIGINT)',
        "notes(log VARCHAR, size BIGINT, note VARCHAR)",
        "tree(log VARCHAR, low BIGINT, high BIGINT, hash VARCHAR)",
        "programs(name VARCHAR, content VARCHAR)",
        "entries(log VARCHAR, place VARCHAR, seq BIGINT, chain VARCHAR, salt VARCHAR, entry VARCHAR, payload VARCHAR)",
    ):
        database.execute(f"CREATE TABLE made.{sql}")


def _fill(database: duckdb.DuckDBPyConnection, log: Taken, beside: Path) -> None:
    lines = beside / f"{log.directory.name}.tsv"
    key = log.directory / "log.pub"
    verifier = str(Verifier.parse(key.read_text()[:4096])) if key.exists() else None
    database.execute(
        "INSERT INTO made.logs VALUES ($1, $2, $3, $4, $5, $6)",
        [log.origin, log.directory.name, verifier, log.size, len(log.seqs), log.first.size],
    )
    if lines.stat().st_size:
        source = columns.journal(located(lines))
        database.execute(
            f"INSERT INTO made.entries SELECT $1, $2, CAST(json_extract_string(entry, '$.seq') AS BIGINT),"  # noqa: S608
            f" chain, salt, entry, payload FROM {source}",
            [log.origin, log.directory.name],
        )
    for size in sorted(sizes(DiskStorage(), log.directory / "checkpoints")):
        if 0 < size <= log.size:
            note = (log.directory / "checkpoints" / f"{size}.note").read_text("utf-8")
            database.execute("INSERT INTO made.notes VALUES ($1, $2, $3)", [log.origin, size, note])
    if log.tree:
        path = beside / "tree.tsv"
        path.write_text("".join(f"{low}\t{high}\t{one}\n" for low, high, one in log.tree))
        shape = "{'low': 'BIGINT', 'high': 'BIGINT', 'hash': 'VARCHAR'}"
        database.execute(
            f"INSERT INTO made.tree SELECT $1, low, high, hash FROM read_csv({located(path)}, delim = '\\t',"  # noqa: S608
            f" header = false, auto_detect = false, columns = {shape})",
            [log.origin],
        )
    if verifier is not None and log.size:
        open_note((log.directory / "checkpoints" / f"{log.size}.note").read_bytes(), Verifier.parse(verifier))


def derive(database: duckdb.DuckDBPyConnection, wanted: Wanted, into: str = "made") -> None:
    """Make the views' tables in database `into` from the entries and notes in database `made`.

    Numbers that are missing are no gaps where only some records were wanted.
    """
    database.execute("CREATE SCHEMA memory.derived; USE memory.derived")
    database.execute(derivation())
    for name in VIEWS:
        kept = " WHERE why <> 'missing'" if name == "gaps" and not wanted.everything else ""
        database.execute(f"CREATE TABLE {into}.{name} AS SELECT * FROM memory.derived.{name}{kept}")  # noqa: S608
    database.execute("USE memory.main; DROP SCHEMA memory.derived CASCADE")


def _count(database: duckdb.DuckDBPyConnection, table: str) -> int:
    row = database.execute(f"SELECT count(*) FROM made.{table}").fetchone()  # noqa: S608  a name of ours
    return int(row[0]) if row is not None else 0
