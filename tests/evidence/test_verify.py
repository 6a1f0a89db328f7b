"""`verify` finds each attack and names the place; untouched evidence passes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from evidence_samples import (
    CONTROL,
    POLICY,
    WORKER,
    fill,
    journal_file,
    open_journal,
    request,
    result,
    session,
    verify_signed,
)

from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.chain import Chain
from gateway.evidence.entry import Line, canonical, parse_line, parse_loosely
from gateway.model import (
    ApprovalId,
    Decision,
    DecisionKind,
    HoldRequest,
    Json,
    Micros,
    OperationHash,
    Quote,
)

Lines = list[bytes]


def swap(lines: Lines) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def edit_entry(lines: Lines) -> None:
    lines[4] = lines[4].replace(b'"verdict":"allow"', b'"verdict":"denyx"')


def edit_payload(lines: Lines) -> None:
    lines[4] = lines[4].replace(b"SELECT 1", b"SELECT 9")


def shorten_payload(lines: Lines) -> None:
    lines[4] = lines[4].replace(b"SELECT 1", b"SELECT")


def drop_payload(lines: Lines) -> None:
    line = parse_line(lines[4])
    lines[4] = Line(line.chain, b"", line.entry, b"").encode()[:-1]


def edit_salt(lines: Lines) -> None:
    line = parse_line(lines[4])
    lines[4] = Line(line.chain, bytes(32), line.entry, line.payload).encode()[:-1]


def edit_chain(lines: Lines) -> None:
    line = parse_line(lines[4])
    lines[4] = Line(bytes(32), line.salt, line.entry, line.payload).encode()[:-1]


def delete(lines: Lines) -> None:
    del lines[4]


def delete_first(lines: Lines) -> None:
    del lines[0]


def repeat(lines: Lines) -> None:
    lines.insert(5, lines[4])


def insert_rubbish(lines: Lines) -> None:
    lines.insert(4, b"rubbish")


def rewrite(lines: Lines, at: int, change: Callable[[dict[str, Json]], None]) -> None:
    """Change an entry and forge every chain value after it, as someone who knows the format would."""
    chain = Chain()
    for index, raw in enumerate(lines):
        line = parse_line(raw)
        entry = parse_loosely(line.entry)
        if index == at:
            change(entry)
        encoded = canonical(entry)
        lines[index] = Line(chain.link(encoded), line.salt, encoded, line.payload).encode()[:-1]


def forge_sequence(lines: Lines) -> None:
    rewrite(lines, 4, lambda entry: entry.update(seq=5))


def forge_n(lines: Lines) -> None:
    rewrite(lines, 4, lambda entry: entry.update(n=1))


def forge_kind(lines: Lines) -> None:
    rewrite(lines, 4, lambda entry: entry.update(kind="stroll"))


def forge_log(lines: Lines) -> None:
    rewrite(lines, 4, lambda entry: entry.update(log="gw-2/w1"))


def forge_time(lines: Lines) -> None:
    rewrite(lines, 4, lambda entry: entry.update(ts="2025-01-01T00:00:00.000000Z"))


def forge_session(lines: Lines) -> None:
    rewrite(lines, 4, lambda entry: entry.update(sid="s-9"))


def forge_of(lines: Lines) -> None:
    rewrite(lines, 5, lambda entry: entry.update(of=77))


def forge_commitment(lines: Lines) -> None:
    rewrite(lines, 4, lambda entry: entry.update(pc="00" * 32))


ATTACKS: list[tuple[Callable[[Lines], None], str, list[int]]] = [
    (edit_entry, "chain value does not follow", [4]),
    (edit_payload, "not the one that the entry commits to", [4]),
    (shorten_payload, "bytes; the entry says", [4]),
    (drop_payload, "payload is gone", [4]),
    (edit_salt, "not the one that the entry commits to", [4]),
    (edit_chain, "chain value does not follow", [4, 5]),
    (swap, "1 records are missing", [4, 3]),
    (delete, "1 records are missing", [5]),
    (delete_first, "1 records are missing", [1]),
    (repeat, "repeated", [4]),
    (insert_rubbish, "a line that cannot be read", [4]),
    (forge_sequence, "1 records are missing", [5]),
    (forge_n, "does not rise", [4]),
    (forge_kind, "not of the format", [4]),
    (forge_log, "not of the format", [4]),
    (forge_time, "do not agree", [4]),
    (forge_session, "outside its start and end", [4]),
    (forge_of, "belongs to n 77", [5]),
    (forge_commitment, "not the one that the entry commits to", [4]),
]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("evidence")
    fill(directory)
    return directory


def test_untouched_evidence_passes(evidence: Path) -> None:
    report = verify_signed(evidence)
    assert (report.intact, report.findings, report.records) == (True, [], 10)
    last = parse_line(journal_file(evidence).read_bytes()[:-1].split(b"\n")[-1])
    assert report.heads == {WORKER: (10, last.chain.hex())}


@pytest.mark.parametrize(("attack", "what", "places"), ATTACKS, ids=lambda one: getattr(one, "__name__", ""))
def test_each_attack_is_found_and_placed(
    evidence: Path, tmp_path: Path, attack: Callable[[Lines], None], what: str, places: list[int]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(evidence, copy)
    lines = journal_file(copy).read_bytes()[:-1].split(b"\n")
    attack(lines)
    journal_file(copy).write_bytes(b"\n".join(lines) + b"\n")
    report = verify_signed(copy)
    assert not report.intact
    first, *others = report.findings
    assert re.search(what, first.what)
    assert first.log == WORKER
    assert first.seq == places[0]
    assert {one.seq for one in others} <= {*places, places[0] + 1}, "one fault is not a flood"
    quick = {"edit_payload", "edit_salt", "forge_commitment"}
    assert verify_signed(copy, quick=True).intact == (attack.__name__ in quick)


def test_an_unfinished_last_line_is_a_note(tmp_path: Path) -> None:
    fill(tmp_path)
    with journal_file(tmp_path).open("ab") as file:
        file.write(b"ab" * 30 + bytes(5000))
    (finding,) = verify_signed(tmp_path).findings
    assert (finding.grade, finding.seq) == ("note", 10)
    assert verify_signed(tmp_path).intact


@pytest.mark.parametrize("hole", [bytes(64), bytes(5 << 20)])
def test_records_after_a_hole_are_tampered(tmp_path: Path, hole: bytes) -> None:
    fill(tmp_path)
    whole = journal_file(tmp_path).read_bytes()
    cut = whole.index(b"\n", 2000) + 1
    journal_file(tmp_path).write_bytes(whole[:cut] + hole + whole[cut:])
    assert next(one.grade for one in verify_signed(tmp_path).findings) == "tampered"


def test_a_changed_or_missing_torn_file_is_found(tmp_path: Path) -> None:
    fill(tmp_path)
    with journal_file(tmp_path).open("ab") as file:
        file.write(b"torn")
    journal = open_journal(tmp_path)
    journal.append(record.start("gw-1", "0.1", torn=journal.torn))
    journal.close()
    (kept,) = (tmp_path / "logs" / "w1" / "torn").iterdir()
    assert [one.grade for one in verify_signed(tmp_path).findings] == ["note"]
    kept.write_bytes(b"tarn")
    assert [one.grade for one in verify_signed(tmp_path).findings] == ["tampered"]
    kept.unlink()
    assert [one.grade for one in verify_signed(tmp_path).findings] == ["incomplete"]


def test_a_last_record_that_was_edited_and_then_torn_away_is_found(tmp_path: Path) -> None:
    fill(tmp_path)
    path = journal_file(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"asked to", b"asked by"))
    journal = open_journal(tmp_path)
    journal.append(record.start("gw-1", "0.1", torn=journal.torn))
    journal.close()
    assert [(one.grade, "whole line" in one.what) for one in verify_signed(tmp_path).findings] == [("tampered", True)]


def test_a_session_without_its_end(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    journal.flush()
    assert [one.grade for one in verify_signed(tmp_path).findings] == ["note"]
    journal.append(record.start("gw-1", "0.1"))
    journal.close()
    assert [(one.grade, one.seq) for one in verify_signed(tmp_path).findings] == [("incomplete", 0)]


def test_a_missing_part(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(record.session_start(session()))
    journal.append(request(1))
    journal.append(result(2, 1, "x" * 3_000_000))
    journal.close()
    path = journal_file(tmp_path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[:-2]) + b"\n")
    assert [one.grade for one in verify_signed(tmp_path).findings] == ["note", "incomplete"] or [
        one.grade for one in verify_signed(tmp_path).findings
    ] == ["incomplete", "note"]


HASH = OperationHash("0f" * 32)


@pytest.mark.parametrize(
    ("change", "grade"),
    [
        ({}, None),
        ({"seq": 0}, "tampered"),
        ({"seq": 9}, "incomplete"),
        ({"log": "gw-1/other"}, "incomplete"),
        ({"chain": "00" * 32}, "tampered"),
        ({"hash": OperationHash("00" * 32)}, "tampered"),
        ({"approval": "a-2"}, "tampered"),
        ({"kind": DecisionKind.REFUSED}, "tampered"),
    ],
)
def test_a_release_must_quote_the_approval_of_what_it_released(
    tmp_path: Path, change: dict[str, object], grade: str | None
) -> None:
    control, worker = open_journal(tmp_path, CONTROL), open_journal(tmp_path)
    hold = HoldRequest(ApprovalId("a-1"), session(), HASH, "DELETE", (), "delete", "r", "", (), Micros(1), Micros(2))
    kind = change.get("kind", DecisionKind.APPROVED)
    assert isinstance(kind, DecisionKind)
    control.append(record.requested(hold))
    place = control.append(record.decision(hold, kind, approver="dana", assurance="uid", reason=""))
    control.flush()
    quote = Quote(change.get("log", place.log), change.get("seq", place.seq), change.get("chain", place.chain))  # type: ignore[arg-type]
    decision = Decision(ApprovalId(str(change.get("approval", "a-1"))), DecisionKind.APPROVED, HASH, quote=quote)
    worker.append(record.session_start(session()))
    worker.append(request(1, approval=decision.approval))
    worker.append(record.release(session(), 2, 1, decision, change.get("hash", HASH), POLICY))  # type: ignore[arg-type]
    worker.append(record.session_end(session(), n=3, reason="done", statements=1, denied=0, held=1, rows=0))
    control.close()
    worker.close()
    found = [(one.grade, one.log, one.seq) for one in verify_signed(tmp_path).findings]
    assert found == ([] if grade is None else [(grade, WORKER, 2)])


def test_progress_reaches_the_end(evidence: Path) -> None:
    seen: list[tuple[int, int]] = []
    verify_signed(evidence, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (journal_file(evidence).stat().st_size,) * 2


def test_no_evidence_is_not_intact_evidence(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(EvidenceFault, match="holds no log"):
            verify_signed(directory)


def test_a_log_full_of_rubbish_fills_no_memory(evidence: Path) -> None:
    with journal_file(evidence).open("ab") as file:
        file.write(b"x\n" * 3000)
    found = verify_signed(evidence).findings
    assert len(found) < 1100
    assert any("more findings are not shown" in one.what and one.grade == "tampered" for one in found)
