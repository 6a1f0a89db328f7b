"""What an agent did before it asked, and the same text before: from the evidence alone, bounded, nobody else's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evidence_double import StepClock
from evidence_samples import CONTROL, open_journal, request, result, session, verdict

from gateway.errors import ClientFault
from gateway.evidence import history as limits
from gateway.evidence import reader, record
from gateway.model import (
    ApprovalId,
    DecisionKind,
    HoldRequest,
    Micros,
    OperationHash,
    SessionInfo,
    VerdictKind,
    format_time,
)

SAME = "DELETE FROM orders WHERE id = 7"
STRANGER = session("s-9", principal=replace(session().principal, subject="agent-8"))


def hold(name: str, who: SessionInfo, at: int) -> HoldRequest:
    hash_ = OperationHash("ab" * 32)
    found = verdict()
    return HoldRequest(ApprovalId(name), who, hash_, SAME, (), "delete", found.rule, "", (), Micros(at), Micros(at + 1))


def asked(evidence: Path, **changes: object) -> Any:
    who = session().principal
    params = {
        "subject": who.subject, "issuer": who.issuer, "approval": "ap-now", "statement": SAME,
        "before": format_time(Micros(StepClock().at + 3600 * 1_000_000)), **changes,
    }  # fmt: skip
    return reader.answer(evidence, {"method": "history", **params})


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """One agent's two sessions and another's, with three requests for the same text."""
    worker, control = open_journal(tmp_path), open_journal(tmp_path, CONTROL)
    mine, again = session(), session("s-3")
    for who in (mine, again, STRANGER):
        worker.append(record.session_start(who))
    worker.append(request(1, "SELECT 1"))
    worker.append(result(2, 1))
    worker.append(request(3, SAME, kind=VerdictKind.APPROVE, approval=ApprovalId("ap-1")))
    worker.append(request(1, "SELECT 'of another'", who=STRANGER))
    worker.append(request(3, SAME, who=STRANGER, kind=VerdictKind.APPROVE, approval=ApprovalId("ap-2")))
    worker.append(request(5, "DELETE FROM orders", kind=VerdictKind.APPROVE, approval=ApprovalId("ap-3")))
    worker.append(request(1, "SELECT " + "x" * 2_000, who=again))
    worker.append(request(3, SAME, who=again, kind=VerdictKind.APPROVE, approval=ApprovalId("ap-now")))
    at = StepClock().at
    for place, (name, who, kind, approver) in enumerate(
        [("ap-1", mine, DecisionKind.APPROVED, "dana"), ("ap-2", STRANGER, DecisionKind.REFUSED, "erin")]
    ):
        control.append(record.requested(hold(name, who, at + place)))
        control.append(
            record.decision(hold(name, who, at + place), kind, approver=approver, assurance="oidc", reason="because")
        )
    control.append(record.requested(hold("ap-now", again, at + 5)))
    for log in (worker, control):
        log.close()
    return tmp_path


def test_it_names_what_this_agent_did_and_what_became_of_the_text(evidence: Path) -> None:
    found = asked(evidence)
    lately = [(each["verdict"], each["outcome"], each["text"][:30]) for each in found["lately"]]
    assert lately == [
        ("allow", None, ("SELECT " + "x" * 2_000)[:30]),
        ("approve", None, "DELETE FROM orders"),
        ("approve", None, SAME[:30]),
        ("allow", "ok", "SELECT 1"),
    ]
    assert len(found["lately"][0]["text"]) == limits.TEXT
    earlier = [(each["id"], each["subject"], each["state"], each["approver"]) for each in found["earlier"]]
    assert earlier == [("ap-2", "agent-8", "refused", "erin"), ("ap-1", "agent-7", "approved", "dana")]


NOTHING = [
    {"subject": "agent-1"},
    {"issuer": "http://other.test"},
    {"before": "2020-01-01T00:00:00.000000Z"},
    {"before": "2030-01-01T00:00:00.000000Z"},
]


@pytest.mark.parametrize("changes", NOTHING)
def test_what_is_another_agents_or_long_ago_is_not_named(evidence: Path, changes: dict[str, object]) -> None:
    assert asked(evidence, **changes)["lately"] == []


def test_it_is_bounded(evidence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SHOWN", 1)
    found = asked(evidence)
    assert (len(found["lately"]), len(found["earlier"])) == (1, 1)
    monkeypatch.setattr(limits, "LOOKED_AT", 1)
    assert asked(evidence)["earlier"] == []


@pytest.mark.parametrize("statement", ["' OR 1=1 --", "DELETE FROM orders WHERE id = 7 ", ""])
def test_only_the_very_same_text_counts(evidence: Path, statement: str) -> None:
    assert asked(evidence, statement=statement)["earlier"] == []


def test_what_is_missing_is_said(evidence: Path) -> None:
    with pytest.raises(ClientFault, match="history needs subject"):
        asked(evidence, subject=None)
