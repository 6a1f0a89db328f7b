"""The receipt of a decision: canonical JSON over everything that was decided, for the person to keep and to sign. Pure.

Promises that a receipt names exactly one decision: the operation by its hash, who asked, where, who decided and how
they were known, by which policies, until when, and a nonce; and that the same values give the same bytes (RFC 8785, as
in the evidence). It holds no statement and no parameter: the operation hash stands for them.
"""

from __future__ import annotations

import hashlib

from gateway.approval.people import Approver, Leave, Receipt, Vote
from gateway.control.receipts import NAMESPACE
from gateway.evidence.entry import canonical
from gateway.evidence.shown_effect import effect_digest
from gateway.model import DecisionKind, HoldRequest, Json, Micros, format_time

__all__ = ["NAMESPACE", "digest", "receipt_text"]


def receipt_text(
    request: HoldRequest,
    kind: DecisionKind,
    approver: Approver,
    reason: str,
    *,
    gateway: str,
    policy: str,
    now: Micros,
    expires: Micros,
    nonce: str,
    votes: tuple[Vote, ...] = (),
    leave: Leave | None = None,
    escalated: Micros | None = None,
    break_glass: bool = False,
) -> str:
    """Return the receipt of a decision made `now`; `policy` is the hash of the one in force now.

    `votes` are the approvals that others gave before: the receipt quotes their receipts. `escalated` is when others
    were asked too, `break_glass` that the person stands in the place of all who are missing.
    """
    session, principal = request.session, request.session.principal
    asks: list[Json] = [{"reviewers": [*ask.reviewers], "count": ask.count} for ask in request.asked]
    content: dict[str, Json] = {
        "v": 1,
        "type": NAMESPACE,
        "gateway": gateway,
        "approval": request.approval,
        "operation_hash": request.operation_hash,
        "operation": request.operation,
        "requester": {
            "issuer": principal.issuer,
            "subject": principal.subject,
            "token": principal.token_id,
            "owner": principal.owner,
            "session": session.id,
        },
        "connection": session.connection,
        "target": session.target,
        "role": session.target_role,
        "rule": request.rule,
        "asked": asks,
        "escalated": None if escalated is None else format_time(escalated),
        "decision": kind.value,
        "approver": {
            "name": approver.name,
            "issuer": approver.issuer,
            "subject": approver.subject,
            "groups": [*approver.groups],
        },
        "assurance": approver.assurance,
        "reason": reason,
        "policy": {"asked": request.policy, "decided": policy},
        "requested": format_time(request.requested),
        "decided": format_time(now),
        "expires": format_time(expires),
        "nonce": nonce,
        "agreed": [digest(vote.receipt) for vote in votes if vote.receipt is not None],
        "break_glass": break_glass,
        **_ran(request),
        "leave": None if leave is None else {"seconds": leave.seconds, "scope": leave.scope},
    }
    return canonical(_plain(content)).decode()


def _ran(request: HoldRequest) -> dict[str, Json]:
    """What the decision was about beside the operation, where that had run: its effect, by numbers and digest."""
    effect = request.effect
    if effect is None:
        return {}
    relations = effect.relations
    counted: Json = None
    if relations is not None:
        counted = [
            {"relation": each.relation, "rows": each.inserted + each.updated + each.deleted} for each in relations
        ]
    return {"effect": {"rows": effect.rows, "relations": counted, "sha256": effect_digest(effect)}}


def digest(receipt: Receipt) -> str:
    """Return the SHA-256 of a receipt's bytes, lower-case hex: how others quote it."""
    return hashlib.sha256(receipt.text.encode()).hexdigest()


def _plain(value: dict[str, Json]) -> dict[str, Json]:
    """Return the same with lone surrogates, which no UTF-8 can carry, replaced."""
    return {key: _cleaned(one) for key, one in value.items()}


def _cleaned(value: Json) -> Json:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list():
            return [_cleaned(one) for one in value]
        case dict():
            return _plain(value)
        case _:
            return value
