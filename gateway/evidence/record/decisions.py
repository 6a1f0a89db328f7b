"""Records of what people decided, and what they looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.evidence.shown_effect import effect_content
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
        "asks": [{"reviewers": [text(one) for one in ask.reviewers], "count": ask.count} for ask in hold.asked],
    }
    if hold.effect is not None:
        payload["effect"] = effect_content(hold.effect)
    return Draft("decision", hold.session, fields=_held(hold, "requested"), payload=payload)


def _told(reason: str, receipt: Mapping[str, str | None] | None) -> dict[str, Json]:
    """A payload; `receipt` has the text, where the person signed `signature` and `signer`, and `countersignature`."""
    payload: dict[str, Json] = {"reason": text(reason)}
    payload |= {key: value for key, value in (receipt or {}).items() if value is not None}
    return payload


def escalated(hold: HoldRequest, reviewers: Sequence[str]) -> Draft:
    """Return that nobody had decided by a set time, so that others may too: decision `escalated`, and whom it names."""
    payload: dict[str, Json] = {"reviewers": [text(one) for one in reviewers]}
    return Draft("decision", hold.session, fields=_held(hold, "escalated"), payload=payload)


def agreed(
    hold: HoldRequest, *, approver: str, assurance: str, reason: str, receipt: Mapping[str, str | None] | None
) -> Draft:
    """Return one person's approval where others must approve too: a `decision` entry with decision `agreed`."""
    fields = _held(hold, "agreed")
    fields["approver"], fields["assurance"] = name(approver), assurance
    return Draft("decision", hold.session, fields=fields, payload=_told(reason, receipt))


def decision(
    hold: HoldRequest,
    kind: DecisionKind,
    *,
    approver: str | None,
    assurance: str | None,
    reason: str,
    receipt: Mapping[str, str | None] | None = None,
    break_glass: bool = False,
) -> Draft:
    """Return the end of a hold: by whom, how surely they were known, why, and the receipt where a person decided.

    `break_glass` stands in the entry itself, so that it stays when the payload is erased.
    """
    fields = _held(hold, kind.value)
    fields["approver"] = None if approver is None else name(approver)
    fields["assurance"] = assurance
    if break_glass:
        fields["break_glass"] = True
    return Draft("decision", hold.session, fields=fields, payload=_told(reason, receipt))


def executed(hold: HoldRequest, outcome: str, rows: int | None) -> Draft:
    """Return that the approved operation ran and ended; the worker's own log has its release and result."""
    fields: dict[str, Json] = {**_held(hold, "executed"), "outcome": outcome, "rows": rows}
    return Draft("decision", hold.session, fields=fields)


def grant(
    session: SessionInfo,
    approval: ApprovalId,
    rule: str,
    expires: str,
    quote: tuple[LogName, int, str],
    *,
    by: str = "",
    scope: str = "rule",
) -> Draft:
    """Return leave for a period that one decision gave (rule action `approve-session`), to the session's subject.

    `scope` is `rule` or `connection`; `by` is who gave it.
    """
    log, seq, chain = quote
    fields: dict[str, Json] = {"approval": approval, "rule": name(rule), "expires": expires, "outcome": "given"}
    fields |= {"scope": scope, "by": name(by), "quote": {"log": log, "seq": seq, "chain": chain}}
    return Draft("grant", session, fields=fields)


def grant_ended(session: SessionInfo, approval: ApprovalId, rule: str, how: str, by: str, reason: str) -> Draft:
    """Return the end of such leave; `how` is `withdrawn` or `expired`."""
    fields: dict[str, Json] = {"approval": approval, "rule": name(rule), "outcome": how, "by": name(by)}
    return Draft("grant", session, fields=fields, payload={"reason": text(reason)})


def access(who: str, what: str, reason: str) -> Draft:
    """Return that a person looked at evidence or originals; `what` names the session, record or export."""
    return Draft("access", fields={"who": name(who), "what": name(what)}, payload={"reason": text(reason)})
