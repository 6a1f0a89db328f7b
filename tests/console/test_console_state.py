from __future__ import annotations

from dataclasses import replace

import pytest
from fake_gateway import HASH, make_approval, make_record, make_session
from greeted import GATEWAY
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import ApprovalId, SessionId
from hoop_tui import held, intake
from hoop_tui.clock import countdown, duration, parse_time, time_of_day
from hoop_tui.happenings import (
    ApprovalChanged,
    ApprovalsListed,
    Attempted,
    Connecting,
    Greeted,
    HealthAsked,
    HealthSeen,
    Lost,
    SessionChanged,
    SessionClosed,
    SessionsListed,
    TailSeen,
)
from hoop_tui.known import Approval, Attempt, AttemptPhase, Broken, Gateway, Phase, Tail
from hoop_tui.paint.inbox import is_mine, sort_inbox
from hoop_tui.sanitize import scrub_message
from hoop_tui.state import MOST_DECIDED, State, reduce


def approval(id_: str = "ap-1", **changes: object) -> Approval:
    read = held.approval(scrub_message(make_approval(id_, **changes)))
    assert read is not None
    return read


def session(id_: str) -> SessionChanged:
    read = intake.session(scrub_message(make_session(id_)))
    assert read is not None
    return SessionChanged(read)


def after(*happenings: object, start: State | None = None) -> State:
    state = start or State()
    for happening in happenings:
        state = reduce(state, happening)  # type: ignore[arg-type]
    return state


def test_the_line_comes_and_goes() -> None:
    state = after(Connecting(5))
    assert (state.link.phase, state.live) == (Phase.CONNECTING, False)
    state = after(Greeted(GATEWAY, 7), start=state)
    assert (state.link.phase, state.link.since, state.live) == (Phase.LIVE, 7, True)
    state = after(Lost("gone", 20, 30), start=state)
    assert (state.link.phase, state.link.since, state.link.retry_at, state.link.why) == (Phase.LOST, 20, 30, "gone")
    state = after(Connecting(31), Lost("still gone", 32, 40), start=state)
    assert (state.link.since, state.link.why) == (20, "still gone"), "lost since the first time"


def test_sessions_open_change_and_close() -> None:
    state = after(session("a"), session("b"), SessionClosed(SessionId("a")))
    assert list(state.sessions) == ["b"]
    assert list(after(SessionsListed(()), start=state).sessions) == []
    assert after(SessionClosed(SessionId("never")), start=state) == state


def test_old_states_stay_as_they_were() -> None:
    before = after(ApprovalChanged(approval("ap-1")))
    after(ApprovalChanged(approval("ap-1", state="approved")), start=before)
    assert before.approvals[ApprovalId("ap-1")].pending
    with pytest.raises(TypeError):
        before.approvals["x"] = None  # type: ignore[index]


@pytest.mark.parametrize("final", ["approved", "refused", "expired", "cancelled", "executed"])
def test_a_decided_request_never_turns_pending_again(final: str) -> None:
    decided = ApprovalChanged(approval(state=final))
    for late in (ApprovalChanged(approval()), ApprovalsListed((approval(),))):
        assert after(ApprovalChanged(approval()), decided, late).approvals[ApprovalId("ap-1")].state == final


def test_what_ran_is_not_forgotten_by_a_late_decision() -> None:
    ran = approval(state="executed", result={"outcome": "ok", "rows": 3, "duration_us": 9})
    state = after(ApprovalChanged(ran), ApprovalChanged(approval(state="approved")))
    assert state.approvals[ApprovalId("ap-1")].result is not None


def test_another_hash_is_another_request() -> None:
    state = after(ApprovalChanged(approval(state="approved")), ApprovalChanged(approval(hash="0" * 64)))
    assert state.approvals[ApprovalId("ap-1")].pending


def test_the_whole_statement_is_kept_when_an_event_brings_its_beginning() -> None:
    whole = approval(statement="DELETE \x1b everything")
    cut = approval(state="approved", statement="DELETE", statement_cut=True, statement_length=19)
    for first, second in ((whole, cut), (cut, whole)):
        kept = after(ApprovalChanged(first), ApprovalChanged(second)).approvals[ApprovalId("ap-1")]
        assert (kept.statement, kept.cut, kept.hidden) == ("DELETE <U+001B> everything", False, 1)


def test_a_list_replaces_what_we_knew_but_for_what_we_sent() -> None:
    sent = Attempted(ApprovalId("ap-2"), Attempt(True, AttemptPhase.SENT))
    state = after(ApprovalChanged(approval("ap-1")), ApprovalChanged(approval("ap-2")), sent, ApprovalsListed(()))
    assert list(state.approvals) == ["ap-2"]


def test_a_broken_line_makes_what_was_sent_unknown() -> None:
    sent = Attempted(ApprovalId("ap-1"), Attempt(True, AttemptPhase.SENT))
    taken = Attempted(ApprovalId("ap-2"), Attempt(True, AttemptPhase.ACCEPTED))
    state = after(sent, taken, Lost("gone", 1, 2))
    assert state.attempts[ApprovalId("ap-1")].phase is AttemptPhase.UNKNOWN
    assert state.attempts[ApprovalId("ap-2")].phase is AttemptPhase.ACCEPTED


def test_decided_requests_are_bounded_and_pending_ones_are_not() -> None:
    many = [ApprovalChanged(approval(f"old-{n}", state="expired")) for n in range(MOST_DECIDED + 20)]
    waiting = [ApprovalChanged(approval(f"new-{n}")) for n in range(30)]
    state = after(*waiting, *many)
    assert len(state.pending) == 30
    assert len(state.approvals) == 30 + MOST_DECIDED


def test_pending_ones_stand_by_expiry_and_without_expiry_last() -> None:
    times = {"a": "2026-11-23T03:00:00Z", "b": "2026-11-23T02:00:00Z", "c": None}
    state = after(*(ApprovalChanged(approval(id_, expires=when)) for id_, when in times.items()))
    assert [one.id for one in state.pending] == ["b", "a", "c"]


def test_the_tail_and_the_head() -> None:
    state = State()
    assert reduce(state, TailSeen(intake.tail(make_record(1)))) is state
    seen = reduce(state, HealthSeen("w1:5", "3 unwitnessed", ""))
    assert (seen.head, seen.window) == ("w1:5", "3 unwitnessed")


GLASS = ApprovalChanged(approval(state="approved", approver="uid 7, ira", break_glass=True))
OTHER = Broken(ApprovalId("ap-9"), 5, "dana", "report-bot", "orders")


@pytest.mark.parametrize(
    ("happenings", "ids"),
    [
        ([GLASS], ["ap-1"]),
        ([HealthSeen("", "", "", (OTHER,))], ["ap-9"]),
        ([HealthAsked(), GLASS, HealthSeen("", "", "")], ["ap-1"]),
        ([HealthAsked(), GLASS, HealthSeen("", "", "", (OTHER,))], ["ap-1", "ap-9"]),
        ([HealthAsked(), GLASS, GLASS, HealthSeen("", "", ""), GLASS], ["ap-1"]),
        ([HealthAsked(), GLASS, HealthSeen("", "", "", (replace(OTHER, id=ApprovalId("ap-1")),))], ["ap-1"]),
        ([HealthAsked(), GLASS, Lost("gone", 1, 2), Connecting(2), HealthAsked(), HealthSeen("", "", "")], []),
        ([GLASS, HealthAsked(), HealthSeen("", "", "")], []),
    ],
)
def test_what_was_told_since_the_question_wins_over_its_answer(happenings: list[object], ids: list[str]) -> None:
    assert [one.id for one in after(*happenings).broken] == ids


@pytest.mark.parametrize(
    ("changes", "gateway", "mine"),
    [
        ({}, GATEWAY, True),
        ({}, None, False),
        ({}, replace(GATEWAY, roles=frozenset({"watch"})), False),
        ({"reviewers": ["group:dba"]}, GATEWAY, False),
        ({"reviewers": ["group:dba"]}, replace(GATEWAY, groups=frozenset()), True),
        ({"reviewers": ["sub:dana-sub"]}, GATEWAY, True),
        ({"reviewers": []}, GATEWAY, True),
        ({"owner": "dana"}, GATEWAY, False),
        ({"subject": "dana-sub"}, GATEWAY, False),
    ],
)
def test_what_is_mine(changes: dict[str, object], gateway: Gateway | None, mine: bool) -> None:
    assert is_mine(approval(**changes), gateway) is mine


def test_the_inbox_has_three_sections_and_a_filter() -> None:
    requests = [
        approval("a"),
        approval("b", reviewers=["group:dba"]),
        approval("c", state="refused", operation="merge"),
    ]
    state = after(Greeted(GATEWAY, 1), *map(ApprovalChanged, requests))
    inbox = sort_inbox(state)
    assert [[one.id for one in part] for part in inbox] == [["a"], ["b"], ["c"]]
    assert [len(part) for part in sort_inbox(state, "MERGE")] == [0, 0, 1]


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
fields = st.sampled_from(sorted({*make_approval(), *make_session(), *make_record(1), "from", "to", "session_id"}))
names = st.sampled_from(
    ["session.opened", "session.closed", "record", "approval.pending", "approval.changed", "gap", "what.ever"]
)


@given(names, st.dictionaries(fields, anything))
def test_no_event_breaks_the_intake(name: str, data: dict[str, object]) -> None:
    told = intake.happening(name, scrub_message(data))
    if told is not None:
        reduce(State(), told)
    intake.sessions(data)
    held.approvals([data])
    intake.health(data)


def test_numbers_that_are_none_are_none() -> None:
    read = intake.tail({"rows": True, "duration_us": "5", "seq": None})
    assert isinstance(read, Tail)
    assert (read.rows, read.duration_us, read.seq) == (None, None, 0)


def test_the_hash_is_taken_whole() -> None:
    assert approval().hash == HASH


def test_times_for_people() -> None:
    at = parse_time("2026-11-23T03:14:09.000250Z")
    assert at is not None
    assert at % 1_000_000 == 250
    assert time_of_day(at) == "03:14:09"
    assert parse_time("soon") is None
    assert parse_time(None) is None
    assert [countdown(seconds * 1_000_000) for seconds in (-5, 9, 252, 3852)] == ["00:00", "00:09", "04:12", "1:04:12"]
    assert [duration(us) for us in (250, 3_100, 2_100_000, 252_000_000, 7_500_000_000)] == [
        "250 µs",
        "3 ms",
        "2.1 s",
        "4 min 12 s",
        "2 h 5 min",
    ]
