"""`verify.py`, which the evidence brings along, says what `evidence verify` says, case by case."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import test_checkpoints
import test_verify
from evidence_samples import CONTROL, POLICY, journal_file, open_journal, request, result, session, sign
from test_checkpoints import Attack, signed, write

from gateway.evidence import record, standalone
from gateway.evidence.verify import verify
from gateway.model import ApprovalId, Decision, DecisionKind, HoldRequest, Micros, OperationHash, Quote


def says(evidence: Path) -> bool:
    """Run the program as an auditor would; it must agree with ours, and say why where it does not say intact."""
    program = Path(str(standalone.__file__))
    sign(evidence)
    done = subprocess.run([sys.executable, "-I", str(program), str(evidence)], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode in {0, 1}
    assert (done.stdout.splitlines()[-1] == "intact") == (done.returncode == 0)
    assert (done.returncode == 0) == verify(evidence).intact, (done.stdout, verify(evidence).findings)
    return done.returncode == 0


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(str(standalone.__file__)).read_text())
    imported = {one.module or "" for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
    imported |= {name.name for one in ast.walk(tree) if isinstance(one, ast.Import) for name in one.names}
    ours = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert ours == {"blake3", "cryptography", "duckdb"}


@pytest.mark.parametrize("attack", [one[0] for one in test_verify.ATTACKS], ids=lambda one: one.__name__)
def test_it_agrees_on_each_attack_on_lines(tmp_path: Path, attack: Callable[[list[bytes]], None]) -> None:
    test_verify.fill(tmp_path)
    assert says(tmp_path)
    lines = journal_file(tmp_path).read_bytes()[:-1].split(b"\n")
    attack(lines)
    journal_file(tmp_path).write_bytes(b"\n".join(lines) + b"\n")
    assert not says(tmp_path)


@pytest.mark.parametrize("attack", [one[0] for one in test_checkpoints.ATTACKS], ids=lambda one: one.__name__)
def test_it_agrees_on_each_attack_on_signatures(tmp_path: Path, attack: Attack) -> None:
    evidence = write(tmp_path)
    assert says(evidence)
    attack(evidence)
    assert not says(evidence)


@pytest.mark.parametrize("tail", [b"", b"torn", bytes(5000), b"torn" + bytes(70), bytes(9) + b"a\nb\n"])
def test_it_agrees_on_ends(tmp_path: Path, tail: bytes) -> None:
    evidence = write(tmp_path)
    with journal_file(evidence).open("ab") as file:
        file.write(tail)
    assert says(evidence) == (b"\n" not in tail)
    journal = signed(tmp_path)
    journal.append(record.start("gw-1", "0.1", torn=journal.torn))
    journal.close()
    assert says(evidence) == (not tail.startswith(b"a\n"))
    for kept in (evidence / "logs" / "w1" / "torn").iterdir():
        kept.write_bytes(b"else")
        assert not says(evidence)


@pytest.mark.parametrize("cut", [0, 1, 2, 10, 40, 57, 58, 59, 130, 500])
def test_it_agrees_on_a_line_that_a_crash_cut(tmp_path: Path, cut: int) -> None:
    log = open_journal(tmp_path)
    log.append(record.start("gw-1", "0.1"))
    log.append(record.session_start(session()))
    log.append(request(1))
    log.close()
    whole = journal_file(tmp_path).read_bytes()
    journal_file(tmp_path).write_bytes(whole[: len(whole) - cut])
    assert says(tmp_path), "no crash looks like an attack"
    if cut < 2:
        journal_file(tmp_path).write_bytes(whole[: len(whole) - cut].replace(b"SELECT 1", b"SELECT 2"))
        assert not says(tmp_path), "views show a line that lacks its line feed alone"


@pytest.mark.parametrize("oh", ["0f" * 32, "00" * 32])
def test_it_agrees_on_quotes_parts_and_open_sessions(tmp_path: Path, oh: str) -> None:
    control, worker = open_journal(tmp_path, CONTROL), open_journal(tmp_path)
    approved = OperationHash("0f" * 32)
    hold = HoldRequest(ApprovalId("a"), session(), approved, "DELETE", (), "delete", "r", "", (), Micros(1), Micros(2))
    control.append(record.requested(hold))
    place = control.append(record.decision(hold, DecisionKind.APPROVED, approver="dana", assurance="uid", reason=""))
    control.flush()
    quote = Quote(place.log, place.seq, place.chain)
    decision = Decision(ApprovalId("a"), DecisionKind.APPROVED, approved, quote=quote)
    worker.append(record.session_start(session()))
    worker.append(request(1, approval=ApprovalId("a")))
    worker.append(record.release(session(), 2, 1, decision, OperationHash(oh), POLICY))
    worker.append(result(3, 1, "x" * 2_500_000))
    control.close()
    worker.close()
    assert says(tmp_path) == (oh == approved)
    if oh == approved:
        again = open_journal(tmp_path)
        again.append(record.start("gw-1", "0.1"))
        again.close()
        assert not says(tmp_path), "a session of a process that is gone has no end"


def test_it_agrees_on_a_log_that_is_just_being_made(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    (evidence / "logs" / "w2").mkdir()
    assert says(evidence)
    (evidence / "logs" / "w2" / "journal").mkdir()
    (evidence / "logs" / "w2" / "journal" / "00000000.tsv").touch()
    assert says(evidence)
    shutil.copyfile(journal_file(evidence), evidence / "logs" / "w2" / "journal" / "00000001.tsv")
    assert not says(evidence)


def test_it_runs_where_it_lies(tmp_path: Path) -> None:
    from gateway.evidence.views import write_views

    evidence = write(tmp_path)
    write_views(evidence)
    copy = tmp_path / "copy"
    shutil.copytree(evidence, copy)
    done = subprocess.run([sys.executable, "-I", "verify.py"], cwd=copy, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "intact")
