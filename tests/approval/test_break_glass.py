"""Breaking the glass: who may do it for what, as a table; what it never opens; and how loud it is on record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from approving import HASH, NOON, SECOND, hold, of, open_desk

from gateway.approval.card import card
from gateway.approval.events import Changed, Decided, Event, Opened, Rejected, Shut, Used
from gateway.approval.ledger import Ledger, step
from gateway.approval.people import Approver, Leave, Terms
from gateway.approval.restart import left_over
from gateway.approval.waiting import Approvals
from gateway.control.messages import Refusal
from gateway.evidence.storage import DiskStorage
from gateway.model import Ask, DecisionKind, HoldRequest, HoldState, Micros

REASON = "the site is down, INC-7"
TERMS = Terms(break_glass=("group:incident", "sub:sub-ruth"), break_glass_reason=20)


def person(name: str, *groups: str, **more: object) -> Approver:
    known = {"subject": f"sub-{name}", "groups": groups, "assurance": "oidc", **more}
    return Approver(name, **known)  # type: ignore[arg-type]


IRA, DANA, BOTH = person("ira", "incident"), person("dana", "oncall"), person("bo", "oncall", "incident")
ONE = hold()
PAIR = hold(asks=(Ask(("group:oncall",), 2),))
EACH = hold(asks=(Ask(("group:oncall",)), Ask(("group:dba",))))
FREE = hold(reviewers=())
OWNERLESS = of(ONE, owner=None)
GLASS = {"break_glass": True, "reason": REASON}

TABLE: list[tuple[str, HoldRequest, tuple[Approver, ...], Approver, str | None]] = [
    # what it shows, request, who approved already, who breaks the glass, why not
    ("in the place of the reviewers' group", ONE, (), IRA, None),
    ("named by subject", ONE, (), person("ruth"), None),
    ("in the place of two", PAIR, (), IRA, None),
    ("in the place of the second of two", PAIR, (DANA,), IRA, None),
    ("in the place of several groups", EACH, (), IRA, None),
    ("a reviewer, in the place of the others", PAIR, (), BOTH, None),
    ("who approved already, in the place of the others", PAIR, (BOTH,), BOTH, None),
    ("the implicit operator of a trial", PAIR, (), person("root", for_all_groups=True), None),
    ("a reviewer whom nobody let break it", PAIR, (), DANA, "only group:incident, sub:sub-ruth may break the glass"),
    ("a stranger", ONE, (), person("sam", "sales"), "only group:incident"),
    ("the requester", ONE, (), person("x", "incident", subject="agent-7"), "you asked for this operation yourself"),
    ("the requester, by name", ONE, (), person("agent-7", "incident"), "you asked for this operation yourself"),
    ("the agent's owner", ONE, (), person("olga", "incident"), "this agent acts for you"),
    ("the agent's owner, signed", ONE, (), person("olga", "incident", assurance="signed"), "this agent acts for you"),
    ("another agent", ONE, (), person("ira", "incident", was_agent=True), "your subject connected as an agent"),
    ("an owner that nobody knows", OWNERLESS, (), IRA, "the agent's token names no owner"),
    ("who could approve it the ordinary way", ONE, (), BOTH, "your own approval is all that is missing"),
    ("as the last of two", PAIR, (DANA,), BOTH, "your own approval is all that is missing"),
    ("where anybody may approve", FREE, (), IRA, "your own approval is all that is missing"),
]  # fmt: skip


def approve(request: HoldRequest, approver: Approver, **more: object) -> Decided:
    said = {"reason": "fine", "hash_prefix": request.operation_hash, **more}
    return Decided(request.approval, DecisionKind.APPROVED, approver, **said)  # type: ignore[arg-type]


def play(request: HoldRequest, *events: Event, terms: Terms = TERMS, at: int = NOON) -> tuple[Ledger, list[object]]:
    ledger, effects = step(Ledger(terms=terms), Opened(request, waiting=True), NOON)
    for event in events:
        ledger, effects = step(ledger, event, Micros(at))
    return ledger, list(effects)


@pytest.mark.parametrize(
    ("request_", "already", "who", "why_not"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_who_may_break_the_glass_for_what(
    request_: HoldRequest, already: tuple[Approver, ...], who: Approver, why_not: str | None
) -> None:
    before = [approve(request_, each) for each in already]
    ledger, (effect,) = play(request_, *before, approve(request_, who, **GLASS))
    after = ledger.approvals[request_.approval]
    if why_not is not None:
        assert isinstance(effect, Rejected)
        assert effect.message.startswith(why_not), effect.message
        assert (after.state, after.break_glass) == (HoldState.PENDING, False)
        return
    assert isinstance(effect, Changed)
    assert (after.state, after.break_glass, after.reason) == (HoldState.APPROVED, True, REASON)
    assert after.approver == ", ".join(dict.fromkeys([*(each.name for each in already), who.name]))
    assert [vote.break_glass for vote in after.votes] == [*[False] * len(already), True]


NEVER: list[tuple[str, list[Event], dict[str, object], int, str]] = [
    # what it shows, what came before, how it is asked, at which second, the code
    ("a short reason", [], {"reason": "the site is down"}, 0, "bad_request"),
    ("no hash", [], {"hash_prefix": None}, 0, "bad_request"),
    ("another hash", [], {"hash_prefix": "00000000"}, 0, "stale_hash"),
    ("a period", [], {"leave": Leave(60)}, 0, "bad_request"),
    ("what expired", [], {}, 900, "expired"),
    ("what is refused", [Decided(PAIR.approval, DecisionKind.REFUSED, DANA, "no")], {}, 0, "already_decided"),
    ("what is approved", [approve(PAIR, IRA, **GLASS)], {}, 0, "already_decided"),
    ("what the gateway's end refused", [Shut("stopping")], {}, 0, "already_decided"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "changes", "second", "code"), [row[1:] for row in NEVER], ids=[r[0] for r in NEVER])
def test_what_it_never_opens(before: list[Event], changes: dict[str, object], second: int, code: str) -> None:
    request = replace(PAIR, sessions=("nightly",))
    at = NOON + second * SECOND
    _, effects = play(request, *before, approve(PAIR, IRA, **{**GLASS, **changes}), at=at)
    assert [effect.code for effect in effects if isinstance(effect, Rejected)] == [code]


def test_nobody_breaks_it_where_nobody_is_named() -> None:
    _, (effect,) = play(ONE, approve(ONE, IRA, **GLASS), terms=Terms())
    assert isinstance(effect, Rejected)
    assert "[approvals.break_glass]" in effect.message


def test_it_refuses_nothing() -> None:
    _, (effect,) = play(ONE, replace(approve(ONE, IRA, **GLASS), kind=DecisionKind.REFUSED))
    assert isinstance(effect, Rejected)


def test_it_is_used_once_like_any_other() -> None:
    principal = PAIR.session.principal
    use = Used(PAIR.approval, HASH, principal.issuer, principal.subject)
    _, effects = play(PAIR, approve(PAIR, IRA, **GLASS), use, use)
    assert [type(effect) for effect in effects] == [Rejected]


def test_the_card_says_so() -> None:
    ledger, _ = play(PAIR, approve(PAIR, DANA), approve(PAIR, IRA, **GLASS))
    shown = card(ledger.approvals[PAIR.approval])
    assert shown["break_glass"] is True
    assert "BREAK-GLASS: one person approved it in the place of group:oncall" in shown["warnings"]


async def test_the_record_and_an_alarm_before_it_say_so(tmp_path: Path) -> None:
    async with open_desk(tmp_path / "control", terms=TERMS) as desk:
        await broken(desk.approvals)
        lines = [json.loads(line.split(b"\t")[2]) for line in desk.journal().splitlines()]
        kinds = [(each["kind"], each.get("decision"), each.get("alarm"), each.get("break_glass")) for each in lines]
    assert kinds[-3:] == [
        ("decision", "requested", None, None),
        ("alarm", None, "break-glass", None),
        ("decision", "approved", None, True),
    ]
    published = [(event, data["state"], data["break_glass"]) for event, data, _ in desk.published]
    assert published == [("approval.pending", "pending", False), ("approval.changed", "approved", True)]


async def test_it_stays_in_sight_for_a_day_also_after_a_restart(tmp_path: Path) -> None:
    shown = {
        "id": "a1", "by": "ira", "subject": "agent-7", "connection": "orders", "rule": "standard/delete",
    }  # fmt: skip
    async with open_desk(tmp_path / "control", terms=TERMS) as desk:
        assert desk.approvals.broken_glass() == []
        await broken(desk.approvals)
        (first,) = desk.approvals.broken_glass()
        assert isinstance(first, dict)
        assert {name: first[name] for name in shown} == shown
    left = left_over(tmp_path / "control", DiskStorage())
    async with open_desk(tmp_path / "control", terms=TERMS) as desk:
        await desk.approvals.end_left_over(left)
        (again,) = desk.approvals.broken_glass()
        assert isinstance(again, dict)
        assert {name: again[name] for name in shown} == shown
        await trio.sleep(24 * 3600 + 1)
        assert desk.approvals.broken_glass() == []


async def broken(approvals: Approvals) -> None:
    await approvals.ask(PAIR)
    with pytest.raises(Refusal, match="20 characters"):
        await approvals.decide(PAIR.approval, HASH, IRA, DecisionKind.APPROVED, "down", break_glass=True)
    decided = await approvals.decide(PAIR.approval, HASH, IRA, DecisionKind.APPROVED, REASON, break_glass=True)
    assert decided.break_glass
