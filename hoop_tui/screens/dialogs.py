"""The dialogs that decide. None sends on a single key, none sends what it no longer shows.

Approving asks for a reason and for four hex digits of the request's hash, typed by hand: the code field takes no paste.
For high risk, and for breaking the glass, it asks for the target's name too. Only ctrl+s sends. When the request
changes, or the gateway is lost while a dialog is open, it says so and sends nothing more.
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
from hoop_tui.known import Approval, Grant, Session
from hoop_tui.lines import Line, Span, fit, wrap
from hoop_tui.paint.card import remaining
from hoop_tui.risk import high_risk
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


class DecisionDialog(Dialog):
    """What approving and denying have in common."""

    def __init__(self, approval: Approval) -> None:
        super().__init__()
        self.approval = approval

    def changed(self) -> str:
        """The same hash, and still pending?"""
        now = self.console.store.state.approvals.get(self.approval.id)
        if now is None or now.hash != self.approval.hash:
            return "this request changed"
        if not now.pending:
            return f"already {now.state}" + (f" by {now.approver}" if now.approver else "")
        return super().changed()

    def _facts(self) -> list[Line]:
        approval, glyphs = self.approval, self.console.glyphs
        what = f"{approval.operation} on {approval.connection} by {approval.subject}"
        return [
            (Span(fit(what, INSIDE, glyphs.ellipsis), "text"),),
            (Span("expires in ", "dim"), remaining(approval, self.console.store.now())),
            (),
        ]


class ApproveDialog(DecisionDialog):
    """Approve: a reason, four digits, for high risk the target's name; where the rule lets it be, a period."""

    seconds: int | None = None
    """The period to let the agent through, once sent."""

    def summary(self) -> list[Line]:
        """What will run, and which digits to type."""
        approval, glyphs = self.approval, self.console.glyphs
        lines: list[Line] = [(Span(f"{glyphs.done} APPROVE", "ok"), Span(f"  {approval.id}", "faint")), *self._facts()]
        risks = high_risk(approval)
        if risks:
            lines += [*wrap(f"{glyphs.warning} HIGH RISK: {', '.join(risks)}", INSIDE, "bad-strong")]
        code, rest = approval.hash[:CODE_DIGITS], approval.hash[CODE_DIGITS:16]
        lines.append((Span("hash ", "dim"), Span(code, "wait-strong"), Span(f" {rest}{glyphs.ellipsis}", "faint")))
        return lines

    def fields(self) -> ComposeResult:
        """Reason, code, name."""
        yield Bar(lambda _: (Span("reason, for the record", "label"),))
        yield Input(id="reason", compact=True)
        yield Bar(lambda _: (Span("the hash's first four digits, by hand", "label"),))
        yield HandTyped(id="code", compact=True, max_length=CODE_DIGITS, select_on_focus=False)
        if self.offers_period:
            yield Bar(lambda _: (Span("let this agent through for so many minutes; empty: only this once", "label"),))
            yield Input(id="period", compact=True, max_length=4, restrict=r"[0-9]*")
        if self.asks_name:
            name = self.approval.connection
            yield Bar(lambda width: (Span(fit(f"the target's name, by hand: {name}", width), "label"),))
            yield HandTyped(id="target", compact=True, select_on_focus=False)

    @property
    def offers_period(self) -> bool:
        """Whether the agent may be let through for a while."""
        return bool(self.approval.sessions)

    @property
    def asks_name(self) -> bool:
        """Whether the target's name must be typed."""
        return bool(high_risk(self.approval))

    @property
    def period(self) -> str:
        """What was typed as minutes."""
        return self.query_one("#period", Input).value.strip() if self.offers_period else ""

    def action_send(self) -> None:
        """Note the period, and send."""
        self.seconds = int(self.period) * 60 if self.period else None
        super().action_send()

    def missing(self) -> list[str]:
        """Reason, digits, name."""
        missing = super().missing()
        code = self.approval.hash[:CODE_DIGITS].lower()
        if len(code) < CODE_DIGITS or self.query_one("#code", Input).value.strip().lower() != code:
            missing.append("the four digits")
        if self.offers_period and self.query_one("#period", Input).value.strip("0") == "" != self.period:
            missing.append("minutes, or nothing")
        if self.asks_name and self.query_one("#target", Input).value.strip() != self.approval.connection:
            missing.append("the target's name")
        return missing


class BreakGlassDialog(ApproveDialog):
    """Approve in the place of everybody who is missing: what that means, and the target's name in any case."""

    def summary(self) -> list[Line]:
        """What it does, frankly."""
        approval, glyphs = self.approval, self.console.glyphs
        missing = " and ".join(approval.missing) or ", ".join(approval.reviewers) or "the reviewers"
        words = (
            f"You put yourself in the place of {missing}. It runs at once, by your word alone. An alarm is recorded, "
            "everybody is told, and it stays in sight for a day with your name and your reason."
        )
        first, *rest = super().summary()
        head: Line = (Span(f"{glyphs.warning} BREAK THE GLASS", "bad-strong"), *first[1:])
        return [head, *wrap(words, INSIDE, "bad"), (), *rest]

    @property
    def offers_period(self) -> bool:
        """Never: it is one operation, once."""
        return False

    @property
    def asks_name(self) -> bool:
        """Always."""
        return True


class DenyDialog(DecisionDialog):
    """Deny: a reason only. Enter sends it, as refusing is the safe way."""

    def summary(self) -> list[Line]:
        """What will not run."""
        glyphs = self.console.glyphs
        return [(Span(f"{glyphs.deny} DENY", "bad-strong"), Span(f"  {self.approval.id}", "faint")), *self._facts()]

    def fields(self) -> ComposeResult:
        """The reason."""
        yield Bar(lambda _: (Span("reason, which the agent reads", "label"),))
        yield Input(id="reason", compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send."""
        event.stop()
        event.prevent_default()
        self.action_send()


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
