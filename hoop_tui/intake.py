"""From the control protocol's objects to the console's frozen values.

Total: a field that is missing or of another type becomes empty, an object without its id is left out, an event of a
kind this version does not know is ignored. Expects messages that `sanitize.scrub_message` has been through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.control.messages import Welcome
from gateway.model import ApprovalId, Impact, Micros, RelationEffect, Sample, SampledRow, SessionId, ShownEffect
from hoop_tui.clock import GatewayTime, parse_time
from hoop_tui.happenings import ApprovalChanged, Happening, HealthSeen, SessionChanged, SessionClosed, TailSeen
from hoop_tui.known import (
    Approval,
    Broken,
    Earlier,
    Gap,
    Gateway,
    Grant,
    History,
    Login,
    Past,
    Ran,
    Session,
    Tail,
    without_rows,
)
from hoop_tui.sanitize import HIDDEN_KEY

Raw = Mapping[str, Any]


def gateway(welcome: Welcome, clean: Callable[[str], str], anchor: int, local_now: Micros) -> Gateway:
    """Read the gateway's greeting, received at `anchor` on our monotonic clock."""
    told = parse_time(welcome.time)
    return Gateway(
        name=clean(welcome.gateway),
        version=clean(welcome.server),
        operator=clean(welcome.operator or ""),
        subject=clean(welcome.subject or ""),
        roles=frozenset(map(clean, welcome.roles)),
        groups=frozenset(map(clean, welcome.groups)),
        assurance=clean(welcome.assurance),
        time=GatewayTime(local_now if told is None else told, anchor),
    )


def session(raw: object) -> Session | None:
    """Read one session object."""
    if not isinstance(raw, Mapping) or not text(raw, "id"):
        return None
    return Session(
        id=SessionId(text(raw, "id")),
        subject=text(raw, "subject"),
        owner=text(raw, "owner"),
        connection=text(raw, "connection"),
        target=text(raw, "target"),
        client_address=text(raw, "client_address"),
        application=text(raw, "application"),
        user=text(raw, "user"),
        started=parse_time(raw.get("started")),
        statements=count(raw, "statements"),
        denied=count(raw, "denied"),
        held=count(raw, "held"),
        rows=count(raw, "rows"),
        state=text(raw, "state"),
        current=text(raw, "current"),
    )


def sessions(raw: object) -> tuple[Session, ...]:
    """Read a list of session objects."""
    items = raw if isinstance(raw, list) else []
    return tuple(value for value in map(session, items) if value is not None)


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
        agreed=tuple(text(vote, "approver") for vote in _objects(raw.get("votes"))),
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
            for each in _objects(relations)
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
    rows = (SampledRow(_values(row.get("before")), _values(row.get("after"))) for row in _objects(raw.get("rows")))
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


def login(raw: object) -> Login | None:
    """Read the login in an answer about who is here; None: nobody logged in."""
    found = raw.get("login") if isinstance(raw, Mapping) else None
    if not isinstance(found, Mapping) or not text(found, "operator"):
        return None
    return Login(
        operator=text(found, "operator"),
        subject=text(found, "subject"),
        roles=frozenset(texts(found, "roles")),
        groups=frozenset(texts(found, "groups")),
        until=parse_time(found.get("until")),
    )


def grants(raw: object) -> tuple[Grant, ...]:
    """Read a list of grants."""
    return tuple(
        Grant(
            id=ApprovalId(text(item, "id")),
            subject=text(item, "subject"),
            connection=text(item, "connection"),
            scope=text(item, "scope"),
            rules=texts(item, "rules"),
            expires=parse_time(item.get("expires")),
            by=text(item, "by"),
        )
        for item in _objects(raw)
        if text(item, "id")
    )


def _objects(raw: object) -> tuple[Raw, ...]:
    return tuple(item for item in raw if isinstance(item, Mapping)) if isinstance(raw, list) else ()


def tail(raw: Raw) -> Tail:
    """Read one record of the tail."""
    return Tail(
        log=text(raw, "log"),
        seq=count(raw, "seq"),
        ts=parse_time(raw.get("ts")),
        session_id=text(raw, "session_id"),
        kind=text(raw, "kind"),
        subject=text(raw, "subject"),
        connection=text(raw, "connection"),
        verdict=text(raw, "verdict"),
        rule=text(raw, "rule"),
        operation=text(raw, "operation"),
        text=text(raw, "text"),
        outcome=text(raw, "outcome"),
        rows=number(raw, "rows"),
        duration_us=number(raw, "duration_us"),
        sqlstate=text(raw, "sqlstate"),
    )


def happening(event: str, data: Raw) -> Happening | None:
    """Read one numbered event; None for what this version does not know."""
    match event:
        case "session.opened" | "session.changed":
            opened = session(data)
            return SessionChanged(opened) if opened else None
        case "session.closed":
            closed = text(data, "id") or text(data, "session_id")
            return SessionClosed(SessionId(closed)) if closed else None
        case "record":
            return TailSeen(tail(data))
        case "approval.pending" | "approval.changed":
            changed = approval(data)
            return ApprovalChanged(changed) if changed else None
        case "gap":
            return TailSeen(Gap(count(data, "from"), count(data, "to"), "the gateway dropped them: too slow here"))
        case _:
            return None


def health(raw: object) -> HealthSeen:
    """Read the gateway's status: the head of each log, as `w1:48211`, what nobody outside saw, what is broken."""
    if not isinstance(raw, Mapping):
        return HealthSeen("", "", "")
    evidence = raw.get("evidence")
    logs = evidence if isinstance(evidence, Mapping) else {}
    heads = [
        f"{str(name).rpartition('/')[2]}:{count(head, 'seq')}"
        for name, head in logs.items()
        if isinstance(head, Mapping) and name != HIDDEN_KEY
    ]
    unseen = [
        count(head, "unwitnessed") for head in logs.values() if isinstance(head, Mapping) and "unwitnessed" in head
    ]
    window = f"{sum(unseen)} unwitnessed" if unseen else ""
    fault = text(raw, "fault") or "no reason told" if raw.get("healthy") is False else ""
    if fault and raw.get("forwarding") is not True:
        fault = f"NOTHING IS FORWARDED: {fault}"
    return HealthSeen(" ".join(heads), window, fault, _broken(raw.get("break_glass")))


def _broken(raw: object) -> tuple[Broken, ...]:
    return tuple(
        Broken(
            ApprovalId(text(each, "id")),
            parse_time(each.get("at")),
            text(each, "by"),
            text(each, "subject"),
            text(each, "connection"),
        )
        for each in _objects(raw)
    )


def history(raw: object) -> History:
    """Read what the evidence says of the time before a request."""
    if not isinstance(raw, Mapping):
        return History(why_not="the gateway told nothing")
    lately = tuple(
        Past(
            parse_time(each.get("at")),
            text(each, "connection"),
            text(each, "verdict"),
            text(each, "outcome"),
            text(each, "text"),
        )
        for each in _objects(raw.get("lately"))
    )
    earlier = tuple(
        Earlier(
            ApprovalId(text(each, "id")),
            parse_time(each.get("requested")),
            text(each, "subject"),
            text(each, "state"),
            text(each, "approver"),
            text(each, "reason"),
        )
        for each in _objects(raw.get("earlier"))
    )
    return History(lately, earlier)


def text(raw: Raw, key: str) -> str:
    """Return a string field, empty where it is absent or no string."""
    value = raw.get(key)
    return value if isinstance(value, str) else ""


def texts(raw: Raw, key: str) -> tuple[str, ...]:
    """Return a list field's strings."""
    value = raw.get(key)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def number(raw: Raw, key: str) -> int | None:
    """Return a whole number, None where it is absent."""
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def count(raw: Raw, key: str) -> int:
    """Return a whole number, 0 where it is absent."""
    return number(raw, key) or 0


def _ran(raw: object) -> Ran | None:
    if not isinstance(raw, Mapping):
        return None
    return Ran(text(raw, "outcome"), number(raw, "rows"), number(raw, "duration_us"))
