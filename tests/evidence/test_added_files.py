"""What lies where views read is the log's own, or a finding; what the archiver leaves there for a while is neither."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from added_files import OTHER_TEXT, add_checkpoint, add_line, add_rows, put_before
from evidence_double import StepClock
from tamper_matrix import build, log
from test_archiving import CLOCK, opened, place, record_archived, rows, run
from test_standalone_verify import says

from gateway.evidence import sources, strays_check
from gateway.evidence.archiver import KEPT
from gateway.evidence.findings import Report
from gateway.evidence.segments import journal_path, payload_path
from gateway.evidence.verify import verify

__all__ = ["place"]
STRAY = "is none of the log's own, and views read it"
ADDED: list[tuple[Callable[[Path], None], str]] = [
    (add_rows("seg-empty.parquet"), f"entries/seg-empty.parquet {STRAY}"),
    (add_rows("seg-00000000.parquet"), f"entries/seg-00000000.parquet {STRAY}"),
    (add_rows("seg-2.parquet"), f"entries/seg-2.parquet {STRAY}"),
    (add_rows("seg-.parquet"), f"entries/seg-.parquet {STRAY}"),
    (add_rows("seg-00000002.parquet.parquet"), f"entries/seg-00000002.parquet.parquet {STRAY}"),
    (add_rows("seg-empty.parquet", "payload", OTHER_TEXT), f"payload/seg-empty.parquet {STRAY}"),
    (add_rows("seg-99.parquet", "payload", OTHER_TEXT), f"payload/seg-99.parquet {STRAY}"),
    (add_rows("seg-00000005.parquet", "payload", OTHER_TEXT), f"payload/seg-00000005.parquet {STRAY}"),
    (add_rows("seg-00000099.parquet", "payload", OTHER_TEXT), f"payload/seg-00000099.parquet {STRAY}"),
    (add_line("00000000.tsv"), f"journal/00000000.tsv {STRAY}"),
    (add_line("2.tsv"), f"journal/2.tsv {STRAY}"),
    (add_line(".tsv"), f"journal/.tsv {STRAY}"),
    (add_line(".x.tsv"), f"journal/.x.tsv {STRAY}"),
    (put_before, "journal/00000002.tsv is not what was archived from it"),
    (add_checkpoint, f"checkpoints/0.note {STRAY}"),
    (lambda evidence: (log(evidence) / "entries" / "seg-.parquet").write_text("no such table") and None,
     f"entries/seg-.parquet {STRAY}"),
]  # fmt: skip


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("added"))


def told(report: Report) -> list[tuple[str, str]]:
    return [(one.grade, one.what) for one in report.findings]


@pytest.mark.parametrize(("attack", "what"), ADDED, ids=[what.partition(" ")[0] for _, what in ADDED])
def test_what_somebody_lays_where_views_read_is_found(
    untouched: Path, tmp_path: Path, attack: Callable[[Path], None], what: str
) -> None:
    shutil.copytree(untouched, tmp_path / "evidence")
    attack(tmp_path / "evidence")
    for quick in (False, True):
        assert told(verify(tmp_path / "evidence", quick=quick)) == [("tampered", what)]


def test_payloads_that_name_no_segment_at_all_are_found_by_both(untouched: Path, tmp_path: Path) -> None:
    shutil.copytree(untouched, tmp_path / "evidence")
    nameless = "SELECT * REPLACE (CAST(NULL AS VARCHAR) AS segment) FROM told"
    add_rows("seg-00000099.parquet", "payload", nameless)(tmp_path / "evidence")
    assert not says(tmp_path / "evidence")


def test_what_archiving_leaves_for_a_while_is_no_finding(place: Path) -> None:
    assert record_archived(place) == 3
    evidence, directory = place / "evidence", place / "evidence" / "logs" / "w1"
    assert [journal_path(directory, number).exists() for number in (1, 2, 3)] == [True] * 3
    assert told(verify(evidence)) == told(verify(evidence, quick=True))
    assert verify(evidence).intact
    with journal_path(directory, 2).open("ab") as file:
        file.write(bytes(5000))  # room that was kept for later lines
    assert verify(evidence).intact
    with journal_path(directory, 2).open("ab") as file:
        file.write(b"a line\n")
    assert told(verify(evidence))[-1] == ("tampered", "journal/00000002.tsv is not what was archived from it")


def test_payloads_of_a_segment_that_was_not_finished_are_a_note(place: Path) -> None:
    assert len(run(place)) == 3
    evidence, directory = place / "evidence", place / "evidence" / "logs" / "w1"
    (directory / "entries" / "seg-00000003.parquet").unlink()
    (directory / "entries" / "seg-00000003.json").unlink()
    before = rows(place, "FROM transcript ORDER BY ALL")
    assert payload_path(directory, 3).exists()
    report = verify(evidence)
    assert report.intact
    assert ("note", "payload/seg-00000003.parquet belongs to no records: archiving was cut, or goes on") in told(report)
    assert record_archived(place) == 3
    assert run(place, StepClock(CLOCK.at + KEPT + 1_000_000)) == []
    assert rows(place, "FROM transcript ORDER BY ALL") == before
    opened(place).close()
    assert not [one for one in told(verify(evidence)) if "belongs to no records" in one[1]]


def test_a_payload_that_is_erased_while_they_are_compared_is_no_finding(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert record_archived(place) == 3
    journal, payload = (where(place / "evidence" / "logs" / "w1", 2) for where in (journal_path, payload_path))

    def erased(path: Path) -> Iterator[tuple[bytes, bool]]:
        """Read the journal file that the other one still had open."""
        lines = list(sources.journal_lines(path))
        if path == journal:
            path.unlink()
            with duckdb.connect() as database:
                without = payload.with_name("without")
                database.execute(f"COPY (FROM read_parquet('{payload}') LIMIT 1) TO '{without}' (FORMAT parquet)")
                without.rename(payload)
        yield from lines

    monkeypatch.setattr(strays_check, "journal_lines", erased)
    assert not [what for _, what in told(verify(place / "evidence")) if what.startswith("journal/")]
    assert not journal.exists()
