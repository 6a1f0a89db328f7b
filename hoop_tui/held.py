"""From the approval objects of the control protocol to the console's values: what waits, and what came of it.

Total, as `intake` is.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model import ApprovalId, Impact, RelationEffect, Sample, SampledRow, ShownEffect
from hoop_tui.clock import parse_time
from hoop_tui.fields import count, number, objects, text, texts
from hoop_tui.known import Approval, Ran, without_rows
from hoop_tui.sanitize import HIDDEN_KEY


def approval(raw: object) -> Approval | None:
    """Read one approval object."""
    if not isinstance(raw, Mapping) or not text(raw, "id"):
        return None
    parameters, effect = raw.get("parameters"), _effect(raw.get("effect"))
    return Approval(
        id=ApprovalId(text(raw, "id")),
        hash=text(raw, "hash"),
        state=text(raw, "state"),
        subject=text(raw, "subject"),
        issuer=text(raw, "issuer"),
        owner=text(raw, "owner"),
        connection=text(raw, "connection"),
        target=text(raw, "target"),
        role=text(raw, "role"),
        session_id=text(raw, "session_id"),
        statement=text(raw, "statement"),
        parameters=tuple(None if item is None else str(item) for item in parameters or ())
        if isinstance(parameters, list)
        else (),
        operation=text(raw, "operation"),
        rule=text(raw, "rule"),
        reason=text(raw, "reason"),
        reviewers=texts(raw, "reviewers"),
        relations=texts(raw, "relations"),
        requested=parse_time(raw.get("requested")),
        expires=parse_time(raw.get("expires")),
        in_transaction=raw.get("in_transaction") is True,
        development=raw.get("development") is True,
        token_expires=parse_time(raw.get("token_expires")),
        client_address=text(raw, "client_address"),
        approver=text(raw, "approver"),
        decided=parse_time(raw.get("decided")),
        decision_reason=text(raw, "decision_reason"),
        result=_ran(raw.get("result")),
        warnings=texts(raw, "warnings"),
        hidden=count(raw, HIDDEN_KEY),
        cut=raw.get("statement_cut") is True or (effect is not None and without_rows(effect)),
        length=count(raw, "statement_length") or len(text(raw, "statement")),
        needed=count(raw, "approvals_needed") or 1,
        agreed=tuple(text(vote, "approver") for vote in objects(raw.get("votes"))),
        missing=texts(raw, "missing"),
        sessions=texts(raw, "sessions"),
        impact=_impact(raw.get("impact")),
        effect=effect,
        escalates=parse_time(raw.get("escalates")),
        escalated_to=texts(raw, "escalated_to"),
        escalated=bool(text(raw, "escalated")),
        break_glass=raw.get("break_glass") is True,
    )


def _effect(raw: object) -> ShownEffect | None:
    if not isinstance(raw, Mapping):
        return None
    relations = raw.get("relations")
    return ShownEffect(
        rows=number(raw, "rows"),
        relations=tuple(
            RelationEffect(
                text(each, "relation"), count(each, "inserted"), count(each, "updated"), count(each, "deleted")
            )
            for each in objects(relations)
        )
        if isinstance(relations, list)
        else None,
        more=count(raw, "more"),
        sample=_sample(raw.get("sample")),
        no_sample=text(raw, "no_sample"),
        lasting=texts(raw, "lasting"),
    )


def _sample(raw: object) -> Sample | None:
    if not isinstance(raw, Mapping):
        return None
    columns, masked = texts(raw, "columns"), texts(raw, "masked")
    rows = (SampledRow(_values(row.get("before")), _values(row.get("after"))) for row in objects(raw.get("rows")))
    return Sample(text(raw, "relation"), columns, tuple(name in masked for name in columns), tuple(rows))


def _values(raw: object) -> tuple[str | None, ...] | None:
    return tuple(None if one is None else str(one) for one in raw) if isinstance(raw, list) else None


def _impact(raw: object) -> Impact | None:
    if not isinstance(raw, Mapping):
        return None
    return Impact(
        rows=number(raw, "rows"),
        changed=number(raw, "changed"),
        transaction_ms=number(raw, "transaction_ms"),
        writes=raw.get("writes") is True,
        blocks=count(raw, "blocks"),
        locks=tuple(_lock(each) for each in texts(raw, "locks")),
    )


def _lock(told: str) -> tuple[str, str]:
    relation, _, mode = told.rpartition(" ")
    return relation, mode


def approvals(raw: object) -> tuple[Approval, ...]:
    """Read a list of approval objects."""
    items = raw if isinstance(raw, list) else []
    return tuple(value for value in map(approval, items) if value is not None)


def _ran(raw: object) -> Ran | None:
    if not isinstance(raw, Mapping):
        return None
    return Ran(text(raw, "outcome"), number(raw, "rows"), number(raw, "duration_us"))
