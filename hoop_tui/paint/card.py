"""The approval card, in the order in which a person decides.

What it is and until when; who; where; which rule and why; what it touches; then the whole statement, its parameters,
warnings, what this agent did lately, what happens if nobody acts and what happens on approval. Nothing is cut: a
reviewer sees every character that the hash covers. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.model import Impact, Micros
from hoop_tui.clock import SECOND, countdown, duration, time_of_day
from hoop_tui.glyphs import Glyphs
from hoop_tui.known import Approval, Attempt, Gateway, History
from hoop_tui.lines import BLANK, Line, Span, crop, spread, wrap
from hoop_tui.paint.answer import paint_answer
from hoop_tui.paint.effect import counted, paint_effect
from hoop_tui.paint.history import paint_history
from hoop_tui.paint.sections import section
from hoop_tui.risk import high_risk

LABEL = 8
URGENT = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a card needs beside the request itself."""

    now: Micros | None
    gateway: Gateway | None
    attempt: Attempt | None
    live: bool
    lately: Sequence[Line] = ()
    """As far as this console saw, where there is no `history` yet."""
    earlier: Sequence[Approval] = ()
    history: History | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """The painted card; `must_see` counts the lines a reviewer has to have had in sight before approving."""

    lines: tuple[Line, ...]
    must_see: int


def paint_card(
    approval: Approval, around: Surroundings, width: int, glyphs: Glyphs, *, with_context: bool = True
) -> Card:
    """Paint the whole card at `width` cells."""
    lines: list[Line] = [_title(approval, around, width, glyphs)]
    answer = paint_answer(approval, around.attempt, around.gateway, glyphs, live=around.live)
    if answer is not None:
        lines += _wrapped_spans(answer, width)
    lines += _facts(approval, around, width, glyphs)
    if approval.effect is not None:
        lines += [section("what it did", width, glyphs), *paint_effect(approval.effect, width, glyphs)]
    lines += _statement(approval, width, glyphs)
    lines += _parameters(approval, width, glyphs)
    lines += _warnings(approval, width, glyphs)
    must_see = len(lines)
    if with_context:
        lines += paint_context(approval, around, width, glyphs)
    lines += _consequences(approval, width, glyphs)
    return Card(tuple(lines), must_see)


def paint_context(approval: Approval, around: Surroundings, width: int, glyphs: Glyphs) -> list[Line]:
    """Paint what this agent did lately and earlier decisions on the same text: by the evidence, once it told."""
    if around.history is not None and not around.history.why_not:
        return paint_history(approval, around.history, width, glyphs)
    why = around.history.why_not if around.history is not None else "reading the evidence"
    lines = _paint_seen(approval, around, width, glyphs)
    return [*lines, *wrap(f"as this console saw it; {why}", width - 1, "faint")]


def _paint_seen(approval: Approval, around: Surroundings, width: int, glyphs: Glyphs) -> list[Line]:
    lines = [BLANK, section("lately", width, glyphs, approval.subject)]
    lines += [crop(one, width, glyphs.ellipsis) for one in around.lately] or [
        (Span("nothing seen in this tail", "faint"),)
    ]
    lines += [BLANK, section("same text before", width, glyphs)]
    for other in around.earlier:
        answer = paint_answer(other, None, around.gateway, glyphs)
        lines += _wrapped_spans(answer or (Span(f"{glyphs.approve} pending", "wait"),), width)
    if not around.earlier:
        lines.append((Span("no other request known here", "faint"),))
    return lines


def remaining(approval: Approval, now: Micros | None) -> Span:
    """Paint the time left."""
    if approval.expires is None:
        return Span("no expiry told", "wait")
    if now is None:
        return Span(f"expires {time_of_day(approval.expires)}", "wait")
    left = approval.expires - now
    return Span(countdown(left), "bad-strong" if left < URGENT else "wait-strong")


def _title(approval: Approval, around: Surroundings, width: int, glyphs: Glyphs) -> Line:
    if not approval.pending:
        left: Line = (Span(f"{glyphs.dot} {approval.state.upper()}", "dim"), Span(f"  {approval.operation}", "strong"))
        return spread(left, (Span(f"{approval.id} ", "faint"),), width, glyphs.ellipsis)
    stale = () if around.live else (Span("STALE  ", "bad-strong"),)
    right: Line = (
        Span("expires in ", "dim"),
        remaining(approval, around.now),
        Span(f"  at {time_of_day(approval.expires)} ", "dim"),
    )
    left = (*stale, Span(f"{glyphs.approve} HELD", "wait-strong"), Span(f"  {approval.operation}", "strong"))
    return spread(left, right, width, glyphs.ellipsis)


def _facts(approval: Approval, around: Surroundings, width: int, glyphs: Glyphs) -> list[Line]:
    dot = f" {glyphs.dot} "
    who = [approval.subject, f"for {approval.owner}" if approval.owner else "no human owner told"]
    if approval.client_address:
        who.append(f"from {approval.client_address}")
    if approval.token_expires is not None and around.now is not None:
        left = approval.token_expires - around.now
        who.append(f"token valid {duration(left)}" if left > 0 else "token expired")
    if approval.development:
        who.append("development identity")
    where = [approval.connection, approval.target, f"as {approval.role}" if approval.role else ""]
    where.append(_transaction(approval))
    if approval.impact is not None and approval.impact.locks:
        where.append("holds " + ", ".join(map(" ".join, approval.impact.locks)))
    impact = [
        approval.operation,
        "on " + ", ".join(approval.relations) if approval.relations else "relations not told",
        _expected(approval.impact) if approval.effect is None else counted(approval.effect),
    ]
    rule = [approval.rule, approval.reason]
    lines = _fact("who", dot.join(filter(None, who)), width, "strong")
    lines += _fact("where", dot.join(filter(None, where)), width, "text")
    lines += _fact("rule", ": ".join(filter(None, rule)), width, "text")
    lines += _fact("impact", dot.join(impact), width, "text")
    if approval.needed > 1:
        agreed = f"{len(approval.agreed)} of {approval.needed} approved"
        agreed += f": {', '.join(approval.agreed)}" if approval.agreed else ""
        missing = f"missing {', '.join(approval.missing)}" if approval.missing and approval.pending else ""
        lines += _fact("people", dot.join(filter(None, [agreed, missing])), width, "wait-strong")
    return lines + _beyond(approval, width)


def _beyond(approval: Approval, width: int) -> list[Line]:
    """Who else was asked, or will be, and who stood in for everybody."""
    lines: list[Line] = []
    if approval.break_glass:
        words = f"BREAK-GLASS by {approval.approver.rpartition(', ')[2]}, in the place of everybody who was missing"
        lines += _fact("glass", words, width, "bad-strong")
    if approval.escalated:
        words = f"escalated to {', '.join(approval.escalated_to)}" if approval.escalated_to else "others were told"
        lines += _fact("asked", words, width, "wait-strong")
    elif approval.escalates is not None and approval.pending:
        lines += _fact("asked", f"others too at {time_of_day(approval.escalates)}", width, "dim")
    return lines


def _expected(impact: Impact | None) -> str:
    """Say what the planner expects, and that it is only that."""
    if impact is None or (impact.rows is None and impact.changed is None):
        return "rows not estimated"
    if impact.changed:
        return f"about {impact.changed:,} rows changed (the planner's estimate)"
    return f"about {impact.rows or 0:,} rows (the planner's estimate)"


def _transaction(approval: Approval) -> str:
    if approval.effect is not None and approval.pending:
        return "IT HAS RUN: its locks block others until you decide"
    if not approval.in_transaction:
        return "no transaction open"
    if approval.impact is not None and approval.impact.transaction_ms is not None:
        age = duration(Micros(approval.impact.transaction_ms * 1_000))
        wrote = "has written" if approval.impact.writes else "has only read"
        waits = f", {approval.impact.blocks} sessions wait for it" if approval.impact.blocks else ""
        return f"IN A TRANSACTION of {age}, {wrote}{waits}"
    return "IN A TRANSACTION: its locks block others" if approval.pending else "in a transaction"


def _fact(label: str, text: str, width: int, role: str) -> list[Line]:
    rows = wrap(text, width - LABEL - 1, role)
    first, *rest = rows
    return [(Span(f"{label:<{LABEL}}", "label"), *first), *((Span(" " * LABEL), *row) for row in rest)]


def _statement(approval: Approval, width: int, glyphs: Glyphs) -> list[Line]:
    source = approval.statement.split("\n")
    size = f"{len(approval.statement):,} characters, {len(source)} line{'' if len(source) == 1 else 's'}"
    digits = len(str(len(source)))
    lines: list[Line] = [section("statement", width, glyphs, size)]
    for number, text in enumerate(source, 1):
        for place, row in enumerate(wrap(text, width - digits - 4, "sql")):
            lines.append((Span(f"{number if place == 0 else '':>{digits}} {glyphs.bar} ", "faint"), *row))
    return lines


def _parameters(approval: Approval, width: int, glyphs: Glyphs) -> list[Line]:
    if not approval.parameters:
        return []
    lines: list[Line] = [section("parameters", width, glyphs)]
    for number, value in enumerate(approval.parameters, 1):
        label = f"${number} "
        rows = [(Span("NULL", "dim"),)] if value is None else wrap(value, width - len(label) - 1, "sql")
        lines += [(Span(label if place == 0 else " " * len(label), "label"), *row) for place, row in enumerate(rows)]
    return lines


def _warnings(approval: Approval, width: int, glyphs: Glyphs) -> list[Line]:
    texts = list(approval.warnings)
    if approval.hidden:
        plural = "" if approval.hidden == 1 else "s"
        texts.append(f"{approval.hidden} hidden character{plural}, shown as <U+XXXX>")
    risks = high_risk(approval)
    if risks:
        texts.append("high risk: " + ", ".join(risks))
    if not texts:
        return []
    lines = [BLANK, section("warnings", width, glyphs)]
    for text in texts:
        for place, row in enumerate(wrap(text, width - 3, "bad")):
            lines.append((Span(f"{glyphs.warning} " if place == 0 else "  ", "bad"), *row))
    return lines


def _consequences(approval: Approval, width: int, glyphs: Glyphs) -> list[Line]:
    lines: list[Line] = []
    if approval.pending:
        when = f"at {time_of_day(approval.expires)}" if approval.expires is not None else "at its expiry"
        nothing = (
            f"Nothing runs. It expires {when}; the agent gets an error, “hoop: approval expired”, "
            "and its session goes on."
        )
        approve = (
            f"Exactly these bytes run once, on {approval.connection}, as {approval.role or 'the connection’s role'}. "
            "The gateway hashes and judges them again first; if anything changed, nothing runs."
        )
        if approval.effect is not None:
            nothing = (
                f"It is rolled back {when}; the agent gets an error, “hoop: approval expired”. "
                "Until then it holds its locks. Refusing rolls it back at once."
            )
            approve = (
                "What it did stays: the gateway hashes and judges it again, lets its answer go, and commits it where "
                "the agent has no transaction of its own."
            )
        if approval.needed > len(approval.agreed) + 1:
            approve = "Others must approve too; nothing runs before. Then: " + approve[0].lower() + approve[1:]
        if approval.sessions:
            approve += " You may let this agent through for a period, by this rule: then it is not asked about."
        for title, text in (("if you do nothing", nothing), ("if you approve", approve)):
            lines += [BLANK, section(title, width, glyphs), *wrap(_plain_quotes(text, glyphs), width - 1, "text")]
    lines += [BLANK, section("identity of this request", width, glyphs)]
    asks = ", ".join(approval.reviewers) or "anyone who may decide"
    lines += _fact("id", approval.id, width, "dim")
    lines += _fact("hash", approval.hash, width, "dim")
    lines += _fact("session", approval.session_id, width, "dim")
    lines += _fact("asks", asks, width, "dim")
    lines += _fact("asked", f"{time_of_day(approval.requested)} UTC", width, "dim")
    return lines


def _plain_quotes(text: str, glyphs: Glyphs) -> str:
    if glyphs.name == "rich":
        return text
    return text.replace("“", '"').replace("”", '"').replace("’", "'")


def _wrapped_spans(content: Line, width: int) -> list[Line]:
    """Break a line of several spans; the first row keeps its roles, the rest is plain."""
    total = sum(len(span.text) for span in content)
    if total < width:
        return [content]
    lines: list[Line] = []
    row: list[Span] = []
    room = width - 1
    for span in content:
        for place, (piece,) in enumerate(wrap(span.text, width - 1, span.role)):
            if place > 0 or len(piece.text) > room:
                lines.append(tuple(row))
                row, room = [], width - 1
            row.append(piece)
            room -= len(piece.text)
    lines.append(tuple(row))
    return lines
