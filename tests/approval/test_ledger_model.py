"""The ledger against a model of its promises, by random histories: one outcome, one use, never by oneself or late."""

from __future__ import annotations

from dataclasses import replace

from approving import DANA, NOON, SECOND, hold
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from gateway.approval.ledger import (
    Abandoned,
    Approver,
    Cancelled,
    Changed,
    Decided,
    Event,
    Finished,
    HoldState,
    Ledger,
    Left,
    Opened,
    Ran,
    Shut,
    Ticked,
    Used,
    step,
)
from gateway.model import ApprovalId, DecisionKind, Micros, OperationHash

OPEN = {HoldState.PENDING, HoldState.APPROVED}
APPROVERS = [
    DANA,
    Approver("erin", "sub-erin", ("oncall",), "uid"),
    Approver("mallory", "sub-mallory", ("sales",), "uid"),
    Approver("olga", "sub-olga", ("oncall",), "uid"),
    Approver("self", "agent-7", ("oncall",), "uid"),
]
HASHES = ["deadbeef" * 8, "deadbeef" * 7 + "00000000", "0123456789abcdef" * 4]


class LedgerHistory(RuleBasedStateMachine):
    """Remembers, beside the ledger, what may never happen twice."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.now = NOON
        self.count = 0
        self.decided: dict[ApprovalId, HoldState] = {}
        self.used: set[ApprovalId] = set()
        self.ended: set[ApprovalId] = set()

    def happen(self, event: Event) -> None:
        before = self.ledger
        self.ledger, effects = step(before, event, self.now)
        changed = [effect for effect in effects if isinstance(effect, Changed)]
        if not changed:
            assert self.ledger == before
        for effect in changed:
            after, was = effect.approval, before.approvals.get(effect.approval.id)
            assert effect.before == (was.state if was else None)
            assert after.id not in self.ended, "what ended stays as it is"
            if after.state not in OPEN:
                self.ended.add(after.id)
            if was is None:
                continue
            if after.used and not was.used:
                assert after.id not in self.used, "an approval is used once"
                assert was.state is HoldState.APPROVED
                assert self.now < was.expires
                self.used.add(after.id)
            if after.state is HoldState.EXECUTED:
                assert was.used
                assert after.ran is not None
                assert after.ran.executed_hash == after.request.operation_hash
            if (
                after.state in {HoldState.APPROVED, HoldState.REFUSED}
                and was.state is not after.state
                and after.approver
            ):
                assert was.state is HoldState.PENDING
                assert self.now < was.expires
                assert after.approver in {"dana", "erin"}, "nobody else may decide"
            assert after.expires <= was.expires, "no deadline moves away"
            assert after.request == was.request

    @rule(target=ids, hash_=st.sampled_from(HASHES), seconds=st.integers(1, 900), waiting=st.booleans())
    def ask(self, hash_: str, seconds: int, waiting: bool) -> ApprovalId:
        self.count += 1
        request = hold(f"a{self.count}", at=self.now, seconds=seconds, operation_hash=hash_)
        self.happen(Opened(request, waiting))
        return request.approval

    @rule(
        approval=ids,
        approver=st.sampled_from(APPROVERS),
        kind=st.sampled_from(DecisionKind),
        quoted=st.sampled_from([None, "deadbeef", "01234567", "deadbee", HASHES[0], HASHES[1]]),
    )
    def decide(self, approval: ApprovalId, approver: Approver, kind: DecisionKind, quoted: str | None) -> None:
        self.happen(Decided(approval, kind, approver, "because", quoted))

    @rule(approval=ids, subject=st.sampled_from(["agent-7", "agent-8"]), hash_=st.sampled_from(HASHES))
    def use(self, approval: ApprovalId, subject: str, hash_: str) -> None:
        event = Used(approval, OperationHash(hash_), "https://idp.example/realms/prod", subject)
        held = self.ledger.approvals.get(approval)
        uses = len(self.used)
        self.happen(event)
        if len(self.used) > uses:
            assert held is not None
            assert subject == "agent-7"
            assert hash_ == held.request.operation_hash

    @rule(approval=ids, hash_=st.sampled_from(HASHES))
    def finish(self, approval: ApprovalId, hash_: str) -> None:
        self.happen(Finished(approval, Ran(OperationHash(hash_), "ok", 1, 1)))

    @rule(approval=ids)
    def abandon(self, approval: ApprovalId) -> None:
        self.happen(Abandoned(approval, "changed while waiting"))

    @rule(approval=ids)
    def cancel(self, approval: ApprovalId) -> None:
        self.happen(Cancelled(approval, "cancelled"))

    @rule(approval=ids, linger=st.integers(0, 600))
    def leave(self, approval: ApprovalId, linger: int) -> None:
        self.happen(Left(approval, linger * SECOND))

    @rule(seconds=st.integers(-5, 400))
    def time(self, seconds: int) -> None:
        self.now = Micros(self.now + seconds * SECOND)
        self.happen(Ticked())

    @rule(sure=st.integers(0, 19))
    def stop(self, sure: int) -> None:
        if sure == 0:
            self.happen(Shut("stopping"))
            assert not any(each.open for each in self.ledger.approvals.values())

    @invariant()
    def nothing_pending_is_overdue_after_a_tick(self) -> None:
        after, _ = step(self.ledger, Ticked(), self.now)
        due = after.next_expiry()
        assert due is None or due > self.now

    @invariant()
    def nothing_is_pending_and_decided(self) -> None:
        for each in self.ledger.pending():
            assert each.approver is None
            assert not each.used
            assert replace(each, waiting=True).ran is None


LedgerHistory.TestCase.settings = settings(max_examples=300, stateful_step_count=50)
TestLedgerHistory = LedgerHistory.TestCase
