"""One line at a fixed place: tabs, headings, hints, status, timeline."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from hoop_tui.lines import BLANK, Line, crop
from hoop_tui.theme import ROLES


class Bar(Widget):
    """Paints one line at its own width, whenever it is asked to look again."""

    DEFAULT_CSS = "Bar { height: 1; }"

    def __init__(self, paint: Callable[[int], Line], *, id: str | None = None) -> None:  # noqa: A002  Textual's own name for it
        super().__init__(id=id)
        self._paint = paint
        self._shown: Line | None = None

    def look(self) -> None:
        """Paint anew if something changed."""
        content = self._paint(self.size.width)
        if content != self._shown:
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Paint the line."""
        width = self.size.width
        self._shown = self._paint(width) if y == 0 else BLANK
        segments = [
            Segment(span.text, self.rich_style + ROLES[span.role]) for span in crop(self._shown, width) if span.text
        ]
        return Strip(segments).adjust_cell_length(width, self.rich_style)
