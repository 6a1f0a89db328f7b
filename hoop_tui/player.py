"""Playing a recorded session: where we are, how fast, and what idle time is cut to. Pure.

A `Score` holds when each record happened, with idle time beyond the cap cut out; a `Player` is a place in it.
Positions are microseconds of playing time from the session's first record.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from hoop_tui.clock import SECOND

IDLE_CAP: Final = 2 * SECOND
SPEEDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
NORMAL: Final = SPEEDS.index(1.0)


@dataclass(frozen=True, slots=True)
class Score:
    """When each record plays, and how long nothing happened before it where that was cut."""

    starts: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    """For each record: the real idle time before it where it was cut, else 0."""
    statements: tuple[int, ...] = ()
    """Numbers of the records that an agent sent."""
    markers: tuple[int, ...] = ()
    """Numbers of the records worth a look."""

    @property
    def length(self) -> int:
        """Playing time."""
        return self.starts[-1] if self.starts else 0

    def at(self, position: int) -> int:
        """Return the number of the newest record at `position`; -1 where there is none."""
        return bisect_right(self.starts, position) - 1


@dataclass(frozen=True, slots=True)
class Player:
    """A place in a score."""

    record: int = 0
    """Number of the newest record that has played."""
    position: int = 0
    playing: bool = False
    speed: int = NORMAL
    capped: bool = True


def compose(times: Sequence[int], statements: Sequence[int], markers: Sequence[int], *, capped: bool) -> Score:
    """Lay records out in time; a clock that went backwards counts as no time at all."""
    starts: list[int] = []
    cuts: list[int] = []
    here = 0
    for number, at in enumerate(times):
        gap = max(0, at - times[number - 1]) if number else 0
        cut = capped and gap > IDLE_CAP
        here += IDLE_CAP if cut else gap
        starts.append(here)
        cuts.append(gap if cut else 0)
    return Score(tuple(starts), tuple(cuts), tuple(statements), tuple(markers))


def tick(player: Player, score: Score, elapsed: int) -> Player:
    """Play on for `elapsed` microseconds of real time; stop at the end."""
    if not player.playing:
        return player
    position = player.position + int(elapsed * SPEEDS[player.speed])
    if position >= score.length:
        return replace(_at(player, score, score.length), playing=False)
    return _at(player, score, position)


def seek(player: Player, score: Score, micros: int) -> Player:
    """Move by `micros` of playing time."""
    return _at(player, score, min(max(0, player.position + micros), score.length))


def toggle(player: Player, score: Score) -> Player:
    """Play or pause; at the end, play from the beginning."""
    if not player.playing and player.position >= score.length:
        player = _at(player, score, 0)
    return replace(player, playing=not player.playing and bool(score.starts))


def step(player: Player, score: Score, direction: int) -> Player:
    """Go to the statement before or after this record, and pause."""
    return _jump(player, score, score.statements, direction)


def marker(player: Player, score: Score, direction: int) -> Player:
    """Go to the marker before or after this record, and pause."""
    return _jump(player, score, score.markers, direction)


def go_to(player: Player, score: Score, record: int) -> Player:
    """Go to one record, and pause."""
    return replace(player, record=record, position=score.starts[record], playing=False)


def change_speed(player: Player, direction: int) -> Player:
    """One step slower or faster; 0 is normal speed."""
    speed = NORMAL if direction == 0 else min(max(0, player.speed + direction), len(SPEEDS) - 1)
    return replace(player, speed=speed)


def recompose(player: Player, score: Score, *, capped: bool) -> Player:
    """Keep the record when idle time is cut differently."""
    position = score.starts[player.record] if score.starts else 0
    return replace(player, position=position, capped=capped)


def _jump(player: Player, score: Score, places: Sequence[int], direction: int) -> Player:
    here = bisect_right(places, player.record) if direction > 0 else bisect_left(places, player.record) - 1
    return go_to(player, score, places[here]) if 0 <= here < len(places) else replace(player, playing=False)


def _at(player: Player, score: Score, position: int) -> Player:
    return replace(player, position=position, record=max(0, score.at(position)))
