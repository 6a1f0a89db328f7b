"""From the control protocol's objects to the console's frozen values.

Total: a field that is missing or of another type becomes empty, an object without its id is left out, an event of a
kind this version does not know is ignored. Expects messages that `sanitize.scrub_message` has been through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.control.messages import Welcome
from gateway.model import ApprovalId, Micros, SessionId
from hoop_tui.clock import GatewayTime, parse_time
from hoop_tui.fields import Raw, count, number, objects, text, texts
from hoop_tui.happenings import ApprovalChanged, Happening, HealthSeen, SessionChanged, SessionClosed, TailSeen
from hoop_tui.held import approval
from hoop_tui.known import (
    Broken,
    Earlier,
    Gap,
    Gateway,
    Grant,
    History,
    Login,
    Past,
    Session,
    Tail,
)
from hoop_tui.sanitize import HIDDEN_KEY


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
        for item in objects(raw)
        if text(item, "id")
    )


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
        for each in objects(raw)
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
        for each in objects(raw.get("lately"))
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
        for each in objects(raw.get("earlier"))
    )
    return History(lately, earlier)
