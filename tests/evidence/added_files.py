"""Attacks on what no record tells of: files laid where a view reads, and whole logs added or taken away."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
from evidence_double import CountedEntropy
from test_archiving import CLOCK

from gateway.evidence import record
from gateway.evidence.archiver import archive
from gateway.evidence.chain import Chain
from gateway.evidence.entry import Line, canonical
from gateway.evidence.journal import Journal
from gateway.evidence.segments import entries_path, journal_path, numbers_in
from gateway.evidence.storage import DiskStorage
from gateway.model import LogName

DENIED = "SELECT * REPLACE ('deny' AS verdict, replace(entry, '\"allow\"', '\"deny\"') AS entry) FROM told"
OTHER_TEXT = "SELECT * REPLACE (replace(payload, 'SELECT', 'DELETE') AS payload) FROM told"


def _log(evidence: Path) -> Path:
    return evidence / "logs" / "w1"


def add_rows(name: str, kind: str = "entries", sql: str = DENIED) -> Callable[[Path], None]:
    """Write `name` with what `sql` selects from `told`, the rows of segment 2."""

    def attack(evidence: Path) -> None:
        told, made = (_log(evidence) / kind / one for one in ("seg-00000002.parquet", name))
        made.unlink(missing_ok=True)
        with duckdb.connect() as database:
            database.execute(f"CREATE TABLE told AS FROM read_parquet('{told}')")
            database.execute(f"COPY ({sql}) TO '{made}' (FORMAT parquet)")

    return attack


def add_line(name: str) -> Callable[[Path], None]:
    """Lay a journal file `name` with a whole line of the log in it."""

    def attack(evidence: Path) -> None:
        number = max(numbers_in(_log(evidence))[1])
        line, _, _ = journal_path(_log(evidence), number).read_bytes().partition(b"\n")
        (_log(evidence) / "journal" / name).write_bytes(line + b"\n")

    return attack


def put_before(evidence: Path) -> None:
    """Lay a journal file before an archived segment that looks young: views read the file in its place."""
    segment = entries_path(_log(evidence), 2)
    os.utime(segment, (time.time() + 10**6, time.time() + 10**6))
    add_line("00000002.tsv")(evidence)


def archive_unrecorded(evidence: Path) -> None:
    """Make the live journal a segment as the archiver does, and let no record tell of it."""
    directory = _log(evidence)
    number = max(numbers_in(directory)[1])
    journal_path(directory, number + 1).write_bytes(b"")  # closes the one before
    assert [one.segment for one in archive(evidence, DiskStorage(), CLOCK)] == [f"seg-{number:08}"]
    for one in (number, number + 1):
        journal_path(directory, one).unlink()


def add_log(evidence: Path) -> None:
    """Add a log of one record that follows from its own bytes, as anybody can make it: nothing is signed."""
    journal = evidence / "logs" / "w9" / "journal"
    journal.mkdir(parents=True)
    said = {"by": "gateway", "kind": "start", "log": "gw-1/w9", "mono": 1, "seq": 0, "v": 1}
    entry = canonical({**said, "ts": "2026-01-01T00:00:00.000000Z"})
    (journal / "00000001.tsv").write_bytes(Line(Chain().link(entry), b"", entry, b"").encode())


def take_signatures(evidence: Path) -> None:
    """Take away all that the log's key signed, and the key."""
    (_log(evidence) / "log.pub").unlink()
    for path in (_log(evidence) / "checkpoints").glob("[1-9]*.note"):
        path.unlink()


def take_log(evidence: Path) -> None:
    shutil.rmtree(_log(evidence))


def add_to_key(evidence: Path) -> None:
    path = _log(evidence) / "log.pub"
    path.write_text(f"{path.read_text()}whatever somebody would like to stand here\n")


def add_checkpoint(evidence: Path) -> None:
    """Write a checkpoint into the file that is always there, and empty."""
    place = _log(evidence) / "checkpoints"
    shutil.copyfile(next(place.glob("[1-9]*.note")), place / "0.note")


def add_signed_log(evidence: Path) -> None:
    """Add a log that is well in itself, under a key of somebody's own: only a witness shows that."""
    directory, keys = evidence / "logs" / "w9", evidence.parent / "their-keys"
    journal = Journal.open(directory, LogName("gw-1/w9"), DiskStorage(), CLOCK, CountedEntropy(), keys=keys)
    journal.append(record.start("gw-1", "0.1"))
    journal.append(record.shutdown("asked to"))
    journal.close()
