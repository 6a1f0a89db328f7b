"""What crosses the border between supervisor and worker: there and back unchanged, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from approving import hold

from gateway.approval.grants import Grant
from gateway.approval.people import Approver
from gateway.identity.admission import Credential
from gateway.masking.carried import Carried
from gateway.model import (
    ApprovalId,
    Ask,
    Decision,
    DecisionKind,
    Exact,
    Impact,
    LogName,
    MaskStyle,
    Micros,
    OperationHash,
    Outcome,
    Principal,
    Quote,
    SessionId,
)
from gateway.workforce import messages
from gateway.workforce.codec import Malformed, plain, read
from gateway.workforce.messages import (
    TO_SUPERVISOR,
    TO_WORKER,
    Adopt,
    Begin,
    CancelKey,
    Carry,
    Claimed,
    Decided,
    Executed,
    GrantNow,
    Held,
    LoggedIn,
    Outstanding,
    Published,
    Renewing,
    Stands,
    Weighed,
)

WHO = Principal("https://idp", "agent-é\u2028", "jti", Micros(9), ("a", "b"), "olga", issued=Micros(1))
REQUEST = hold("ap-1", asks=(Ask(("x",), 2), Ask()), sessions=("visit",))
QUOTE = Quote(LogName("gw-1/control"), 7, "ab" * 32)
CARRIED = Carried("public", "notes", "words", sources=frozenset({"a.b.c", "d.e.f"}), style=MaskStyle.PSEUDONYM)
GRANT = Grant(
    ApprovalId("ap-1"), REQUEST.session, ("visit",), Micros(1), Micros(2), "dana", "why", "uid", QUOTE,
    (Approver("dana", None, ("oncall",), "uid"),),
)  # fmt: skip
DECISION = Decision(ApprovalId("ap-1"), DecisionKind.APPROVED, OperationHash("00"), "dana", "uid", "why", QUOTE)
MESSAGES = [
    Held(REQUEST),
    Held(hold("ap-2", statement='"\\\x7f\x00😀')),
    Decided(DECISION),
    Claimed(None),
    Claimed(DECISION),
    Stands(Credential(WHO, "secret", None), 0.5),
    Renewing(Credential(WHO, "secret", "thumb"), "other", "[::1]:5"),
    LoggedIn(3, REQUEST.session, renewal=True),
    Weighed(ApprovalId("ap-1"), Impact(1, 2, None, writes=True, locks=(("public.x", "RowShareLock"),))),
    Executed(ApprovalId("ap-1"), OperationHash("00"), Outcome.CANCELLED, 0, 12),
    GrantNow(WHO, "orders", ("visit",)),
    Carry("orders", (CARRIED,), "session s"),
    Adopt("orders", (CARRIED, CARRIED)),
    Outstanding(((OperationHash("00"), "i", "s", ApprovalId("ap-1"), True),), (GRANT,)),
    CancelKey(-5, bytes(range(256))),
    Published("record", {"a": [1, None, "x", {"b": False}]}),
    Begin("/etc/x.toml", b"\xff\x00", "w1", 2, bytes(32), "http://idp", accept_loss=False),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_there_and_back(message: object) -> None:
    line = json.dumps(plain(message))
    assert read(type(message), json.loads(line)) == message


def test_what_was_withheld_comes_along_and_stands_in_no_repr() -> None:
    request = hold("ap-3")
    exact = Exact("SELECT 'the secret'", ("another secret", None))
    moved = read(Held, json.loads(json.dumps(plain(Held(_with(request, exact)))))).request
    assert moved.exact == exact
    assert "secret" not in repr(moved)
    assert "secret" not in repr(messages.Admit("secret", "127.0.0.1:1", None))
    assert "secret" not in repr(Renewing(Credential(WHO, "secret"), "secret", "x"))


def _with(request: Any, exact: Exact) -> Any:
    from dataclasses import replace

    return replace(request, exact=exact)


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    count: int
    yes: bool
    raw: bytes
    colour: Colour
    many: tuple[int, ...]
    pair: tuple[int, str]
    perhaps: SessionId | None


GOOD: dict[str, Any] = {
    "name": "n", "count": 1, "yes": True, "raw": "AAE=", "colour": "red", "many": [1], "pair": [1, "x"],
    "perhaps": None,
}  # fmt: skip
BAD = [
    ("name", 1), ("name", None), ("count", True), ("count", "1"), ("count", 1.5), ("yes", 1), ("raw", "!"), ("raw", 5),
    ("colour", "blue"), ("many", 1), ("many", ["1"]), ("many", {"0": 1}), ("pair", [1]), ("pair", [1, "x", 2]),
    ("perhaps", 5), ("perhaps", []),
]  # fmt: skip


def test_a_value_of_its_type_is_read() -> None:
    assert read(Sample, GOOD) == Sample("n", 1, True, b"\x00\x01", Colour.RED, (1,), (1, "x"), None)


@pytest.mark.parametrize(("key", "value"), BAD)
def test_another_value_is_refused(key: str, value: object) -> None:
    with pytest.raises(Malformed):
        read(Sample, {**GOOD, key: value})


def test_missing_and_more_keys_are_refused() -> None:
    with pytest.raises(Malformed):
        read(Sample, {**GOOD, "more": 1})
    with pytest.raises(Malformed):
        read(Sample, {key: value for key, value in GOOD.items() if key != "name"})
    with pytest.raises(Malformed):
        read(Sample, ["n"])


def test_nothing_else_crosses() -> None:
    with pytest.raises(TypeError, match="does not cross"):
        plain(object())
    with pytest.raises(TypeError, match="does not cross"):
        plain({"a": lambda: None})


def test_a_worker_has_no_word_that_decides() -> None:
    """What a worker may say is a list that somebody looks at; this fails when it grows."""
    assert {each.__name__ for each in TO_SUPERVISOR} == {
        "Admit", "Enter", "Stands", "Renewing", "LoggedIn", "TurnedAway", "Held", "Asked", "Opened", "Claim",
        "Objection", "GrantNow", "WitnessSaid", "Carry", "EndHold", "Weighed", "Executed", "Abandoned", "Alarm", "Left",
        "Closed", "Published", "Skipped", "CancelKey", "CatalogChanged",
    }  # fmt: skip
    assert len({each.__name__ for each in TO_WORKER}) == len(TO_WORKER)
