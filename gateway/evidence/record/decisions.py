"""Records of what people decided, and what they looked at."""

from __future__ import annotations

from gateway.evidence.values import name, text
from gateway.model import (
    ApprovalId,
    DecisionKind,
    Draft,
    HoldRequest,
    Json,
    LogName,
    SessionInfo,
    format_time,
)


def _held(hold: HoldRequest, decision_word: str) -> dict[str, Json]:
    return {
        "approval": hold.approval,
        "decision": decision_word,
        "oh": hold.operation_hash,
        "op": hold.operation,
        "rule": name(hold.rule),
        "requested": format_time(hold.requested),
        "expires": format_time(hold.expires),
    }


def requested(hold: HoldRequest) -> Draft:
    """Return the question put to reviewers: a `decision` entry with decision `requested`, and what they are shown."""
    payload: dict[str, Json] = {
        "sql": text(hold.statement),
        "parameters": [None if one is None else text(one) for one in hold.parameters],
        "reason": text(hold.reason),
        "reviewers": [text(one) for one in hold.reviewers],
        "relations": [text(one) for one in hold.relations],
        "in_transaction": hold.in_transaction,
    }
    return Draft("decision", hold.session, fields=_held(hold, "requested"), payload=payload)


def decision(
    hold: HoldRequest, kind: DecisionKind, *, approver: str | None, assurance: str | None, reason: str
) -> Draft:
    """Return the end of a hold: by whom, how surely they were known, and why."""
    fields = _held(hold, kind.value)
    fields["approver"] = None if approver is None else name(approver)
    fields["assurance"] = assurance
    return Draft("decision", hold.session, fields=fields, payload={"reason": text(reason)})


def grant(
    session: SessionInfo, approval: ApprovalId, rule: str, expires: str, quote: tuple[LogName, int, str]
) -> Draft:
    """Return leave for a whole session that one decision gave (rule action `approve-session`)."""
    log, seq, chain = quote
    fields: dict[str, Json] = {"approval": approval, "rule": name(rule), "expires": expires}
    return Draft("grant", session, fields={**fields, "quote": {"log": log, "seq": seq, "chain": chain}})


def access(who: str, what: str, reason: str) -> Draft:
    """Return that a person looked at evidence or originals; `what` names the session, record or export."""
    return Draft("access", fields={"who": name(who), "what": name(what)}, payload={"reason": text(reason)})
