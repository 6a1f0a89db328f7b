"""One line of the tail for each record: time, who, verdict, what, and what came of it.

Every width from 40 cells on gives a line that fits; the connection's name joins from 110 cells on. A gap is a line of
its own, so that nobody takes a broken tail for a quiet one.
"""

from __future__ import annotations

from typing import Final

from hoop_tui.clock import duration, time_of_day
from hoop_tui.glyphs import Glyphs, of_verdict
from hoop_tui.known import Gap, Tail, TailItem
from hoop_tui.lines import Line, Span, fit, one_line, width_of
from hoop_tui.theme import role_of_verdict

ROOMY: Final = 110
BAD_OUTCOMES: Final = frozenset({"error", "denied", "refused", "expired", "lost"})


def paint_tail(item: TailItem, width: int, glyphs: Glyphs) -> Line:
    """Paint one record, or a gap."""
    if isinstance(item, Gap):
        return paint_gap(item, width, glyphs)
    who_width = 22 if width >= ROOMY else 14
    left: Line = (
        Span(time_of_day(item.ts), "faint"),
        Span(" " + fit(item.subject or "gateway", who_width, glyphs.ellipsis) + " ", "dim"),
    )
    if width >= ROOMY:
        left = (*left, Span(fit(item.connection, 14, glyphs.ellipsis) + " ", "faint"))
    label, what, role = _middle(item, glyphs)
    end = _end(item)
    room = width - width_of(left) - width_of((label,)) - (len(end) + 1 if end else 0)
    text = fit(one_line(what, glyphs.newline), max(0, room), glyphs.ellipsis)
    end_role = "bad" if item.outcome in BAD_OUTCOMES else "dim"
    return (*left, label, Span(text, role), Span(" " + end if end else "", end_role))


def paint_gap(gap: Gap, width: int, glyphs: Glyphs) -> Line:
    """Paint a gap as a gap: how many events are missing, and why."""
    missing = max(1, gap.last - gap.first + 1)
    words = f" GAP: {missing:,} event{'s' if missing > 1 else ''} not shown, {gap.why} "
    rest = max(0, width - len(words) - 4)
    return (Span(fit(glyphs.gap * 4 + words + glyphs.gap * rest, width, glyphs.ellipsis), "wait"),)


def counts(rows: int | None, duration_us: int | None) -> str:
    """Return `182,340 rows, 2.1 s`, as far as known."""
    parts = [] if rows is None else [f"{rows:,} row{'' if rows == 1 else 's'}"]
    if duration_us is not None:
        parts.append(duration(duration_us))
    return ", ".join(parts)


def matches(item: TailItem, verdict: str | None) -> bool:
    """Say whether the verdict filter lets an item through; a gap always passes."""
    return verdict is None or isinstance(item, Gap) or item.verdict == verdict


def _middle(item: Tail, glyphs: Glyphs) -> tuple[Span, str, str]:
    if item.verdict:
        word = fit(item.verdict, 7)
        return Span(f"{of_verdict(glyphs, item.verdict)} {word} ", role_of_verdict(item.verdict)), item.text, "sql"
    if item.outcome:
        role = "bad" if item.outcome in BAD_OUTCOMES else "dim"
        word = f"{item.outcome} {item.sqlstate}".strip() if item.sqlstate not in {"", "00000"} else item.outcome
        return Span(f"{glyphs.arrow} {fit(word, 7) if len(word) <= 7 else word} ", role), item.text, "dim"
    return Span(f"{glyphs.dot} {item.kind} ", "bad" if item.kind in {"alarm", "kill"} else "dim"), item.text, "dim"


def _end(item: Tail) -> str:
    return counts(item.rows, item.duration_us)
