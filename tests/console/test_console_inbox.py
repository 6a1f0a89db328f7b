"""The inbox of held operations: what arrives moves nothing under a person's hands."""

from __future__ import annotations

import pytest
from fake_gateway import HASH, FakeGateway, make_approval, make_session
from hand_clock import HandClock
from seated import seated

from hoop_tui.screens.approvals import ApprovalsScreen
from hoop_tui.screens.live import LiveScreen


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["narrow", "wide"])
async def test_arrivals_move_neither_selection_nor_focus(
    fake: FakeGateway, clock: HandClock, size: tuple[int, int]
) -> None:
    fake.approvals = {id_: make_approval(id_, expires=f"2026-11-2{day}T00:00:00Z") for day, id_ in enumerate("abc", 5)}
    async with seated(fake, clock, size) as seat:
        await seat.press("2")
        await seat.until(lambda: isinstance(seat.app.screen, ApprovalsScreen) and seat.approvals.current())
        await seat.press("j")
        assert seat.approvals.inbox.selected == "b"
        focus = seat.app.focused
        for number in range(30):
            fake.put(make_approval(f"n{number}", expires="2026-11-24T00:00:00Z"))
        await seat.until(lambda: len(seat.app.store.state.pending) == 33)
        assert seat.approvals.inbox.selected == "b"
        assert seat.app.focused is focus
        place = seat.approvals.inbox.cursor
        assert place is not None
        fake.put(make_approval("b", state="refused"), "approval.changed")
        await seat.until(lambda: len(seat.app.store.state.pending) == 32)
        assert seat.approvals.inbox.selected == "b"


async def test_arrivals_do_not_disturb_a_dialog(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a", "x")
        focus = seat.app.focused
        fake.put(make_approval("ap-0", expires="2026-11-01T00:00:00Z"))
        await seat.until(lambda: len(seat.app.store.state.pending) == 2)
        assert seat.app.focused is focus
        await seat.press("y", "enter")
        await seat.type(HASH[:4])
        await seat.press("ctrl+s")
        await seat.until(lambda: fake.called("approvals.approve"))
        assert fake.called("approvals.approve")[0]["id"] == "ap-1"


async def test_wide_shows_inbox_card_and_context_side_by_side(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock, (200, 60)) as seat:
        await seat.press("2")
        await seat.shows("SAME TEXT BEFORE")
        assert "MINE 1" in seat.text()
        assert "IF YOU APPROVE" in seat.text()


async def test_the_selection_follows_its_session_and_never_its_neighbour(fake: FakeGateway, clock: HandClock) -> None:
    fake.sessions = {id_: make_session(id_) for id_ in ("s-aaaa", "s-bbbb", "s-cccc")}
    async with seated(fake, clock) as seat:
        await seat.until(lambda: seat.live.sessions.shown == 3)
        await seat.press("j")
        await seat.until(lambda: seat.live.sessions.selected == "s-bbbb")
        fake.publish("session.closed", fake.sessions.pop("s-bbbb"))
        await seat.until(lambda: seat.live.sessions.selected is None)
        await seat.press("K")
        assert isinstance(seat.app.screen, LiveScreen)
