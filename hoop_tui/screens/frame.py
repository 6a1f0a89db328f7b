"""What every screen has: tabs above, hints, command line and status below, and a word where there is no room.

A screen is made once and kept. It is told of changes through `flush` (ten times a second at most, at once for requests)
and `tick` (once a second); it reads the store and never talks to the socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Input, Static

from hoop_tui.actions import Where, bindings, hints
from hoop_tui.glyphs import Glyphs
from hoop_tui.lines import Line, Span
from hoop_tui.paint.status import paint_broken, paint_hints, paint_status, paint_tabs
from hoop_tui.widgets.bar import Bar
from hoop_tui.widgets.virtual import VirtualView

if TYPE_CHECKING:
    from hoop_tui.app import HoopApp
    from hoop_tui.store import Store

LEAST_WIDTH = 60
LEAST_HEIGHT = 16
WIDE = 160


class Frame(Screen[None], inherit_bindings=False):
    """A screen of the console."""

    PLACE: ClassVar[Where]
    NAME: ClassVar[str]
    BINDINGS: ClassVar[list[BindingType]] = [
        binding for binding in bindings(Where.LISTS) if binding.action == "other_pane"
    ]

    def __init__(self) -> None:
        super().__init__()
        self._note: Span | None = None
        self._asking = ":"

    @property
    def console(self) -> HoopApp:
        """The application."""
        return cast("HoopApp", self.app)

    @property
    def store(self) -> Store:
        """What is known."""
        return self.console.store

    @property
    def glyphs(self) -> Glyphs:
        """The signs of this terminal."""
        return self.console.glyphs

    @property
    def too_small(self) -> bool:
        """Whether there is no room to show anything; then nothing can be decided either."""
        return self.size.width < LEAST_WIDTH or self.size.height < LEAST_HEIGHT

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        yield Bar(self._paint_tabs, id="tabs")
        yield Bar(self._paint_broken, id="broken")
        yield from self.compose_body()
        yield Bar(self._paint_hints, id="hints")
        yield Input(id="command", compact=True, select_on_focus=False)
        yield Bar(self._paint_status, id="status")
        yield Static("", id="too-small", markup=False)

    def compose_body(self) -> ComposeResult:
        """Lay out what is between the tabs and the hints."""
        raise NotImplementedError

    def home_pane(self) -> VirtualView:
        """Return the pane that has the focus when nothing else wants it."""
        raise NotImplementedError

    def flush(self) -> None:
        """Show what changed."""
        self.set_class(bool(self.store.state.broken), "-broken")
        for bar in self.query(Bar):
            bar.look()

    def tick(self) -> None:
        """A second went by."""
        self.query_one("#tabs", Bar).look()
        self.query_one("#status", Bar).look()

    def on_mount(self) -> None:
        """Begin at the home pane."""
        self.set_class(self.glyphs.name == "plain", "-plain")
        self.home_pane().focus()

    def on_screen_resume(self) -> None:
        """Show what changed while another screen was in front."""
        self.flush()

    def on_resize(self, event: events.Resize) -> None:
        """Say so where there is no room; lay out anew where there is."""
        self.set_class(self.too_small, "-too-small")
        self.set_class(event.size.width >= WIDE, "-wide")
        words = f"{LEAST_WIDTH}x{LEAST_HEIGHT} at least, please.\nThis is {event.size.width}x{event.size.height}."
        self.query_one("#too-small", Static).update(words)
        self.call_after_refresh(self.flush)

    def offers(self, hint: str) -> bool:  # noqa: ARG002  for screens that have several states
        """Say whether an action, by its word in the hint line, is of use right now."""
        return True

    def say(self, text: str, role: str = "wait") -> None:
        """Put a word in the hint line until the next key."""
        self._note = Span(text, role)
        self.query_one("#hints", Bar).look()

    def on_key(self) -> None:
        """The next key takes the word away."""
        if self._note is not None:
            self._note = None
            self.query_one("#hints", Bar).look()

    def ask(self, sign: str) -> None:
        """Open the command line (`:`) or the search (`/`)."""
        self._asking = sign
        command = self.query_one("#command", Input)
        command.value = ""
        command.placeholder = "command (try :help)" if sign == ":" else "what to look for; empty shows all again"
        command.border_title = sign
        self.add_class("-asking")
        command.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take what was typed into the command line."""
        if event.input.id == "command":
            event.stop()
            self.close_command()
            if self._asking == ":":
                self.console.obey(event.value)
            else:
                self.search(event.value.strip())

    def close_command(self) -> bool:
        """Close the command line, if it is open; say whether it was."""
        was_open = self.has_class("-asking")
        self.remove_class("-asking")
        if was_open:
            self.home_pane().focus()
        return was_open

    def search(self, wanted: str) -> None:
        """Show only, or find, what contains `wanted`."""
        raise NotImplementedError

    def go_back(self) -> None:
        """Leave what was opened last on this screen."""

    def selected_id(self) -> str | None:
        """Return the id of what is selected, to be copied."""
        return None

    def action_other_pane(self) -> None:
        """Give the focus to the next pane in sight."""
        panes = [pane for pane in self.query(VirtualView) if pane.focusable and pane.region.area]
        if panes:
            here = panes.index(self.focused) if isinstance(self.focused, VirtualView) and self.focused in panes else -1
            panes[(here + 1) % len(panes)].focus()

    def _paint_tabs(self, width: int) -> Line:
        return paint_tabs(self.store.state, self.NAME, width, self.glyphs)

    def _paint_broken(self, width: int) -> Line:
        return paint_broken(self.store.state, width, self.glyphs)

    def _paint_hints(self, width: int) -> Line:
        return paint_hints(filter(self._offered, hints(self.PLACE)), self._note, width, self.glyphs)

    def _offered(self, hint: tuple[str, str]) -> bool:
        return self.offers(hint[1])

    def _paint_status(self, width: int) -> Line:
        return paint_status(self.store.state, self.store.now(), self.store.clock.monotonic(), width, self.glyphs)
