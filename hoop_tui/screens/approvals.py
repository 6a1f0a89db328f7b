"""Approvals: the inbox, the card, and what is around it; the only place from which something is decided.

New arrivals never move the selection or take the focus. Keys that decide are dropped for 700 ms after a card appears or
changes, refused until the statement was read to its end, and open a dialog only: nothing here sends by itself. What is
shown as decided is what the gateway answered.
"""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal

from gateway.model import ApprovalId
from hoop_tui.actions import Where, bindings
from hoop_tui.clock import time_of_day
from hoop_tui.glyphs import of_verdict
from hoop_tui.known import Approval, Attempt, AttemptPhase, Tail, without_rows
from hoop_tui.lines import Line, Span, one_line
from hoop_tui.paint.card import Card, Surroundings, paint_card, paint_context
from hoop_tui.paint.inbox import GRANT, paint_inbox, sort_inbox
from hoop_tui.paint.sections import section
from hoop_tui.screens.deciding import ApproveDialog, BreakGlassDialog, DenyDialog
from hoop_tui.screens.dialogs import WithdrawDialog
from hoop_tui.screens.frame import WIDE, Frame
from hoop_tui.theme import role_of_verdict
from hoop_tui.widgets.bar import Bar
from hoop_tui.widgets.keyed import KeyedList
from hoop_tui.widgets.virtual import Lines, VirtualView

QUARANTINE: Final = 700_000
"""Microseconds after a card appears or changes in which keys that decide are dropped."""


class ApprovalsScreen(Frame):
    """Inbox and card; side by side where there is room."""

    PLACE = Where.APPROVALS
    NAME = "approvals"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(Where.APPROVALS)]

    def __init__(self) -> None:
        super().__init__()
        self._card = Card((), 0)
        self._on_card: tuple[Approval | None, Attempt | None] = (None, None)
        self._card_since = 0
        self._card_width = 0
        self._read: set[tuple[str, str, int, bool]] = set()
        self._fetched: set[tuple[str, str, int]] = set()
        self._looked_back: set[tuple[str, int]] = set()
        self._wanted = ""

    def compose_body(self) -> ComposeResult:
        """Inbox, card, context."""
        yield Bar(self._paint_title, id="inbox-title")
        with Horizontal(id="desk"):
            yield KeyedList(id="inbox", glyphs=self.glyphs)
            yield VirtualView(id="card", glyphs=self.glyphs)
            yield VirtualView(id="context", glyphs=self.glyphs)

    @property
    def inbox(self) -> KeyedList:
        """The list of requests."""
        return self.query_one("#inbox", KeyedList)

    @property
    def card(self) -> VirtualView:
        """The card's pane."""
        return self.query_one("#card", VirtualView)

    @property
    def wide(self) -> bool:
        """Whether inbox, card and context stand side by side."""
        return self.size.width >= WIDE

    @property
    def card_in_sight(self) -> bool:
        """Whether the card is on the screen."""
        return self.wide or self.has_class("-card")

    def home_pane(self) -> VirtualView:
        """The card where it is open alone, else the inbox."""
        return self.card if self.has_class("-card") and not self.wide else self.inbox

    def current(self) -> Approval | None:
        """The selected request."""
        return self.store.state.approvals.get(ApprovalId(self.inbox.selected or ""))

    def flush(self) -> None:
        """Show the requests as they are."""
        self._show_inbox()
        self._show_card()
        super().flush()

    def tick(self) -> None:
        """Count down."""
        super().tick()
        if self.store.state.approvals:
            self._show_inbox()
            self._show_card()
            self._look_back()

    def search(self, wanted: str) -> None:
        """Show only requests that contain `wanted`."""
        self._wanted = wanted
        self.flush()

    def go_back(self) -> None:
        """Leave the card; then show every request again."""
        if self.has_class("-card"):
            self.remove_class("-card")
            self.inbox.focus()
        else:
            self._wanted = ""
        self.flush()

    def offers(self, hint: str) -> bool:
        """The inbox opens, the card decides."""
        return hint not in ({"open"} if self.card_in_sight else {"approve", "deny"})

    def selected_id(self) -> str | None:
        """The selected request's id."""
        return self.inbox.selected

    def on_screen_resume(self) -> None:
        """The card appears."""
        self._card_since = self.store.clock.monotonic()

    def on_virtual_view_moved(self, event: VirtualView.Moved) -> None:
        """Another request is selected, or the card was scrolled."""
        if event.view is self.inbox:
            self._show_card()
        self._note_reading()
        self.query_one("#inbox-title", Bar).look()

    def action_open(self) -> None:
        """Open the selected request's card."""
        if self.current() is None:
            self.say("nothing is selected")
            return
        if not self.wide:
            self._card_since = self.store.clock.monotonic()
            self.add_class("-card")
        self.card.focus()
        self.call_after_refresh(self.flush)

    def action_approve(self) -> None:
        """Open the dialog that approves, if this request can be approved now."""
        self._decide(approve=True)

    def action_deny(self) -> None:
        """Open the dialog that denies, if this request can be denied now."""
        self._decide(approve=False)

    def action_break_glass(self) -> None:
        """Open the dialog that approves in everybody's place, if this request can be approved now."""
        self._decide(approve=True, break_glass=True)

    def why_not(self, approval: Approval | None, *, approve: bool, break_glass: bool = False) -> str:
        """Return why this request cannot be decided from here and now; empty where it can."""
        state = self.store.state
        if approval is None:
            return "nothing is selected"
        if not self.card_in_sight:
            return "open the card first: enter"
        if not state.live:
            return "the gateway is lost: what is shown is stale, nothing can be decided"
        if state.gateway is not None and state.gateway.needs_login:
            return "deciding needs a login, not older than 10 minutes: :login"
        if state.gateway is None or not state.gateway.decides:
            return "you may watch, not decide"
        if approve and not break_glass and state.gateway.person[0] in approval.agreed:
            return "you approved it already; another person must do so too"
        if not approval.pending:
            return f"already {approval.state}"
        attempt = state.attempts.get(approval.id)
        if attempt is not None and attempt.phase in {AttemptPhase.SIGNING, AttemptPhase.SENT, AttemptPhase.UNKNOWN}:
            return "your decision is under way"
        if not approve:
            return ""
        if approval.effect is not None and without_rows(approval.effect):
            return "what it did is not all here yet: wait for its rows"
        if approval.cut:
            known = f"{len(approval.statement):,} of {approval.length:,} characters"
            return f"the whole statement is not here ({known}): it cannot be approved from the console"
        if self._reading_key(approval) not in self._read:
            left = self._card.must_see - self.card.seen
            return f"read to the end first: {max(1, left)} more lines (ctrl+d, G)"
        return ""

    def _decide(self, *, approve: bool, break_glass: bool = False) -> None:
        self._show_card()
        if self.too_small or self.store.clock.monotonic() - self._card_since < QUARANTINE:
            return
        approval = self.current()
        obstacle = self.why_not(approval, approve=approve, break_glass=break_glass)
        if obstacle or approval is None:
            self.say(obstacle)
            return
        if not approve:

            def refuse(reason: str | None) -> None:
                if reason is not None:
                    self.console.decide(approval, reason, approve=False)

            self.app.push_screen(DenyDialog(approval), refuse)
            return
        dialog = BreakGlassDialog(approval) if break_glass else ApproveDialog(approval)

        def send(reason: str | None) -> None:
            if reason is not None:
                self.console.decide(approval, reason, approve=True, seconds=dialog.seconds, break_glass=break_glass)

        self.app.push_screen(dialog, send)

    def action_withdraw(self) -> None:
        """Open the dialog that takes the selected grant back."""
        selected = (self.inbox.selected or "").removeprefix(GRANT)
        grant = next((each for each in self.store.state.grants if each.id == selected), None)
        if grant is None or not (self.inbox.selected or "").startswith(GRANT):
            self.say("select a grant first (below the requests)")
            return
        self.app.push_screen(
            WithdrawDialog(grant), lambda reason: self.console.withdraw(grant.id, reason) if reason else None
        )

    def _show_inbox(self) -> None:
        state = self.store.state
        rows = paint_inbox(sort_inbox(state, self._wanted), state, self.store.now(), self.inbox.text_width, self.glyphs)
        self.inbox.show_rows(rows)

    def _show_card(self) -> None:
        approval = self.current()
        attempt = None if approval is None else self.store.state.attempts.get(approval.id)
        before = self._on_card[0]
        if (approval, attempt) != self._on_card:
            self._on_card = (approval, attempt)
            self._card_since = self.store.clock.monotonic()
        if approval is None:
            self._card = Card((), 0)
            self.card.show(Lines([(Span("  nothing selected: j, k", "faint"),)]))
            self.query_one("#context", VirtualView).show(Lines())
            return
        self._fetch_whole(approval)
        width = self.card.text_width - 1
        around = self._around(approval, attempt)
        self._card = paint_card(approval, around, width, self.glyphs, with_context=not self.wide)
        self.card.show(Lines([(Span(" "), *line) for line in self._card.lines]))
        fresh = before is None or (before.id, before.hash, before.statement, before.effect) != (
            approval.id,
            approval.hash,
            approval.statement,
            approval.effect,
        )
        if fresh or width != self._card_width:
            self._card_width = width
            self.card.unsee()
        self._note_reading()
        if self.wide:
            pane = self.query_one("#context", VirtualView)
            context = paint_context(approval, around, pane.text_width - 1, self.glyphs)
            pane.show(Lines([(Span(" "), *line) for line in context[1:]]))

    def _around(self, approval: Approval, attempt: Attempt | None) -> Surroundings:
        return Surroundings(
            now=self.store.now(),
            gateway=self.store.state.gateway,
            attempt=attempt,
            live=self.store.state.live,
            lately=[self._lately(item) for item in self.store.lately(approval)],
            earlier=self.store.earlier(approval),
            history=self.store.state.histories.get(approval.id),
        )

    def _look_back(self) -> None:
        """Ask the evidence about the time before a request that somebody reads, once for each time the line is up.

        The gateway reads with a process of its own, so a card that only flies by asks for nothing.
        """
        approval, state = self.current(), self.store.state
        if approval is None or not self.card_in_sight or not state.live:
            return
        key = (approval.id, state.link.since)
        if key not in self._looked_back and self.store.clock.monotonic() - self._card_since >= QUARANTINE:
            self._looked_back.add(key)
            self.console.look_back(approval.id)

    def _lately(self, item: Tail) -> Line:
        return (
            Span(f"{time_of_day(item.ts)} ", "faint"),
            Span(f"{of_verdict(self.glyphs, item.verdict)} {item.verdict:<7} ", role_of_verdict(item.verdict)),
            Span(one_line(item.text, self.glyphs.newline), "dim"),
        )

    def _fetch_whole(self, approval: Approval) -> None:
        """Lists carry a statement's beginning only; ask for all of it, once for each time the line is up."""
        key = (approval.id, approval.hash, self.store.state.link.since)
        if approval.cut and self.store.state.live and key not in self._fetched:
            self._fetched.add(key)
            self.console.fetch(approval.id)

    def _note_reading(self) -> None:
        """Remember that the statement's end was in sight, while the card was."""
        approval = self.current()
        if approval is not None and self.card_in_sight and not self.too_small and self.card.seen >= self._card.must_see:
            self._read.add(self._reading_key(approval))

    @staticmethod
    def _reading_key(approval: Approval) -> tuple[str, str, int, bool]:
        return approval.id, approval.hash, len(approval.statement), approval.cut

    def _paint_title(self, width: int) -> Line:
        approval = self.current()
        notes = [] if self.store.state.live else ["STALE"]
        if self._wanted:
            notes.append(f"only what contains {self._wanted} (esc: all)")
        if self.card_in_sight and approval is not None and approval.pending and not approval.cut:
            left = self._card.must_see - self.card.seen
            if self._reading_key(approval) not in self._read and left > 0:
                notes.append(f"{left} more lines to read before approving")
        title = "request" if self.has_class("-card") and not self.wide else "approvals"
        return (Span(" "), *section(title, width - 2, self.glyphs, f" {self.glyphs.dot} ".join(notes)))
