"""The Live screen: the tail, its filters, and killing a session."""

from __future__ import annotations

from fake_gateway import FakeGateway, make_record, make_session
from hand_clock import HandClock
from seated import seated

from hoop_tui.screens.dialogs import KillDialog


async def test_the_tail_follows_freezes_and_counts(fake: FakeGateway, clock: HandClock) -> None:
    async with seated(fake, clock) as seat:
        for seq in range(100):
            fake.publish("record", make_record(seq))
        await seat.shows("SELECT 99")
        await seat.press("space")
        for seq in range(100, 150):
            fake.publish("record", make_record(seq))
        await seat.shows("50 unseen")
        assert "SELECT 99" in seat.text()
        assert "SELECT 149" not in seat.text()
        await seat.press("f")
        await seat.shows("SELECT 149")


async def test_scrolling_away_stops_following(fake: FakeGateway, clock: HandClock) -> None:
    async with seated(fake, clock) as seat:
        for seq in range(100):
            fake.publish("record", make_record(seq))
        await seat.shows("SELECT 99")
        await seat.press("tab", "k", "k")
        top = seat.live.tail.top
        for seq in range(100, 130):
            fake.publish("record", make_record(seq))
        await seat.shows("32 below")
        assert seat.live.tail.top == top
        await seat.press("G")
        await seat.shows("SELECT 129")


async def test_a_full_ring_moves_nothing_that_is_being_read(fake: FakeGateway, clock: HandClock) -> None:
    async with seated(fake, clock) as seat:
        for seq in range(300):
            fake.publish("record", make_record(seq))
        await seat.shows("SELECT 299")
        ring = seat.live._shown
        ring._items = type(ring._items)(ring._items, maxlen=300)
        await seat.press("tab", "ctrl+u")
        before = seat.live.tail.top
        for seq in range(300, 350):
            fake.publish("record", make_record(seq))
        await seat.until(lambda: ring.end == 350)
        assert ring.first == 50
        assert seat.live.tail.top == before


async def test_filters(fake: FakeGateway, clock: HandClock) -> None:
    async with seated(fake, clock) as seat:
        fake.publish("record", make_record(1, text="SELECT apples"))
        fake.publish("record", make_record(2, text="DROP pears", verdict="deny"))
        fake.publish("record", make_record(3, text="SELECT plums", session_id="s-2"))
        await seat.shows("plums")
        await seat.press("v", "v", "v", "v")
        await seat.shows("only verdict deny")
        assert "pears" in seat.text()
        assert "apples" not in seat.text()
        await seat.press("escape")
        await seat.shows("apples")
        await seat.press("slash", "p", "l", "u", "enter")
        await seat.until(lambda: "apples" not in seat.text())
        assert "plums" in seat.text()


async def test_killing_asks_for_a_reason_and_the_id(fake: FakeGateway, clock: HandClock) -> None:
    fake.sessions["s-7f31"] = make_session("s-7f31")
    async with seated(fake, clock) as seat:
        await seat.until(lambda: seat.live.sessions.selected)
        await seat.press("K")
        assert isinstance(seat.app.screen, KillDialog)
        await seat.type("loop")
        await seat.press("enter", "ctrl+s")
        assert fake.called("sessions.kill") == []
        await seat.type("7f31")
        await seat.press("ctrl+s")
        await seat.shows("killed s-7f31")
        assert fake.called("sessions.kill") == [{"id": "s-7f31", "reason": "loop"}]
        await seat.until(lambda: not seat.app.store.state.sessions)


async def test_a_gap_stands_in_the_tail(fake: FakeGateway, clock: HandClock) -> None:
    async with seated(fake, clock) as seat:
        fake.publish("gap", {"from": 5, "to": 45})
        await seat.shows("GAP: 41 events not shown")
