"""Leave for a period, on a jumping clock: on disk before it counts, gone at once, for one agent and rule."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from approving import DANA, HASH, SECOND, Desk, hold, of

from gateway.approval import ledger
from gateway.approval.people import Approver, Leave
from gateway.approval.restart import left_over
from gateway.control.messages import Refusal
from gateway.errors import EvidenceFault
from gateway.evidence.commit import Log
from gateway.evidence.journal import Recorded
from gateway.evidence.storage import DiskStorage
from gateway.model import ApprovalId, Ask, DecisionKind, Draft, HoldRequest, Outcome

if TYPE_CHECKING:
    from conftest import OpenDesk

A1 = ApprovalId("a1")
REQUEST = hold(sessions=("nightly", "visit"))
ERIN = Approver("erin", "sub-erin", ("oncall",), "oidc")
RULES = ("nightly", "visit")
TEN_MINUTES = Leave(600)


async def approve(
    desk: Desk,
    leave: Leave | None = TEN_MINUTES,
    request: HoldRequest = REQUEST,
    approver: Approver = DANA,
    quoted: str = HASH[:8],
) -> None:
    if not any(each.id == request.approval for each in desk.approvals.pending()):
        await desk.approvals.ask(request)
    await desk.approvals.decide(request.approval, quoted, approver, DecisionKind.APPROVED, "fine", leave=leave)


def let_through(desk: Desk, request: HoldRequest = REQUEST, rules: tuple[str, ...] = RULES) -> bool:
    session = request.session
    return desk.approvals.granted(session.principal, session.connection, rules) is not None


def grants_recorded(desk: Desk) -> list[dict[str, Any]]:
    entries = [json.loads(line.split(b"\t")[2]) for line in desk.journal().split(b"\n") if b'"kind":"grant"' in line]
    return [{name: each.get(name) for name in ("outcome", "by", "approval", "scope")} for each in entries]


async def test_a_grant_counts_once_it_is_on_disk_and_ends_with_its_time(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await approve(desk)
        assert let_through(desk)
        given = {"outcome": "given", "by": "dana", "approval": "a1", "scope": "rule"}
        assert grants_recorded(desk) == [given]
        await trio.sleep(599)
        assert let_through(desk)
        await trio.sleep(1)
        assert not let_through(desk)
        await trio.sleep(1)
        assert grants_recorded(desk)[1:] == [{"outcome": "expired", "by": "gateway", "approval": "a1", "scope": None}]
        assert [event for event, _, _ in desk.published if event.startswith("grant")] == ["grant.given", "grant.ended"]


OTHERS = [
    (of(REQUEST, subject="agent-8"), RULES, False),
    (of(REQUEST, issuer="https://other.example"), RULES, False),
    (replace(REQUEST, session=replace(REQUEST.session, connection="billing")), RULES, False),
    (of(REQUEST, token_id="another"), RULES, True),
    (REQUEST, ("nightly",), True),
    (REQUEST, ("nightly", "weekly"), False),
    (REQUEST, (), False),
]


@pytest.mark.parametrize(("request_", "rules", "through"), OTHERS, ids=range(len(OTHERS)))
async def test_whom_and_what_it_covers(
    open_desk: OpenDesk, request_: HoldRequest, rules: tuple[str, ...], through: bool
) -> None:
    async with open_desk() as desk:
        await approve(desk)
        assert let_through(desk, request_, rules) == through


async def test_a_connections_grant_covers_its_other_rules(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await approve(desk, Leave(600, "connection"))
        assert let_through(desk, rules=("weekly",))
        assert not let_through(desk, of(REQUEST, subject="agent-8"), ("weekly",))


async def test_without_a_period_nothing_is_granted(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await approve(desk, None)
        assert not let_through(desk)


async def test_withdrawn_it_is_gone_at_once_and_once(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        await approve(desk)

        async def withdraw() -> None:
            await desk.approvals.withdraw(A1, "erin", "done")

        nursery.start_soon(withdraw)
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked(0.0)
        assert not let_through(desk)
        with pytest.raises(Refusal) as refusal:
            await desk.approvals.withdraw(A1, "erin", "done")
        assert refusal.value.code == "not_found"
        await trio.sleep(601)
        assert [each["outcome"] for each in grants_recorded(desk)] == ["given", "withdrawn"]


async def test_the_operation_it_was_given_with_does_not_run_after_it_was_withdrawn(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await approve(desk)
        await desk.approvals.withdraw(A1, "erin", "done")
        assert desk.approvals.claim(REQUEST.operation_hash, REQUEST.session.principal) is None
        assert (await desk.approvals.wait(A1)).reason == "withdrawn by erin"


async def test_a_full_disk_withdraws_it_all_the_same(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await approve(desk)
        desk.disk.full = True
        with pytest.raises(EvidenceFault):
            await desk.approvals.withdraw(A1, "erin", "done")
        assert not let_through(desk)


async def test_a_full_disk_grants_nothing(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.approvals.ask(REQUEST)
        desk.disk.full = True
        with pytest.raises(EvidenceFault):
            await approve(desk)
        assert not let_through(desk)


async def test_an_agent_that_is_kept_out_keeps_no_grant(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await approve(desk)
        await desk.approvals.withdraw_from(lambda who: who.subject == "agent-8", "dana", "leaked")
        assert let_through(desk)
        await desk.approvals.withdraw_from(lambda who: who.subject == "agent-7", "dana", "leaked")
        assert not let_through(desk)


async def test_a_stopping_gateway_keeps_no_grant(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await approve(desk)
        await desk.approvals.close()
        assert not let_through(desk)
        assert [each["outcome"] for each in grants_recorded(desk)] == ["given", "withdrawn"]


async def test_two_people_grant_what_both_of_them_gave(open_desk: OpenDesk) -> None:
    pair = replace(REQUEST, asks=(Ask(("group:oncall",), 2),))
    async with open_desk() as desk:
        await approve(desk, Leave(600), pair)
        assert not let_through(desk), "one of two"
        await approve(desk, Leave(60), pair, ERIN)
        (grant,) = desk.approvals.grants()
        assert grant.expires - grant.since == 60 * SECOND
        assert (grant.by, grant.assurance) == ("dana, erin", "uid")


async def test_a_grant_by_somebody_who_turned_out_to_be_an_agent_is_worth_nothing(tmp_path: Any) -> None:
    from approving import open_desk

    agents: set[str] = set()
    async with open_desk(
        tmp_path / "control", objection=lambda who: "an agent" if who.name in agents else None
    ) as desk:
        await approve(desk)
        assert let_through(desk)
        agents.add("dana")
        assert not let_through(desk)
        assert desk.approvals.objection(A1) == "an agent"


async def test_who_gave_a_grant_is_remembered_as_long_as_it_lasts(
    open_desk: OpenDesk, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent cannot have its approval forgotten by asking so much that the ledger lets go of it."""
    from approving import open_desk as opened_with

    monkeypatch.setattr(ledger, "MAX_CLOSED", 2)
    agents: set[str] = set()
    async with opened_with(
        tmp_path / "control", objection=lambda who: "an agent" if who.name in agents else None
    ) as desk:
        await approve(desk)
        principal = REQUEST.session.principal
        assert desk.approvals.claim(REQUEST.operation_hash, principal) is not None
        desk.approvals.executed(A1, REQUEST.operation_hash, Outcome.OK, 1, 1)
        for number in range(2, 6):
            await desk.approvals.ask(hold(f"a{number}", at=REQUEST.requested + number))
            desk.approvals.cancel(ApprovalId(f"a{number}"), "enough")
            await trio.sleep(1)
        with pytest.raises(Refusal):
            desk.approvals.get(A1)
        assert let_through(desk)
        agents.add("dana")
        assert not let_through(desk)
        assert desk.approvals.objection(A1) == "an agent"


async def test_an_approval_in_use_is_not_forgotten_and_a_forgotten_one_is_worth_nothing(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MAX_CLOSED", 0)
    async with open_desk() as desk:
        await approve(desk, None)
        assert desk.approvals.claim(REQUEST.operation_hash, REQUEST.session.principal) is not None
        await desk.approvals.ask(hold("a2", at=REQUEST.requested + 1))
        desk.approvals.cancel(ApprovalId("a2"), "enough")
        await trio.sleep(1)
        assert desk.approvals.objection(A1) is None
        desk.approvals.executed(A1, REQUEST.operation_hash, Outcome.OK, 1, 1)
        assert desk.approvals.objection(A1) == "who approved it is not known any more"


class SlowLog:
    """A log whose first record is on disk a while before anybody is told."""

    def __init__(self, log: Log) -> None:
        self.written, self.go_on = trio.Event(), trio.Event()
        self._log = log

    async def record(self, draft: Draft) -> Recorded:
        found = await self._log.record(draft)
        if not self.written.is_set():
            self.written.set()
            await self.go_on.wait()
        return found


@pytest.mark.parametrize("all_of_them", [True, False])
async def test_withdrawn_while_it_is_given_it_never_counts(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch, all_of_them: bool
) -> None:
    """Between the decision and the record of the grant somebody keeps the agent out, or takes the grant back."""
    async with open_desk() as desk, trio.open_nursery() as nursery:
        slow, refused = SlowLog(desk.log), []
        monkeypatch.setattr(desk.approvals._granting, "_log", slow)

        async def give() -> None:
            with pytest.raises(Refusal) as refusal:
                await approve(desk)
            refused.append(refusal.value.code)

        nursery.start_soon(give)
        await slow.written.wait()
        assert not let_through(desk)
        if all_of_them:
            await desk.approvals.withdraw_from(lambda who: who.subject == "agent-7", "erin", "leaked")
        else:
            await desk.approvals.withdraw(A1, "erin", "done")
        slow.go_on.set()
        await trio.sleep(1)
        assert refused == ["already_decided"]
        assert not let_through(desk)
        assert [each["outcome"] for each in grants_recorded(desk)] == ["given", "withdrawn"]


async def test_a_restart_ends_what_a_crash_left_once(tmp_path: Any) -> None:
    from approving import open_desk

    async with open_desk(tmp_path / "control") as desk:
        await approve(desk)
        await approve(desk, request=hold("a2", operation_hash="ab" * 32, sessions=("nightly",)), quoted="ab" * 32)
        await desk.approvals.withdraw(ApprovalId("a2"), "erin", "done")
    for left_open in (1, 0):
        left = left_over(tmp_path / "control", DiskStorage())
        assert [each.approval for each in left.grants] == ["a1"] * left_open
        async with open_desk(tmp_path / "control") as desk:
            await desk.approvals.end_left_over(left)
            assert not let_through(desk)
            assert desk.approvals.grants() == ()
    assert [(each["outcome"], each["by"]) for each in grants_recorded(desk)] == [
        ("given", "dana"), ("given", "dana"), ("withdrawn", "erin"), ("withdrawn", "gateway"),
    ]  # fmt: skip
