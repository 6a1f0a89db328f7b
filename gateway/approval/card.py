"""What people are shown of a held operation: the approval object of the control protocol. Pure.

The object always fits into one frame, whatever the agent wrote: the statement is cut, and the object says so; a cut
statement is a warning, since nobody can judge what they cannot see. Text is passed as it is: terminals are protected
where text meets them (`gateway.cli.output`, the console's border).
"""

from __future__ import annotations

import ipaddress
import json

from gateway.approval.events import Approval
from gateway.approval.people import missing
from gateway.control.messages import MAX_FRAME, STATEMENT_IN_LISTS
from gateway.evidence.shown_effect import effect_content, effect_digest
from gateway.model import Json, format_time

WHOLE = MAX_FRAME * 2 // 5
"""Bytes of JSON that a statement may take in `approvals.get`."""
PARAMETERS = 50
PARAMETER_CHARACTERS = 1_000
ITEMS = 50
TEXT = 1_000
"""Bounds of everything else that an agent can make long: with every character escaped (6 bytes) it fits a frame."""


def card(approval: Approval, *, whole: bool = False) -> dict[str, Json]:
    """Return the approval object; `whole` asks for as much of the statement as a frame holds."""
    request, session = approval.request, approval.request.session
    principal = session.principal
    statement = _cut(request.statement, WHOLE) if whole else request.statement[:STATEMENT_IN_LISTS]
    cut = len(statement) < len(request.statement)
    parameters = request.parameters[: PARAMETERS if whole else 10]
    limit = PARAMETER_CHARACTERS if whole else 200
    result: dict[str, Json] | None = None
    if approval.ran is not None:
        result = {
            "outcome": approval.ran.outcome,
            "rows": approval.ran.rows,
            "duration_us": approval.ran.duration_us,
            "executed_hash": approval.ran.executed_hash,
        }
    shown: dict[str, Json] = {
        "id": approval.id,
        "hash": request.operation_hash,
        "state": approval.state.value,
        "subject": principal.subject,
        "issuer": principal.issuer,
        "owner": principal.owner,
        "connection": session.connection,
        "target": session.target,
        "role": session.target_role,
        "session_id": session.id,
        "user": session.user[:TEXT],
        "application": session.application[:TEXT],
        "statement": statement,
        "statement_length": len(request.statement),
        "statement_cut": cut,
        "parameters": [None if each is None else each[:limit] for each in parameters],
        "parameters_count": len(request.parameters),
        "operation": request.operation,
        "rule": request.rule,
        "reason": request.reason[:TEXT],
        "reviewers": list(request.reviewers[:ITEMS]),
        "relations": [each[:200] for each in request.relations[:ITEMS]],
        "requested": format_time(request.requested),
        "expires": format_time(approval.expires),
        "waiting": approval.waiting,
        "in_transaction": request.in_transaction,
        "impact": _impact(approval),
        "effect": _effect(approval, whole=whole),
        "development": principal.development,
        "token_expires": format_time(principal.expires),
        "client_address": session.client_address,
        "asks": [{"reviewers": list(ask.reviewers[:ITEMS]), "count": ask.count} for ask in request.asked[:ITEMS]],
        "approvals_needed": sum(ask.count for ask in request.asked),
        "votes": [
            {
                "approver": vote.approver.name,
                "assurance": vote.approver.assurance,
                "at": format_time(vote.at),
                "break_glass": vote.break_glass,
            }
            for vote in approval.votes
        ],
        "missing": [str(ask)[:TEXT] for ask in missing(request, approval.votes)[:ITEMS]],
        "sessions": list(request.sessions[:ITEMS]),
        "escalates": None if approval.escalates is None else format_time(approval.escalates),
        "escalated": None if approval.escalated is None else format_time(approval.escalated),
        "escalated_to": list(approval.escalated_to[:ITEMS]),
        "break_glass": approval.break_glass,
        "approver": approval.approver,
        "assurance": approval.assurance,
        "decided": None if approval.decided is None else format_time(approval.decided),
        "decision_reason": approval.reason,
        "result": result,
        "warnings": list(_warnings(approval, cut=cut and whole)),
    }
    return {name: _plain(value) for name, value in shown.items()}


def _impact(approval: Approval) -> dict[str, Json] | None:
    impact = approval.impact
    if impact is None:
        return None
    return {
        "rows": impact.rows,
        "changed": impact.changed,
        "transaction_ms": impact.transaction_ms,
        "writes": impact.writes,
        "blocks": impact.blocks,
        "locks": [f"{relation[:200]} {mode}" for relation, mode in impact.locks[:ITEMS]],
    }


def _effect(approval: Approval, *, whole: bool) -> dict[str, Json] | None:
    """What it did, where it ran already; lists and events carry the counts without the rows."""
    effect = approval.request.effect
    if effect is None:
        return None
    content = effect_content(effect)
    return {**content, "digest": effect_digest(effect), **({} if whole else {"sample": None})}


def _warnings(approval: Approval, *, cut: bool) -> list[str]:
    request, session = approval.request, approval.request.session
    found = []
    if cut:
        found.append("the statement is too long to show whole: refuse what you cannot read")
    long = any(len(each or "") > PARAMETER_CHARACTERS for each in request.parameters)
    if long or len(request.parameters) > PARAMETERS:
        found.append("not all parameters are shown whole: refuse what you cannot read")
    if approval.break_glass:
        asked = " and ".join(map(str, missing(request, approval.votes[:-1])))[:TEXT]
        found.append(f"BREAK-GLASS: one person approved it in the place of {asked}")
    if request.effect is not None:
        found.append("it has run, in a transaction that waits: its locks are held until you decide")
        found += [f"not undone by refusing: {words[:TEXT]}" for words in request.effect.lasting[:ITEMS]]
    elif request.in_transaction:
        found.append("the agent's transaction is open: its locks are held while this waits")
    if approval.impact is not None and approval.impact.blocks:
        found.append(f"{approval.impact.blocks} other sessions wait for the agent's transaction")
    if session.principal.development:
        found.append("development identity: the approval will be stamped weak")
    if session.principal.owner is None:
        found.append("the agent's token names no owner: nobody can be sure that it does not act for who approves")
    if _is_local(session.client_address):
        found.append("the agent works from the gateway's own host: agent and approver may be one person")
    return found


def _is_local(address: str) -> bool:
    """Whether a client address (`host:port`, `[v6]:port` or bare) is this host's own."""
    host = address.rpartition(":")[0].strip("[]") if address.count(":") == 1 or address.startswith("[") else address
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return not host


def _cut(text: str, limit: int) -> str:
    """Return the longest head of `text` whose JSON has at most `limit` bytes, to a quarter."""
    while len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) > limit:
        text = text[: len(text) * 3 // 4]
    return text


def _plain(value: Json) -> Json:
    """Return `value` with lone surrogates, which no UTF-8 can carry, replaced."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case _:
            return value
