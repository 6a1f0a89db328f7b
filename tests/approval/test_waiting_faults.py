"""What waits when the disk fails, the log is opened anew or the gateway ends: it ends, and never with a yes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from approving import HASH, NOON, TrioClock, hold
from sides import A1, Session, approve, pending

from gateway.approval.restart import LeftOver, left_over
from gateway.control.messages import Refusal
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.journal import Journal
from gateway.evidence.storage import DiskStorage, SystemEntropy
from gateway.model import ApprovalId, DecisionKind, HoldState, LogName, Outcome

if TYPE_CHECKING:
    from conftest import OpenDesk


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
