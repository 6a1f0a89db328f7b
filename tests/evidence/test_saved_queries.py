"""The saved queries run, name a control, and answer what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence_double import CountedEntropy
from evidence_samples import POLICY, WORKER, open_journal, request, result, session, statement, verdict
from tamper_matrix import build

from gateway.__main__ import main
from gateway.evidence import record
from gateway.evidence.journal import Journal
from gateway.evidence.saved import saved
from gateway.evidence.storage import DiskStorage, SystemClock
from gateway.evidence.views import write_views


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("saved"))


def ask(capsys: pytest.CaptureFixture[str], evidence: Path, *arguments: str) -> list[dict[str, object]]:
    assert main(["evidence", "query", str(evidence), *arguments, "--format", "json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", [one.name for one in saved()])
def test_each_runs(evidence: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    empty = {"activity", "denied", "logins", "refused-logins", "killed", "lost-sessions", "own-approvals",
             "break-glass", "changed-after-approval", "masked-columns", "inferred", "policies",
             "evidence-access", "erased", "gaps"}  # fmt: skip
    assert (ask(capsys, evidence, "--saved", name) == []) == (name in empty)


def test_they_answer(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (agent,) = ask(capsys, evidence, "--saved", "agents")
    assert (agent["subject"], agent["connection"], agent["statements"]) == ("agent-7", "orders", 22)
    witnessed = ask(capsys, evidence, "--saved", "witnessed")
    assert [(one["log"], one["witnessed"]) for one in witnessed] == [("gw-1/control", None), ("gw-1/w1", None)]
    approvals = ask(capsys, evidence, "--saved", "approvals")
    assert [(one["approver"], one["decision"]) for one in approvals] == [("dana", "approved")] * 2


def test_the_list_names_each_with_its_control(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = ask(capsys, evidence, "--list")
    assert [one["name"] for one in listed] == [one.name for one in saved()]
    assert len(listed) == 19
    assert all(str(one["control"])[0] == "C" and one["answers"] and one["sql"] for one in listed)
    assert main(["evidence", "query", str(evidence), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[one["name"], one["control"]] for one in listed]
    assert all(line.endswith(str(one["answers"])) for line, one in zip(lines, listed, strict=True))
    assert main(["evidence", "query", str(evidence), "--list", "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("name,control,answers,sql\nactivity,CC7.2,")


def test_the_smaller_ones_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = open_journal(tmp_path)
    touched = record.request(
        session(), 1, statement("SELECT 1"), verdict(), POLICY, operation_hash=None, approval=None, touches_marks=True,
        predicate_touch=("public.users.email", 'crm."E-Mail"'),
    )  # fmt: skip
    for draft in (
        record.login(session()),
        record.session_start(session()),
        touched,
        request(2),
        record.kill(session(), "dana", "enough"),
        record.erasure(["gw-1/w1:1"], "GDPR 17", "dana", []),
    ):
        journal.append(draft)
    journal.close()
    write_views(tmp_path)
    assert main(["evidence", "query", str(tmp_path), "--saved", "inferred", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["subject"], found["columns"], found["seq"]) == ("agent-7", ["public.users.email", 'crm."E-Mail"'], 2)
    (login,) = ask(capsys, tmp_path, "--saved", "logins")
    assert (login["subject"], login["logins"], login["addresses"]) == ("agent-7", 1, 1)
    (killed,) = ask(capsys, tmp_path, "--saved", "killed")
    assert (killed["by"], killed["session_id"]) == ("dana", "s-1")
    (erased,) = ask(capsys, tmp_path, "--saved", "erased")
    assert (erased["records"], erased["basis"], erased["by"]) == (["gw-1/w1:1"], "GDPR 17", "dana")


def test_what_was_asked_in_the_last_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Journal.open(tmp_path / "logs/w1", WORKER, DiskStorage(), SystemClock(), CountedEntropy())
    for draft in (record.session_start(session()), request(1, "SELECT 7"), result(2, 1)):
        log.append(draft)
    log.close()
    write_views(tmp_path)
    (asked,) = ask(capsys, tmp_path, "--saved", "activity")
    assert (asked["subject"], asked["sql"], asked["outcome"]) == ("agent-7", "SELECT 7", "ok")


def test_one_that_is_not_there(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "query", str(evidence), "--saved", "nothing"]) == 2
    assert "no saved query nothing; there are activity, denied, " in capsys.readouterr().err


def test_sql_or_a_saved_one_and_not_both(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ([], ["SELECT 1", "--saved", "denied"]):
        with pytest.raises(SystemExit):
            main(["evidence", "query", str(evidence), *wrong])
    capsys.readouterr()
