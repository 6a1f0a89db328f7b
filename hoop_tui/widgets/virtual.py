"""One view for everything long: tails, lists, cards, transcripts. Paints only the rows in sight.

The content is a `Rows`: it knows how many rows there are and paints one at a width. Rows are numbered for ever, so that
a ring that forgets its oldest moves nothing on the screen. With a cursor it is a list, without one a text. It never
scrolls by itself, except to follow the end when told to, and never parses markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from hoop_tui.actions import Where, bindings
from hoop_tui.glyphs import RICH, Glyphs
from hoop_tui.lines import BLANK, Line, Span, crop
from hoop_tui.theme import ROLES, SELECTED, SELECTED_PASSIVE


class Rows(Protocol):
    """Numbered rows, of which the oldest may be gone."""

    @property
    def first(self) -> int:
        """Number of the oldest row."""

    @property
    def end(self) -> int:
        """Number after the newest row."""

    def paint(self, number: int, width: int) -> Line:
        """Paint one row."""

    def selectable(self, number: int) -> bool:
        """Say whether a cursor may stand there."""


class Lines:
    """Rows that are painted already."""

    def __init__(self, lines: Sequence[Line] = (), headings: frozenset[int] = frozenset()) -> None:
        self._lines = lines
        self._headings = headings
        self.first = 0
        self.end = len(lines)

    def paint(self, number: int, width: int) -> Line:  # noqa: ARG002  painted at a width already
        """Return the line."""
        return self._lines[number] if 0 <= number < self.end else BLANK

    def selectable(self, number: int) -> bool:
        """Headings are not selectable."""
        return number not in self._headings


class VirtualView(Widget, can_focus=True):
    """A pane over `Rows`. `top` is the number of the first row in sight; `cursor` the selected row, if it has one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding for binding in bindings(Where.LISTS) if binding.action != "other_pane"
    ]

    class Moved(Message):
        """The person moved the cursor or scrolled."""

        def __init__(self, view: VirtualView) -> None:
            super().__init__()
            self.view = view

        @property
        def control(self) -> VirtualView:
            """The view."""
            return self.view

    def __init__(self, *, id: str, has_cursor: bool = False, glyphs: Glyphs = RICH) -> None:  # noqa: A002  Textual's own name for it
        super().__init__(id=id)
        self.rows: Rows = Lines()
        self.top = 0
        self.cursor: int | None = None
        self.has_cursor = has_cursor
        self.following = False
        self.glyphs = glyphs
        self.seen = 0
        """Number after the lowest row that was ever in sight since `unsee`."""

    @property
    def height(self) -> int:
        """Rows in sight."""
        return max(1, self.size.height)

    @property
    def text_width(self) -> int:
        """Cells of a row; the last column is the scroll mark's, a list's first one the cursor's."""
        return max(1, self.size.width - 1 - self.has_cursor)

    @property
    def at_end(self) -> bool:
        """Whether the newest row is in sight."""
        return self.top + self.height >= self.rows.end

    def show(self, rows: Rows) -> None:
        """Put `rows` in, or look again at the same rows after they changed."""
        self.rows = rows
        self._settle()

    def unsee(self) -> None:
        """Begin at the top with a content that nobody has seen yet."""
        self.top = self.rows.first
        self.seen = 0
        self._settle()

    def scroll_to_row(self, number: int) -> None:
        """Bring a row into sight, moving as little as needed."""
        if number < self.top:
            self.top = number
        elif number >= self.top + self.height:
            self.top = number - self.height + 1
        self._settle()

    def render_line(self, y: int) -> Strip:
        """Paint one line of the pane."""
        width = self.size.width
        number = self.top + y
        base = self.rich_style
        inside = self.rows.first <= number < self.rows.end
        content = (
            crop(self.rows.paint(number, self.text_width), self.text_width, self.glyphs.ellipsis) if inside else BLANK
        )
        if self.has_cursor:
            chosen = inside and number == self.cursor
            content = (Span(self.glyphs.selected if chosen else " ", "head"), *content)
            base += (SELECTED if self.has_focus else SELECTED_PASSIVE) if chosen else Style()
        strip = Strip([Segment(span.text, base + ROLES[span.role]) for span in content if span.text])
        strip = strip.adjust_cell_length(max(0, width - 1), base)
        return Strip([*strip, Segment(*self._scroll_mark(y))])

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002  Textual's signature
        """Take the whole width."""
        return container.width

    def on_resize(self) -> None:
        """Keep the place."""
        self._settle()

    def on_focus(self) -> None:
        """Show the cursor as active."""
        self.refresh()

    def on_blur(self) -> None:
        """Show the cursor as passive."""
        self.refresh()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll three rows; only with the mouse switched on."""
        event.stop()
        self._scroll(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll three rows; only with the mouse switched on."""
        event.stop()
        self._scroll(-3)

    def action_down(self) -> None:
        """One row down."""
        self._move(1)

    def action_up(self) -> None:
        """One row up."""
        self._move(-1)

    def action_half_down(self) -> None:
        """Half a pane down."""
        self._move(max(1, self.height // 2))

    def action_half_up(self) -> None:
        """Half a pane up."""
        self._move(-max(1, self.height // 2))

    def action_top(self) -> None:
        """To the first row."""
        self._move(-(self.rows.end - self.rows.first) - self.height)

    def action_bottom(self) -> None:
        """To the last row."""
        self._move(self.rows.end - self.rows.first + self.height)

    def _move(self, rows: int) -> None:
        if self.has_cursor:
            self._move_cursor(rows)
        else:
            self._scroll(rows)
        self.post_message(self.Moved(self))

    def _scroll(self, rows: int) -> None:
        self.top += rows
        self._settle(person=True)

    def _move_cursor(self, rows: int) -> None:
        first, last = self.rows.first, self.rows.end - 1
        if last < first:
            return
        direction = 1 if rows > 0 else -1
        start = (first - 1 if rows > 0 else last + 1) if self.cursor is None else self.cursor
        wanted = min(last, max(first, start + rows))
        # Beyond a heading; where nothing is left in that direction, back to the nearest row.
        onward = range(wanted, (last if direction > 0 else first) + direction, direction)
        backward = range(wanted, (first if direction > 0 else last) - direction, -direction)
        for number in (*onward, *backward):
            if self.rows.selectable(number):
                self.cursor = number
                break
        if self.cursor is not None:
            at_first = not any(self.rows.selectable(number) for number in range(first, self.cursor))
            self.scroll_to_row(first if at_first else self.cursor)

    def _settle(self, *, person: bool = False) -> None:
        """Keep `top` within what there is, follow where asked, note what is in sight, repaint."""
        lowest = max(self.rows.first, self.rows.end - self.height)
        if self.following and not person:
            self.top = lowest
        self.top = min(max(self.top, self.rows.first), lowest)
        if person:
            self.following = self.following and self.at_end
        if self.size.height:
            self.seen = max(self.seen, min(self.top + self.height, self.rows.end))
        self.refresh()

    def _scroll_mark(self, y: int) -> tuple[str, Style]:
        total = self.rows.end - self.rows.first
        if total <= self.height:
            return " ", self.rich_style
        size = max(1, self.height * self.height // total)
        start = (self.top - self.rows.first) * (self.height - size) // max(1, total - self.height)
        inside = start <= y < start + size
        style = self.rich_style + ROLES["dim" if inside else "faint"]
        return (self.glyphs.thumb if inside else " "), style
