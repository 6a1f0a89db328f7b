"""What leaves when people are told: names and times alone, and a signature that the stock library checks."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace

import pytest
from approving import hold
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.approval.card import card
from gateway.approval.ledger import Approval
from gateway.model import HoldState, Micros
from gateway.notify.messages import DECIDED, ESCALATED, REQUESTED, headers, message, signing_key

CANARY = "4111-1111-1111-1111"
NOW = Micros(1_800_000_000_000_000)
KEY = bytes(range(24))


def shown(**changes: object) -> dict[str, object]:
    """A card whose every text that an agent or a person chooses holds a value."""
    request = replace(hold("a1", statement=f"DELETE FROM cards WHERE number = '{CANARY}'"), parameters=(CANARY,))
    found = dict(card(Approval(request, HoldState.PENDING, Micros(NOW + 60_000_000), waiting=True)))
    return {**found, "reason": CANARY, "decision_reason": CANARY, "application": CANARY, "user": CANARY, **changes}


@pytest.mark.parametrize("kind", [REQUESTED, ESCALATED, DECIDED])
def test_no_value_leaves(kind: str) -> None:
    told = message(kind, shown(), NOW, NOW)  # type: ignore[arg-type]
    for text in (told.body().decode(), told.title(), told.text()):
        assert CANARY not in text
        assert "DELETE FROM" not in text
    assert told.id == f"a1.{kind.partition('.')[2]}"


def test_nothing_drives_a_terminal_or_fills_a_screen() -> None:
    evil = "\x1b]0;x\x07\u202e\n" + "x" * 5000
    told = message(REQUESTED, shown(subject=evil, relations=[evil] * 500), NOW, NOW)  # type: ignore[arg-type]
    for text in (told.title(), told.text()):
        assert not set(text) & set("\x1b\x07\u202e")
    assert len(told.text()) < 5_000
    assert len(told.body()) < 20_000
    assert json.loads(told.body())["data"]["relations"][0].startswith("?]0;x??")


def test_the_stock_library_checks_the_signature() -> None:
    told = message(REQUESTED, shown(), NOW, NOW)  # type: ignore[arg-type]
    now = Micros(int(time.time()) * 1_000_000)
    body, secret = told.body(), "whsec_" + base64.b64encode(KEY).decode()
    sent = headers(told, body, signing_key(secret), now)
    assert Webhook(secret).verify(body, sent)["type"] == REQUESTED
    for changed in (body + b" ", body.replace(b"a1", b"a2")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(changed, sent)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(bytes(24)).decode()).verify(body, sent)


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("hunter2", "begins with whsec_"),
        ("whsec_hunter2!", "base64"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "24 to 64"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "24 to 64"),
    ],
)
def test_a_bad_secret_is_said_so_without_being_repeated(secret: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        signing_key(secret)
    assert "hunter2" not in str(caught.value)
