"""The list of recorded sessions, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.model import Micros
from hoop_tui.clock import SECOND, duration, parse_time
from hoop_tui.fields import count, text
from hoop_tui.glyphs import Glyphs
from hoop_tui.lines import Line, Span, fit
from hoop_tui.paint.tail import ROOMY


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded session, as the evidence's view `sessions` tells it."""

    id: str
    started: Micros | None
    ended: Micros | None
    subject: str
    connection: str
    client_address: str
    statements: int
    denied: int
    held: int
    rows: int
    end_reason: str

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Recording:
        """Read one object of the control protocol."""
        return cls(
            id=text(raw, "session_id") or text(raw, "id"),
            started=parse_time(raw.get("started")),
            ended=parse_time(raw.get("ended")),
            subject=text(raw, "subject"),
            connection=text(raw, "connection"),
            client_address=text(raw, "client_address"),
            statements=count(raw, "statements"),
            denied=count(raw, "denied"),
            held=count(raw, "held"),
            rows=count(raw, "rows"),
            end_reason=text(raw, "end_reason"),
        )


def recordings_heading(width: int) -> Line:
    """Return the columns' names."""
    words = (
        f" {'STARTED (UTC)':<16} {'SUBJECT':<16} {'CONNECTION':<11} {'OPEN':<11}{'STMTS':>6}{'DENIED':>7}{'HELD':>5}"
    )
    return (Span(fit(words + ("        ROWS  END" if width >= ROOMY else ""), width), "faint"),)


def paint_recording(one: Recording, width: int, glyphs: Glyphs) -> Line:
    """Paint one recorded session."""
    cut = glyphs.ellipsis
    started = (
        "" if one.started is None else datetime.fromtimestamp(one.started // SECOND, UTC).strftime("%Y-%m-%d %H:%M")
    )
    ended = one.ended is not None
    lasted = duration(one.ended - one.started) if one.ended is not None and one.started is not None else "still open"
    spans = [
        Span(f"{started:<16} ", "dim"),
        Span(fit(one.subject, 16, cut) + " ", "strong"),
        Span(fit(one.connection, 11, cut) + " ", "text"),
        Span(fit(lasted, 11, cut), "dim" if ended else "ok"),
        Span(f"{one.statements:>6}", "dim"),
        Span(f"{one.denied:>7}", "bad" if one.denied else "faint"),
        Span(f"{one.held:>5}", "wait" if one.held else "faint"),
    ]
    if width >= ROOMY:
        spans += [Span(f"{one.rows:>12,}  ", "dim"), Span(one.end_reason, "dim")]
    return tuple(spans)
