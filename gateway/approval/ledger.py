"""The approval ledger: a pure state machine over everything that waits for a person.

`step(ledger, event, now)` promises: each held operation gets exactly one outcome; what is decided stays decided; an
approval is used at most once, by the identity that asked and for the hash that was shown, and not after it expired;
who may decide is `gateway.approval.people`'s word. It is total: an event that does not fit yields `Rejected` and
changes nothing but what time alone did. Memory is bounded. It never reads a clock, waits, or writes;
`gateway.approval.waiting` does.

    pending -> pending (some approved, others asked too) -> approved -> executed        pending -> refused
    pending | approved -> expired          pending | approved -> cancelled
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.approval.events import (
    Abandoned,
    Approval,
    Cancelled,
    Changed,
    Decided,
    Effect,
    Event,
    Finished,
    Left,
    Opened,
    Ran,
    Rejected,
    Shut,
    Ticked,
    Used,
    Weighed,
)
from gateway.approval.people import (
    Approver,
    Terms,
    Vote,
    may_approve,
    may_break_glass,
    may_refuse,
    missing,
    weakest,
    widened,
)
from gateway.model import ApprovalId, DecisionKind, HoldRequest, HoldState, Micros, OperationHash

__all__ = [
    "Abandoned",
    "Approval",
    "Approver",
    "Cancelled",
    "Changed",
    "Decided",
    "Effect",
    "Event",
    "Finished",
    "Ledger",
    "Left",
    "Opened",
    "Ran",
    "Rejected",
    "Shut",
    "Terms",
    "Ticked",
    "Used",
    "Weighed",
    "step",
]

HASH_DIGITS = 8
"""Fewest hex digits of the operation hash that an approval must quote."""
MAX_OPEN = 500
MAX_OPEN_PER_SUBJECT = 50
MAX_OPEN_CHARACTERS = 32 * 2**20
MAX_CLOSED = 500
MAX_CLOSED_CHARACTERS = 8 * 2**20
"""Bounds of the ledger. An agent cannot fill memory with questions; the evidence keeps what is dropped here."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All approvals that are open or were closed lately, by id, oldest first."""

    approvals: Mapping[ApprovalId, Approval] = field(default_factory=dict)
    terms: Terms = field(default_factory=Terms)

    def pending(self) -> tuple[Approval, ...]:
        """Return what waits for a person, the soonest to expire first."""
        found = [each for each in self.approvals.values() if each.state is HoldState.PENDING]
        return tuple(sorted(found, key=lambda each: (each.expires, each.id)))

    def next_change(self) -> Micros | None:
        """Return when `Ticked` will change something next."""
        ends = [each.expires for each in self.approvals.values() if _runs_out(each)]
        ends += [each.escalates for each in self.approvals.values() if each.escalates is not None]
        return min(ends, default=None)

    def usable(self, operation_hash: OperationHash, issuer: str, subject: str) -> Approval | None:
        """Find what this identity already asked for this very operation without waiting: approved, else pending."""
        found: Approval | None = None
        for each in self.approvals.values():
            principal = each.request.session.principal
            asked = (each.request.operation_hash, principal.issuer, principal.subject)
            if asked == (operation_hash, issuer, subject) and each.open and not each.waiting:
                if each.state is HoldState.APPROVED:
                    return each
                found = found or each
        return found


def step(ledger: Ledger, event: Event, now: Micros) -> tuple[Ledger, tuple[Effect, ...]]:
    """Apply one event at time `now`; returns the new ledger and what came of it, in order."""
    match event:
        case Opened():
            return _open(ledger, event, now)
        case Ticked():
            changed = (_by_time(each, ledger.terms, now) for each in ledger.approvals.values())
            return _apply(ledger, [each for each in changed if each is not None])
        case Shut(why):
            left = [each for each in ledger.approvals.values() if each.open]
            return _apply(ledger, [_closed(each, HoldState.REFUSED, now, why) for each in left])
        case Weighed() | Decided() | Cancelled() | Left() | Used() | Finished() | Abandoned():
            approval = ledger.approvals.get(event.approval)
            if approval is None:
                return ledger, (Rejected("not_found", "no such approval; it may have been decided long ago"),)
            return _one(ledger, approval, event, now)


def _one(
    ledger: Ledger,
    approval: Approval,
    event: Weighed | Decided | Cancelled | Left | Used | Finished | Abandoned,
    now: Micros,
) -> tuple[Ledger, tuple[Effect, ...]]:
    """Apply an event about one known approval."""
    if approval.open and approval.expires <= now:
        after, effects = _apply(ledger, [_expired(approval, now)])
        return after, (*effects, _too_late(HoldState.EXPIRED))
    risen = _by_time(approval, ledger.terms, now)
    if risen is not None and risen.escalated is not None:  # whoever decides at that very moment does so after it
        after, effects = _apply(ledger, [risen])
        after, more = _one(after, risen, event, now)
        return after, (*effects, *more)
    match event:
        case Decided():
            outcome = _decide(approval, event, ledger.terms, now)
        case Weighed(_, impact) if approval.open:
            outcome = replace(approval, impact=impact)
        case Cancelled(_, why) if approval.open:
            outcome = _closed(approval, HoldState.CANCELLED, now, why)
        case Left(_, linger) if approval.open and approval.waiting and linger > 0:
            outcome = replace(approval, waiting=False, expires=min(approval.expires, Micros(now + linger)))
        case Left() if approval.open and approval.waiting:
            outcome = _closed(approval, HoldState.CANCELLED, now, "the agent hung up")
        case Used():
            outcome = _use(approval, event)
        case Finished(_, ran) if _in_use(approval):
            if ran.executed_hash == approval.request.operation_hash:
                outcome = replace(approval, state=HoldState.EXECUTED, ran=ran)
            else:
                outcome = Rejected("stale_hash", "what ran is not what was approved")
        case Abandoned(_, why) if _in_use(approval):
            outcome = _closed(approval, HoldState.CANCELLED, now, why)
        case _:
            outcome = _too_late(approval.state)
    if isinstance(outcome, Rejected):
        return ledger, (outcome,)
    return _apply(ledger, [outcome])


def _open(ledger: Ledger, event: Opened, now: Micros) -> tuple[Ledger, tuple[Effect, ...]]:
    request = event.request
    if request.approval in ledger.approvals:
        return ledger, (Rejected("bad_request", "this approval exists already"),)
    if _deadline(request) <= now:
        return ledger, (Rejected("expired", "the time to decide is over already"),)
    others = [each for each in ledger.approvals.values() if each.open]
    principal = request.session.principal
    own = [each for each in others if each.request.session.principal.subject == principal.subject]
    characters = len(request.statement) + sum(len(each.request.statement) for each in others)
    if len(own) >= MAX_OPEN_PER_SUBJECT:
        return ledger, (Rejected("unavailable", "too many operations of this agent wait for a decision already"),)
    if len(others) >= MAX_OPEN or characters > MAX_OPEN_CHARACTERS:
        return ledger, (Rejected("unavailable", "too many operations wait for a decision already"),)
    deadline, after = _deadline(request), ledger.terms.escalate_after
    due = None if after is None or now + after >= deadline else Micros(now + after)
    return _apply(ledger, [Approval(request, HoldState.PENDING, deadline, event.waiting, escalates=due)])


def _deadline(request: HoldRequest) -> Micros:
    """A hold never outlives the token of who asked."""
    return min(request.expires, request.session.principal.expires)


def _decide(approval: Approval, event: Decided, terms: Terms, now: Micros) -> Approval | Rejected:
    if approval.state is not HoldState.PENDING:
        return _too_late(approval.state)
    quoted = event.hash_prefix
    if quoted is None and event.kind is DecisionKind.APPROVED:
        return Rejected("bad_request", "an approval must quote the operation's hash")
    if quoted is not None and (len(quoted) < HASH_DIGITS or not set(quoted) <= set("0123456789abcdef")):
        return Rejected("bad_request", f"the hash is {HASH_DIGITS} lower-case hex digits or more")
    if quoted is not None and not approval.request.operation_hash.startswith(quoted):
        return Rejected("stale_hash", "this is not the hash of the operation that waits; look at it again")
    if not event.reason:
        return Rejected("bad_request", "a decision needs a reason")
    if event.leave is not None and not approval.request.sessions:
        return Rejected("bad_request", "only a rule with action approve-session lets a period be granted")
    if event.break_glass:
        return _break_glass(approval, event, terms, now)
    if event.kind is DecisionKind.APPROVED:
        return _approve(approval, event, now)
    if event.kind is not DecisionKind.REFUSED:
        return Rejected("bad_request", "a person approves or refuses")
    why_not = may_refuse(event.approver, approval.request)
    if why_not is not None:
        return Rejected("forbidden", why_not)
    return replace(
        approval,
        state=HoldState.REFUSED,
        approver=event.approver.name,
        assurance=event.approver.assurance,
        decided=now,
        reason=event.reason,
        receipt=event.receipt,
        escalates=None,
    )


def _approve(approval: Approval, event: Decided, now: Micros) -> Approval | Rejected:
    """Count one person's approval; it is approved once nobody else is asked for."""
    why_not = may_approve(event.approver, approval.request, approval.votes)
    if why_not is not None:
        return Rejected("forbidden", why_not)
    votes = (*approval.votes, Vote(event.approver, now, event.reason, event.receipt, event.leave))
    if missing(approval.request, votes):
        return replace(approval, votes=votes)
    return _approved(approval, votes)


def _break_glass(approval: Approval, event: Decided, terms: Terms, now: Micros) -> Approval | Rejected:
    """Approve in the place of everybody who is missing, where that is this person's to do."""
    if event.kind is not DecisionKind.APPROVED or event.leave is not None:
        return Rejected("bad_request", "breaking the glass lets one operation run, once, and nothing else")
    why_not = may_break_glass(event.approver, approval.request, terms.break_glass)
    if why_not is not None:
        return Rejected("forbidden", why_not)
    if len(event.reason) < terms.break_glass_reason:
        return Rejected("bad_request", f"breaking the glass needs a reason of {terms.break_glass_reason} characters")
    own = Vote(event.approver, now, event.reason, event.receipt)
    ordinary = may_approve(event.approver, approval.request, approval.votes) is None
    if ordinary and not missing(approval.request, (*approval.votes, own)):
        return Rejected("bad_request", "your own approval is all that is missing: approve it the ordinary way")
    return _approved(approval, (*approval.votes, replace(own, break_glass=True)))


def _approved(approval: Approval, votes: tuple[Vote, ...]) -> Approval:
    """Approved by all of `votes`; the last of them ended it."""
    last = votes[-1]
    return replace(
        approval,
        state=HoldState.APPROVED,
        approver=", ".join(dict.fromkeys(vote.approver.name for vote in votes)),
        assurance=weakest(votes),
        decided=last.at,
        reason=last.reason,
        votes=votes,
        receipt=last.receipt,
        escalates=None,
        break_glass=last.break_glass,
    )


def _use(approval: Approval, event: Used) -> Approval | Rejected:
    principal = approval.request.session.principal
    if approval.state is not HoldState.APPROVED or approval.used:
        return _too_late(approval.state)
    if (principal.issuer, principal.subject) != (event.issuer, event.subject):
        return Rejected("forbidden", "somebody else asked for this operation")
    if approval.request.operation_hash != event.operation_hash:
        return Rejected("stale_hash", "this is not the operation that was approved")
    return replace(approval, used=True, waiting=False)


def _too_late(state: HoldState) -> Rejected:
    if state is HoldState.EXPIRED:
        return Rejected("expired", "the time to decide is over: this approval expired")
    return Rejected("already_decided", f"this approval is {state.value} already")


def _in_use(approval: Approval) -> bool:
    return approval.state is HoldState.APPROVED and approval.used


def _runs_out(approval: Approval) -> bool:
    """Whether time alone ends it; an approved operation whose session is about to take it is that session's to end."""
    return approval.open and not (approval.state is HoldState.APPROVED and approval.waiting)


def _by_time(approval: Approval, terms: Terms, now: Micros) -> Approval | None:
    """Return what time alone made of an approval, None where nothing."""
    if _runs_out(approval) and approval.expires <= now:
        return _expired(approval, now)
    if approval.escalates is not None and approval.escalates <= now:
        return replace(
            approval,
            request=widened(approval.request, terms.escalate_to),
            escalates=None,
            escalated=now,
            escalated_to=terms.escalate_to,
        )
    return None


def _expired(approval: Approval, now: Micros) -> Approval:
    if approval.state is HoldState.APPROVED:
        return _closed(approval, HoldState.EXPIRED, now, "approved, but not used in time")
    return _closed(approval, HoldState.EXPIRED, now, "nobody decided in time")


def _closed(approval: Approval, state: HoldState, now: Micros, why: str) -> Approval:
    """Closed by the gateway itself, so by nobody's name, whoever had approved before."""
    return replace(
        approval,
        state=state,
        waiting=False,
        approver=None,
        assurance=None,
        decided=now,
        reason=why,
        receipt=None,
        escalates=None,
    )


def _apply(ledger: Ledger, changed: list[Approval]) -> tuple[Ledger, tuple[Effect, ...]]:
    if not changed:
        return ledger, ()
    approvals = dict(ledger.approvals)
    effects: list[Effect] = []
    for approval in changed:
        former = approvals.get(approval.id)
        if not approval.open:  # nobody decides about it any more: the gateway keeps nothing that is withheld
            approval = replace(approval, request=replace(approval.request, exact=None))  # noqa: PLW2901  the same one
        approvals[approval.id] = approval
        voted = former is not None and approval.state is HoldState.PENDING and len(approval.votes) > len(former.votes)
        vote = approval.votes[-1] if voted else None
        escalated = former is not None and former.escalated is None and approval.escalated is not None
        effects.append(Changed(former.state if former else None, approval, vote, escalated))
    _forget(approvals)
    return replace(ledger, approvals=approvals), tuple(effects)


def _forget(approvals: dict[ApprovalId, Approval]) -> None:
    """Drop the oldest closed approvals beyond the bounds; one in use is not over, and its votes are asked for yet."""
    closed = [each for each in approvals.values() if not each.open and not _in_use(each)]
    characters = sum(len(each.request.statement) for each in closed)
    surplus = len(closed) - MAX_CLOSED
    for each in sorted(closed, key=lambda one: (one.decided or 0, one.id)):
        if surplus <= 0 and characters <= MAX_CLOSED_CHARACTERS:
            return
        del approvals[each.id]
        surplus -= 1
        characters -= len(each.request.statement)
