"""The Replay screen: a recorded session, step by step."""

from __future__ import annotations

from typing import Any

import pytest
from fake_gateway import FakeGateway, make_item
from hand_clock import HandClock
from seated import seated

from hoop_tui.screens.replay import ReplayScreen


@pytest.fixture
def recorded(fake: FakeGateway) -> FakeGateway:
    fake.recordings = [
        {"session_id": "s-1", "started": "2026-11-23T03:00:00Z", "ended": None, "subject": "report-bot",
         "connection": "orders", "statements": 5, "denied": 1, "held": 0, "rows": 9, "end_reason": None}
    ]  # fmt: skip
    items = []
    for n in range(5):
        verdict = "deny" if n == 3 else "allow"
        items.append(make_item(2 * n, n * (60 if n == 4 else 1), text=f"SELECT step{n}", verdict=verdict))
        answer = make_item(
            2 * n + 1, n * (60 if n == 4 else 1) + 0.1, direction="out", kind="result", text=f"answer{n}"
        )
        items.append({**answer, "verdict": None, "outcome": "denied" if n == 3 else "ok"})
    fake.transcripts = {"s-1": items}
    return fake


async def test_replay_steps_plays_and_marks(recorded: FakeGateway, clock: HandClock) -> None:
    async with seated(recorded, clock) as seat:
        await seat.press("3")
        await seat.shows("report-bot")
        await seat.press("enter")
        await seat.shows("step0")
        screen = seat.replay
        await seat.until(lambda: len(screen.items) == 10)
        await seat.press("full_stop", "full_stop")
        assert screen.player.record == 4
        await seat.press("comma")
        assert screen.player.record == 2
        await seat.press("right_square_bracket")
        assert screen.player.record == 6
        await seat.press("left_square_bracket")
        assert screen.player.record == 6, "no marker before it"
        await seat.press("g", "comma", "comma", "comma", "greater_than_sign", "space")
        assert screen.player.playing
        clock.advance(1)
        await seat.until(lambda: screen.player.position >= 2_000_000)
        clock.advance(600)
        await seat.until(lambda: not screen.player.playing)
        assert screen.player.record == 9
        await seat.press("i")
        assert screen.score.length > 200_000_000
        await seat.press("i")
        await seat.shows("idle, cut")
        await seat.press("escape")
        assert screen.opened is None


async def test_replay_searches(recorded: FakeGateway, clock: HandClock) -> None:
    async with seated(recorded, clock) as seat:
        seat.app.replay("s-1")
        await seat.until(lambda: isinstance(seat.app.screen, ReplayScreen) and len(seat.replay.items) == 10)
        await seat.press("slash")
        await seat.type("answer3")
        await seat.press("enter")
        assert seat.replay.player.record == 7
        await seat.press("slash")
        await seat.type("step")
        await seat.press("enter", "n", "N")
        assert seat.replay.player.record == 8


async def test_replay_loads_page_after_page(recorded: FakeGateway, clock: HandClock, monkeypatch: Any) -> None:
    monkeypatch.setattr("hoop_tui.sending.PAGE", 3)
    async with seated(recorded, clock) as seat:
        await seat.press("r")
        await seat.press("colon")
        await seat.type("replay s-1")
        await seat.press("enter")
        await seat.until(lambda: isinstance(seat.app.screen, ReplayScreen) and len(seat.replay.items) == 10)
        assert [call["after_seq"] for call in recorded.called("replay.transcript")] == [None, 2, 5, 8]


async def test_a_replay_that_cannot_be_had_is_said(fake: FakeGateway, clock: HandClock) -> None:
    def refuse(params: dict[str, Any]) -> Any:
        from gateway.control.messages import Refusal

        raise Refusal("unavailable", "the reader is busy")

    fake.answers = {"replay.sessions": refuse, "replay.transcript": refuse}
    async with seated(fake, clock) as seat:
        await seat.press("3")
        await seat.shows("the reader is busy")
        seat.app.replay("s-1")
        await seat.shows("not loaded: the reader is busy")
