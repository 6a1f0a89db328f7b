"""What became of a request, in the gateway's words: never assumed, `UNKNOWN: asking` where the answer was lost."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model import HoldState
from hoop_tui.clock import time_of_day
from hoop_tui.glyphs import Glyphs
from hoop_tui.known import Approval, Attempt, AttemptPhase, Gateway
from hoop_tui.lines import Line, Span
from hoop_tui.paint.tail import counts

WORDS: Mapping[str, tuple[str, str]] = {
    HoldState.APPROVED: ("APPROVED", "ok"),
    HoldState.EXECUTED: ("APPROVED", "ok"),
    HoldState.REFUSED: ("DENIED", "bad"),
    HoldState.EXPIRED: ("EXPIRED", "dim"),
    HoldState.CANCELLED: ("CANCELLED", "dim"),
}


def paint_answer(
    approval: Approval, attempt: Attempt | None, gateway: Gateway | None, glyphs: Glyphs, *, live: bool = True
) -> Line | None:
    """Paint what is known of the decision; None while nobody decided."""
    if not approval.pending:
        return _decided(approval, gateway, glyphs)
    if attempt is None:
        return None
    verb = "approve" if attempt.approve else "deny"
    match attempt.phase:
        case AttemptPhase.SIGNING:
            return (
                Span(f"{glyphs.todo} SIGNING", "wait-strong"),
                Span(": touch the key if it asks; nothing is sent yet"),
            )
        case AttemptPhase.SENT:
            return (
                Span(f"{glyphs.todo} {verb.upper()} SENT", "wait-strong"),
                Span(": waiting for the gateway's answer"),
            )
        case AttemptPhase.UNKNOWN:
            words = "the line broke before the gateway answered" if live else "the gateway is lost, its answer with it"
            return (Span(f"{glyphs.warning} UNKNOWN: asking", "wait-strong"), Span(f" ({verb} sent; {words})"))
        case AttemptPhase.REFUSED:
            return (Span(f"{glyphs.deny} NOT DONE", "bad-strong"), Span(f": {attempt.message}", "bad"))
        case AttemptPhase.ACCEPTED:
            more = (
                f"others must approve too: {', '.join(approval.missing)}"
                if approval.agreed
                else "waiting for its record"
            )
            return (Span(f"{glyphs.todo} {verb.upper()} TAKEN", "wait-strong"), Span(f": {more}"))


def by_whom(approval: Approval, gateway: Gateway | None) -> str:
    """Return `by you` where the approver is this operator."""
    if not approval.approver:
        return ""
    mine = set() if gateway is None else set(gateway.person[:2]) - {""}
    return "by you" if approval.approver in mine else f"by {approval.approver}"


def _decided(approval: Approval, gateway: Gateway | None, glyphs: Glyphs) -> Line:
    word, role = WORDS.get(approval.state, (approval.state.upper() or "UNKNOWN STATE", "wait"))
    sign = {"ok": glyphs.done, "bad": glyphs.deny}.get(role, glyphs.dot)
    when = time_of_day(approval.decided) if approval.decided is not None else ""
    spans = [Span(f"{sign} {word}", role)]
    if approval.break_glass:
        spans.append(Span(f" {glyphs.warning} BREAK-GLASS", "bad-strong"))
    spans.append(Span(" ".join(["", *filter(None, [by_whom(approval, gateway), when])])))
    if approval.result is not None:
        ran = "ran" if approval.result.outcome == "ok" else f"ended {approval.result.outcome}"
        numbers = counts(approval.result.rows, approval.result.duration_us)
        spans.append(Span(f" {glyphs.arrow} {ran}" + (f", {numbers}" if numbers else ""), "strong"))
    elif approval.state in {HoldState.APPROVED, HoldState.EXECUTED}:
        spans.append(Span(f" {glyphs.arrow} running, or not yet reported", "dim"))
    if approval.decision_reason:
        spans.append(
            Span(
                f"  “{approval.decision_reason}”" if glyphs.name == "rich" else f'  "{approval.decision_reason}"', "dim"
            )
        )
    return tuple(spans)
