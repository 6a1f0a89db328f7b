"""What the views would show and no record vouches for, and what is no file: `verify` says so, and waits for nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from tamper_matrix import at, build, live, log, segment

from gateway.evidence import views
from gateway.evidence.entry import canonical, parse_loosely
from gateway.evidence.reader import select
from gateway.evidence.segments import entries_path, journal_path, payload_path
from gateway.evidence.sources import segment_lines
from gateway.evidence.verify import verify


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("strange"))


@pytest.fixture
def evidence(untouched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untouched, tmp_path / "evidence"))


def forged(raw: bytes) -> bytes:
    """Return a request's line with another statement by somebody else, whole but for its chain value."""
    chain, salt, encoded, paid = raw.split(b"\t")
    payload = canonical({**parse_loosely(paid), "sql": {"t": "DROP TABLE innocent"}})
    entry = canonical({**parse_loosely(encoded), "sub": "innocent", "plen": len(payload)})
    return b"\t".join((chain, salt, entry, payload))


def a_request(evidence: Path) -> bytes:
    lines = live(evidence).read_bytes().split(b"\n")
    return lines[at(lines)]


def journal(name: str) -> Callable[[Path], None]:
    def attack(evidence: Path) -> None:
        (log(evidence) / "journal" / name).write_bytes(forged(a_request(evidence)) + b"\n")

    return attack


def segments(name: str) -> Callable[[Path], None]:
    def attack(evidence: Path) -> None:
        with duckdb.connect() as database:
            for kind, column in (("entries", "sub"), ("payload", "payload")):
                source, place = segment(evidence, kind=kind), log(evidence) / kind / name
                what = {"sub": "'innocent'", "payload": "replace(payload, 'SELECT', 'DROP TABLE innocent --')"}[column]
                database.execute(
                    f"COPY (SELECT * REPLACE ({what} AS {column}) FROM read_parquet('{source}')) TO '{place}'"
                    " (FORMAT parquet)"
                )

    return attack


def archived_again(evidence: Path) -> None:
    """Put an archived journal file back with other content, and make its segment young for ever."""
    with duckdb.connect() as database:
        lines = list(segment_lines(database, entries_path(log(evidence), 2), payload_path(log(evidence), 2)))
    lines[at(lines)] = forged(lines[at(lines)])
    journal_path(log(evidence), 2).write_bytes(b"".join(line + b"\n" for line in lines))
    os.utime(segment(evidence), (4e9, 4e9))


def last_line(evidence: Path) -> None:
    """Append a line that lacks its line feed alone."""
    live(evidence).write_bytes(live(evidence).read_bytes().rstrip(b"\0") + forged(a_request(evidence)))


SHOWN = {
    "in the permanent journal file": (journal("00000000.tsv"), "journal/00000000.tsv is none of the log's own"),
    "in a journal file of another name": (journal("more.tsv"), "journal/more.tsv is none of the log's own"),
    "in a hidden journal file": (journal(".more.tsv"), "journal/.more.tsv is none of the log's own"),
    "in the permanent segment": (segments("seg-empty.parquet"), "seg-empty.parquet is none of the log's own"),
    "in a segment of another name": (segments("seg-more.parquet"), "seg-more.parquet is none of the log's own"),
    "in a journal file that is archived": (archived_again, "is not what was archived from it"),
    "in a last line without its line feed": (last_line, "repeated or out of order"),
}


@pytest.mark.parametrize("how", SHOWN)
def test_what_only_the_views_would_read_is_found(evidence: Path, how: str) -> None:
    attack, words = SHOWN[how]
    attack(evidence)
    views.write_views(evidence)
    _, rows = select(evidence, "SELECT count(*) FROM statements WHERE subject = 'innocent'")
    assert rows != [(0,)], "no attack"
    for quick in (False, True):
        report = verify(evidence, quick=quick)
        assert [one.grade for one in report.findings if words in one.what], report.findings
        assert not report.intact


PLACES = ["log.pub", "journal/00000009.tsv", "checkpoints/9.note", "entries/seg-00000002.parquet", "keyring/s-1.age"]


@pytest.mark.parametrize("place", [*PLACES, "torn/more", "originals/seg-00000001.sealed"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: Path(path).symlink_to("/dev/zero")])
def test_nobody_waits_for_what_is_no_file(evidence: Path, place: str, make: Callable[[Path], None]) -> None:
    path = log(evidence) / place
    path.unlink(missing_ok=True)
    make(path)
    for quick in (False, True):
        assert [str(one) for one in verify(evidence, quick=quick).findings] == [
            f"tampered: w1:0: {place} is no file; nothing was checked"
        ]


def test_a_file_of_any_length_is_not_read_into_memory(evidence: Path) -> None:
    for place in ("checkpoints/9.note", "log.pub"):
        with (log(evidence) / place).open("ab") as file:
            file.truncate(1 << 40)
    assert not verify(evidence).intact


def test_a_log_under_another_name_is_found(evidence: Path) -> None:
    shutil.copytree(log(evidence), evidence / "logs" / "w2")
    for quick in (False, True):
        report = verify(evidence, quick=quick)
        assert [one.grade for one in report.findings if one.what == "logs/w2/log.pub is the key of gw-1/w1"] == [
            "tampered"
        ]
        assert not report.intact
