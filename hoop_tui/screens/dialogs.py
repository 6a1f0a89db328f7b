"""What every dialog is, and those about sessions and grants. None sends on a single key, none sends what is not shown.

A dialog asks for a reason; some fields are typed by hand and take no paste. Only ctrl+s sends. When what is shown is no
longer true, or the gateway is lost while a dialog is open, it says so and sends nothing more.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from hoop_tui.actions import Where, bindings
from hoop_tui.known import Grant, Session
from hoop_tui.lines import Line, Span, fit
from hoop_tui.sanitize import scrub
from hoop_tui.widgets.bar import Bar

if TYPE_CHECKING:
    from hoop_tui.app import HoopApp

CODE_DIGITS: Final = 4
INSIDE: Final = 64


class HandTyped(Input):
    """A field that takes typing only: no paste, neither from the terminal nor from the console's own clipboard."""

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self._refuse()

    def action_paste(self) -> None:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> None:
        if isinstance(self.screen, Dialog):
            self.screen.say("type it by hand: this field takes no paste")


class Dialog(ModalScreen[str | None]):
    """A dialog with a reason and, it may be, more fields; its result is the reason, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(Where.DIALOG)]
    TITLE = ""

    def __init__(self) -> None:
        super().__init__()
        self._note = ""
        self._locked = ""

    @property
    def console(self) -> HoopApp:
        """The application."""
        return cast("HoopApp", self.app)

    @property
    def reason(self) -> str:
        """What was typed as the reason."""
        return scrub(self.query_one("#reason", Input).value).text.strip()

    def compose(self) -> ComposeResult:
        """Lay the dialog out."""
        with Vertical(id="box"):
            for number, _ in enumerate(self.summary()):
                yield Bar(partial(self._summary_line, number))
            yield from self.fields()
            yield Bar(self._paint_state, id="dialog-state")

    def on_mount(self) -> None:
        """Begin with the reason, where there is one."""
        for field in self.query(Input).results(Input):
            field.focus()
            break

    def summary(self) -> list[Line]:
        """Return the lines above the fields."""
        raise NotImplementedError

    def fields(self) -> ComposeResult:
        """Lay out the fields."""
        raise NotImplementedError

    def missing(self) -> list[str]:
        """Return what is still to be filled in."""
        return [] if self.reason else ["a reason"]

    def changed(self) -> str:
        """Say why what is shown is no longer true; empty where it is."""
        return "" if self.console.store.state.live else "the gateway is lost: nothing can be sent"

    def flush(self) -> None:
        """Look whether what is shown is still true."""
        self._locked = self._locked or self.changed()
        self.tick()

    def tick(self) -> None:
        """Count on."""
        for bar in self.query(Bar):
            bar.look()

    def say(self, text: str) -> None:
        """Put a word in the last line until the next key."""
        self._note = text
        self.tick()

    def on_input_changed(self) -> None:
        """What is missing has changed."""
        self._note = ""
        self.tick()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field, and never sends."""
        event.stop()
        fields = list(self.query(Input))
        fields[(fields.index(event.input) + 1) % len(fields)].focus()

    def action_cancel(self) -> None:
        """Close without sending."""
        self.dismiss(None)

    def action_send(self) -> None:
        """Send, if everything is filled in and what is shown is still true."""
        self._locked = self._locked or self.changed()
        missing = self.missing()
        if self._locked or missing:
            self.say(self._locked or f"not sent: {', '.join(missing)} missing")
        else:
            self.dismiss(self.reason)

    def _summary_line(self, number: int, _width: int) -> Line:
        lines = self.summary()
        return lines[number] if number < len(lines) else ()

    def _paint_state(self, width: int) -> Line:
        glyphs = self.console.glyphs
        if self._locked:
            return (Span(fit(f"{glyphs.warning} {self._locked} (esc closes)", width, glyphs.ellipsis), "bad-strong"),)
        if self._note:
            return (Span(fit(self._note, width, glyphs.ellipsis), "wait"),)
        missing = self.missing()
        if missing:
            return (
                Span("still needed: ", "dim"),
                Span(", ".join(missing), "text"),
                Span("   esc", "key"),
                Span(" cancel", "dim"),
            )
        return (Span("ctrl+s", "key"), Span(" send   ", "text"), Span("esc", "key"), Span(" cancel", "dim"))


class WithdrawDialog(Dialog):
    """Take a grant back: a reason only, as that is the safe way."""

    def __init__(self, grant: Grant) -> None:
        super().__init__()
        self.grant = grant

    def summary(self) -> list[Line]:
        """Who is let through no more."""
        grant, glyphs = self.grant, self.console.glyphs
        return [
            (Span(f"{glyphs.deny} WITHDRAW", "bad-strong"), Span(f"  {grant.id}", "faint")),
            (Span(fit(f"{grant.subject} on {grant.connection}, given by {grant.by}", INSIDE, glyphs.ellipsis)),),
            (Span("from then on every statement is asked about again", "dim"),),
            (),
        ]

    def fields(self) -> ComposeResult:
        """The reason."""
        yield Bar(lambda _: (Span("reason, for the record", "label"),))
        yield Input(id="reason", compact=True)

    def changed(self) -> str:
        """Is it still in force?"""
        if all(each.id != self.grant.id for each in self.console.store.state.grants):
            return "this grant is over"
        return super().changed()


class KillDialog(Dialog):
    """Kill a session: a reason, and the last four characters of its id."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    @property
    def code(self) -> str:
        """What is to be typed."""
        return self.session.id[-CODE_DIGITS:]

    def summary(self) -> list[Line]:
        """Whom it hits."""
        session, glyphs = self.session, self.console.glyphs
        what = f"{session.subject} on {session.connection}, {session.state}"
        head, tail = session.id[:-CODE_DIGITS], self.code
        return [
            (Span(f"{glyphs.deny} KILL SESSION", "bad-strong"),),
            (Span(fit(what, INSIDE, glyphs.ellipsis)),),
            (Span("its connection is cut, what runs is cancelled", "dim"),),
            (),
            (Span("session ", "dim"), Span(head, "faint"), Span(tail, "wait-strong")),
        ]

    def fields(self) -> ComposeResult:
        """Reason, code."""
        yield Bar(lambda _: (Span("reason, which the agent reads", "label"),))
        yield Input(id="reason", compact=True)
        yield Bar(lambda _: (Span("the id's last four characters, by hand", "label"),))
        yield HandTyped(id="code", compact=True, max_length=CODE_DIGITS, select_on_focus=False)

    def missing(self) -> list[str]:
        """Reason, code."""
        typed = self.query_one("#code", Input).value.strip()
        return super().missing() + ([] if typed and typed == self.code else ["the four characters"])

    def changed(self) -> str:
        """Does it still live?"""
        if self.session.id not in self.console.store.state.sessions:
            return "this session has ended"
        return super().changed()
