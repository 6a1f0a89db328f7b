"""Receipts: canonical, complete, different where anything is different, and nothing to sign but what was decided."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from approving import DANA, HASH, NOON, SECOND, hold, of

from gateway.approval.people import Approver, Leave, Receipt, Vote
from gateway.approval.receipt import digest, receipt_text
from gateway.control.receipts import WrongReceipt, check_receipt
from gateway.evidence.entry import canonical
from gateway.model import Ask, DecisionKind, HoldRequest, Micros, OperationHash, ShownEffect

REQUEST = hold(sessions=("nightly",))
ERIN = Approver("erin", "sub-erin", ("oncall",), "oidc", issuer="https://idp.example/realms/prod")


def written(request: HoldRequest = REQUEST, approver: Approver = ERIN, **changes: Any) -> str:
    said: dict[str, Any] = {
        "kind": DecisionKind.APPROVED,
        "reason": "ticket 4411",
        "gateway": "gw-1",
        "policy": "cd" * 32,
        "now": NOON,
        "expires": Micros(NOON + 900 * SECOND),
        "nonce": "00" * 16,
        **changes,
    }
    return receipt_text(request, said.pop("kind"), approver, said.pop("reason"), **said)


VOTE = Vote(DANA, NOON, "fine", Receipt("{}"))
CHANGES: list[dict[str, Any]] = [
    {},
    {"request": replace(REQUEST, operation_hash=OperationHash("0" * 64))},
    {"request": of(REQUEST, subject="agent-8")},
    {"request": of(REQUEST, issuer="https://other.example")},
    {"request": of(REQUEST, token_id="jti-2")},
    {"request": of(REQUEST, owner=None)},
    {"request": replace(REQUEST, session=replace(REQUEST.session, connection="billing"))},
    {"request": replace(REQUEST, session=replace(REQUEST.session, target="elsewhere"))},
    {"request": replace(REQUEST, session=replace(REQUEST.session, target_role="admin"))},
    {"request": replace(REQUEST, policy="ee" * 32)},
    {"request": replace(REQUEST, effect=ShownEffect(1, ()))},
    {"request": replace(REQUEST, effect=ShownEffect(2, ()))},
    {"request": replace(REQUEST, effect=ShownEffect(1, (), no_sample="why"))},
    {"request": replace(REQUEST, rule="standard/merge")},
    {"request": replace(REQUEST, asks=(Ask(("group:dba",)),))},
    {"approver": replace(ERIN, name="e")},
    {"approver": replace(ERIN, subject="sub-e")},
    {"approver": replace(ERIN, assurance="signed")},
    {"kind": DecisionKind.REFUSED},
    {"reason": "ticket 4412"},
    {"gateway": "gw-2"},
    {"policy": "ef" * 32},
    {"now": Micros(NOON + 1)},
    {"expires": Micros(NOON + 1)},
    {"nonce": "01" * 16},
    {"votes": (VOTE,)},
    {"leave": Leave(60)},
    {"leave": Leave(60, "connection")},
]


def test_any_difference_shows_in_the_receipt() -> None:
    texts = [written(**change) for change in CHANGES]
    assert len(set(texts)) == len(CHANGES)
    assert written() == texts[0]
    for text in texts:
        assert canonical(json.loads(text)).decode() == text


def test_it_says_everything_and_holds_no_statement() -> None:
    content = json.loads(written(hold(statement="DELETE FROM secret_table"), votes=(VOTE,)))
    assert content["operation_hash"] == HASH
    assert (content["policy"], content["agreed"]) == (
        {"asked": "ab" * 32, "decided": "cd" * 32},
        [hashlib.sha256(b"{}").hexdigest()],
    )
    assert content["agreed"] == [digest(Receipt("{}"))]
    assert "secret_table" not in json.dumps(content)


def test_what_no_utf8_can_carry_is_replaced() -> None:
    assert "?" in written(of(REQUEST, subject="agent\ud800"))


EXPECTED: dict[str, Any] = {"approval": "a1", "decision": "approved", "reason": "ticket 4411", "leave": None}
LIES: list[tuple[str, dict[str, Any], str]] = [
    (written(), {"approval": "a2"}, "approval"),
    (written(), {"decision": "refused"}, "decision"),
    (written(), {"reason": "another"}, "reason"),
    (written(leave=Leave(60)), {}, "leave"),
    (written(), {"leave": {"seconds": 60, "scope": "rule"}}, "leave"),
    ("{}", {}, "no receipt"),
    ("[]", {}, "no receipt"),
    ("junk", {}, "no receipt"),
    ('{"type":"git"}', {}, "no receipt"),
]


def test_the_receipt_of_what_was_decided_is_signed() -> None:
    check_receipt(written(), EXPECTED, hash_prefix=HASH[:8])
    leave = {"seconds": 60, "scope": "rule"}
    check_receipt(written(leave=Leave(60)), {**EXPECTED, "leave": leave}, hash_prefix=HASH)


@pytest.mark.parametrize(("text", "change", "words"), LIES, ids=range(len(LIES)))
def test_nothing_else_is_signed(text: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongReceipt, match=words):
        check_receipt(text, {**EXPECTED, **change}, hash_prefix=HASH[:8])


@pytest.mark.parametrize("prefix", ["0" * 8, "", HASH + "0"])
def test_the_receipt_of_another_operation_is_not_signed(prefix: str) -> None:
    with pytest.raises(WrongReceipt, match="another operation"):
        check_receipt(written(), EXPECTED, hash_prefix=prefix)
