"""The dialogs that approve and deny. What is decided is what is shown, by the hash of the request.

Approving asks for a reason and for four hex digits of that hash, typed by hand; for high risk, and for breaking the
glass, for the target's name too. When the request changes while a dialog is open, it says so and sends nothing more.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Input

from hoop_tui.known import Approval
from hoop_tui.lines import Line, Span, fit, wrap
from hoop_tui.paint.card import remaining
from hoop_tui.risk import high_risk
from hoop_tui.screens.dialogs import CODE_DIGITS, INSIDE, Dialog, HandTyped
from hoop_tui.widgets.bar import Bar


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
