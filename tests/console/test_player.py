from __future__ import annotations

from dataclasses import replace

import pytest

from hoop_tui.clock import SECOND
from hoop_tui.player import (
    IDLE_CAP,
    Player,
    change_speed,
    compose,
    go_to,
    marker,
    recompose,
    seek,
    step,
    tick,
    toggle,
)

TIMES = [0, 1 * SECOND, 2 * SECOND, 62 * SECOND, 63 * SECOND]
CAPPED = compose(TIMES, statements=[0, 2, 4], markers=[3], capped=True)
FULL = compose(TIMES, statements=[0, 2, 4], markers=[3], capped=False)


def test_idle_time_is_cut_and_the_real_gap_kept() -> None:
    assert CAPPED.starts == (0, SECOND, 2 * SECOND, 2 * SECOND + IDLE_CAP, 3 * SECOND + IDLE_CAP)
    assert CAPPED.cut == (0, 0, 0, 60 * SECOND, 0)
    assert FULL.starts == tuple(TIMES)
    assert not any(FULL.cut)


def test_a_clock_that_goes_back_takes_no_time() -> None:
    assert compose([5, 3, 9], [], [], capped=False).starts == (0, 0, 6)


def test_playing_takes_real_time_at_normal_speed() -> None:
    player = toggle(Player(), CAPPED)
    assert player.playing
    player = tick(player, CAPPED, SECOND)
    assert (player.record, player.position) == (1, SECOND)
    player = tick(change_speed(player, 1), CAPPED, SECOND // 2)
    assert player.position == 2 * SECOND


def test_playing_stops_at_the_end_and_begins_anew() -> None:
    player = tick(replace(Player(), playing=True), CAPPED, 3600 * SECOND)
    assert (player.playing, player.record) == (False, 4)
    again = toggle(player, CAPPED)
    assert (again.playing, again.record, again.position) == (True, 0, 0)


@pytest.mark.parametrize(
    ("start", "direction", "record"),
    [(0, 1, 2), (1, 1, 2), (2, 1, 4), (4, 1, 4), (4, -1, 2), (1, -1, 0), (0, -1, 0)],
)
def test_steps_go_from_statement_to_statement(start: int, direction: int, record: int) -> None:
    assert step(go_to(Player(), CAPPED, start), CAPPED, direction).record == record


def test_markers() -> None:
    assert marker(Player(), CAPPED, 1).record == 3
    assert marker(Player(record=4), CAPPED, -1).record == 3
    assert marker(Player(record=3), CAPPED, 1).record == 3


def test_seeking_stays_inside() -> None:
    assert seek(Player(), CAPPED, -5 * SECOND).position == 0
    assert seek(Player(), CAPPED, 999 * SECOND).record == 4


def test_speed_has_ends_and_a_normal() -> None:
    slow = change_speed(change_speed(Player(), -1), -1)
    assert slow.speed == 0
    assert change_speed(slow, 0) == Player()


def test_cutting_idle_time_keeps_the_record() -> None:
    player = go_to(Player(), CAPPED, 3)
    assert recompose(player, FULL, capped=False).position == 62 * SECOND


def test_an_empty_recording_does_nothing() -> None:
    empty = compose([], [], [], capped=True)
    assert not toggle(Player(), empty).playing
    assert step(Player(), empty, 1).record == 0
    assert seek(Player(), empty, SECOND).record == 0
