"""The table of live sessions: one line each, more columns where there is room."""

from __future__ import annotations

from gateway.model import Micros
from hoop_tui.clock import duration
from hoop_tui.glyphs import Glyphs
from hoop_tui.known import Session
from hoop_tui.lines import Line, Span, fit, one_line
from hoop_tui.paint.tail import ROOMY

STATES = {"idle": "dim", "running": "ok", "held": "wait"}


def heading(width: int) -> Line:
    """Return the columns' names."""
    roomy = width >= ROOMY
    cells = [" ", fit("SUBJECT", 20 if roomy else 15), fit("CONNECTION", 12 if roomy else 10), fit("STATE", 8)]
    if roomy:
        cells += [fit("OWNER", 14), fit("CLIENT", 21), fit("OPEN", 11)]
    cells += [f"{'STMTS':>6}", f"{'DENIED':>7}"]
    if roomy:
        cells += [f"{'HELD':>5}", f"{'ROWS':>11}"]
    cells.append(" NOW")
    return (Span(fit(" ".join(cells), width), "faint"),)


def paint_session(session: Session, width: int, glyphs: Glyphs, *, now: Micros | None) -> Line:
    """Paint one session."""
    roomy = width >= ROOMY
    sign = {"held": glyphs.approve, "running": glyphs.live}.get(session.state, glyphs.dot)
    role = STATES.get(session.state, "text")
    cut = glyphs.ellipsis
    spans = [
        Span(sign + " ", role),
        Span(fit(session.subject, 20 if roomy else 15, cut) + " ", "strong"),
        Span(fit(session.connection, 12 if roomy else 10, cut) + " ", "text"),
        Span(fit(session.state, 8, cut) + " ", role),
    ]
    if roomy:
        opened = duration(max(0, now - session.started)) if now is not None and session.started is not None else ""
        spans += [
            Span(fit(session.owner or "-", 14, cut) + " ", "dim"),
            Span(fit(session.client_address, 21, cut) + " ", "dim"),
            Span(fit(opened, 11, cut) + " ", "dim"),
        ]
    spans += [
        Span(f"{_short(session.statements):>6} ", "dim"),
        Span(f"{_short(session.denied):>7} ", "bad" if session.denied else "faint"),
    ]
    if roomy:
        spans += [
            Span(f"{_short(session.held):>5} ", "wait" if session.held else "faint"),
            Span(f"{session.rows:>11,} ", "dim"),
        ]
    used = sum(len(span.text) for span in spans)
    spans.append(Span(" " + fit(one_line(session.current, glyphs.newline), max(0, width - used - 1), cut), "sql"))
    return tuple(spans)


def _short(number: int) -> str:
    if number < 10_000:
        return f"{number}"
    return f"{number // 1000}k" if number < 1_000_000 else f"{number // 1_000_000}M"
