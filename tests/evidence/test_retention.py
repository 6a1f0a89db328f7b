"""What is let go by age and size: only what is archived and was seen, recorded first; the rest proves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from evidence_double import CountedEntropy, StepClock
from evidence_samples import WORKER, session
from tamper_matrix import AUDITORS, build
from test_archiving import CLOCK, KEPT, opened, record_archived, removed, rows, run
from test_archiving import place as place  # noqa: PLC0414  a fixture
from test_originals import note
from test_standalone_verify import says

from gateway.archiving import prune_once
from gateway.errors import ClientFault, EvidenceFault
from gateway.evidence import journal, record
from gateway.evidence.commit import GroupCommit
from gateway.evidence.proving import check_proof, prove
from gateway.evidence.retention import Removal, Term, plan, remove
from gateway.evidence.segments import entries_path, frontier_path, payload_path
from gateway.evidence.storage import DiskStorage
from gateway.evidence.verify import verify
from gateway.evidence.views import write_views
from gateway.model import Micros
from gateway.worker.sealing import SealingTerms, SessionSealing

DAY = 86_400_000_000
OLD = Term("entries", age=1)
LATER = Micros(CLOCK.at + 3 * DAY)


def due(place: Path, *terms: Term, now: Micros = LATER, witnessed: dict[str, int] | None = None) -> list[Removal]:
    return plan(place / "evidence", terms, now, witnessed)


def log(place: Path) -> Path:
    return place / "evidence" / "logs" / "w1"


async def prune(place: Path, *terms: Term, witnessed: dict[str, int] | None = None) -> None:
    """Do as the gateway does."""
    group = GroupCommit(opened(place))
    await prune_once(place / "evidence", [group], terms, witnessed)
    group.journal.close()


def test_only_what_is_archived_goes_and_never_the_newest(place: Path) -> None:
    assert due(place, OLD) == []
    assert record_archived(place) == 3
    assert due(place, OLD) == [], "their journal files are there for ten minutes more"
    run(place, StepClock(CLOCK.at + KEPT + 1_000_000))
    (found,) = due(place, OLD)
    assert (found.log, found.part, found.first, found.why) == (WORKER, "entries", 0, "retention: entries_age 1")
    assert [file for file, _ in found.files] == [
        f"logs/w1/{part}/seg-{number:08}.parquet" for number in (1, 2) for part in ("entries", "payload")
    ]
    assert found.last == 15
    assert due(place, OLD, now=Micros(0)) == []


def test_where_a_witness_looks_only_what_it_saw_goes(place: Path) -> None:
    removed(place)
    assert due(place, OLD, witnessed={}) == []
    assert due(place, OLD, witnessed={WORKER: 8}) == [], "the newest of those that were seen stays"
    (found,) = due(place, OLD, witnessed={WORKER: 16})
    assert found.last == 7
    (found,) = due(place, OLD, witnessed={WORKER: 10_000})
    assert found.last == 15


@pytest.mark.parametrize(
    ("term", "now", "last"),
    [
        (Term("entries", age=3 * DAY), Micros(CLOCK.at + 2 * DAY), None),
        (Term("entries", age=DAY), Micros(CLOCK.at + 2 * DAY), 15),
        (Term("entries", size=1), Micros(0), 15),
        (Term("entries", size=1 << 40), LATER, None),
        (Term("payloads", age=DAY), LATER, 23),
        (Term("payloads", size=1 << 40), LATER, None),
        (Term("originals", age=1), LATER, None),
    ],
)
def test_age_and_size(place: Path, term: Term, now: Micros, last: int | None) -> None:
    removed(place)
    found = due(place, term, now=now)
    assert [one.last for one in found] == ([] if last is None else [last])


def test_the_newest_bytes_stay(place: Path) -> None:
    removed(place)
    sizes = [payload_path(log(place), number).stat().st_size for number in (1, 2, 3)]
    (found,) = due(place, Term("payloads", size=sizes[1] + sizes[2]))
    assert [file for file, _ in found.files] == ["logs/w1/payload/seg-00000001.parquet"]


async def test_what_is_pruned_is_recorded_and_the_rest_still_proves(place: Path) -> None:
    removed(place)
    kept = rows(place, "SELECT entry FROM records WHERE seq >= 16 ORDER BY seq")
    await prune(place, OLD)
    assert [entries_path(log(place), number).exists() for number in (1, 2, 3)] == [False, False, True]
    assert [frontier_path(log(place), number).exists() for number in (1, 2, 3)] == [False, True, True]
    report = verify(place / "evidence")
    assert report.intact, report.findings
    assert "segments up to 2 were pruned; 16 records before the first one here" in [one.what for one in report.findings]
    assert verify(place / "evidence", quick=True).intact
    assert says(place / "evidence")
    assert rows(place, "SELECT entry FROM records WHERE seq >= 16 ORDER BY seq")[: len(kept)] == kept
    assert rows(place, "FROM gaps") == [(WORKER, 0, 15, "pruned: retention: entries_age 1")]
    for seq in (16, 20, 27):
        assert check_proof(json.dumps(prove(place / "evidence", f"{WORKER}:{seq}")).encode()).entry["seq"] == seq
    with pytest.raises(ClientFault, match="record 15 was pruned"):
        prove(place / "evidence", f"{WORKER}:15")
    opened(place).close()  # a start goes on as before


async def test_stamps_go_with_the_checkpoints_that_they_are_of(place: Path) -> None:
    removed(place)
    checkpoints = log(place) / "checkpoints"
    for size in (8, 16, 24):
        (checkpoints / f"{size}.tsr").write_bytes(b"a stamp")
    await prune(place, OLD)
    assert sorted(path.stem for path in checkpoints.glob("*.tsr")) == ["16", "24"]
    assert not (checkpoints / "8.note").exists()
    assert (checkpoints / "16.note").exists()


async def test_a_removal_that_was_cut_is_finished_at_the_next_look(place: Path) -> None:
    """The entries are gone, as was recorded; the payloads of the same segments lie there still."""
    removed(place)
    kept = {number: payload_path(log(place), number).read_bytes() for number in (1, 2)}
    await prune(place, OLD)
    for number, content in kept.items():
        payload_path(log(place), number).write_bytes(content)
    await prune(place, Term("entries", age=1 << 60))
    assert [payload_path(log(place), number).exists() for number in (1, 2, 3)] == [False, False, True]
    assert verify(place / "evidence").intact


async def test_pruning_goes_on_and_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed(place)
    await prune(place, OLD)
    for turn in range(2):
        with monkeypatch.context() as small:
            small.setattr(journal, "ROTATE_RECORDS", 8)
            writer = opened(place)
            for number in range(10):
                writer.append(record.alarm(None, None, "test", f"{turn} {number}"))
                writer.flush()
            writer.close()
        assert record_archived(place) > 0
        CLOCK.at += KEPT + 1_000_000
        assert run(place) == []
        await prune(place, OLD)
        report = verify(place / "evidence")
        assert report.intact, report.findings
        assert says(place / "evidence")
    remaining = sorted(path.name for path in (log(place) / "entries").iterdir())
    assert len(remaining) == 4, remaining
    assert len(list((log(place) / "checkpoints").glob("[1-9]*.note"))) < 12


async def test_payloads_go_alone(place: Path) -> None:
    removed(place)
    before = rows(place, "SELECT entry FROM records WHERE seq < 24 ORDER BY seq")
    await prune(place, Term("payloads", age=1))
    assert rows(place, "SELECT entry FROM records WHERE seq < 24 ORDER BY seq") == before
    assert not any(payload_path(log(place), number).exists() for number in (1, 2, 3))
    report = verify(place / "evidence")
    assert report.intact, report.findings
    assert says(place / "evidence")
    assert (WORKER, 0, 23, "payloads pruned: retention: payloads_age 1") in rows(place, "FROM gaps")
    assert rows(place, "SELECT count(*) FROM statements WHERE sql IS NULL") > [(5,)]


async def test_with_what_was_sealed_go_the_keys_of_those_who_have_nothing_else(tmp_path: Path) -> None:
    evidence = build(tmp_path)
    keyring, originals = log(tmp_path) / "keyring", log(tmp_path) / "originals"
    assert sorted(path.name for path in keyring.iterdir()) == ["s-1.age", "s-2.age"]
    keys, sealed = due(tmp_path, Term("originals", age=1), now=Micros(CLOCK.at + 3 * DAY))
    assert (keys.part, [file for file, _ in keys.files]) == ("keys", ["logs/w1/keyring/s-1.age"])
    assert (sealed.part, keys.last >= sealed.last) == ("originals", True)
    assert not any("keys" in one.part for one in due(tmp_path, Term("payloads", age=1)))
    await prune(tmp_path, Term("originals", age=1))
    assert [path.name for path in keyring.iterdir()] == ["s-2.age"], "its session was begun in what is live"
    assert len(list(originals.glob("*.sealed"))) == 1
    assert due(tmp_path, Term("originals", age=1)) == []
    for quick in (False, True):
        report = verify(evidence, quick)
        assert report.intact, report.findings
        assert "1 wrapped keys were let go: nothing is left that they open" in [one.what for one in report.findings]
    assert says(evidence)
    (keyring / "s-2.age").unlink()
    assert not verify(evidence).intact
    assert not says(evidence)


async def test_a_key_stays_while_anything_is_left_that_it_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ROTATE_RECORDS", 8)
    worker = opened(tmp_path)
    sealing = SessionSealing(SealingTerms(AUDITORS), CountedEntropy())
    worker.append(record.session_start(session()))
    for draft in sealing.rows(session(), note(1, 1, [b"4000-1234"])):
        worker.append(draft)
    for number in range(30):
        worker.append(record.alarm(None, None, "test", str(number)))
        worker.flush()
        if number == 12:
            for draft in sealing.rows(session(), note(2, 2, [b"4000-5678"])):
                worker.append(draft)
        if number == 14:
            worker.append(record.session_end(session(), n=9, reason="left", statements=0, denied=0, held=0, rows=0))
    worker.close()
    monkeypatch.undo()
    write_views(tmp_path / "evidence")
    removed_all(tmp_path)
    key = log(tmp_path) / "keyring" / "s-1.age"
    segments = sorted((log(tmp_path) / "entries").glob("seg-*[1-9].parquet"))
    kept = len(segments) - 2
    await prune(tmp_path, Term("entries", size=sum(path.stat().st_size for path in segments[-kept:]) + 1))
    assert not segments[0].exists()
    assert segments[2].exists()
    assert key.exists(), "it opens what is sealed beside a later segment"
    assert verify(tmp_path / "evidence").intact
    await prune(tmp_path, OLD)
    assert not key.exists()
    report = verify(tmp_path / "evidence")
    assert report.intact, report.findings
    assert says(tmp_path / "evidence")


def removed_all(place: Path) -> None:
    """Archive everything that is closed, and remove the journal files."""
    assert record_archived(place) >= 4
    run(place, StepClock(CLOCK.at + KEPT + 1_000_000))


def test_what_is_gone_without_a_record_is_a_finding(place: Path) -> None:
    removed(place)
    gone = due(place, OLD)[0]
    remove(place / "evidence", [file for file, _ in gone.files], DiskStorage())
    report = verify(place / "evidence")
    assert [one.what for one in report.findings if one.grade == "incomplete"] == [
        "segments up to 2 are missing, and no record says that they were pruned"
    ]
    assert not says(place / "evidence")
    assert rows(place, "FROM gaps") == [(WORKER, 0, 15, "missing")]


def test_payloads_gone_without_a_record_are_a_finding(place: Path) -> None:
    removed(place)
    payload_path(log(place), 2).unlink()
    assert [one.grade for one in verify(place / "evidence").findings if one.grade != "note"] == ["tampered"]
    assert not says(place / "evidence")


async def test_a_crash_between_the_record_and_the_removal_is_made_good(place: Path) -> None:
    removed(place)
    shutil.copytree(log(place) / "entries", place / "entries")
    shutil.copytree(log(place) / "payload", place / "payload")
    frontiers = sorted(path.name for path in (log(place) / "entries").glob("*.json"))
    checkpoints = place / "checkpoints"
    shutil.copytree(log(place) / "checkpoints", checkpoints)
    await prune(place, OLD)
    for name in ("entries", "payload", "checkpoints"):  # as if the machine had stopped right after the record
        for path in (place / name).iterdir():
            if not (log(place) / name / path.name).exists():
                shutil.copy2(path, log(place) / name / path.name)
    (log(place) / "entries" / frontiers[1]).write_bytes((place / "entries" / frontiers[1]).read_bytes())
    assert len(frontiers) == 3
    report = verify(place / "evidence")
    assert report.intact, report.findings
    assert any("still there" in one.what for one in report.findings)
    assert says(place / "evidence")
    await prune(place, OLD)
    assert not entries_path(log(place), 2).exists()
    assert verify(place / "evidence").intact


@pytest.mark.parametrize(
    "name",
    [
        "logs/w1/journal/00000001.tsv",
        "logs/w1/log.pub",
        "../x",
        "logs/../x/entries/seg-00000001.parquet",
        "/etc/passwd",
    ],
)
def test_nothing_else_is_removed(place: Path, name: str) -> None:
    with pytest.raises(EvidenceFault, match="only files of segments"):
        remove(place / "evidence", [name], DiskStorage())


def test_the_process_says_what_is_wrong_in_one_line(place: Path) -> None:
    removed(place)
    frontier_path(log(place), 2).write_bytes(b"{}")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gateway.evidence.retention", str(place / "evidence")],
        input='{"terms": [{"part": "entries", "age": 1}]}', capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
