"""Live: the sessions, and the tail of what they do.

The tail follows until a person scrolls or freezes it; frozen, it counts what it does not show. Killing a session asks
for a reason and four characters of its id.
"""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType

from gateway.model import SessionId, VerdictKind
from hoop_tui.actions import Where, bindings
from hoop_tui.glyphs import Glyphs
from hoop_tui.known import Gap, Session, TailItem
from hoop_tui.lines import BLANK, Line, Row, Span
from hoop_tui.paint.sections import section
from hoop_tui.paint.sessions import heading, paint_session
from hoop_tui.paint.tail import matches, paint_tail
from hoop_tui.ring import Ring
from hoop_tui.screens.dialogs import KillDialog
from hoop_tui.screens.frame import Frame
from hoop_tui.store import TAIL_KEPT
from hoop_tui.widgets.bar import Bar
from hoop_tui.widgets.keyed import KeyedList
from hoop_tui.widgets.virtual import VirtualView

FILTERS: Final = (None, *(kind.value for kind in VerdictKind))


class TailRows:
    """The rows of a ring of records."""

    def __init__(self, ring: Ring[TailItem], glyphs: Glyphs) -> None:
        self.ring = ring
        self._glyphs = glyphs

    @property
    def first(self) -> int:
        """Number of the oldest record held."""
        return self.ring.first

    @property
    def end(self) -> int:
        """Number after the newest record."""
        return self.ring.end

    def paint(self, number: int, width: int) -> Line:
        """Paint one record."""
        item = self.ring.get(number)
        return BLANK if item is None else paint_tail(item, width, self._glyphs)

    def selectable(self, number: int) -> bool:  # noqa: ARG002  the tail has no cursor
        """Every record is."""
        return True


class LiveScreen(Frame):
    """Sessions above, the tail below."""

    PLACE = Where.LIVE
    NAME = "live"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(Where.LIVE)]

    def __init__(self) -> None:
        super().__init__()
        self._shown: Ring[TailItem] = Ring(TAIL_KEPT)
        self._taken = 0
        self._frozen = False
        self._unseen = 0
        self._verdict: str | None = None
        self._wanted = ""
        self._session: str | None = None

    def compose_body(self) -> ComposeResult:
        """Sessions, tail."""
        yield Bar(self._paint_sessions_title)
        yield Bar(lambda width: (Span(" "), *heading(width - 2)))
        yield KeyedList(id="sessions", glyphs=self.glyphs)
        yield Bar(self._paint_tail_title)
        yield VirtualView(id="tail", glyphs=self.glyphs)

    @property
    def sessions(self) -> KeyedList:
        """The sessions' list."""
        return self.query_one("#sessions", KeyedList)

    @property
    def tail(self) -> VirtualView:
        """The tail's pane."""
        return self.query_one("#tail", VirtualView)

    def home_pane(self) -> VirtualView:
        """Sessions have the focus first."""
        return self.sessions

    def on_mount(self) -> None:
        """Begin by following the tail."""
        self.tail.following = True
        self.tail.show(TailRows(self._shown, self.glyphs))

    def flush(self) -> None:
        """Take in new records and the sessions as they are."""
        self._take()
        self._show_sessions()
        super().flush()

    def tick(self) -> None:
        """Sessions grow older."""
        super().tick()
        if self.store.state.sessions:
            self._show_sessions()

    def search(self, wanted: str) -> None:
        """Show only records that contain `wanted`."""
        self._wanted = wanted.lower()
        self._again()

    def go_back(self) -> None:
        """Show every record again."""
        if self._verdict or self._wanted or self._session:
            self._verdict, self._wanted, self._session = None, "", None
            self._again()

    def selected_id(self) -> str | None:
        """The selected session's id."""
        return self.sessions.selected

    def selected_session(self) -> Session | None:
        """The selected session, if it still lives."""
        return self.store.state.sessions.get(SessionId(self.sessions.selected or ""))

    def on_virtual_view_moved(self, event: VirtualView.Moved) -> None:
        """Scrolling away from the end stops following; coming back to it follows again."""
        if event.view is self.tail and not self._frozen:
            self.tail.following = self.tail.at_end
        for bar in self.query(Bar):
            bar.look()

    def action_follow(self) -> None:
        """Go to the end and stay there."""
        self._thaw()
        self.tail.following = True
        self.tail.show(self.tail.rows)
        self.flush()

    def action_freeze(self) -> None:
        """Hold the tail still, or let it go on where it is."""
        if self._frozen:
            self._thaw()
        else:
            self._frozen, self._unseen = True, 0
            self.tail.show(TailRows(self._shown.copy(), self.glyphs))
        self.flush()

    def action_verdict(self) -> None:
        """Show the next verdict only; after the last, all."""
        self._verdict = FILTERS[(FILTERS.index(self._verdict) + 1) % len(FILTERS)]
        self._again()

    def action_only(self) -> None:
        """Show the selected session's records only, or all again."""
        chosen = self.sessions.selected
        self._session = None if self._session is not None or chosen is None else chosen
        self._again()

    def action_replay(self) -> None:
        """Open the selected session's recording."""
        chosen = self.sessions.selected
        if chosen is None:
            self.say("no session is selected")
        else:
            self.console.replay(chosen)

    def action_kill(self) -> None:
        """Ask whether the selected session shall be killed."""
        session = self.selected_session()
        if self.too_small:
            return
        if session is None:
            self.say("no session is selected")
        elif not self.store.state.live:
            self.say("the gateway is lost: nothing can be killed from here", "bad")
        else:
            self.app.push_screen(KillDialog(session), lambda reason: self._kill(session, reason))

    def _kill(self, session: Session, reason: str | None) -> None:
        if reason is not None:
            self.console.kill(session.id, reason)

    def _thaw(self) -> None:
        if self._frozen:
            self._frozen, self._unseen = False, 0
            self.tail.show(TailRows(self._shown, self.glyphs))

    def _take(self) -> None:
        fresh = [item for item in self.store.tail.since(self._taken) if self._passes(item)]
        self._taken = self.store.tail.end
        self._shown.extend(fresh)
        if self._frozen:
            self._unseen += len(fresh)
        elif fresh:
            self.tail.show(self.tail.rows)

    def _again(self) -> None:
        """Fill the tail anew after its filter changed; a filter ends a freeze."""
        self._frozen, self._unseen = False, 0
        self._shown = Ring(TAIL_KEPT)
        self._taken = 0
        self.tail.following = True
        self._take()
        self.tail.show(TailRows(self._shown, self.glyphs))
        self.flush()

    def _passes(self, item: TailItem) -> bool:
        if isinstance(item, Gap):
            return True
        if self._session is not None and item.session_id != self._session:
            return False
        texts = (item.subject, item.connection, item.text, item.kind, item.operation)
        found = not self._wanted or any(self._wanted in text.lower() for text in texts)
        return found and matches(item, self._verdict)

    def _show_sessions(self) -> None:
        width, now = self.sessions.text_width, self.store.now()
        found = sorted(self.store.state.sessions.values(), key=lambda session: (session.started or 0, session.id))
        self.sessions.show_rows([Row(one.id, paint_session(one, width, self.glyphs, now=now)) for one in found])
        most = max(3, (self.size.height - 8) * 2 // 5)
        self.sessions.styles.height = min(max(2, len(found)), most)

    def _paint_sessions_title(self, width: int) -> Line:
        state = self.store.state
        note = f"{len(state.sessions)}" + ("" if state.live else "  STALE")
        return (Span(" "), *section("sessions", width - 2, self.glyphs, note))

    def _paint_tail_title(self, width: int) -> Line:
        if self._frozen:
            how = f"FROZEN {self.glyphs.pause} {self._unseen:,} unseen"
        elif self.tail.following:
            how = "following"
        else:
            below = max(0, self._shown.end - self.tail.top - self.tail.height)
            how = f"scrolled, {below:,} below"
        only = [f"verdict {self._verdict}"] if self._verdict else []
        only += [f"“{self._wanted}”"] if self._wanted and self.glyphs.name == "rich" else []
        only += [f'"{self._wanted}"'] if self._wanted and self.glyphs.name != "rich" else []
        only += [f"session {self._session}"] if self._session else []
        if only:
            how += f" {self.glyphs.dot} only " + ", ".join(only) + " (esc: all)"
        return (Span(" "), *section("tail", width - 2, self.glyphs, how))
