"""The three lines that every screen has: the tabs, the hints, the status.

The status line always says: the gateway, how the line stands, sessions, what waits and until when, the head of the
evidence, how much of it nobody outside has seen, who you are. Where room is short, the least needed goes first; the
line's state never goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.model import Micros
from hoop_tui.clock import SECOND, countdown, time_of_day
from hoop_tui.glyphs import Glyphs
from hoop_tui.known import Phase
from hoop_tui.lines import Line, Span, fit, spread, width_of
from hoop_tui.state import State

SCREENS = (("live", "1", "Live"), ("approvals", "2", "Approvals"), ("replay", "3", "Replay"))


def paint_tabs(state: State, current: str, width: int, glyphs: Glyphs) -> Line:
    """Paint the screens' names; what waits is counted beside Approvals."""
    spans: list[Span] = [Span(" hoop ", "bar-strong")]
    waiting = len(state.pending)
    for name, key, title in SCREENS:
        role = "tab-on" if name == current else "tab"
        spans.append(Span(f" {key} {title} ", role))
        if name == "approvals" and waiting:
            spans.append(Span(f"{glyphs.approve} {waiting} ", "bar-wait"))
    gateway = state.gateway
    right = (Span(f"{gateway.name} {gateway.version} " if gateway else "", "bar"),)
    return _filled(spread(tuple(spans), right, width, glyphs.ellipsis))


def paint_broken(state: State, width: int, glyphs: Glyphs) -> Line:
    """Paint who broke the glass last, and how many others did within a day; nothing where nobody did."""
    if not state.broken:
        return ()
    latest, count = state.broken[0], len(state.broken)
    when = time_of_day(latest.at) if latest.at is not None else ""
    words = f"{glyphs.warning} BREAK-GLASS{f' x{count}' if count > 1 else ''} {when}"
    words += f" {latest.by}: {latest.id} on {latest.connection} for {latest.subject}"
    return (Span(fit(f" {words}", width, glyphs.ellipsis), "bar-bad"),)


def paint_hints(hints: Iterable[tuple[str, str]], note: Span | None, width: int, glyphs: Glyphs) -> Line:
    """Paint the keys worth knowing here, or what just happened."""
    if note is not None:
        return (Span(" "), Span(fit(note.text, max(0, width - 2), glyphs.ellipsis), note.role))
    spans: list[Span] = [Span(" ")]
    for key, word in hints:
        new = (Span(key, "key"), Span(f" {word}   ", "dim"))
        if width_of((*spans, *new)) > width:
            break
        spans += new
    return tuple(spans)


def paint_status(state: State, now: Micros | None, monotonic: int, width: int, glyphs: Glyphs) -> Line:
    """Paint the status line."""
    left: list[Span] = [_link(state, monotonic, glyphs)]
    parts = [
        Span(state.fault, "bar-bad"),
        Span(_waiting(state, now), "bar-wait" if state.pending else "bar"),
        Span(f"{len(state.sessions)} session{'' if len(state.sessions) == 1 else 's'}", "bar"),
        Span(f"head {state.head}" if state.head else "", "bar-faint"),
        Span(state.window, "bar-faint"),
    ]
    right = (Span(f" {_who(state, now)} ", "bar"),)
    for part in parts:
        fits = width_of((*left, *right)) + len(part.text) + 4 <= width
        if part.text and (fits or part.role == "bar-bad"):
            left += [Span(f" {glyphs.bar} ", "bar-faint"), part]
    return _filled(spread(tuple(left), right, width, glyphs.ellipsis))


def _link(state: State, monotonic: int, glyphs: Glyphs) -> Span:
    link, name = state.link, state.gateway.name if state.gateway else "gateway"
    if link.phase is Phase.LIVE:
        return Span(f" {glyphs.live} {name} connected", "bar-ok")
    if link.phase is Phase.CONNECTING and not link.why:
        return Span(f" {glyphs.lost} connecting", "bar-wait")
    retry = f", again in {max(0, link.retry_at - monotonic + SECOND - 1) // SECOND} s" if link.retry_at else ", trying"
    stale = " STALE" if state.gateway else ""
    away = f" {countdown(monotonic - link.since)}" if state.gateway else ""
    return Span(f" {glyphs.lost} {name} LOST{away}{retry}{stale}", "bar-bad")


def _waiting(state: State, now: Micros | None) -> str:
    pending = state.pending
    if not pending:
        return "0 pending"
    first = pending[0].expires
    next_ = f", next {countdown(first - now)}" if first is not None and now is not None else ""
    return f"{len(pending)} pending{next_}"


def _who(state: State, now: Micros | None) -> str:
    gateway = state.gateway
    if gateway is None:
        return "nobody yet"
    name, subject, _ = gateway.person
    who = name or subject or "unnamed operator"
    how = f" ({gateway.assurance})" if gateway.assurance else ""
    if gateway.needs_login:
        return f"{who} watches; to decide :login"
    until = gateway.login.until if gateway.login is not None else None
    left = f" {countdown(until - now)}" if until is not None and now is not None else ""
    return f"{who} {'decides' if gateway.decides else 'watches'}{how}{left}"


def _filled(content: Line) -> Line:
    """Give the padding between the two ends the bar's ground."""
    return tuple(Span(span.text, "bar") if span.role == "text" else span for span in content)
