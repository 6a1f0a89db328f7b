"""Turning closed journal files into Parquet segments, in a short process of its own at low priority.

Promises that a journal file goes only after its segment was read back byte for byte from the disk, its root matched the
tree and what the log's key signed, an `archive` record of it is in the log, ten minutes passed, and nobody has
`evidence.duckdb` open (an hour more at most), so that no reader loses a file under its hands. Each step leaves what the
next run goes on from: a crash loses and repeats nothing. Writes no log: it prints what is to be recorded, a JSON object
a line, and the gateway records it.

`python -P -m gateway.evidence.archiver DIR`
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, takewhile, zip_longest
from pathlib import Path

import duckdb
from blake3 import blake3

from gateway.errors import EvidenceFault
from gateway.evidence import columns
from gateway.evidence.entry import Malformed, parse_line, parse_loosely, parse_time
from gateway.evidence.frontier import check_signed, newest_frontier, read_frontier
from gateway.evidence.memory_database import memory_database
from gateway.evidence.originals import originals_path
from gateway.evidence.read_lock import being_read
from gateway.evidence.replay import Replay, line_blocks, lines
from gateway.evidence.segment_end import link, settle
from gateway.evidence.segments import (
    entries_path,
    frontier_path,
    journal_numbers,
    journal_path,
    numbers_in,
    payload_path,
)
from gateway.evidence.sources import segment_lines
from gateway.evidence.storage import DiskStorage, Storage, SystemClock
from gateway.evidence.views import NAME, located, quoted
from gateway.model import Clock, Json, LogName

KEPT = 600_000_000
"""Microseconds that a journal file stays after its segment was recorded: longer than a reader holds a list of files."""
KEPT_READ = 3_600_000_000 + KEPT
"""The same while somebody has `evidence.duckdb` open, who may have listed it just now; then it goes all the same."""
MEMORY = "1GB"
COMPRESSION = "COMPRESSION zstd, COMPRESSION_LEVEL 1"
"""Of entries it makes a tenth less than level 3 does, in three quarters of its time."""
PAYLOADS = 8192
"""Payloads read together: whoever asks for one session's reads an eighth of a segment's."""


@dataclass(frozen=True, slots=True)
class Archived:
    """One segment, as its `archive` record names it: its records, its tree's root, and its files' digests."""

    log: LogName
    segment: str
    first: int
    last: int
    root: str
    blake3: str
    payload: str
    frontier: str
    originals: str | None = None
    """None: nothing was sealed in it."""


def archive(evidence: Path, storage: Storage, clock: Clock) -> Iterator[Archived]:
    """Archive what is closed in every log; yield each segment that no `archive` record names yet.

    Then removes the journal files whose time has come. Raises `EvidenceFault` where a file is not what it should be.
    """
    with storage.lock(evidence / "archive.lock"):
        for directory in sorted((evidence / "logs").glob("*")):
            if (directory / "journal").is_dir():
                yield from _archive_log(directory, storage, clock, evidence / NAME)


def waiting(evidence: Path) -> bool:
    """Say whether any closed journal file is there, to be archived or removed."""
    logs = (evidence / "logs").glob("*/journal")
    return any(len(journal_numbers(path.name for path in journal.glob("*.tsv"))) > 1 for journal in logs)


def _archive_log(directory: Path, storage: Storage, clock: Clock, views: Path) -> Iterator[Archived]:
    for place in ("entries", "payload"):
        storage.make_directory(directory / place)
        for left in (directory / place).glob(".*"):
            left.unlink()  # of a run that was cut
    _, live = numbers_in(directory)
    with memory_database() as database:
        database.execute(f"SET memory_limit = '{MEMORY}'; SET threads = 1; SET temp_directory = ''")
        for number in live[:-1]:
            _archive_file(database, directory, number, storage)
    told = recorded(directory, storage)
    present = journal_numbers(storage.names(directory / "journal"))
    for number in present:
        if not entries_path(directory, number).exists():
            break
        segment = entries_path(directory, number).stem
        if segment not in told:
            yield _told(directory, number, storage)
        elif (waited := clock.now() - told[segment]) >= KEPT and (waited >= KEPT_READ or not being_read(views)):
            storage.remove(journal_path(directory, number))


def _archive_file(database: duckdb.DuckDBPyConnection, directory: Path, number: int, storage: Storage) -> None:
    """Write segment `number` beside its place, read it back, compare, and give it its name last."""
    path = journal_path(directory, number)
    before = newest_frontier(storage, directory)
    state = Replay(_origin(storage, path)) if before is None else Replay.after(before)
    if number != state.number + 1:
        raise EvidenceFault(f"{path} follows segment {state.number}: files between them are missing")
    entries, payload = entries_path(directory, number), payload_path(directory, number)
    new_entries, new_payload = (one.with_name(f".{one.name}") for one in (entries, payload))
    segment = f"{directory.name}/{number:08}"
    source = f"{columns.journal(located(path))} WHERE NOT starts_with(chain, chr(0))"
    shape = f"json_transform(CASE WHEN json_valid(entry) THEN entry END, {columns.transform()})"
    form = f"(FORMAT parquet, {COMPRESSION})"
    database.execute(
        f"COPY (SELECT '{segment}' AS segment, {columns.columns('e')}, chain, entry FROM"  # noqa: S608  our own paths
        f" (SELECT chain, entry, {shape} AS e FROM {source})) TO {quoted(str(new_entries))} {form}"
    )
    database.execute(
        f"COPY ({columns.kept(source, segment)}) TO {quoted(str(new_payload))} {form[:-1]}, ROW_GROUP_SIZE {PAYLOADS})"
    )
    for new in (new_entries, new_payload):
        new.chmod(0o600)
        file = storage.open(new)
        file.sync()
        file.close()
    _compare(database, path, (new_entries, new_payload), segment, state, storage)
    try:
        check_signed(storage, directory, state.tree.state())
    except (Malformed, OSError) as fault:
        raise EvidenceFault(f"{path} is not archived: {fault}") from None
    new_payload.rename(payload)
    storage.sync_directory(payload.parent)
    storage.replace(frontier_path(directory, number), state.frontier(number).encode())
    os.utime(new_entries)  # a reader counts it from a minute later on, as `views.sql` says
    new_entries.rename(entries)
    storage.sync_directory(entries.parent)


def _origin(storage: Storage, path: Path) -> LogName:
    """Return the log's name as its first record says; the records after it must agree."""
    for _, raw in lines(storage, path):
        return LogName(str(parse_loosely(parse_line(raw).entry).get("log")))
    raise EvidenceFault(f"{path} is empty, and others follow it")


def _compare(
    database: duckdb.DuckDBPyConnection,
    path: Path,
    made: tuple[Path, Path],
    segment: str,
    state: Replay,
    storage: Storage,
) -> None:
    """Read the new segment and the journal file side by side; `state` takes each record. Raises `EvidenceFault`."""
    again, end = segment_lines(database, *made), 0
    for block in line_blocks(storage, path):
        held = list(islice(again, len(block)))
        if held != block:
            same = takewhile(lambda pair: pair[0] == pair[1], zip_longest(block, held))
            end += sum(len(raw) + 1 for raw, _ in same)
            raise EvidenceFault(f"{path}, byte {end}: its segment does not hold the same")
        if not link(state, block):
            end += sum(len(raw) + 1 for raw in takewhile(lambda raw: link(state, [raw]), block))
            raise EvidenceFault(f"{path}, byte {end}: the chain does not hold; restore it from a copy")
        end += sum(map(len, block)) + len(block)
    rest = storage.size(path) - end
    if next(again, None) is not None or storage.read(path, end, rest).strip(b"\0"):
        raise EvidenceFault(f"{path}: it and its segment do not end alike")
    if database.execute(columns.untrue(located(made[0]), segment)).fetchone() is not None:
        raise EvidenceFault(f"{path}: the columns of its segment are not what its entries say")
    settle(state, database, *made)


def recorded(directory: Path, storage: Storage) -> dict[str, int]:
    """Return when each segment was recorded, as far as journal files are there: the record follows the segment."""
    found = {}
    for number in journal_numbers(storage.names(directory / "journal")):
        for entry in _archive_entries(directory, number, storage):
            found[str(entry.get("segment"))] = int(parse_time(str(entry.get("ts"))))
    return found


def _archive_entries(directory: Path, number: int, storage: Storage) -> Iterator[Mapping[str, Json]]:
    """Yield the `archive` entries of one journal file.

    What is archived tells of them beside its segment: journal files stay for a while, and to read all of them each time
    would cost many times what archiving does.
    """
    beside = read_frontier(directory, number)
    if beside is not None and beside.again is not None:
        yield from (one.entry for one in beside.again if one.entry.get("kind") == "archive")
        return
    for _, raw in lines(storage, journal_path(directory, number)):
        if b'"kind":"archive"' in raw and (entry := parse_loosely(parse_line(raw).entry)).get("kind") == "archive":
            yield entry


def _told(directory: Path, number: int, storage: Storage) -> Archived:
    frontier = newest_frontier(storage, directory, number)
    if frontier is None:
        raise EvidenceFault(f"{directory} holds no segment {number}")
    before = newest_frontier(storage, directory, number - 1)
    entries, payload, sealed = (place(directory, number) for place in (entries_path, payload_path, originals_path))
    first = 0 if before is None else before.size
    return Archived(
        frontier.log,
        entries.stem,
        first,
        frontier.size - 1,
        frontier.tree.root.hex(),
        digest(entries),
        digest(payload),
        digest(frontier_path(directory, number)),
        digest(sealed) if sealed.exists() else None,
    )


def digest(path: Path) -> str:
    """Return the BLAKE3 of a file, in lower-case hex. May raise OSError."""
    return blake3(max_threads=1).update_mmap(path).hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Archive what is closed in the evidence directory named by the one argument, at low priority."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -P -m gateway.evidence.archiver DIR\n")
        return 2
    os.nice(15)
    try:
        for one in archive(Path(arguments[0]), DiskStorage(), SystemClock()):
            sys.stdout.write(json.dumps(asdict(one)) + "\n")
    except (EvidenceFault, duckdb.Error, OSError) as fault:
        sys.stderr.write(f"{' '.join(str(fault).split())}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
