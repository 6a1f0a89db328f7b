"""Replay: recorded sessions, and one of them as a transcript that plays.

Pages are loaded as they come, up to a bound that is said; playing needs no more of the gateway. Everything in a
transcript is text that was scrubbed: a recorded escape sequence is read, never obeyed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.timer import Timer

from hoop_tui import player
from hoop_tui.actions import Where, bindings
from hoop_tui.clock import SECOND, parse_time
from hoop_tui.fields import count, number, text
from hoop_tui.glyphs import RICH, Glyphs
from hoop_tui.lines import BLANK, Line, Row, Span, text_of, wrap
from hoop_tui.paint.recordings import Recording, paint_recording, recordings_heading
from hoop_tui.paint.sections import section
from hoop_tui.paint.transcript import Item, faded, found_in, paint_item, paint_timeline, starts_of
from hoop_tui.player import Player, Score
from hoop_tui.screens.frame import Frame
from hoop_tui.widgets.bar import Bar
from hoop_tui.widgets.keyed import KeyedList
from hoop_tui.widgets.virtual import VirtualView

MOST_TEXT: Final = 16 << 20
"""Characters of one transcript held at a time."""
FRAMES: Final = 10


class TranscriptRows:
    """A transcript's lines, the played ones bright."""

    def __init__(self, glyphs: Glyphs = RICH) -> None:
        self._glyphs = glyphs
        self.lines: list[Line] = []
        self.starts: list[int] = []
        """For each record: the number of its first line."""
        self.record = 0
        self.wanted = ""
        self.first = 0

    @property
    def end(self) -> int:
        """Number after the last line."""
        return len(self.lines)

    def paint(self, number: int, width: int) -> Line:  # noqa: ARG002  painted at a width already
        """Paint one line."""
        if not 0 <= number < len(self.lines):
            return BLANK
        record = bisect_right(self.starts, number) - 1
        content = self.lines[number]
        content = content if record <= self.record else faded(content)
        sign = Span(f"{self._glyphs.selected} " if record == self.record else "  ", "head")
        return (sign, *(found_in(content, self.wanted) if self.wanted else content))

    def selectable(self, number: int) -> bool:  # noqa: ARG002  a text has no cursor
        """Every line is."""
        return True


class ReplayScreen(Frame):
    """The list of recordings; a transcript over it."""

    PLACE = Where.REPLAY
    NAME = "replay"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(Where.REPLAY)]

    def __init__(self) -> None:
        super().__init__()
        self.recordings: dict[str, Recording] = {}
        self.opened: str | None = None
        self.items: list[Item] = []
        self.score = Score()
        self.player = Player()
        self.progress = ""
        self._failure = ""
        self._rows = TranscriptRows()
        self._wanted = ""
        self._timer: Timer | None = None
        self._painted_width = 0
        self._played_at = 0

    def compose_body(self) -> ComposeResult:
        """The list, or the transcript with its timeline."""
        yield Bar(self._paint_title, id="replay-title")
        yield Bar(lambda width: (Span(" "), *recordings_heading(width - 2)), id="recordings-heading")
        yield KeyedList(id="recordings", glyphs=self.glyphs)
        yield VirtualView(id="transcript", glyphs=self.glyphs)
        yield Bar(self._paint_timeline, id="timeline")

    @property
    def listing(self) -> KeyedList:
        """The list of recordings."""
        return self.query_one("#recordings", KeyedList)

    @property
    def transcript(self) -> VirtualView:
        """The transcript's pane."""
        return self.query_one("#transcript", VirtualView)

    def home_pane(self) -> VirtualView:
        """The transcript where one is open."""
        return self.transcript if self.opened else self.listing

    def on_mount(self) -> None:
        """Prepare the player's beat; it stands still until something plays."""
        self._timer = self.set_interval(1 / FRAMES, self._beat, pause=True)

    def on_screen_resume(self) -> None:
        """Ask for the recordings anew."""
        if self.opened is None:
            self.console.load_recordings(self)

    def flush(self) -> None:
        """Show the list, or the transcript at its width."""
        self._show_list()
        if self.opened is not None and self.transcript.text_width != self._painted_width:
            self._paint_all()
        super().flush()

    def search(self, wanted: str) -> None:
        """Find in the transcript; in the list, show only what contains it."""
        self._wanted = wanted.lower()
        self._rows.wanted = self._wanted if self.opened else ""
        if self.opened and self._wanted:
            self.action_find(1)
        self.flush()
        self.transcript.refresh()

    def go_back(self) -> None:
        """End a search, then close the transcript."""
        if self._wanted:
            self.search("")
        elif self.opened is not None:
            self.opened = None
            self._pause()
            self.remove_class("-open")
            self.listing.focus()
            self.console.load_recordings(self)

    def offers(self, hint: str) -> bool:
        """The list opens, the transcript plays."""
        return (hint in {"open", "help", "filter"}) if self.opened is None else hint != "open"

    def selected_id(self) -> str | None:
        """The open or selected session's id."""
        return self.opened or self.listing.selected

    def take_recordings(self, items: list[Any]) -> None:
        """Show the list that the gateway answered."""
        found = [Recording.read(item) for item in items if isinstance(item, dict)]
        self.recordings = {one.id: one for one in found if one.id}
        self.progress = self._failure = ""
        self.flush()

    def open(self, session_id: str) -> None:
        """Open a session's transcript and let the console load it."""
        self.opened = session_id
        self.items, self.score, self.player = [], Score(), Player()
        self._rows, self._wanted = TranscriptRows(self.glyphs), ""
        self.progress = "loading"
        self.add_class("-open")
        self.transcript.show(self._rows)
        self.transcript.unsee()
        self.transcript.focus()
        self.flush()
        self.console.load_transcript(self, session_id)

    def take_page(self, session_id: str, raw: object) -> int | None:
        """Add a page; return where the next one begins, None where that was the last or there is no more room."""
        if session_id != self.opened or not isinstance(raw, dict):
            return None
        page = raw.get("items")
        self.items += [intake_item(item) for item in page if isinstance(item, dict)] if isinstance(page, list) else []
        following = number(raw, "next_after")
        if following is not None and sum(len(item.text) for item in self.items) > MOST_TEXT:
            self.progress = f"the first {len(self.items):,} records; there is no room for the rest"
            following = None
        else:
            self.progress = "loading" if following is not None else ""
        self._lay_out(capped=self.player.capped)
        return following

    def fail(self, words: str) -> None:
        """Say that the gateway did not give it."""
        self.progress = ""
        self.say(words, "bad")
        if self.opened is None:
            self._failure = words
        self.flush()

    def action_load(self) -> None:
        """Open the selected session."""
        if self.opened is None and self.listing.selected is not None:
            self.open(self.listing.selected)

    def action_play(self) -> None:
        """Play or pause."""
        if not self.opened or self._timer is None:
            return
        self.player = player.toggle(self.player, self.score)
        if self.player.playing:
            self._played_at = self.store.clock.monotonic()
            self._timer.resume()
        else:
            self._timer.pause()
        self._follow()

    def action_seek(self, seconds: int) -> None:
        """Move by seconds."""
        self._go(lambda: player.seek(self.player, self.score, seconds * SECOND))

    def action_leap(self, tenths: int) -> None:
        """Move by tenths of the whole."""
        self._go(lambda: player.seek(self.player, self.score, tenths * self.score.length // 10))

    def action_step(self, direction: int) -> None:
        """Go to another statement."""
        self._go(lambda: player.step(self.player, self.score, direction))

    def action_marker(self, direction: int) -> None:
        """Go to another marker."""
        self._go(lambda: player.marker(self.player, self.score, direction))

    def action_speed(self, direction: int) -> None:
        """Slower, faster, normal."""
        self._go(lambda: player.change_speed(self.player, direction))

    def action_idle_cap(self) -> None:
        """Cut idle time, or show it in full."""
        if self.opened:
            self._lay_out(capped=not self.player.capped)

    def action_find(self, direction: int) -> None:
        """Go to another match."""
        if not self.opened or not self._wanted:
            self.say("nothing to find: / first")
            return
        here = self.player.record
        hits = [number for number, item in enumerate(self.items) if self._wanted in item.text.lower()]
        ahead = [number for number in hits if number > here] if direction > 0 else hits[::-1]
        further = ahead if direction > 0 else [number for number in ahead if number < here]
        if not hits:
            self.say(f"not found: {self._wanted}")
            return
        target = further[0] if further else (hits[0] if direction > 0 else hits[-1])
        self._go(lambda: player.go_to(self.player, self.score, target))

    def _go(self, move: Callable[[], Player]) -> None:
        if self.opened and self.score.starts:
            self.player = move()
            if not self.player.playing:
                self._pause()
            self._follow()

    def _pause(self) -> None:
        if self._timer is not None:
            self._timer.pause()

    def _beat(self) -> None:
        now = self.store.clock.monotonic()
        elapsed, self._played_at = now - self._played_at, now
        before = self.player.record
        self.player = player.tick(self.player, self.score, elapsed)
        if not self.player.playing:
            self._pause()
        if before != self.player.record:
            self._follow()
        self.query_one("#timeline", Bar).look()

    def _follow(self) -> None:
        """Bring the current record into sight."""
        self._rows.record = self.player.record
        if self._rows.starts and self.player.record < len(self._rows.starts):
            begin = self._rows.starts[self.player.record]
            after = self.player.record + 1
            last = self._rows.starts[after] - 1 if after < len(self._rows.starts) else self._rows.end - 1
            self.transcript.scroll_to_row(min(last, begin + self.transcript.height - 1))
            self.transcript.scroll_to_row(begin)
        self.transcript.refresh()
        self.query_one("#timeline", Bar).look()
        self.query_one("#replay-title", Bar).look()

    def _lay_out(self, *, capped: bool) -> None:
        inward = [number for number, item in enumerate(self.items) if item.inward]
        marked = [number for number, item in enumerate(self.items) if item.marked]
        self.score = player.compose(starts_of(self.items), inward, marked, capped=capped)
        self.player = player.recompose(self.player, self.score, capped=capped)
        self._paint_all()
        super().flush()

    def _paint_all(self) -> None:
        width = self.transcript.text_width
        rows = self._rows
        rows.lines, rows.starts = [], []
        for place, item in enumerate(self.items):
            rows.starts.append(len(rows.lines))
            rows.lines += paint_item(item, self.score.cut[place], width - 2, self.glyphs)
        self._painted_width = width
        self.transcript.show(rows)
        self._follow()

    def _show_list(self) -> None:
        width = self.listing.text_width
        failure = [Row(None, row) for row in wrap(self._failure, width, "bad")] if self._failure else []
        painted = [Row(one.id, paint_recording(one, width, self.glyphs)) for one in self.recordings.values()]
        wanted = self._wanted if self.opened is None else ""
        self.listing.show_rows([*failure, *(row for row in painted if wanted in text_of(row.line).lower())])

    def _paint_title(self, width: int) -> Line:
        if self.opened is None:
            return (Span(" "), *section("recorded sessions", width - 2, self.glyphs, self.progress))
        recording = self.recordings.get(self.opened)
        who = f"{recording.subject} on {recording.connection}  " if recording else ""
        place = f"{min(self.player.record + 1, len(self.items))}/{len(self.items)}"
        note = f"{who}{self.opened}  {place}" + (f"  {self.progress}" if self.progress else "")
        return (Span(" "), *section("replay", width - 2, self.glyphs, note))

    def _paint_timeline(self, width: int) -> Line:
        return paint_timeline(self.player, self.score, width, self.glyphs)


def intake_item(raw: dict[str, Any]) -> Item:
    """Read one transcript item of the control protocol."""
    return Item(
        log=text(raw, "log"),
        seq=count(raw, "seq"),
        n=number(raw, "n"),
        ts=parse_time(raw.get("ts")),
        inward=text(raw, "direction") == "in",
        kind=text(raw, "kind"),
        text=text(raw, "text"),
        truncated=raw.get("truncated") is True,
        verdict=text(raw, "verdict"),
        outcome=text(raw, "outcome"),
        rows=number(raw, "rows"),
        duration_us=number(raw, "duration_us"),
    )
