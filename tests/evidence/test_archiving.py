"""Archived records are the records: for views, start, verify and the standalone checker, at every step of archiving."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from evidence_double import CountedEntropy, StepClock
from evidence_samples import CONTROL, POLICY, WORKER, request, result, session, statement, verdict
from test_standalone_verify import says

from gateway.approval.restart import left_over
from gateway.errors import EvidenceFault
from gateway.evidence import archiver, journal, record, replay, views
from gateway.evidence.archiver import KEPT, archive, waiting
from gateway.evidence.journal import Journal
from gateway.evidence.opening import first_records
from gateway.evidence.reader import answer, select
from gateway.evidence.segments import entries_path, frontier_path, journal_path, payload_path
from gateway.evidence.storage import DiskStorage
from gateway.evidence.verify import verify
from gateway.model import ApprovalId, DecisionKind, Draft, HoldRequest, LogName, Micros, OperationHash

CLOCK = StepClock(step=1000)


def opened(place: Path, log: LogName = WORKER) -> Journal:
    directory = place / "evidence" / "logs" / log.rpartition("/")[2]
    opened = Journal.open(directory, log, DiskStorage(), CLOCK, CountedEntropy(), keys=place / "keys")
    for draft in first_records(opened, "gw-1", "0.1"):
        opened.append(draft)
    opened.flush()
    return opened


def fill(log: Journal, begin: int = 0, count: int = 10) -> None:
    """Append that many statements, so many to a file as `ROTATE_RECORDS` says."""
    if begin == 0:
        log.append(record.session_start(session()))
    for index in range(begin, begin + count):
        log.append(request(2 * index + 1, f"SELECT {index}"))
        log.append(result(2 * index + 2, 2 * index + 1, f"row\t{index}\n" * 3))
        log.flush()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An evidence directory with three closed files of a log, its session open."""
    with monkeypatch.context() as small:
        small.setattr(journal, "ROTATE_RECORDS", 8)
        log = opened(tmp_path)
        fill(log, count=13)
        log.close()
    views.write_views(tmp_path / "evidence")
    return tmp_path


def run(place: Path, clock: StepClock | None = None) -> list[archiver.Archived]:
    return list(archive(place / "evidence", DiskStorage(), clock or CLOCK))


def record_archived(place: Path) -> int:
    """Do as the supervisor does: run the archiver and record what it says."""
    found = run(place)
    log = opened(place)
    for one in found:
        fields = (one.segment, one.first, one.last, one.root, one.blake3, one.payload, one.frontier, one.originals)
        log.append(record.archive(*fields))
    log.close()
    return len(found)


def rows(place: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(place / "evidence" / views.NAME), read_only=True) as database:
        return database.execute(sql).fetchall()


VIEWS = (
    "SELECT log, seq, ts, session_id, n, kind, subject, verdict, rule, payload_hash, chain, entry FROM records",
    "FROM sessions",
    "FROM statements",
    "FROM transcript",
    "FROM checkpoints",
    "FROM gaps",
    "FROM policies",
    "FROM approvals",
    "FROM logins",
)


def everything(place: Path) -> list[list[tuple[object, ...]]]:
    return [sorted(rows(place, sql), key=str) for sql in VIEWS]


def removed(place: Path) -> Path:
    """Go on until the journal files of the segments are gone."""
    assert record_archived(place) == 3
    later = StepClock(CLOCK.at + KEPT + 1_000_000)
    assert run(place, later) == []
    return place


def test_views_show_the_same_before_during_and_after(place: Path) -> None:
    before = everything(place)
    assert len(before[0]) == 28
    found = run(place)
    assert [(one.log, one.segment, one.first) for one in found] == [
        (WORKER, "seg-00000001", 0),
        (WORKER, "seg-00000002", found[0].last + 1),
        (WORKER, "seg-00000003", found[1].last + 1),
    ]
    assert everything(place) == before
    aged(place, 1, 2, 3)
    assert everything(place) == before
    for number in (1, 2, 3):
        journal_path(place / "evidence/logs/w1", number).unlink()
    assert everything(place) == before


def aged(place: Path, *numbers: int) -> None:
    """Let so many segments be named two minutes ago."""
    for number in numbers:
        path = entries_path(place / "evidence/logs/w1", number)
        os.utime(path, (path.stat().st_mtime - 120,) * 2)


def test_a_segment_counts_from_a_minute_after_its_name_or_once_its_journal_file_is_gone(place: Path) -> None:
    """Whichever list of files a query has, of just before or after the name: each record is shown once."""
    run(place)
    log = place / "evidence/logs/w1"
    for number in (1, 2, 3):
        rewrite(entries_path(log, number), "'segment' AS rule")  # to see where a record was read
    read = """SELECT string_agg(DISTINCT CASE rule WHEN 'segment' THEN 'segment' ELSE 'journal' END, ' ')
        FROM records WHERE kind = 'request' AND seq BETWEEN {} AND {}"""
    spans = ((2, 7), (8, 15), (16, 23))
    whole = "SELECT count(*), count(DISTINCT chain), max(seq) FROM records"
    for change, expected in (
        (lambda: None, ["journal", "journal", "journal"]),
        (lambda: aged(place, 1), ["segment", "journal", "journal"]),
        (lambda: journal_path(log, 2).unlink(), ["segment", "segment", "journal"]),
        (lambda: entries_path(log, 3).rename(log / "away"), ["segment", "segment", "journal"]),
    ):
        change()
        assert [rows(place, read.format(*span)) for span in spans] == [[(one,)] for one in expected]
        assert rows(place, whole) == [(28, 28, 27)]
        assert rows(place, "FROM gaps") == []


def test_an_entry_that_names_touched_columns_verifies_live_and_archived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(n: int) -> Draft:
        return record.request(
            session(), n, statement(), verdict(), POLICY, operation_hash=None, approval=None, touches_marks=True,
            predicate_touch=("public.users.email", 'crm."E-Mail"'),
        )  # fmt: skip

    with monkeypatch.context() as small:
        small.setattr(journal, "ROTATE_RECORDS", 8)
        log = opened(tmp_path)
        fill(log, count=2)
        log.append(touched(5))
        log.append(result(6, 5))
        log.flush()
        log.append(touched(7))
        log.close()
    views.write_views(tmp_path / "evidence")
    assert record_archived(tmp_path) == 1
    aged(tmp_path, 1)
    read = "SELECT seq, json_extract_string(entry, '$.touched[*]') FROM records WHERE contains(entry, '\"touched\":[')"
    names = ["public.users.email", 'crm."E-Mail"']
    assert sorted(rows(tmp_path, read)) == [(6, names), (8, names)]
    assert {one.grade for one in verify(tmp_path / "evidence").findings} <= {"note"}


def test_a_journal_file_goes_after_its_record_and_ten_minutes(place: Path) -> None:
    log = place / "evidence/logs/w1"
    assert waiting(place / "evidence")
    assert len(run(place)) == 3
    assert len(run(place, StepClock(CLOCK.at + 10 * KEPT))) == 3, "told again until it is recorded"
    assert record_archived(place) == 3
    assert run(place, StepClock(CLOCK.at + KEPT // 2)) == []
    assert journal_path(log, 1).exists()
    assert run(place, StepClock(CLOCK.at + KEPT + 1_000_000)) == []
    assert [path.name for path in sorted((log / "journal").glob("*.tsv"))] == ["00000000.tsv", "00000004.tsv"]
    assert not waiting(place / "evidence")


def test_a_start_goes_on_behind_the_segments(place: Path) -> None:
    removed(place)
    (before,) = rows(place, "SELECT max(seq), count(*) FROM records")
    log = opened(place)
    assert log.open_sessions == (), "the start after the first archiving ended it"
    fill(log)
    log.close()
    assert rows(place, "SELECT count(*), max(seq), min(seq) FROM records") == [(before[1] + 22, before[1] + 21, 0)]
    assert rows(place, "SELECT statements, end_reason FROM sessions WHERE end_reason IS NOT NULL") == [(13, "lost")]


def test_a_session_that_is_open_in_a_segment_is_ended_as_lost_with_its_counts(place: Path) -> None:
    run(place)
    log = opened(place)
    (one,) = log.open_sessions
    assert (one.statements, one.rows, one.n) == (13, 13, 26)
    log.close()
    assert rows(place, "SELECT statements, rows, end_reason FROM sessions") == [(13, 13, "lost")]


def test_what_was_pending_in_a_segment_is_pending_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ROTATE_RECORDS", 8)
    log = opened(tmp_path, CONTROL)
    for name in ("a", "b"):
        approval = ApprovalId(name)
        oh = OperationHash("0f" * 32)
        hold = HoldRequest(approval, session(), oh, "DELETE", (), "delete", "r", "", (), Micros(1), Micros(2))
        log.append(record.requested(hold))
    log.append(record.escalated(hold, ("group:leads",)))
    for name in ("given", "over", "gone"):
        told = replace(hold, approval=ApprovalId(name))
        log.append(record.requested(told))
        log.append(
            record.decision(
                told, DecisionKind.APPROVED, approver="ira", assurance="oidc", reason="x", break_glass=name == "gone"
            )
        )
        log.append(record.grant(session(), told.approval, "r", "2026-01-01T01:00:00.000000Z", (CONTROL, 1, "0")))
    log.append(record.grant_ended(session(), ApprovalId("over"), "r", "expired", "gateway", "x"))
    log.append(record.grant_ended(session(), ApprovalId("gone"), "r", "withdrawn", "dana", "x"))
    log.flush()
    for _ in range(9):
        log.append(record.alarm(None, None, "x", "y"))
        log.flush()
    log.close()
    directory = tmp_path / "evidence/logs/control"
    whole = left_over(directory, DiskStorage())
    assert [one.approval for one in whole.grants] == ["given"]
    assert [(one.approval, one.by, one.subject) for one in whole.broken_glass] == [("gone", "ira", "agent-7")]
    before = whole.pending
    run(tmp_path)
    assert entries_path(directory, 1).exists()
    archived = left_over(directory, DiskStorage())
    assert (archived.grants, archived.broken_glass) == (whole.grants, whole.broken_glass)
    after = archived.pending
    assert [one.approval for one in after] == [one.approval for one in before] == ["a", "b"]
    assert [(one.session.principal.subject, one.operation_hash, one.expires) for one in after] == [
        (one.session.principal.subject, one.operation_hash, one.expires) for one in before
    ]


@pytest.mark.parametrize("step", range(1, 30, 4))
def test_a_crash_at_any_step_loses_and_repeats_nothing(place: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Stop the archiver dead at its `step`-th change of the disk; look; run it again."""
    before, left = everything(place), step

    class Cut(Exception):
        pass

    def counted(of: object, name: str) -> None:
        original = getattr(of, name)

        def change(*args: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Cut
            return original(*args, **options)

        patched.setattr(of, name, change)

    with monkeypatch.context() as patched:
        for of, name in ((Path, "rename"), (DiskStorage, "sync_directory"), (DiskStorage, "open"), (Path, "chmod")):
            counted(of, name)
        with pytest.raises(Cut):
            run(place)
    assert everything(place) == before
    opened(place).close()
    assert len(run(place)) == 3
    assert [row for row in everything(place)[0] if int(str(row[1])) < 28] == before[0]


@pytest.mark.parametrize("change", ["journal", "note", "gone"])
def test_what_does_not_match_stays_a_journal(place: Path, change: str) -> None:
    log = place / "evidence/logs/w1"
    path = journal_path(log, 2)
    if change == "journal":
        path.write_bytes(path.read_bytes().replace(b'"allow"', b'"denyx"', 1))
    elif change == "note":
        size = path.read_bytes().split(b"\n")[-2].split(b'"seq":')[1].split(b",")[0]
        (log / "checkpoints" / f"{int(size) + 1}.note").unlink()
    else:
        path.unlink()
    with pytest.raises(EvidenceFault):
        run(place)
    assert entries_path(log, 1).exists()
    assert not entries_path(log, 2).exists()
    assert journal_path(log, 3).exists()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b'"allow"', b'"denyx"', "the chain does not hold"),
        (b"SELECT 5", b"SELECT \xff", "its segment does not hold the same"),  # DuckDB leaves out what is no UTF-8
    ],
)
def test_a_line_that_cannot_be_archived_is_named_by_its_place(place: Path, old: bytes, new: bytes, what: str) -> None:
    path = journal_path(place / "evidence/logs/w1", 2)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    begin = content.rfind(b"\n", 0, content.index(old)) + 1
    with pytest.raises(EvidenceFault, match=f"00000002.tsv, byte {begin}: {what}"):
        run(place)


@pytest.mark.parametrize("told", ["nothing", "not all"])
def test_journal_files_go_also_where_frontiers_do_not_tell_of_records(
    place: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    log = place / "evidence/logs/w1"
    if told == "not all":
        monkeypatch.setattr(replay, "MOST", 0)
    assert record_archived(place) == 3
    with monkeypatch.context() as small:
        small.setattr(journal, "ROTATE_RECORDS", 2)
        rest = opened(place)
        for number in range(4):  # so that the records of the segments are archived too
            rest.append(record.alarm(None, None, "test", str(number)))
            rest.flush()
        rest.close()
    assert record_archived(place) > 0
    if told == "nothing":
        for number in (4, 5):
            frontier_path(log, number).write_bytes(b"{}")
    run(place, StepClock(CLOCK.at + KEPT + 1_000_000))
    assert not any(journal_path(log, number).exists() for number in (1, 2, 3))


def test_a_start_refuses_a_frontier_that_is_not_what_was_signed(place: Path) -> None:
    removed(place)
    log = place / "evidence/logs/w1"
    content = frontier_path(log, 3).read_bytes()
    for forged in (content.replace(b'"peaks":["', b'"peaks":["00', 1), b"{}", frontier_path(log, 2).read_bytes()):
        frontier_path(log, 3).write_bytes(forged)
        with pytest.raises(EvidenceFault, match="restore it"):
            opened(place)
    frontier_path(log, 3).write_bytes(content)
    opened(place).close()


def test_the_reader_pages_through_segments(place: Path) -> None:
    live = answer(place / "evidence", {"method": "transcript", "session_id": "s-1", "limit": 50})
    removed(place)
    assert answer(place / "evidence", {"method": "transcript", "session_id": "s-1", "limit": 50}) == live
    assert select(place / "evidence", "SELECT count(*) FROM statements")[1] == [(13,)]


def test_a_copy_without_any_segment_directory_is_read(place: Path) -> None:
    shutil.rmtree(place / "evidence/logs/w1/entries")
    shutil.rmtree(place / "evidence/logs/w1/payload")
    assert select(place / "evidence", "SELECT count(*) FROM statements")[1] == [(13,)]


def rewrite(path: Path, change: str) -> None:
    """Write a segment's file anew with some columns replaced, as someone who knows Parquet would."""
    with duckdb.connect() as database:
        database.execute(f"CREATE TABLE t AS SELECT * REPLACE ({change}) FROM read_parquet('{path}')")
        database.execute(f"COPY t TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def drop_last(path: Path) -> None:
    with duckdb.connect() as database:
        database.execute(f"CREATE TABLE t AS FROM read_parquet('{path}')")
        database.execute("DELETE FROM t WHERE seq = (SELECT max(seq) FROM t)")
        database.execute(f"COPY t TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def swap(log: Path) -> None:
    one, two = entries_path(log, 1), entries_path(log, 2)
    content = one.read_bytes()
    shutil.copy(two, one)
    two.write_bytes(content)


ATTACKS: list[tuple[str, Callable[[Path], object]]] = [
    ("column", lambda log: rewrite(entries_path(log, 2), "'deny' AS verdict")),
    ("time", lambda log: rewrite(entries_path(log, 2), "ts + INTERVAL 1 SECOND AS ts")),
    ("number", lambda log: rewrite(entries_path(log, 2), "of + 1 AS of")),
    ("place", lambda log: rewrite(entries_path(log, 2), "'w1/00000009' AS segment")),
    ("entry", lambda log: rewrite(entries_path(log, 2), "replace(entry, 'allow', 'denyx') AS entry")),
    ("chain", lambda log: rewrite(entries_path(log, 2), "repeat('0', 64) AS chain")),
    ("payload", lambda log: rewrite(payload_path(log, 2), "replace(payload, 'SELECT', 'DELETE') AS payload")),
    ("payload's place", lambda log: rewrite(payload_path(log, 2), "'w1/00000009' AS segment")),
    ("salt", lambda log: rewrite(payload_path(log, 2), "repeat('0', 64) AS salt")),
    ("cut", lambda log: drop_last(entries_path(log, 2))),
    ("payload cut", lambda log: drop_last(payload_path(log, 2))),
    ("gone", lambda log: entries_path(log, 2).unlink()),
    ("payload gone", lambda log: payload_path(log, 2).unlink()),
    ("swapped", swap),
    ("repeated", lambda log: shutil.copy(entries_path(log, 1), entries_path(log, 2))),
    ("payloads repeated", lambda log: shutil.copy(payload_path(log, 1), payload_path(log, 2))),
    ("no table", lambda log: entries_path(log, 2).write_bytes(b"PAR1")),
    ("frontier", lambda log: frontier_path(log, 2).write_bytes(frontier_path(log, 1).read_bytes())),
    ("added", lambda log: shutil.copy(entries_path(log, 3), entries_path(log, 9))),
]


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal, "ROTATE_RECORDS", 8)
        place = tmp_path_factory.mktemp("archived")
        log = opened(place)
        fill(log, count=13)
        log.close()
    return removed(place)


def test_untouched_segments_pass(archived: Path) -> None:
    for quick in (False, True):
        report = verify(archived / "evidence", quick=quick)
        assert [one for one in report.findings if one.grade != "note"] == []
        assert report.heads[WORKER][0] == 33
    assert says(archived / "evidence")


@pytest.mark.parametrize("attack", [one[1] for one in ATTACKS], ids=[one[0] for one in ATTACKS])
def test_each_attack_on_segments_is_found(archived: Path, tmp_path: Path, attack: Callable[[Path], object]) -> None:
    evidence = tmp_path / "evidence"
    shutil.copytree(archived / "evidence", evidence)
    attack(evidence / "logs/w1")
    assert not verify(evidence).intact
    assert not verify(evidence, quick=True).intact
    assert not says(evidence)
