"""Waiting on a jumping clock: what sessions get, what people see, and that the disk has it first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import trio
from approving import DANA, HASH, NOON, SECOND, TrioClock, hold, of

from gateway.approval.ledger import Approval, Decided
from gateway.approval.restart import LeftOver, left_over
from gateway.approval.waiting import Approvals
from gateway.control.messages import Refusal
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.journal import Journal
from gateway.evidence.storage import DiskStorage, SystemEntropy
from gateway.model import ApprovalId, Decision, DecisionKind, HoldRequest, HoldState, LogName, OperationHash, Outcome

if TYPE_CHECKING:
    from conftest import OpenDesk

A1 = ApprovalId("a1")


class Session:
    """A session that holds one operation in a task of its own."""

    def __init__(self, approvals: Approvals, request: HoldRequest) -> None:
        self.cancelled, self.gone, self.done = trio.Event(), trio.Event(), trio.Event()
        self.scope = trio.CancelScope()
        self.decision: Decision | None = None
        self.fault: Exception | None = None
        self._approvals, self._request = approvals, request

    async def run(self) -> None:
        with self.scope:
            try:
                self.decision = await self._approvals.hold(self._request, self.cancelled, self.gone)
            except EvidenceFault as fault:
                self.fault = fault
        self.done.set()

    async def told(self) -> Decision:
        await self.done.wait()
        assert self.decision is not None
        return self.decision


async def until(ready: Callable[[], bool]) -> None:
    """Let the others run until `ready`, which must not take long."""
    for _ in range(10_000):
        if ready():
            return
        await trio.lowlevel.checkpoint()
    raise AssertionError("it never happened")


async def pending(approvals: Approvals, approval: ApprovalId = A1) -> None:
    """Return once people can see it."""
    await until(lambda: any(each.id == approval for each in approvals.pending()))


async def approve(approvals: Approvals, approval: ApprovalId = A1, reason: str = "fine") -> None:
    await approvals.decide(approval, HASH[:8], DANA, DecisionKind.APPROVED, reason)


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


async def test_a_full_disk_ends_every_wait_and_nothing_is_approved(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        desk.disk.full = True
        with pytest.raises(EvidenceFault):
            await approve(desk.approvals)
        await session.done.wait()
        assert session.decision is None
        assert session.fault is not None
        assert [data["state"] for _, data, _ in desk.published] == ["pending"]
        with pytest.raises(EvidenceFault):
            await desk.approvals.hold(hold("a2"), trio.Event())


async def test_once_the_log_is_opened_anew_what_was_open_is_refused_and_new_holds_are_asked(
    open_desk: OpenDesk,
) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        desk.disk.full = True
        with pytest.raises(EvidenceFault):
            await desk.log.record(record.alarm(None, None, "test", "somebody else's"))
        desk.log.journal.close()
        desk.disk.full = False
        left = left_over(desk.directory, desk.disk)
        assert [one.approval for one in left.pending] == ["a1"]
        origin = desk.log.journal.log
        desk.log.journal = Journal.open(desk.directory, origin, desk.disk, TrioClock(), SystemEntropy())
        desk.approvals.resume(left)
        await session.done.wait()
        assert session.fault is not None
        again = Session(desk.approvals, hold("a2"))
        nursery.start_soon(again.run)
        await pending(desk.approvals, ApprovalId("a2"))
        await approve(desk.approvals, ApprovalId("a2"))
        assert (await again.told()).kind is DecisionKind.APPROVED
        assert desk.approvals.get(A1).state is HoldState.REFUSED
        assert desk.journal().count(b'"decision":"refused"') == 1
        assert not left_over(desk.directory, desk.disk).pending
        nursery.cancel_scope.cancel()


async def test_a_stopping_gateway_refuses_what_waits_and_what_comes(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        await desk.approvals.close("the gateway is stopping")
        decision = await session.told()
        assert (decision.kind, decision.reason) == (DecisionKind.REFUSED, "the gateway is stopping")
        assert decision.approver is None
        assert b'"decision":"refused"' in desk.journal()
        late = await desk.approvals.hold(hold("a2"), trio.Event())
        assert late.kind is DecisionKind.REFUSED
        with pytest.raises(Refusal) as refusal:
            await desk.approvals.ask(hold("a3"))
        assert refusal.value.code == "unavailable"


async def test_a_restart_refuses_what_the_former_process_left(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.approvals.ask(hold("a1", statement="DELETE FROM orders -- é"))
        await desk.approvals.ask(hold("a2", subject="agent-8"))
        await approve(desk.approvals, ApprovalId("a2"))
    (left,) = left_over(desk.directory, DiskStorage()).pending
    assert (left.approval, left.operation_hash, left.session.principal.subject) == ("a1", HASH, "agent-7")
    assert left.statement == "DELETE FROM orders -- é"
    assert left.requested == NOON
    async with open_desk() as desk:
        await desk.approvals.end_left_over(LeftOver((left,)))
        refused = desk.approvals.get(A1)
        assert (refused.state, refused.reason) == (HoldState.REFUSED, "the gateway restarted while this waited")
        event, data, _ = desk.published[-1]
        assert (event, data["state"], data["approver"]) == ("approval.changed", "refused", None)
        with pytest.raises(Refusal):
            await approve(desk.approvals)
        assert desk.approvals.claim(HASH, hold("x", subject="agent-8").session.principal) is None
    assert left_over(desk.directory, DiskStorage()).pending == ()


async def test_a_restart_says_what_became_of_what_was_approved(open_desk: OpenDesk) -> None:
    """Not used: cancelled. Released by a worker: it may have run, and nobody will know how it ended."""
    async with open_desk() as desk:
        for name in ("a1", "a2", "a3"):
            await desk.approvals.ask(hold(name, subject=f"agent-{name}"))
            await approve(desk.approvals, ApprovalId(name))
        request = hold("a3", subject="agent-a3")
        used = desk.approvals.claim(HASH, request.session.principal)
        assert used is not None
        desk.approvals.executed(used.approval, HASH, Outcome.OK, 1, 5)
        request = hold("a2", subject="agent-a2")
        used = desk.approvals.claim(HASH, request.session.principal)
        assert used is not None
        worker = desk.directory.parent / "w1"
        journal = Journal.open(worker, LogName("gw-1/w1"), DiskStorage(), TrioClock(), SystemEntropy())
        journal.append(record.release(request.session, 2, 1, used, HASH, "ab" * 32))
        journal.close()
        await desk.approvals.close()
    left = left_over(desk.directory, DiskStorage())
    assert [(one.request.approval, one.released) for one in left.approved] == [("a2", True)]
    async with open_desk() as desk:
        await desk.approvals.end_left_over(left)
        assert desk.approvals.get(ApprovalId("a2")).state is HoldState.EXECUTED
        assert b'"decision":"executed"' in desk.journal()
        assert b'"outcome":"lost"' in desk.journal()
    assert left_over(desk.directory, DiskStorage()) == LeftOver()


async def test_a_restart_cancels_what_was_approved_and_not_used(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        await desk.approvals.ask(hold("a1"))
        await approve(desk.approvals, A1)
    left = left_over(desk.directory, DiskStorage())
    assert [(one.request.approval, one.released) for one in left.approved] == [("a1", False)]
    assert left.approved[0].request.operation_hash == HASH
    async with open_desk() as desk:
        await desk.approvals.end_left_over(left)
        ended = desk.approvals.get(A1)
        assert (ended.state, ended.approver) == (HoldState.CANCELLED, None)
        assert ended.reason == "the gateway ended before the end of this was recorded"
        assert b'"decision":"cancelled"' in desk.journal()
    assert left_over(desk.directory, DiskStorage()) == LeftOver()


async def test_what_runs_while_the_log_is_opened_anew_is_still_its_sessions_to_end(open_desk: OpenDesk) -> None:
    async with open_desk() as desk:
        for name in ("a1", "a2"):
            await desk.approvals.ask(hold(name, subject=f"agent-{name}"))
            await approve(desk.approvals, ApprovalId(name))
        assert desk.approvals.claim(HASH, hold("x", subject="agent-a1").session.principal) is not None
        desk.disk.full = True
        with pytest.raises(EvidenceFault):
            await desk.log.record(record.alarm(None, None, "test", "somebody else's"))
        desk.log.journal.close()
        desk.disk.full = False
        origin = desk.log.journal.log
        left = left_over(desk.directory, desk.disk)
        desk.log.journal = Journal.open(desk.directory, origin, desk.disk, TrioClock(), SystemEntropy())
        desk.approvals.resume(left)
        desk.approvals.executed(A1, HASH, Outcome.OK, 1, 5)
        while desk.approvals.get(A1).state is HoldState.APPROVED:
            await trio.sleep(0.1)
        states = [desk.approvals.get(ApprovalId(name)).state for name in ("a1", "a2")]
        assert states == [HoldState.EXECUTED, HoldState.CANCELLED]
    assert left_over(desk.directory, DiskStorage()) == LeftOver()


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


async def test_a_log_that_others_broke_ends_every_wait(open_desk: OpenDesk) -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        session = Session(desk.approvals, hold())
        nursery.start_soon(session.run)
        await pending(desk.approvals)
        desk.disk.full = True
        with pytest.raises(EvidenceFault):
            await desk.log.record(record.access("dana", "s1", "why not"))
        with pytest.raises(EvidenceFault):
            desk.approvals.cancel(A1, "killed")
        await session.done.wait()
        assert session.fault is not None
        assert desk.approvals.get(A1).state is HoldState.PENDING
