"""Help: the keys of this screen, from the registry that binds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from hoop_tui.actions import ACTIONS, Where, key_name
from hoop_tui.lines import BLANK, Line, Span, fit
from hoop_tui.paint.sections import section
from hoop_tui.widgets.virtual import Lines, VirtualView

if TYPE_CHECKING:
    from hoop_tui.app import HoopApp

WIDTH = 72


class HelpScreen(ModalScreen[None]):
    """The keys, scrollable; any of `?`, esc and q closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key, "app.pop_screen", show=False) for key in ("escape", "question_mark", "q")
    ]

    def __init__(self, place: Where) -> None:
        super().__init__()
        self._place = place

    def compose(self) -> ComposeResult:
        """Lay the help out."""
        with Vertical(id="help-box"):
            yield VirtualView(id="keys", glyphs=cast("HoopApp", self.app).glyphs)

    def on_mount(self) -> None:
        """Show the keys."""
        view = self.query_one("#keys", VirtualView)
        view.show(Lines(self.lines()))
        view.focus()

    def lines(self) -> list[Line]:
        """Paint the keys of this screen, then those of all."""
        glyphs = cast("HoopApp", self.app).glyphs
        others = [place for place in (Where.DIALOG,) if self._place in {Where.APPROVALS, Where.LIVE}]
        lines: list[Line] = []
        for place in (self._place, *others, Where.EVERYWHERE, Where.LISTS):
            lines += [BLANK] if lines else []
            lines.append(section(place.value, WIDTH - 4, glyphs))
            for action in ACTIONS:
                if action.where is place:
                    keys = " ".join(key_name(key) for key in action.keys)
                    lines.append((Span(fit(f"  {keys}", 18), "key"), Span(action.title)))
        return lines
