"""Holding one session's operations for a person, and letting through exactly what was approved.

Promises: the request is on disk before anybody is asked; at the moment of forwarding the operation is hashed and
judged again, and any difference from what was shown refuses it; the release that quotes the decision is on disk
before the operation may be forwarded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import trio

from gateway.approval.operation_hash import OperationIdentity, operation_hash
from gateway.control.messages import Refusal
from gateway.evidence import record
from gateway.evidence.commit import GroupCommit
from gateway.evidence.journal import Ticket
from gateway.evidence.shown_effect import effect_digest
from gateway.model import (
    ApprovalId,
    Clock,
    Decision,
    DecisionKind,
    Draft,
    Entropy,
    Exact,
    HoldRequest,
    Impact,
    Micros,
    OperationHash,
    Outcome,
    SessionInfo,
    Statement,
    Verdict,
    VerdictKind,
    format_time,
)
from gateway.pgwire.actions import Analyse, Announce, Granted, Hold, Refused, Token
from gateway.pgwire.backend import Report, report
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.session import Session
from gateway.pgwire.transcript import show_value
from gateway.pipeline import Asked, HoldEnds
from gateway.worker.reviewing import Reviewing
from gateway.worker.withholding import Told

_REMIND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class HoldOptions:
    """How long, and whether the agent waits. Durations in microseconds."""

    timeout: int
    in_transaction_timeout: int
    waits: bool
    search_path: tuple[str, ...]
    salt: bytes


class Holding:
    """Holds the operations of one session."""

    def __init__(
        self,
        session: Session,
        info: SessionInfo,
        log: GroupCommit,
        approvals: Reviewing,
        append: Callable[[Draft, Told], Ticket],
        judge: Callable[[Analyse], Awaitable[Judgement]],
        notify: Callable[[Report], Awaitable[None]],
        why_not: Callable[[], Awaitable[str | None]],
        impact: Callable[[Hold], Awaitable[Impact]],
        options: HoldOptions,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._session, self._info, self._log, self._approvals = session, info, log, approvals
        self._append, self._judge, self._notify, self._why_not, self._options = append, judge, notify, why_not, options
        self._impact = impact
        self._clock, self._entropy = clock, entropy
        self._released: dict[int, tuple[ApprovalId, OperationHash]] = {}
        self._announced: dict[int, tuple[HoldRequest, Ticket]] = {}

    def adopt(self, info: SessionInfo) -> None:
        """The session goes on with a new token."""
        self._info = info

    def announce(self, action: Announce, told: Told, shown: Judgement) -> Ticket:
        """Give the request of what is about to run, before anybody is asked, its place in the journal."""
        request = self._hold_request(told, shown, self._hash(action, action.judgement))
        ticket = self._append(self._request(action.n, told, shown, request), told)
        self._announced[action.n] = (request, ticket)
        return ticket

    def ask_about(self, action: Hold) -> Asked:
        """Return the question about what was announced and ran, until its locks have been held too long."""
        request, ticket = self._announced.pop(action.n)
        now = self._clock.now()
        expires = Micros(min(now + self._options.in_transaction_timeout, self._info.principal.expires))
        asked = replace(request, requested=now, expires=expires, in_transaction=True, effect=action.effect)
        return Asked(action, asked, ticket)

    def ask(self, action: Hold, told: Told, shown: Judgement) -> Asked:
        """Give the request its place in the journal, at once, so that records stand in the order of their numbers.

        `told` is its statement as it may be recorded and shown, `shown` its judgement likewise.
        """
        principal = self._info.principal
        request = self._hold_request(told, shown, self._hash(action, action.judgement))
        claimed = self._claim(request)
        if claimed is not None:
            request = replace(request, approval=claimed.approval)
        elif not self._options.waits:
            known = self._approvals.open_for(request.operation_hash, principal)
            request = replace(request, approval=known or request.approval)
        ticket = self._append(self._request(action.n, told, shown, request), told)
        return Asked(action, request, ticket, claimed)

    def _claim(self, request: HoldRequest) -> Decision | None:
        """Return what lets the operation through at once: an approval of this very one, else leave for a period."""
        claimed = self._approvals.claim(request.operation_hash, self._info.principal)
        grant = self._approvals.granted(self._info.principal, self._info.connection, request.sessions)
        if claimed is not None or grant is None:
            return claimed
        return Decision(
            approval=grant.approval,
            kind=DecisionKind.APPROVED,
            operation_hash=request.operation_hash,
            approver=grant.by,
            assurance=grant.assurance,
            reason=grant.reason,
            quote=grant.quote,
            granted=True,
        )

    async def hold(self, asked: Asked, ends: HoldEnds) -> Granted | Refused:
        """Ask, wait, judge again. Raises `EvidenceFault` where something cannot be recorded."""
        action, request = asked.action, asked.request
        await self._log.durable(asked.ticket)
        if asked.claimed is not None:
            return await self._use(action, asked.claimed)
        if not self._options.waits and action.effect is None:
            return await self._send_away(action, request)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._remind, request)
            nursery.start_soon(self._weigh, action, request.approval)
            decision = await self._approvals.hold(request, ends.cancelled, ends.gone)
            nursery.cancel_scope.cancel()
        if decision.kind is DecisionKind.APPROVED:
            return await self._release(action, decision)
        return _refusal(decision)

    def ended(self, of: int, outcome: Outcome, rows: int, duration_us: int) -> None:
        """Tell reviewers how an approved operation ended; request `of` may be one or not."""
        self._announced.pop(of, None)
        released = self._released.pop(of, None)
        if released is not None:
            self._approvals.executed(*released, outcome, rows, duration_us)

    def abandon(self) -> None:
        """The session ends: what was approved and has no result yet is spent all the same."""
        for approval, _ in self._released.values():
            self._approvals.abandoned(approval, "the session ended before its result was known")
        self._released.clear()

    async def _use(self, action: Hold, claimed: Decision) -> Granted | Refused:
        """Let through what was approved before, or is granted for a period."""
        decision = claimed if claimed.granted else await self._approvals.confirmed(claimed, self._info.principal)
        if decision is None:
            detail = "its approval was used up, or ended, a moment ago"
            return Refused(Outcome.REFUSED, report("ERROR", "42501", "hoop: refused", detail=detail))
        return await self._release(action, decision)

    async def _weigh(self, action: Hold, approval: ApprovalId) -> None:
        """Find out for reviewers what the operation would do; nobody waits for it."""
        await self._approvals.opened(approval)
        self._approvals.weigh(approval, await self._impact(action))

    async def _send_away(self, action: Hold, request: HoldRequest) -> Refused:
        """The agent does not wait: it is told the approval's id, and sends the same statement again later."""
        try:
            approval = await self._approvals.ask(request)
        except Refusal as why_not:
            return Refused(Outcome.REFUSED, report("ERROR", "42501", "hoop: refused", detail=str(why_not)))
        if approval.id == request.approval:
            await self._weigh(action, approval.id)
        hint = (
            f"Wait with `hoop-gateway approvals wait {approval.id}`, then send the same statement again; "
            f"it runs once, until {format_time(approval.expires)}."
        )
        error = report("ERROR", "42501", "hoop: approval needed", detail=f"Approval: {approval.id}", hint=hint)
        return Refused(Outcome.CANCELLED, error)

    async def _release(self, action: Hold, decision: Decision) -> Granted | Refused:
        """Hash and judge what is about to be forwarded, as of now, and record the release.

        Before that the issuer is asked whether the token is still good: where it says no, or nothing, nothing runs.
        """
        why_not = await self._why_not()
        if why_not is not None:
            return self._spent(decision, why_not, "hoop: refused", why_not)
        again = await self._judge(Analyse(Token(0), action.statement, action.names))
        now_hash = self._hash(action, again)
        before, now = action.judgement.verdict, again.verdict
        milder = now.kind.strictness < VerdictKind.APPROVE.strictness  # a window has moved on
        asked = before if milder else now
        if before.effect and not (milder or now.effect):
            return self._spent(decision, "it must be held before it runs now", "hoop: changed while waiting")
        if action.effect is not None and not set(again.marks_in_reach) <= set(action.judgement.marks_in_reach):
            return self._spent(decision, "columns in its reach were marked meanwhile", "hoop: changed while waiting")
        if now_hash != decision.operation_hash or not (milder or _is_same(now, before)):
            return self._spent(decision, "what would run is no longer what was shown", "hoop: changed while waiting")
        if set(asked.asks) != set(before.asks) or set(asked.reviewers) != set(before.reviewers):
            return self._spent(decision, "other reviewers are asked for now", "hoop: changed while waiting")
        why_not = await self._approvals.speaks_against(decision.approval)  # asked last, right before the record
        if why_not is not None:
            return self._spent(decision, why_not, "hoop: refused", why_not)
        n = self._session.next_n()
        shown = None if action.effect is None else effect_digest(action.effect)
        draft = record.release(self._info, n, action.n, decision, now_hash, again.policy_hash, effect=shown)
        await self._log.record(draft)
        if not decision.granted:
            self._released[action.n] = (decision.approval, now_hash)
        elif await self._approvals.granted_now(self._info.principal, self._info.connection, asked.sessions) is None:
            why_not = "the grant was withdrawn, or its time is over"
            return self._spent(decision, why_not, "hoop: refused", why_not)
        # what a person said yes to may take more than its limit, whatever the window shows by now
        guard = action.judgement.guard if milder else again.guard
        return Granted(replace(again, guard=guard), decision, now_hash)

    def _spent(self, decision: Decision, why: str, words: str, detail: str | None = None) -> Refused:
        """Refuse what was approved; its approval is spent. A grant stays, for what it still covers."""
        if not decision.granted:
            self._approvals.abandoned(decision.approval, why)
        return Refused(Outcome.REFUSED, report("ERROR", "42501", words, detail=detail))

    def _hash(self, action: Hold | Announce, judgement: Judgement) -> OperationHash:
        info, names = self._info, action.names
        return operation_hash(
            OperationIdentity(
                statement=action.statement.sql,
                protocol=action.statement.protocol,
                issuer=info.principal.issuer,
                subject=info.principal.subject,
                connection=info.connection,
                target=info.target,
                role=info.target_role,
                search_path=self._options.search_path,
                parameters=action.statement.parameters,
                relations=judgement.definitions,
                behind=_behind(judgement, names.prepared, names.cursors),
                salt=self._options.salt,
            )
        )

    def _request(self, n: int, told: Told, judgement: Judgement, request: HoldRequest) -> Draft:
        return record.request(
            self._info,
            n,
            told.statement,
            judgement.verdict,
            judgement.policy_hash,
            operation_hash=request.operation_hash,
            approval=request.approval,
            touches_marks=judgement.touches_marks,
            predicate_touch=judgement.predicate_touch,
            withheld=len(told.values),
        )

    def _hold_request(self, told: Told, judgement: Judgement, operation: OperationHash) -> HoldRequest:
        now = self._clock.now()
        in_transaction = self._session.in_transaction
        timeout = self._options.in_transaction_timeout if in_transaction else self._options.timeout
        verdict = judgement.verdict
        exact = None if told.exact is None else Exact(_text(told.exact), _shown_parameters(told.exact))
        return HoldRequest(
            approval=new_approval_id(self._entropy),
            session=self._info,
            operation_hash=operation,
            statement=_text(told.statement),
            parameters=_shown_parameters(told.statement),
            operation=verdict.operation,
            rule=verdict.rule,
            reason=verdict.reason,
            reviewers=verdict.reviewers,
            requested=now,
            expires=Micros(min(now + timeout, self._info.principal.expires)),
            relations=judgement.relations,
            in_transaction=in_transaction,
            exact=exact,
            asks=verdict.asks,
            policy=judgement.policy_hash,
            sessions=verdict.sessions,
        )

    async def _remind(self, request: HoldRequest) -> None:
        deadline = format_time(request.expires)
        notice = report(
            "NOTICE",
            "00000",
            f"hoop: held for approval: {request.approval} until {deadline}",
            detail=f"Rule: {request.rule}",
        )
        await self._approvals.opened(request.approval)  # whoever reads the notice can look it up
        while True:
            await self._notify(notice)
            await trio.sleep(_REMIND_SECONDS)


def new_approval_id(entropy: Entropy) -> ApprovalId:
    """Return a fresh id, short enough to be typed."""
    return ApprovalId("ap-" + entropy.bytes(6).hex())


def _behind(judgement: Judgement, prepared: Mapping[str, bytes], cursors: Mapping[str, bytes]) -> dict[str, bytes]:
    """The texts behind names that the statement may run; all of them where it names any, so that none can change."""
    if not judgement.depends_on_state:
        return {}
    return {f"prepared {name}": sql for name, sql in prepared.items()} | {
        f"cursor {name}": sql for name, sql in cursors.items()
    }


def _text(statement: Statement) -> str:
    return statement.sql.decode("utf-8", "replace")


def _is_same(now: Verdict, before: Verdict) -> bool:
    """Whether a verdict still asks a person, by the same rule."""
    return now.kind is VerdictKind.APPROVE and now.rule == before.rule


def _shown_parameters(statement: Statement) -> tuple[str | None, ...]:
    return tuple(
        None if bound.value is None else show_value(bound.value, bound.type_oid, bound.format)
        for bound in statement.parameters
    )


def _refusal(decision: Decision) -> Refused:
    """What the agent is told of a hold that ended without an approval (INTERFACE.md)."""
    match decision.kind:
        case DecisionKind.EXPIRED:
            error = report("ERROR", "42501", "hoop: approval expired", detail=f"Approval: {decision.approval}")
            return Refused(Outcome.EXPIRED, error)
        case DecisionKind.CANCELLED:
            return Refused(Outcome.CANCELLED, report("ERROR", "57014", "canceling statement due to user request"))
        case _:
            detail = decision.reason or None
            return Refused(Outcome.REFUSED, report("ERROR", "42501", "hoop: refused", detail=detail))
