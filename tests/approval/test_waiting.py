"""Waiting on a jumping clock: what sessions get, what people see, and that the disk has it first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import trio
from approving import DANA, HASH, SECOND, hold, of
from sides import A1, Session, approve, pending, until

from gateway.approval.ledger import Approval, Decided
from gateway.approval.waiting import Approvals
from gateway.control.messages import Refusal
from gateway.model import Decision, DecisionKind, HoldState, OperationHash, Outcome

if TYPE_CHECKING:
    from conftest import OpenDesk


async def test_an_approved_operation_runs_once_and_quotes_its_record(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        await approve(desk.approvals)
        decision = await session.told()
        assert (decision.kind, decision.approver, decision.assurance) == (DecisionKind.APPROVED, "dana", "uid")
        assert decision.quote is not None
        line = desk.journal().split(b"\n")[decision.quote.seq]
        assert line.startswith(decision.quote.chain.encode())
        assert b'"decision":"approved"' in line
        desk.approvals.executed(A1, HASH, Outcome.OK, 3, 1500)
        await until(lambda: desk.approvals.get(A1).state is HoldState.EXECUTED)
        assert [(event, data["state"]) for event, data, _ in desk.published if data["state"] != "approved"] == [
            ("approval.pending", "pending"),
            ("approval.changed", "executed"),
        ]


async def test_nothing_is_seen_before_it_is_on_disk(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        await approve(desk.approvals)
        await session.told()
        (asked, _, at_asking), (_, approved, at_deciding) = desk.published[:2]
        assert asked == "approval.pending"
        assert b'"decision":"requested"' in at_asking
        assert approved["state"] == "approved"
        assert b'"decision":"approved"' in at_deciding


Act = Callable[[Session, Approvals], None]


@pytest.mark.parametrize(
    ("act", "kind", "reason", "waits"),
    [
        (lambda session, _: session.cancelled.set(), DecisionKind.CANCELLED, "cancelled by the agent", 0),
        (lambda session, _: session.gone.set(), DecisionKind.CANCELLED, "the agent hung up", 0),
        (lambda _, approvals: approvals.cancel(A1, "killed by dana"), DecisionKind.CANCELLED, "killed by dana", 0),
        (lambda *_: None, DecisionKind.EXPIRED, "nobody decided in time", 900),
    ],
    ids=["cancel", "hang up", "kill", "nobody"],
)
async def test_every_wait_ends(open_desk: OpenDesk, act: Act, kind: DecisionKind, reason: str, waits: int) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        began = trio.current_time()
        act(session, desk.approvals)
        decision = await session.told()
        assert (decision.kind, decision.reason) == (kind, reason)
        assert trio.current_time() - began == pytest.approx(waits, abs=1.5)
        with pytest.raises(Refusal) as refusal:
            await approve(desk.approvals)
        assert refusal.value.code == ("expired" if waits else "already_decided")


async def test_a_refusal_carries_the_reviewers_reason(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        await desk.approvals.decide(A1, None, DANA, DecisionKind.REFUSED, "  not \n today ")
        decision = await session.told()
        assert (decision.kind, decision.reason, decision.approver) == (DecisionKind.REFUSED, "not today", "dana")


async def test_a_session_that_is_cut_takes_its_request_along(open_desk: OpenDesk) -> None:
    async with open_desk(linger=300 * SECOND) as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        session.scope.cancel()
        await session.done.wait()
        assert (await desk.approvals.wait(A1)).state is HoldState.CANCELLED


async def test_after_a_hang_up_the_same_operation_is_approved_once(open_desk: OpenDesk) -> None:
    async with open_desk(linger=300 * SECOND) as desk, trio.open_nursery() as nursery:
        request = hold()
        session = Session(desk.approvals, request)
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        session.gone.set()
        assert (await session.told()).kind is DecisionKind.CANCELLED
        principal = request.session.principal
        assert desk.approvals.claim(HASH, principal) is None, "not decided yet"
        await approve(desk.approvals)
        somebody_else = of(request, subject="agent-8").session.principal
        assert desk.approvals.claim(HASH, somebody_else) is None
        assert desk.approvals.claim(OperationHash("0" * 64), principal) is None
        decision = desk.approvals.claim(HASH, principal)
        assert decision is not None
        assert decision.quote is not None
        assert desk.approvals.claim(HASH, principal) is None, "used up"


async def test_what_nobody_came_back_for_expires_with_the_linger_time(open_desk: OpenDesk) -> None:
    async with open_desk(linger=300 * SECOND) as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        session.gone.set()
        await session.told()
        await approve(desk.approvals)
        await trio.sleep(302)
        assert desk.approvals.claim(HASH, hold().session.principal) is None
        assert desk.approvals.get(A1).state is HoldState.EXPIRED


async def test_who_cannot_wait_asks_once_and_comes_back(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        asked = await desk.approvals.ask(hold("a1"))
        again = await desk.approvals.ask(hold("a2"))
        assert (asked.id, again.id) == ("a1", "a1")
        other = await desk.approvals.ask(hold("a3", subject="agent-8"))
        assert other.id == "a3"
        async with trio.open_nursery() as nursery:
            answers: list[str] = []

            async def wait() -> None:
                answers.append((await desk.approvals.wait(A1)).state)

            nursery.start_soon(wait)
            await approve(desk.approvals)
        assert answers == ["approved"]
        assert desk.approvals.claim(HASH, hold().session.principal) is not None


async def test_two_people_at_once_and_one_outcome(open_desk: OpenDesk) -> None:
    for _ in range(20):
        async with open_desk() as desk, trio.open_nursery() as nursery:
            session = Session(desk.approvals, hold())
            nursery.start_soon(session.run)
            await pending(desk.approvals)
            answers: list[str] = []

            async def decide(
                kind: DecisionKind, approvals: Approvals = desk.approvals, told: list[str] = answers
            ) -> None:
                try:
                    told.append((await approvals.decide(A1, HASH[:8], DANA, kind, "because")).state)
                except Refusal as refusal:
                    told.append(refusal.code)

            for kind in (DecisionKind.APPROVED, DecisionKind.REFUSED, DecisionKind.APPROVED):
                nursery.start_soon(decide, kind)
            nursery.start_soon(trio.sleep, 0)
            session.cancelled.set()
            decision = await session.told()
            await until(lambda told=answers: len(told) == 3)
            ends = [line for line in desk.journal().split(b"\n") if b'"kind":"decision"' in line][1:]
            first = decision.kind.value.encode()
            assert b'"decision":"' + first in ends[0] or (len(ends) == 2 and b'"decision":"' + first in ends[1])
            assert sum(b'"decision":"approved"' in line for line in ends) <= 1
            assert sum(b'"decision":"refused"' in line for line in ends) <= 1
            assert len([answer for answer in answers if answer in {"approved", "refused", "cancelled"}]) <= 1
        (desk.directory / "journal" / "00000001.tsv").unlink()


@pytest.mark.parametrize("reason", ["", " \n ", "x" * 1001, "a\x1b[31mb", "a\0b", "a\ud800b"])
async def test_a_reason_is_a_line_of_text(open_desk: OpenDesk, reason: str) -> None:
    async with open_desk() as desk:
        await desk.approvals.ask(hold())
        with pytest.raises(Refusal) as refusal:
            await approve(desk.approvals, reason=reason)
        assert refusal.value.code == "bad_request"
        assert desk.approvals.get(A1).state is HoldState.PENDING


async def test_an_approval_that_reaches_no_session_is_spent(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk(linger=300 * SECOND) as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        use = desk.approvals._holding.use

        def cut_at_the_last_moment(approval: Approval) -> Decision | None:
            session.scope.cancel()
            return use(approval)

        monkeypatch.setattr(desk.approvals._holding, "use", cut_at_the_last_moment)
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        await approve(desk.approvals)
        await session.done.wait()
        assert session.decision is None
        await until(lambda: desk.approvals.get(A1).state is not HoldState.APPROVED)
        assert (desk.approvals.get(A1).state, desk.approvals.get(A1).reason) == ("cancelled", "the session ended")
        assert desk.approvals.claim(HASH, hold().session.principal) is None


async def test_an_approval_is_not_taken_before_it_is_on_disk(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.approvals.ask(hold())
        desk.approvals._settling.step(Decided(A1, DecisionKind.APPROVED, DANA, "fine", HASH))
        assert desk.approvals.claim(HASH, hold().session.principal) is None
        await desk.approvals.wait(A1)
        assert desk.approvals.claim(HASH, hold().session.principal) is not None
