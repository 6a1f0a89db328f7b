"""The ledger against a model of its promises, by random histories: one outcome, one use, never by oneself or late."""

from __future__ import annotations

from dataclasses import replace

from approving import DANA, NOON, SECOND, hold
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from gateway.approval.ledger import (
    Abandoned,
    Approval,
    Cancelled,
    Changed,
    Decided,
    Event,
    Finished,
    Ledger,
    Left,
    Opened,
    Ran,
    Shut,
    Ticked,
    Used,
    step,
)
from gateway.approval.people import Approver, Terms, missing
from gateway.model import ApprovalId, Ask, DecisionKind, HoldState, Micros, OperationHash

OPEN = {HoldState.PENDING, HoldState.APPROVED}
GROUPS = {
    "dana": ("oncall",),
    "erin": ("oncall",),
    "dora": ("dba",),
    "bo": ("oncall", "dba"),
    "lee": ("leads",),
    "ira": ("incident",),
}
TERMS = Terms(120 * SECOND, ("group:leads",), ("group:incident", "group:oncall"), 10)
ASKS = [(), (Ask(("group:oncall",), 2),), (Ask(("group:oncall",)), Ask(("group:dba",)))]
APPROVERS = [
    DANA,
    Approver("erin", "sub-erin", ("oncall",), "uid"),
    Approver("dora", "sub-dora", ("dba",), "oidc"),
    Approver("bo", "sub-bo", ("oncall", "dba"), "signed"),
    Approver("once", "sub-once", ("oncall", "dba"), "signed", was_agent=True),
    Approver("mallory", "sub-mallory", ("sales",), "uid"),
    Approver("olga", "sub-olga", ("oncall",), "uid"),
    Approver("self", "agent-7", ("oncall", "leads", "incident"), "uid"),
    Approver("lee", "sub-lee", ("leads",), "oidc"),
    Approver("ira", "sub-ira", ("incident",), "oidc"),
    Approver("olga", "sub-olga", ("incident", "leads"), "signed"),
]
THEIRS = "theirs"
"""Stands for the hash of the operation itself."""
KINDS = [*[DecisionKind.APPROVED] * 4, *DecisionKind]
HASHES = ["deadbeef" * 8, "deadbeef" * 7 + "00000000", "0123456789abcdef" * 4]


class LedgerHistory(RuleBasedStateMachine):
    """Remembers, beside the ledger, what may never happen twice."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(terms=TERMS)
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
                self.by_the_right_people(after)
            assert before.terms == self.ledger.terms
            if after.state is HoldState.PENDING:
                assert len(after.votes) - len(was.votes) in {0, 1}
                assert not after.break_glass
                assert not after.votes or missing(after.request, after.votes), "enough approved, and it still waits"
            assert after.expires <= was.expires, "no deadline moves away"
            self.asked_of_the_right_people(was, after)

    def asked_of_the_right_people(self, was: Approval, after: Approval) -> None:
        """Whom it asks changes once at most, at its time, while pending; nothing else of the request ever does."""
        assert replace(after.request, asks=()) == replace(was.request, asks=())
        if after.escalated == was.escalated:
            assert after.request == was.request
            return
        assert (was.escalated, was.state, after.state) == (None, HoldState.PENDING, HoldState.PENDING)
        assert was.escalates is not None
        assert after.escalates is None
        assert was.escalates <= self.now < was.expires
        assert (after.escalated, after.votes) == (self.now, was.votes)
        assert [ask.count for ask in after.request.asked] == [ask.count for ask in was.request.asked]
        for ask, before in zip(after.request.asked, was.request.asked, strict=True):
            assert ask.reviewers == (*before.reviewers, "group:leads")

    def by_the_right_people(self, after: Approval) -> None:
        """Four eyes, said another way: count people and groups of an approval, without any matching."""
        leads = {"lee"} if after.escalated is not None else set()
        if after.state is HoldState.REFUSED:
            assert after.approver in {"dana", "erin", "dora", "bo", "olga"} | leads, "no agent, no stranger refuses"
            return
        people = {vote.approver.name for vote in after.votes}
        assert [vote.break_glass for vote in after.votes] == [*[False] * (len(after.votes) - 1), after.break_glass]
        if after.break_glass:
            assert after.votes[-1].approver.name in {"dana", "erin", "bo", "ira"}, "nobody else may break the glass"
            assert len(after.reason) >= 10
            people = {vote.approver.name for vote in after.votes[:-1]}
            assert people <= {"dana", "erin", "dora", "bo"} | leads
            return
        assert people <= {"dana", "erin", "dora", "bo"} | leads, "nobody else may approve"
        assert len(people) == len(after.votes) == sum(ask.count for ask in after.request.asked)
        assert after.approver == ", ".join(vote.approver.name for vote in after.votes)
        for ask in after.request.asks:
            members = {name for name in people if {f"group:{group}" for group in GROUPS[name]} & {*ask.reviewers}}
            assert len(members) >= ask.count

    @rule(
        target=ids,
        hash_=st.sampled_from(HASHES),
        seconds=st.integers(1, 900),
        waiting=st.booleans(),
        asks=st.sampled_from(ASKS),
    )
    def ask(self, hash_: str, seconds: int, waiting: bool, asks: tuple[Ask, ...]) -> ApprovalId:
        self.count += 1
        request = hold(f"a{self.count}", at=self.now, seconds=seconds, operation_hash=hash_, asks=asks)
        self.happen(Opened(request, waiting))
        return request.approval

    @rule(
        approval=ids,
        approver=st.sampled_from(APPROVERS),
        kind=st.sampled_from(KINDS),
        quoted=st.sampled_from([*[THEIRS] * 6, None, "deadbeef", "01234567", "deadbee", HASHES[1]]),
        newest=st.booleans(),
    )
    def decide(
        self, approval: ApprovalId, approver: Approver, kind: DecisionKind, quoted: str | None, newest: bool
    ) -> None:
        pending = self.ledger.pending()
        if newest and pending:
            approval = max(pending, key=lambda each: int(each.id[1:])).id
        known = self.ledger.approvals.get(approval)
        if quoted == THEIRS and known is not None:
            quoted = known.request.operation_hash
        self.happen(Decided(approval, kind, approver, "because", quoted))

    @rule(
        approval=ids,
        subject=st.sampled_from(["agent-7", "agent-7", "agent-8"]),
        hash_=st.sampled_from([THEIRS, *HASHES]),
        approved=st.booleans(),
    )
    def use(self, approval: ApprovalId, subject: str, hash_: str, approved: bool) -> None:
        waiting = [each for each in self.ledger.approvals.values() if each.state is HoldState.APPROVED]
        if approved and waiting:
            approval = waiting[-1].id
        known = self.ledger.approvals.get(approval)
        if hash_ == THEIRS and known is not None:
            hash_ = known.request.operation_hash
        event = Used(approval, OperationHash(hash_), "https://idp.example/realms/prod", subject)
        held = self.ledger.approvals.get(approval)
        uses = len(self.used)
        self.happen(event)
        if len(self.used) > uses:
            assert held is not None
            assert subject == "agent-7"
            assert hash_ == held.request.operation_hash

    @rule(approval=ids, hash_=st.sampled_from([THEIRS, *HASHES]), running=st.booleans())
    def finish(self, approval: ApprovalId, hash_: str, running: bool) -> None:
        used = [each for each in self.ledger.approvals.values() if each.used and each.state is HoldState.APPROVED]
        if running and used:
            approval = used[-1].id
        known = self.ledger.approvals.get(approval)
        if hash_ == THEIRS and known is not None:
            hash_ = known.request.operation_hash
        self.happen(Finished(approval, Ran(OperationHash(hash_), "ok", 1, 1)))

    @rule(approver=st.sampled_from(APPROVERS))
    def approve_what_waits(self, approver: Approver) -> None:
        """The ordinary course, which random choices seldom find."""
        for each in self.ledger.pending()[:1]:
            quoted = each.request.operation_hash
            self.happen(Decided(each.id, DecisionKind.APPROVED, approver, "because", quoted))

    @rule(approver=st.sampled_from(APPROVERS), reason=st.sampled_from(["short", "the site is down"]))
    def break_the_glass(self, approver: Approver, reason: str) -> None:
        for each in self.ledger.pending()[:1]:
            quoted = each.request.operation_hash
            self.happen(Decided(each.id, DecisionKind.APPROVED, approver, reason, quoted, break_glass=True))

    @rule(ends=st.booleans())
    def run_what_is_approved(self, ends: bool) -> None:
        for each in [one for one in self.ledger.approvals.values() if one.state is HoldState.APPROVED][:1]:
            hash_, principal = each.request.operation_hash, each.request.session.principal
            self.happen(Used(each.id, hash_, principal.issuer, principal.subject))
            if ends:
                self.happen(Finished(each.id, Ran(hash_, "ok", 1, 1)))

    @rule(approval=ids)
    def abandon(self, approval: ApprovalId) -> None:
        self.happen(Abandoned(approval, "changed while waiting"))

    @rule(approval=ids)
    def cancel(self, approval: ApprovalId) -> None:
        self.happen(Cancelled(approval, "cancelled"))

    @rule(approval=ids, linger=st.integers(0, 600))
    def leave(self, approval: ApprovalId, linger: int) -> None:
        self.happen(Left(approval, linger * SECOND))

    @rule(seconds=st.sampled_from([-5, 0, 1, 30, 30, 400]))
    def time(self, seconds: int) -> None:
        self.now = Micros(self.now + seconds * SECOND)
        self.happen(Ticked())

    @rule(sure=st.integers(0, 99))
    def stop(self, sure: int) -> None:
        if sure == 99:
            self.happen(Shut("stopping"))
            assert not any(each.open for each in self.ledger.approvals.values())

    @invariant()
    def nothing_pending_is_overdue_after_a_tick(self) -> None:
        after, _ = step(self.ledger, Ticked(), self.now)
        due = after.next_change()
        assert due is None or due > self.now

    @invariant()
    def nothing_is_pending_and_decided(self) -> None:
        for each in self.ledger.pending():
            assert each.approver is None
            assert not each.used
            assert replace(each, waiting=True).ran is None


LedgerHistory.TestCase.settings = settings(max_examples=600, stateful_step_count=50, database=None)
TestLedgerHistory = LedgerHistory.TestCase
