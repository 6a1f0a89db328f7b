"""What the evidence says of the time before a request: the agent's own statements, and earlier requests. Pure."""

from __future__ import annotations

from hoop_tui.clock import time_of_day
from hoop_tui.glyphs import Glyphs, of_verdict
from hoop_tui.known import Approval, Earlier, History, Past
from hoop_tui.lines import BLANK, Line, Span, crop, one_line
from hoop_tui.paint.answer import WORDS
from hoop_tui.paint.sections import section
from hoop_tui.theme import role_of_verdict


def paint_history(approval: Approval, history: History, width: int, glyphs: Glyphs) -> list[Line]:
    """Paint both lists, the newest first."""
    past = [crop(_past(each, glyphs), width, glyphs.ellipsis) for each in history.lately]
    earlier = [crop(_earlier(each), width, glyphs.ellipsis) for each in history.earlier]
    lines: list[Line] = [BLANK, section("lately", width, glyphs, approval.subject)]
    lines += past or [(Span("nothing in the day before", "faint"),)]
    lines += [BLANK, section("same text before", width, glyphs)]
    return lines + (earlier or [(Span("no other request in thirty days", "faint"),)])


def _past(past: Past, glyphs: Glyphs) -> Line:
    outcome = f"{past.outcome} " if past.outcome and past.outcome != "ok" else ""
    return (
        Span(f"{time_of_day(past.at) if past.at is not None else '-'} ", "faint"),
        Span(f"{of_verdict(glyphs, past.verdict)} {past.verdict:<7} ", role_of_verdict(past.verdict)),
        Span(f"{past.connection} ", "dim"),
        Span(outcome, "bad"),
        Span(one_line(past.text, glyphs.newline), "dim"),
    )


def _earlier(earlier: Earlier) -> Line:
    word, role = WORDS.get(earlier.state, ("PENDING", "wait"))
    by = f" by {earlier.approver}" if earlier.approver else ""
    when = time_of_day(earlier.requested) if earlier.requested is not None else "-"
    return (
        Span(f"{when} ", "faint"),
        Span(f"{word}{by}", role),
        Span(f"  {earlier.subject}", "dim"),
        Span(f"  {earlier.reason}" if earlier.reason else "", "dim"),
    )
