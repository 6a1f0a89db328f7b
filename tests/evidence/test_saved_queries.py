"""The saved queries run, name a control, and answer what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tamper_matrix import build

from gateway.__main__ import main
from gateway.evidence.saved import saved


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("saved"))


def ask(capsys: pytest.CaptureFixture[str], evidence: Path, *arguments: str) -> list[dict[str, object]]:
    assert main(["evidence", "query", str(evidence), *arguments, "--format", "json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", [one.name for one in saved()])
def test_each_runs(evidence: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    empty = {"denied", "refused-logins", "lost-sessions", "own-approvals", "break-glass", "changed-after-approval",
             "masked-columns", "alarms", "policies", "evidence-access", "gaps"}  # fmt: skip
    assert (ask(capsys, evidence, "--saved", name) == []) == (name in empty)


def test_they_answer(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (agent,) = ask(capsys, evidence, "--saved", "agents")
    assert (agent["subject"], agent["connection"], agent["statements"]) == ("agent-7", "orders", 22)
    approvals = ask(capsys, evidence, "--saved", "approvals")
    assert [(one["approver"], one["decision"]) for one in approvals] == [("dana", "approved")] * 2


def test_the_list_names_each_with_its_control(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = ask(capsys, evidence, "--list")
    assert [one["name"] for one in listed] == [one.name for one in saved()]
    assert len(listed) == 13
    assert all(str(one["control"])[0] == "C" and one["answers"] for one in listed)


def test_one_that_is_not_there(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", "query", str(evidence), "--saved", "nothing"]) == 2
    assert "no saved query nothing; there are denied, " in capsys.readouterr().err


def test_sql_or_a_saved_one_and_not_both(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ([], ["SELECT 1", "--saved", "denied"]):
        with pytest.raises(SystemExit):
            main(["evidence", "query", str(evidence), *wrong])
    capsys.readouterr()
