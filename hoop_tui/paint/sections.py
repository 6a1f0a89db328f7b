"""The heading of a card's section. Pure."""

from __future__ import annotations

from hoop_tui.glyphs import Glyphs
from hoop_tui.lines import Line, Span


def section(title: str, width: int, glyphs: Glyphs, note: str = "") -> Line:
    """Paint a heading with its rule."""
    head = (Span(title.upper() + " ", "title"), Span(note + " " if note else "", "dim"))
    used = sum(len(span.text) for span in head)
    return (*head, Span(glyphs.rule * max(0, width - used), "faint"))
