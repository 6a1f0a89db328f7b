"""The inbox of requests: mine, waiting for others, decided; the pending ones by expiry.

"Mine" is what this operator could decide as far as the protocol tells: the gateway alone knows, and refuses the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.model import Micros
from hoop_tui.clock import countdown, time_of_day
from hoop_tui.glyphs import Glyphs
from hoop_tui.known import Approval, Attempt, AttemptPhase, Gateway
from hoop_tui.lines import Line, Row, Span, fit, one_line
from hoop_tui.paint.answer import WORDS, by_whom
from hoop_tui.paint.card import remaining
from hoop_tui.paint.sections import section
from hoop_tui.state import State

NARROW = 56


class Inbox(NamedTuple):
    """The three sections."""

    mine: tuple[Approval, ...]
    others: tuple[Approval, ...]
    decided: tuple[Approval, ...]


def sort_inbox(state: State, wanted: str = "") -> Inbox:
    """Put every request into its section; `wanted` keeps those that contain it."""
    shown = [approval for approval in state.pending if _contains(approval, wanted)]
    mine = tuple(approval for approval in shown if is_mine(approval, state.gateway))
    others = tuple(approval for approval in shown if not is_mine(approval, state.gateway))
    decided = [
        approval for approval in state.approvals.values() if not approval.pending and _contains(approval, wanted)
    ]
    decided.sort(key=lambda approval: approval.decided or approval.expires or 0, reverse=True)
    return Inbox(mine, others, tuple(decided))


def is_mine(approval: Approval, gateway: Gateway | None) -> bool:
    """Say whether this operator might decide: has the role, did not ask for it, and is among the reviewers."""
    if gateway is None or not gateway.decides:
        return False
    name, subject, groups = gateway.person
    own = {subject, name} - {""}
    if approval.subject in own or approval.owner in own or name in approval.agreed:
        return False
    if not approval.reviewers or not groups:
        return True
    asked = {*approval.reviewers, *approval.escalated_to}
    names = {f"group:{group}" for group in groups} | {f"sub:{subject}", f"operator:{name}"}
    return bool(names & asked)


def paint_inbox(inbox: Inbox, state: State, now: Micros | None, width: int, glyphs: Glyphs) -> Sequence[Row]:
    """Paint the rows of the inbox."""
    rows: list[Row] = []
    for title, approvals, empty in (
        ("mine", inbox.mine, "nothing waits for you"),
        ("waiting for others", inbox.others, ""),
        ("decided", inbox.decided, ""),
    ):
        if not approvals and not empty:
            continue
        if rows:
            rows.append(Row(None, ()))
        rows.append(Row(None, section(title, width, glyphs, str(len(approvals)))))
        if not approvals:
            rows.append(Row(None, (Span(empty, "faint"),)))
        for approval in approvals:
            line = _paint_row(approval, state.attempts.get(approval.id), state.gateway, now, width, glyphs)
            rows.append(Row(approval.id, line))
    return [*rows, *_paint_grants(state, now, width, glyphs)]


GRANT = "grant "
"""Begins the key of a row that is a grant's, not a request's."""


def _paint_grants(state: State, now: Micros | None, width: int, glyphs: Glyphs) -> list[Row]:
    """Paint who is let through for a period, where there is anybody."""
    if not state.grants:
        return []
    rows = [Row(None, ()), Row(None, section("let through for a while", width, glyphs, str(len(state.grants))))]
    for grant in state.grants:
        left = countdown(grant.expires - now) if grant.expires is not None and now is not None else ""
        what = ", ".join(grant.rules) or "the connection"
        words = f"{grant.subject} on {grant.connection}: {what}, by {grant.by}"
        line = (
            Span(f"{glyphs.live} {fit(left, 7, glyphs.ellipsis)} ", "wait"),
            Span(fit(words, max(0, width - 10), glyphs.ellipsis)),
        )
        rows.append(Row(f"{GRANT}{grant.id}", line))
    return rows


def _paint_row(
    approval: Approval, attempt: Attempt | None, gateway: Gateway | None, now: Micros | None, width: int, glyphs: Glyphs
) -> Line:
    cut = glyphs.ellipsis
    who = fit(approval.subject, 14, cut)
    what = fit(approval.operation, 9, cut)
    if approval.pending:
        left = remaining(approval, now)
        sign, mark = _pending_mark(approval, attempt, glyphs)
        head: Line = (
            Span(f"{sign} ", "wait"),
            Span(fit(left.text, 7, cut) + " ", left.role),
            Span(mark, "wait-strong"),
        )
    else:
        word, role = WORDS.get(approval.state, (approval.state.upper(), "wait"))
        whom = by_whom(approval, gateway).removeprefix("by ")
        sign = {"ok": glyphs.done, "bad": glyphs.deny}.get(role, glyphs.dot)
        head = (
            Span(f"{sign} {fit(word.lower(), 9, cut)} ", role),
            Span(f"{time_of_day(approval.decided)} {fit(whom, 6, cut)} " if width >= NARROW else "", "dim"),
        )
    middle: Line = (Span(who + " ", "text" if approval.pending else "dim"),)
    if width >= NARROW:
        middle = (*middle, Span(fit(approval.connection, 10, cut) + " ", "dim"))
    used = sum(len(span.text) for span in (*head, *middle)) + len(what) + 1
    flat = one_line(approval.statement, glyphs.newline)
    return (*head, *middle, Span(what + " ", "dim"), Span(fit(flat, max(0, width - used), cut), "sql"))


def _pending_mark(approval: Approval, attempt: Attempt | None, glyphs: Glyphs) -> tuple[str, str]:
    match attempt.phase if attempt else None:
        case AttemptPhase.SENT | AttemptPhase.ACCEPTED:
            return glyphs.todo, "SENT "
        case AttemptPhase.UNKNOWN:
            return glyphs.warning, "UNKNOWN "
        case _ if approval.needed > 1:
            return glyphs.approve, f"{len(approval.agreed)}/{approval.needed} "
        case _:
            return glyphs.approve, ""


def _contains(approval: Approval, wanted: str) -> bool:
    if not wanted:
        return True
    texts = (approval.subject, approval.connection, approval.operation, approval.rule, approval.statement, approval.id)
    return any(wanted.lower() in text.lower() for text in texts)
