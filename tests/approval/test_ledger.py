"""The ledger, as tables: (what happened before, event) -> (state, what came of it)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from approving import DANA, HASH, NOON, SECOND, hold

from gateway.approval import ledger as rules
from gateway.approval.ledger import (
    Abandoned,
    Approver,
    Cancelled,
    Changed,
    Decided,
    Event,
    Finished,
    Ledger,
    Left,
    Opened,
    Ran,
    Rejected,
    Shut,
    Ticked,
    Used,
    Weighed,
    step,
)
from gateway.approval.people import Leave, Vote, agreed_leave
from gateway.model import ApprovalId, Ask, DecisionKind, HoldState, Impact, Micros, OperationHash

A1 = ApprovalId("a1")
ISSUER, SUBJECT = "https://idp.example/realms/prod", "agent-7"
APPROVE = Decided(A1, DecisionKind.APPROVED, DANA, "fine", "deadbeef")
DENY = Decided(A1, DecisionKind.REFUSED, DANA, "not today")
USE = Used(A1, HASH, ISSUER, SUBJECT)
FINISH = Finished(A1, Ran(HASH, "ok", 1, 1500))
CANCEL = Cancelled(A1, "the session was killed")
ABANDON = Abandoned(A1, "changed while waiting")
STAY, GO = Left(A1, 300 * SECOND), Left(A1, 0)
SHUT = Shut("stopping")


def play(*events: Event, waiting: bool = True, now: int = NOON) -> tuple[Ledger, list[rules.Effect]]:
    """One open request, then the events in turn."""
    ledger, _ = step(Ledger(), Opened(hold(), waiting), Micros(now))
    effects: list[rules.Effect] = []
    for event in events:
        ledger, came = step(ledger, event, Micros(now))
        effects = list(came)
    return ledger, effects


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "pending"),
        ([APPROVE], "approved"),
        ([DENY], "refused"),
        ([CANCEL], "cancelled"),
        ([GO], "cancelled"),
        ([STAY], "pending"),
        ([SHUT], "refused"),
        ([APPROVE, USE], "approved"),
        ([APPROVE, USE, FINISH], "executed"),
        ([APPROVE, USE, ABANDON], "cancelled"),
        ([APPROVE, CANCEL], "cancelled"),
        ([APPROVE, GO], "cancelled"),
        ([APPROVE, STAY, USE, FINISH], "executed"),
        ([STAY, APPROVE, USE, FINISH], "executed"),
        ([APPROVE, SHUT], "refused"),
    ],
)
def test_what_fits_changes_the_state(events: list[Event], state: str) -> None:
    ledger, effects = play(*events)
    assert ledger.approvals[A1].state == state
    assert all(isinstance(effect, Changed) for effect in effects)


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([replace(APPROVE, approval=ApprovalId("a2"))], "not_found"),
        ([replace(APPROVE, hash_prefix=None)], "bad_request"),
        ([replace(APPROVE, hash_prefix="deadbee")], "bad_request"),
        ([replace(APPROVE, hash_prefix="")], "bad_request"),
        ([replace(APPROVE, hash_prefix="deadbeeX")], "bad_request"),
        ([replace(APPROVE, hash_prefix="deadbee0")], "stale_hash"),
        ([replace(APPROVE, hash_prefix=HASH + "0")], "stale_hash"),
        ([replace(DENY, hash_prefix="00000000")], "stale_hash"),
        ([replace(APPROVE, reason="")], "bad_request"),
        ([replace(APPROVE, kind=DecisionKind.EXPIRED)], "bad_request"),
        ([replace(APPROVE, approver=replace(DANA, groups=("sales",)))], "forbidden"),
        ([APPROVE, APPROVE], "already_decided"),
        ([APPROVE, DENY], "already_decided"),
        ([DENY, APPROVE], "already_decided"),
        ([CANCEL, APPROVE], "already_decided"),
        ([SHUT, APPROVE], "already_decided"),
        ([USE], "already_decided"),
        ([DENY, USE], "already_decided"),
        ([CANCEL, USE], "already_decided"),
        ([APPROVE, USE, USE], "already_decided"),
        ([APPROVE, USE, FINISH, USE], "already_decided"),
        ([APPROVE, USE, ABANDON, USE], "already_decided"),
        ([APPROVE, replace(USE, operation_hash=OperationHash("0" * 64))], "stale_hash"),
        ([APPROVE, replace(USE, subject="agent-8")], "forbidden"),
        ([APPROVE, replace(USE, issuer="https://evil.example")], "forbidden"),
        ([APPROVE, FINISH], "already_decided"),
        ([APPROVE, USE, FINISH, FINISH], "already_decided"),
        ([APPROVE, USE, CANCEL], "already_decided"),
        ([APPROVE, USE, Finished(A1, Ran(OperationHash("0" * 64), "ok", 1, 1))], "stale_hash"),
        ([Opened(hold(), waiting=True)], "bad_request"),
        ([STAY, STAY], "already_decided"),
    ],
)
def test_what_does_not_fit_is_rejected_and_changes_nothing(events: list[Event], code: str) -> None:
    before, _ = play(*events[:-1])
    after, effects = step(before, events[-1], NOON)
    assert after == before
    assert [effect.code for effect in effects if isinstance(effect, Rejected)] == [code]


@pytest.mark.parametrize(
    "late", [APPROVE, DENY, CANCEL, STAY, GO], ids=["approve", "deny", "cancel", "linger", "hang up"]
)
def test_at_the_deadline_it_is_expired_whoever_comes(late: Event) -> None:
    ledger, _ = play()
    ledger, effects = step(ledger, late, Micros(NOON + 900 * SECOND))
    assert ledger.approvals[A1].state is HoldState.EXPIRED
    assert [effect.code for effect in effects if isinstance(effect, Rejected)] == ["expired"]


def test_an_approval_is_not_used_after_its_deadline() -> None:
    ledger, _ = play(APPROVE)
    ledger, effects = step(ledger, USE, Micros(NOON + 900 * SECOND))
    assert ledger.approvals[A1].state is HoldState.EXPIRED
    assert isinstance(effects[-1], Rejected)


def test_a_hold_ends_with_the_token_of_who_asked() -> None:
    ledger, _ = step(Ledger(), Opened(hold(seconds=900, token_seconds=60), waiting=True), NOON)
    assert ledger.next_change() == NOON + 60 * SECOND


def test_time_expires_what_is_pending_and_what_nobody_used() -> None:
    for events in ([], [STAY, APPROVE]):
        ledger, _ = play(*events)
        due = ledger.next_change()
        assert due is not None
        same, nothing = step(ledger, Ticked(), Micros(due - 1))
        assert (same, nothing) == (ledger, ())
        ledger, effects = step(ledger, Ticked(), due)
        assert ledger.approvals[A1].state is HoldState.EXPIRED
        assert len(effects) == 1
        assert ledger.next_change() is None


def test_lingering_shortens_and_never_lengthens() -> None:
    ledger, _ = play(STAY)
    assert ledger.approvals[A1].expires == NOON + 300 * SECOND
    ledger, _ = play(Left(A1, 9000 * SECOND))
    assert ledger.approvals[A1].expires == NOON + 900 * SECOND


def test_only_what_does_not_wait_can_be_taken_by_another_session() -> None:
    waiting, _ = play(APPROVE)
    assert waiting.usable(HASH, ISSUER, SUBJECT) is None
    asked, _ = play(APPROVE, waiting=False)
    assert asked.usable(HASH, ISSUER, SUBJECT) is not None
    assert asked.usable(HASH, ISSUER, "agent-8") is None
    assert asked.usable(OperationHash("0" * 64), ISSUER, SUBJECT) is None


TWO = hold(asks=(Ask(("group:oncall",), 2),))
ERIN = Approver("erin", "sub-erin", ("oncall",), "oidc")


def test_two_approvals_take_two_people_and_the_weaker_assurance() -> None:
    ledger, _ = step(Ledger(), Opened(TWO, waiting=True), NOON)
    ledger, (first,) = step(ledger, APPROVE, NOON)
    assert isinstance(first, Changed)
    assert first.vote is not None
    assert ledger.approvals[A1].state is HoldState.PENDING
    same, (no,) = step(ledger, APPROVE, NOON)
    assert same == ledger
    assert isinstance(no, Rejected)
    assert (no.code, no.message) == ("forbidden", "you approved it already; another person must do so too")
    _, (unused,) = step(ledger, USE, NOON)
    assert isinstance(unused, Rejected)
    ledger, (second,) = step(ledger, replace(APPROVE, approver=ERIN), NOON)
    assert isinstance(second, Changed)
    assert second.vote is None
    approval = ledger.approvals[A1]
    assert (approval.state, approval.approver, approval.assurance) == (HoldState.APPROVED, "dana, erin", "uid")


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (replace(DENY, approver=ERIN), HoldState.REFUSED),
        (CANCEL, HoldState.CANCELLED),
        (SHUT, HoldState.REFUSED),
    ],
)
def test_a_first_approval_does_not_protect_from_an_end(event: Event, state: HoldState) -> None:
    ledger, _ = step(Ledger(), Opened(TWO, waiting=True), NOON)
    ledger, _ = step(ledger, APPROVE, NOON)
    ledger, _ = step(ledger, event, NOON)
    assert ledger.approvals[A1].state is state
    _, (late,) = step(ledger, replace(APPROVE, approver=ERIN), NOON)
    assert isinstance(late, Rejected)


def test_a_period_is_given_only_where_the_rule_says_so() -> None:
    ledger, (no,) = step(play()[0], replace(APPROVE, leave=Leave(60)), NOON)
    assert isinstance(no, Rejected)
    assert no.code == "bad_request"
    ledger, _ = step(Ledger(), Opened(replace(hold(), sessions=("nightly",)), waiting=True), NOON)
    ledger, _ = step(ledger, replace(APPROVE, leave=Leave(60)), NOON)
    assert agreed_leave(ledger.approvals[A1].votes) == Leave(60)


LEAVES = [
    ([None], None),
    ([Leave(60)], Leave(60)),
    ([Leave(60), None], None),
    ([Leave(60), Leave(30)], Leave(30)),
    ([Leave(60, "connection"), Leave(90)], Leave(60)),
    ([Leave(60, "connection"), Leave(90, "connection")], Leave(60, "connection")),
]


@pytest.mark.parametrize(("given", "agreed"), LEAVES)
def test_what_several_people_give_is_what_all_of_them_gave(given: list[Leave | None], agreed: Leave | None) -> None:
    assert agreed_leave([Vote(DANA, NOON, "fine", None, each) for each in given]) == agreed


def test_an_agent_cannot_fill_memory_with_questions() -> None:
    ledger = Ledger()
    for number in range(rules.MAX_OPEN_PER_SUBJECT):
        ledger, effects = step(ledger, Opened(hold(f"a{number}"), waiting=False), NOON)
        assert isinstance(effects[0], Changed)
    _, (effect,) = step(ledger, Opened(hold("more"), waiting=False), NOON)
    assert isinstance(effect, Rejected)
    assert effect.code == "unavailable"
    _, (effect,) = step(ledger, Opened(hold("other", subject="agent-8"), waiting=False), NOON)
    assert isinstance(effect, Changed)
    long = "x" * (rules.MAX_OPEN_CHARACTERS - 100)
    _, (effect,) = step(ledger, Opened(hold("long", subject="agent-8", statement=long), waiting=False), NOON)
    assert isinstance(effect, Rejected)


def test_what_is_closed_is_forgotten_oldest_first() -> None:
    ledger = Ledger()
    for number in range(rules.MAX_CLOSED + 10):
        ledger, _ = step(ledger, Opened(hold(f"a{number}"), waiting=True), NOON)
        closing = Cancelled(ApprovalId(f"a{number}"), "over")
        ledger, _ = step(ledger, closing, Micros(NOON + number))
    assert len(ledger.approvals) == rules.MAX_CLOSED
    assert "a9" not in ledger.approvals
    assert "a10" in ledger.approvals


def test_what_is_known_of_an_open_request_is_kept_and_of_no_other() -> None:
    ledger, _ = step(Ledger(), Opened(hold(), waiting=True), NOON)
    impact = Impact(changed=7)
    after, effects = step(ledger, Weighed(A1, impact), NOON)
    assert after.approvals[A1].impact == impact
    assert [effect.before for effect in effects if isinstance(effect, Changed)] == [HoldState.PENDING]
    closed, _ = step(after, Cancelled(A1, "gone"), NOON)
    same, effects = step(closed, Weighed(A1, Impact(changed=8)), NOON)
    assert (same, [type(effect) for effect in effects]) == (closed, [Rejected])
