"""The console as a whole: its frame, its commands, and hostile texts on every screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway, make_approval, make_item, make_record, make_session
from hand_clock import HandClock
from seated import seated

from hoop_tui.screens.approvals import ApprovalsScreen
from hoop_tui.screens.frame import Frame
from hoop_tui.screens.help import HelpScreen
from hoop_tui.screens.live import LiveScreen


async def test_no_gateway_is_a_state_not_an_error(tmp_path: Path, clock: HandClock) -> None:
    fake = FakeGateway(tmp_path / "late.sock")
    async with seated(fake, clock) as seat:
        await seat.shows("LOST")
        await fake.start()
        await seat.shows("gw-1 connected")
    await fake.stop()


@pytest.mark.parametrize("size", [(59, 24), (80, 15), (20, 5)])
async def test_too_small_says_so_and_decides_nothing(
    fake: FakeGateway, clock: HandClock, size: tuple[int, int]
) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock, (80, 24)) as seat:
        await seat.open_card()
        await seat.pilot.resize_terminal(*size)
        await seat.shows("60x16")
        await seat.press("a")
        assert isinstance(seat.app.screen, ApprovalsScreen)
        await seat.pilot.resize_terminal(60, 16)
        await seat.shows("HELD")


async def test_help_lists_the_keys_of_this_screen(fake: FakeGateway, clock: HandClock) -> None:
    async with seated(fake, clock, (80, 60)) as seat:
        await seat.press("question_mark")
        assert isinstance(seat.app.screen, HelpScreen)
        await seat.shows("freeze the tail")
        await seat.press("question_mark")
        assert isinstance(seat.app.screen, LiveScreen)


async def test_commands_and_the_way_back(fake: FakeGateway, clock: HandClock) -> None:
    async with seated(fake, clock) as seat:
        await seat.press("colon")
        await seat.type("approvals")
        await seat.press("enter")
        assert isinstance(seat.app.screen, ApprovalsScreen)
        await seat.press("minus")
        assert isinstance(seat.app.screen, LiveScreen)
        await seat.press("colon")
        await seat.type("dance")
        await seat.press("enter")
        await seat.shows("no such command: dance")
        await seat.press("colon", "escape")
        assert not seat.live.has_class("-asking")


@pytest.mark.parametrize("key", ["4", "5", "6"])
async def test_screens_that_do_not_exist_have_no_keys(fake: FakeGateway, clock: HandClock, key: str) -> None:
    async with seated(fake, clock) as seat:
        await seat.press(key)
        assert isinstance(seat.app.screen, LiveScreen)


async def test_the_plain_set_is_ascii_to_the_last_cell(fake: FakeGateway, clock: HandClock) -> None:
    fake.sessions["s-1"] = make_session("s-1", current="SELECT\n1")
    fake.approvals["ap-1"] = make_approval("ap-1")
    fake.publish("record", make_record(1))
    options = {"environment": {"TERM": "linux"}, "encoding": "iso8859-1"}
    for size in ((80, 24), (200, 60)):
        async with seated(fake, clock, size, **options) as seat:
            for keys in ([], ["2"], ["enter"], ["3"], ["question_mark"]):
                await seat.press(*keys)
                assert seat.text().isascii(), [line for line in seat.text().split("\n") if not line.isascii()]


EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\u200b[bold]markup[/bold]\r\x08\x00\x7f"


def poison(raw: dict[str, Any], keep: set[str]) -> dict[str, Any]:
    """Put the evil string into every text that the gateway could pass on from an agent."""
    changed = {key: EVIL + str(value) for key, value in raw.items() if isinstance(value, str) and key not in keep}
    lists = {key: [EVIL] for key, value in raw.items() if isinstance(value, list)}
    return {**raw, **changed, **lists}


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["narrow", "wide"])
async def test_no_hostile_text_reaches_the_terminal(fake: FakeGateway, clock: HandClock, size: tuple[int, int]) -> None:
    times = {"ts", "requested", "expires", "started", "token_expires", "decided", "state", "direction"}
    fake.sessions = {"s": poison(make_session("s"), times | {"id"})}
    fake.approvals = {
        "a": poison(make_approval("a"), times | {"id", "hash"}),
        "b": poison(make_approval("b", state="refused", approver="x", decision_reason="y"), times | {"id", "hash"}),
    }
    fake.recordings = [
        poison({"session_id": "s", "subject": "x", "connection": "y", "end_reason": "z"}, {"session_id"})
    ]
    fake.transcripts = {"s": [poison(make_item(n, n), times) for n in range(3)]}
    async with seated(fake, clock, size) as seat:
        fake.publish("record", poison(make_record(1), times))
        fake.publish("record", poison(make_record(2, verdict=None, outcome="error", sqlstate="x"), times))
        await seat.until(lambda: len(seat.app.store.tail) == 2)
        fake.roles = (EVIL,)
        pages = ([], ["2"], ["enter"], ["a"], ["escape", "d"], ["escape", "3"], ["enter"], ["1", "K"], ["escape", "y"])
        seen = ""
        for keys in pages:
            clock.advance(1)
            await seat.press(*keys)
            if isinstance(seat.app.screen, Frame):
                seat.app.screen.flush()
                await seat.pilot.pause()
            shown = seat.text()
            seen += shown
            assert all(character.isprintable() or character == "\n" for character in shown), repr(shown)
        assert "<U+001B>[2J" in seen
        assert "[bold]" in seen
