"""Erasing one session's originals or one record's payload, so that everything that stays still verifies.

Promises that nothing is taken away before an `erasure` record says so, durably; that what is rewritten holds everything
else, row by row; and that a run that was cut is finished by the next, or by the gateway. Runs in a process of its own:
DuckDB rewrites Parquet here. What copies and backups hold it cannot reach.

`python -P -m gateway.evidence.erasure DIR` finishes what was cut, and prints the files.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from gateway.errors import ClientFault, EvidenceFault
from gateway.evidence.archiver import COMPRESSION, PAYLOADS, digest, recorded
from gateway.evidence.entry import Malformed, parse_line, parse_loosely
from gateway.evidence.frontier import Frontier
from gateway.evidence.memory_database import memory_database
from gateway.evidence.originals import keyring_path
from gateway.evidence.originals_check import SESSION
from gateway.evidence.reader import opened
from gateway.evidence.segments import entries_path, frontier_path, journal_path, numbers_in, payload_path
from gateway.evidence.sources import journal_lines
from gateway.evidence.storage import DiskStorage, Storage
from gateway.evidence.views import located, quoted
from gateway.model import Json

_MARK = ".erased"
"""Ends the name of a payload file written anew, and of the empty mark beside a key, until all is carried out."""
PATIENCE = 30.0
"""Seconds that a command waits for the archiver to be done."""


@dataclass(frozen=True, slots=True)
class Change:
    """One file that an erasure rewrites, or removes (`staged` None), with its digests before and after."""

    path: Path
    file: str
    old: str
    new: str
    staged: Path | None = None

    @property
    def told(self) -> dict[str, Json]:
        """Return it as the record names it."""
        return {"file": self.file, "old": self.old, "new": self.new}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies: the log's directory, its lines' numbers, and the segment; None: in the live journal."""

    directory: Path
    log: str
    seqs: tuple[int, ...]
    segment: int | None

    def is_recorded(self, storage: Storage) -> bool:
        """Say whether it is archived and an `archive` record says so: only then its journal file may go."""
        if self.segment is None:
            return False
        if not journal_path(self.directory, self.segment).exists():
            return True  # the archiver removes it after that record
        return entries_path(self.directory, self.segment).stem in recorded(self.directory, storage)

    @property
    def names(self) -> list[str]:
        """Return its lines as the record of an erasure names them."""
        return [f"{self.log}:{seq}" for seq in self.seqs]


def shredded(evidence: Path, session: str) -> tuple[list[str], list[Change]]:
    """Return what shredding a session's originals takes: its name in the record, and its wrapped keys.

    Raises `ClientFault` where the session has none.
    """
    try:
        paths = [keyring_path(log, session) for log in sorted((evidence / "logs").glob("*"))]
    except ValueError:
        raise ClientFault("that is no session's id", "22023") from None
    changes = [Change(path, _name(path), digest(path), "") for path in paths if path.is_file()]
    if not changes:
        raise ClientFault("the session has no sealed originals, or they were erased already", "22023")
    return [f"{SESSION}{session}"], changes


def marked(changes: Iterable[Change], storage: Storage) -> None:
    """Leave a mark beside each key that goes, so that a run that was cut after its record is found again."""
    for change in changes:
        storage.replace(_beside(change.path), b"")


def locate(evidence: Path, record: str) -> Place:
    """Find a record by `LOG:SEQ`, all its parts. Raises `ClientFault` where it is not there or has no payload."""
    name, colon, number = record.rpartition(":")
    directory = evidence / "logs" / name.rpartition("/")[2]
    if not colon or not number.isdecimal() or not name or not (directory / "journal").is_dir():
        raise ClientFault("name a record as LOG:NUMBER, such as gw-1/w1:17", "22023")
    seq = int(number)
    segments, journals = numbers_in(directory)
    for segment in segments:
        frontier = Frontier.parse(frontier_path(directory, segment).read_bytes())
        if seq < frontier.size:
            entry = _archived(directory, segment, seq)
            return _placed(directory, name, seq, entry, segment)
    for journal in journals:
        for raw, whole in journal_lines(journal_path(directory, journal)):
            entry = parse_loosely(parse_line(raw).entry) if whole else {}
            if entry.get("seq") == seq:
                return _placed(directory, name, seq, entry, None)
    raise ClientFault(f"there is no record {record}", "22023")


def _archived(directory: Path, segment: int, seq: int) -> dict[str, Json]:
    with memory_database() as database:
        sql = f"SELECT entry FROM read_parquet({located(entries_path(directory, segment))}) WHERE seq = {seq}"  # noqa: S608  ours
        row = database.execute(sql).fetchone()
    if row is None:
        raise ClientFault(f"record {seq} was pruned", "22023")
    return parse_loosely(str(row[0]).encode())


def _placed(directory: Path, log: str, seq: int, entry: dict[str, Json], segment: int | None) -> Place:
    if entry.get("log") != log:
        raise ClientFault(f"the log is called {entry.get('log')}", "22023")
    if "pc" not in entry:
        raise ClientFault(f"record {log}:{seq} has no payload: its entry is all there is of it", "22023")
    part, parts = entry.get("part", 1), entry.get("parts", 1)
    if not isinstance(part, int) or not isinstance(parts, int):
        raise Malformed(f"record {seq}: part {part} of {parts}")
    first = seq - part + 1
    return Place(directory, log, tuple(range(first, first + parts)), segment)


def staged(place: Place, storage: Storage) -> Change:
    """Write the payloads of the record's segment anew without its own, beside the file. Raises `EvidenceFault`.

    The caller holds the archiver's lock.
    """
    if place.segment is None:
        raise EvidenceFault("the record is still in the journal; it is archived first")
    path = payload_path(place.directory, place.segment)
    if not path.is_file():
        raise ClientFault("its payload is gone already", "22023")
    beside = _beside(path)
    beside.unlink(missing_ok=True)
    gone = ", ".join(map(str, place.seqs))
    source, made = f"read_parquet({located(path)})", f"read_parquet({located(beside)})"
    kept = f"SELECT * FROM {source} WHERE seq NOT IN ({gone}) OR payload IS NULL"  # noqa: S608  our path, numbers
    form = f"(FORMAT parquet, {COMPRESSION}, ROW_GROUP_SIZE {PAYLOADS})"
    with memory_database({"memory_limit": "1GB", "temp_directory": "", "threads": "1"}) as database:
        counted = f"SELECT count(*) FROM {source} WHERE seq IN ({gone}) AND payload IS NOT NULL"  # noqa: S608
        found = database.execute(counted).fetchone()
        if found is None or not found[0]:
            raise ClientFault("its payload was erased already", "22023")
        database.execute(f"COPY ({kept}) TO {quoted(str(beside))} {form}")
        lost = f"SELECT count(*) FROM (({kept}) EXCEPT ALL SELECT * FROM {made})"  # noqa: S608
        more = f"SELECT count(*) FROM (SELECT * FROM {made} EXCEPT ALL ({kept}))"  # noqa: S608
        if database.execute(lost).fetchone() != (0,) or database.execute(more).fetchone() != (0,):
            beside.unlink()
            raise EvidenceFault(f"{beside} does not hold what it should; nothing was erased")
    beside.chmod(0o600)
    file = storage.open(beside)
    file.sync()
    file.close()
    return Change(path, _name(path), digest(path), digest(beside), beside)


def carried_out(change: Change, place: Place | None, storage: Storage) -> None:
    """Do what was recorded: put the new file in place of the old, or remove it, and the journal file beside it."""
    if change.staged is None:
        storage.remove(change.path)
        if _beside(change.path).exists():
            storage.remove(_beside(change.path))
        return
    if place is not None and place.segment is not None:
        journal = journal_path(place.directory, place.segment)
        if journal.exists():
            storage.remove(journal)  # it holds the payload too, and would stay for a while
    change.staged.rename(change.path)
    storage.sync_directory(change.path.parent)


def cut(evidence: Path) -> list[Path]:
    """Return what runs that were cut left behind; it may be of one that is at work."""
    patterns = (f"logs/*/payload/seg-*.parquet{_MARK}", f"logs/*/keyring/*.age{_MARK}")
    return sorted(path for pattern in patterns for path in evidence.glob(pattern))


def unfinished(evidence: Path, storage: Storage) -> Iterator[str]:
    """Finish what a run that was cut had recorded and not done yet, and drop what it had not recorded.

    The caller holds the archiver's lock.
    """
    left = cut(evidence)
    told = _recorded(evidence) if left else set()
    for path in left:
        target = path.with_name(path.name.removesuffix(_MARK))
        key = target.suffix == ".age"
        old, new = digest(target) if target.exists() else "", "" if key else digest(path)
        if (_name(target), old, new) in told:
            place = None if key else Place(target.parent.parent, "", (), int(target.stem.removeprefix("seg-")))
            carried_out(Change(target, _name(target), old, new, None if key else path), place, storage)
            yield _name(target)
        else:
            storage.remove(path)


def _recorded(evidence: Path) -> set[tuple[str, str, str]]:
    with opened(evidence) as database:
        rows = database.execute("SELECT entry FROM records WHERE kind = 'erasure'").fetchall()
    found = set()
    for (entry,) in rows:
        files = parse_loosely(str(entry).encode()).get("files")
        for one in files if isinstance(files, list) else []:
            if isinstance(one, dict):
                found.add((str(one.get("file")), str(one.get("old")), str(one.get("new"))))
    return found


@contextmanager
def archiver_kept_out(evidence: Path, storage: Storage, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the archiver's lock. Raises `EvidenceFault` where one is at work for longer than `patience`."""
    deadline = time.monotonic() + patience
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(storage.lock(evidence / "archive.lock"))
                break
            except EvidenceFault:
                if time.monotonic() >= deadline:
                    raise EvidenceFault("the evidence is being archived; try again in a moment") from None
                time.sleep(0.1)
        yield


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}{_MARK}")


def _name(path: Path) -> str:
    return f"logs/{path.parent.parent.name}/{path.parent.name}/{path.name}"


def main(arguments: Sequence[str]) -> int:
    """Finish what was cut in the evidence directory named by the one argument, at low priority."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -P -m gateway.evidence.erasure DIR\n")
        return 2
    os.nice(15)
    evidence, storage = Path(arguments[0]), DiskStorage()
    try:
        with archiver_kept_out(evidence, storage, patience=0):
            for file in unfinished(evidence, storage):
                sys.stdout.write(f"{file}\n")
    except (EvidenceFault, Malformed, duckdb.Error, OSError) as fault:
        sys.stderr.write(f"{' '.join(str(fault).split())}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
