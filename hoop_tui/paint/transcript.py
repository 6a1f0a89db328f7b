"""A recorded session as text: each record with its time, direction, verdict and what came of it; idle cuts as lines.

Pure. Lines are painted once for a width; which of them have played is laid over them at painting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.model import Micros
from hoop_tui.clock import SECOND, countdown, duration, time_of_day
from hoop_tui.glyphs import Glyphs, of_verdict
from hoop_tui.lines import Line, Span, wrap
from hoop_tui.paint.tail import BAD_OUTCOMES, counts
from hoop_tui.player import SPEEDS, Player, Score
from hoop_tui.theme import role_of_verdict


@dataclass(frozen=True, slots=True)
class Item:
    """One record of a transcript."""

    log: str
    seq: int
    n: int | None
    ts: Micros | None
    inward: bool
    kind: str
    text: str
    truncated: bool
    verdict: str
    outcome: str
    rows: int | None
    duration_us: int | None

    @property
    def marked(self) -> bool:
        """Worth a look: held, denied, failed, an alarm, a kill."""
        return (
            self.verdict in {"approve", "deny"}
            or self.outcome in BAD_OUTCOMES
            or self.kind in {"alarm", "kill", "decision", "cancel"}
        )


def paint_item(item: Item, idle: int, width: int, glyphs: Glyphs) -> list[Line]:
    """Paint one record: its idle cut, its heading, its text."""
    lines: list[Line] = []
    if idle:
        words = f" {duration(idle)} idle, cut "
        lines.append((Span(f"{glyphs.gap * 3}{words}{glyphs.gap * max(0, width - len(words) - 3)}", "faint"),))
    arrow = glyphs.arrow if item.inward else glyphs.back
    who = "agent " if item.inward else "target"
    heading = [Span(f"{_precise(item.ts)} ", "faint"), Span(f"{arrow} {who} ", "key" if item.inward else "dim")]
    heading.append(Span(f"{item.kind} ", "dim"))
    if item.verdict:
        heading.append(Span(f"{of_verdict(glyphs, item.verdict)} {item.verdict} ", role_of_verdict(item.verdict)))
    if item.outcome:
        heading.append(Span(f"{item.outcome} ", "bad" if item.outcome in BAD_OUTCOMES else "dim"))
    heading.append(Span(f"{counts(item.rows, item.duration_us)}", "dim"))
    if item.marked:
        heading.append(Span(f" {glyphs.warning}", "wait"))
    lines.append(tuple(heading))
    if item.text:
        role = "sql" if item.inward else "text"
        lines += [(Span("  "), *row) for row in wrap(item.text.rstrip("\n"), width - 3, role)]
    if item.truncated:
        lines.append((Span(f"  {glyphs.ellipsis} cut here; the digest covers all of it", "wait"),))
    return lines


def found_in(content: Line, wanted: str) -> Line:
    """Show where a search matched."""
    spans: list[Span] = []
    for span in content:
        lower, begin = span.text.lower(), 0
        while wanted and len(lower) == len(span.text) and (place := lower.find(wanted, begin)) >= 0:
            spans += [
                Span(span.text[begin:place], span.role),
                Span(span.text[place : place + len(wanted)], "found"),
            ]
            begin = place + len(wanted)
        spans.append(Span(span.text[begin:], span.role))
    return tuple(spans)


def faded(content: Line) -> Line:
    """Show what has not played yet."""
    return tuple(Span(span.text, "faint") for span in content)


def paint_timeline(player: Player, score: Score, width: int, glyphs: Glyphs) -> Line:
    """Paint where we are: played time, markers, the whole, the speed."""
    state = f"{glyphs.play} playing" if player.playing else f"{glyphs.pause} paused "
    speed = f"{SPEEDS[player.speed]:g}x"
    idle = "idle cut to 2 s" if player.capped else "idle in full"
    left = f" {state} {countdown(player.position)} "
    right = f" {countdown(score.length)}  {speed:>4}  {idle} "
    room = max(4, width - len(left) - len(right))
    marks = {_place(score.starts[number], score, room) for number in score.markers}
    here = _place(player.position, score, room)
    spans = [Span(left, "strong")]
    for cell in range(room):
        if cell == here:
            spans.append(Span(glyphs.head, "head"))
        elif cell in marks:
            spans.append(Span(glyphs.approve, "wait"))
        else:
            spans.append(Span(glyphs.rule, "dim" if cell < here else "faint"))
    return (*spans, Span(right, "dim"))


def starts_of(items: Sequence[Item]) -> list[int]:
    """Return the records' times; one without a time happens with the one before it."""
    times: list[int] = []
    for item in items:
        times.append(item.ts if item.ts is not None else (times[-1] if times else 0))
    return times


def _place(position: int, score: Score, room: int) -> int:
    return position * (room - 1) // score.length if score.length else 0


def _precise(at: Micros | None) -> str:
    return time_of_day(at) + (f".{at % SECOND // 1000:03}" if at is not None else "")
