"""Escalation: after a set time a second group may decide too, with as many eyes as before, and it is on record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from approving import DANA, HASH, NOON, SECOND, hold, open_desk

from gateway.approval.card import card
from gateway.approval.events import Changed, Decided, Left, Opened, Rejected, Ticked
from gateway.approval.ledger import Ledger, step
from gateway.approval.people import Approver, Terms, missing
from gateway.approval.restart import left_over
from gateway.control.messages import Refusal
from gateway.evidence.storage import DiskStorage
from gateway.model import Ask, DecisionKind, HoldRequest, HoldState, Micros

LEE = Approver("lee", "sub-lee", ("leads",), "oidc")
LEA = Approver("lea", "sub-lea", ("leads",), "oidc")
OLGA = Approver("olga", "sub-olga", ("leads",), "oidc")
TERMS = Terms(escalate_after=300 * SECOND, escalate_to=("group:leads",))
PAIR = hold(asks=(Ask(("group:oncall",), 2),))
EACH = hold(asks=(Ask(("group:oncall",)), Ask(("group:dba",))))


def opened(request: HoldRequest, terms: Terms = TERMS) -> Ledger:
    ledger, _ = step(Ledger(terms=terms), Opened(request, waiting=True), NOON)
    return ledger


def by(approver: Approver, kind: DecisionKind = DecisionKind.APPROVED) -> Decided:
    return Decided(hold().approval, kind, approver, "fine", HASH)


def at(seconds: float) -> Micros:
    return Micros(round(NOON + seconds * SECOND))


MOMENTS = [
    # who decides, how, at which second, what came of it
    (LEE, DecisionKind.APPROVED, 299.999999, "forbidden"),
    (LEE, DecisionKind.APPROVED, 300, HoldState.APPROVED),
    (LEE, DecisionKind.REFUSED, 299.999999, "forbidden"),
    (LEE, DecisionKind.REFUSED, 300, HoldState.REFUSED),
    (DANA, DecisionKind.APPROVED, 299.999999, HoldState.APPROVED),
    (DANA, DecisionKind.APPROVED, 300, HoldState.APPROVED),
    (LEE, DecisionKind.APPROVED, 900, "expired"),
    (OLGA, DecisionKind.APPROVED, 300, "forbidden"),
]


@pytest.mark.parametrize(("who", "kind", "second", "expected"), MOMENTS)
def test_who_decides_at_the_very_moment(who: Approver, kind: DecisionKind, second: float, expected: object) -> None:
    """No tick came in between: the moment itself decides."""
    ledger, effects = step(opened(hold()), by(who, kind), at(second))
    after = ledger.approvals[hold().approval]
    rejected = [effect.code for effect in effects if isinstance(effect, Rejected)]
    assert (rejected or [after.state]) == [expected]
    risen = [effect.escalated for effect in effects if isinstance(effect, Changed)]
    assert risen.count(True) == (1 if 300 <= second < 900 else 0)


def test_it_happens_once_and_says_to_whom() -> None:
    ledger, effects = step(opened(PAIR), Ticked(), at(300))
    (effect,) = effects
    assert isinstance(effect, Changed)
    assert (effect.escalated, effect.before, effect.approval.state) == (True, HoldState.PENDING, HoldState.PENDING)
    shown = card(effect.approval)
    assert (shown["escalated_to"], shown["escalates"], shown["reviewers"]) == (["group:leads"], None, ["group:oncall"])
    assert shown["asks"] == [{"reviewers": ["group:oncall", "group:leads"], "count": 2}]
    assert step(ledger, Ticked(), at(301)) == (ledger, ())
    assert ledger.next_change() == at(900)


def test_four_eyes_stay_four() -> None:
    ledger, _ = step(opened(PAIR), Ticked(), at(300))
    ledger, _ = step(ledger, by(LEE), at(301))
    assert ledger.approvals[PAIR.approval].state is HoldState.PENDING
    again, effects = step(ledger, by(LEE), at(302))
    assert again == ledger
    assert isinstance(effects[0], Rejected)
    ledger, _ = step(ledger, by(LEA), at(303))
    assert ledger.approvals[PAIR.approval].approver == "lee, lea"


def test_what_somebody_approved_before_counts_on() -> None:
    ledger, _ = step(opened(EACH), by(DANA), at(10))
    ledger, _ = step(ledger, Ticked(), at(300))
    approval = ledger.approvals[EACH.approval]
    assert [str(each) for each in missing(approval.request, approval.votes)] == ["group:dba, group:leads"]
    ledger, _ = step(ledger, by(LEE), at(301))
    assert ledger.approvals[EACH.approval].state is HoldState.APPROVED


def test_where_anybody_may_decide_it_stays_so() -> None:
    ledger, _ = step(opened(hold(reviewers=())), Ticked(), at(300))
    assert ledger.approvals[hold().approval].request.asked == (Ask(()),)


@pytest.mark.parametrize(
    ("request_", "terms"),
    [
        (hold(seconds=300), TERMS),  # it would be over at that moment
        (hold(token_seconds=200), TERMS),
        (hold(), Terms()),
    ],
)
def test_what_is_over_before_is_not_escalated(request_: HoldRequest, terms: Terms) -> None:
    ledger = opened(request_, terms)
    assert ledger.approvals[request_.approval].escalates is None
    ledger, effects = step(ledger, Ticked(), at(1_000))
    assert [effect.approval.state for effect in effects if isinstance(effect, Changed)] == [HoldState.EXPIRED]


@pytest.mark.parametrize("kind", [DecisionKind.APPROVED, DecisionKind.REFUSED])
def test_what_is_decided_is_not_escalated(kind: DecisionKind) -> None:
    ledger, _ = step(opened(hold()), by(DANA, kind), at(10))
    ledger, effects = step(ledger, Ticked(), at(400))
    assert not any(isinstance(effect, Changed) and effect.escalated for effect in effects)


def test_a_client_that_left_changes_nothing_of_it() -> None:
    ledger, _ = step(opened(hold()), Left(hold().approval, 600 * SECOND), at(10))
    ledger, _ = step(ledger, Ticked(), at(300))
    assert ledger.approvals[hold().approval].escalated == at(300)


async def test_it_is_on_record_before_the_second_group_sees_it_and_a_restart_refuses_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path / "control", terms=TERMS) as desk:
        await desk.approvals.ask(hold())
        with pytest.raises(Refusal, match="only group:oncall may decide"):
            await desk.approvals.decide(hold().approval, HASH, LEE, DecisionKind.APPROVED, "fine")
        with trio.fail_after(400):
            while desk.approvals.get(hold().approval).escalated is None:
                await trio.sleep(1)
        told = [each for each in desk.published if each[1]["escalated"] is not None]
        assert [(event, data["state"], data["escalated_to"]) for event, data, _ in told] == [
            ("approval.changed", "pending", ["group:leads"])
        ]
        assert b'"decision":"escalated"' in told[0][2]
        payload = json.loads(told[0][2].splitlines()[-1].split(b"\t")[3])
        assert payload == {"reviewers": ["group:leads"]}
        left = left_over(tmp_path / "control", DiskStorage()).pending
        assert [each.approval for each in left] == ["a1"]
        decided = await desk.approvals.decide(hold().approval, HASH, LEE, DecisionKind.APPROVED, "fine")
        assert (decided.state, decided.approver) == (HoldState.APPROVED, "lee")
    assert left_over(tmp_path / "control", DiskStorage()).pending == ()
