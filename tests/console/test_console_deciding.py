"""Approving and denying as a person does it: what is asked for, what is sent, and what keeps it from being sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fake_gateway import HASH, FakeGateway, make_approval
from hand_clock import HandClock
from seated import Seat, seated
from textual import events

from hoop_tui.known import AttemptPhase
from hoop_tui.screens.approvals import ApprovalsScreen
from hoop_tui.screens.deciding import ApproveDialog, DenyDialog

LONG = "\n".join(f"-- line {number}" for number in range(60)) + "\nDELETE FROM public.orders WHERE id = 1"


async def test_approving_takes_a_reason_and_four_digits(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a")
        assert isinstance(seat.app.screen, ApproveDialog)
        assert seat.app.focused is not None
        assert seat.app.focused.id == "reason"
        await seat.type("fine")
        await seat.press("enter")
        assert seat.app.focused.id == "code"
        await seat.press("ctrl+s")
        assert isinstance(seat.app.screen, ApproveDialog), "no digits, not sent"
        await seat.type(HASH[:4])
        await seat.press("enter", "enter", "enter")
        assert fake.called("approvals.approve") == [], "Enter never sends"
        await seat.press("ctrl+s")
        await seat.shows("APPROVED by you")
        assert fake.called("approvals.approve") == [{"id": "ap-1", "hash": HASH, "reason": "fine"}]
        ran = {**fake.approvals["ap-1"], "state": "executed"}
        fake.put({**ran, "result": {"outcome": "ok", "rows": 182_340, "duration_us": 2_100_000}}, "approval.changed")
        await seat.shows("→ ran, 182,340 rows, 2.1 s")


@pytest.mark.parametrize("digits", ["", "3f9", "3f9b", "0000"])
async def test_wrong_digits_send_nothing(fake: FakeGateway, clock: HandClock, digits: str) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a")
        await seat.type("fine")
        await seat.press("enter")
        await seat.type(digits)
        await seat.press("ctrl+s")
        await seat.shows("the four digits")
        assert fake.called("approvals.approve") == []


async def test_a_reason_is_needed(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a", "space", "enter")
        await seat.type(HASH[:4])
        await seat.press("ctrl+s")
        await seat.shows("a reason")
        assert fake.called("approvals.approve") == []


async def test_the_code_field_takes_no_paste(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a", "x", "enter")
        field = seat.app.focused
        assert field is not None
        field.post_message(events.Paste(HASH[:4]))
        await seat.shows("takes no paste")
        seat.app.copy_to_clipboard(HASH[:4])
        await seat.press("ctrl+v")
        assert field.value == ""  # type: ignore[attr-defined]
        await seat.press("ctrl+s")
        assert fake.called("approvals.approve") == []


async def test_high_risk_asks_for_the_targets_name(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1", operation="alter-table", connection="orders-prod")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a", "x", "enter")
        await seat.type(HASH[:4])
        await seat.press("ctrl+s")
        await seat.shows("the target's name")
        assert fake.called("approvals.approve") == []
        await seat.press("enter")
        assert seat.app.focused is not None
        assert seat.app.focused.id == "target"
        await seat.type("orders-prod")
        await seat.press("ctrl+s")
        await seat.until(lambda: fake.called("approvals.approve"))


async def test_keys_are_dropped_after_a_card_appears_and_after_it_changes(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.press("2")
        await seat.until(lambda: isinstance(seat.app.screen, ApprovalsScreen) and seat.approvals.current())
        clock.advance(60)
        await seat.press("enter")
        await seat.shows("HELD")
        for elapsed in (0, 0.4, 0.29):
            clock.advance(elapsed)
            await seat.press("a", "d")
            assert isinstance(seat.app.screen, ApprovalsScreen)
        clock.advance(0.02)
        await seat.press("d")
        assert isinstance(seat.app.screen, DenyDialog)
        await seat.press("escape")
        fake.put(make_approval("ap-1", reason="it changed"), "approval.changed")
        await seat.shows("it changed")
        await seat.press("d")
        assert isinstance(seat.app.screen, ApprovalsScreen)
        clock.advance(0.71)
        await seat.press("d")
        assert isinstance(seat.app.screen, DenyDialog)


async def test_a_long_statement_must_be_read_to_its_end(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1", statement=LONG)
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a")
        await seat.shows("read to the end first")
        assert isinstance(seat.app.screen, ApprovalsScreen)
        for _ in range(8):
            await seat.press("ctrl+d")
        await seat.press("a")
        assert isinstance(seat.app.screen, ApproveDialog)


async def test_a_statement_that_is_not_whole_is_fetched_and_else_not_approved(
    fake: FakeGateway, clock: HandClock
) -> None:
    whole = make_approval("ap-1", statement="DELETE FROM a WHERE id = 1 -- the whole")
    cut = {**whole, "statement": "DELETE FROM a", "statement_cut": True}
    fake.approvals["ap-1"] = cut
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.until(lambda: fake.called("approvals.get"))
        await seat.press("a")
        await seat.shows("the whole statement is not here")
        assert isinstance(seat.app.screen, ApprovalsScreen)
    fake.answers["approvals.get"] = lambda params: whole
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.shows("-- the whole")
        clock.advance(1)
        await seat.press("a")
        assert isinstance(seat.app.screen, ApproveDialog)


async def test_a_request_that_changes_under_the_dialog_cannot_be_sent(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a", "x", "enter")
        await seat.type(HASH[:4])
        fake.put(make_approval("ap-1", state="refused", approver="erin"), "approval.changed")
        await seat.shows("already refused by erin")
        await seat.press("ctrl+s")
        assert fake.called("approvals.approve") == []


async def test_what_the_gateway_refuses_is_shown_as_refused(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a", "x", "enter")
        await seat.type(HASH[:4])
        fake.approvals["ap-1"]["hash"] = "0" * 64
        await seat.press("ctrl+s")
        await seat.shows("NOT DONE: the request is not what was shown")
        assert "APPROVED" not in seat.text()


async def test_a_lost_answer_is_unknown_until_the_gateway_tells(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    fake.mute = {"approvals.approve", "approvals.get", "approvals.list"}
    async with seated_with_lists(fake, clock) as seat:
        await seat.open_card()
        await seat.press("a", "x", "enter")
        await seat.type(HASH[:4])
        await seat.press("ctrl+s")
        await seat.until(lambda: fake.called("approvals.approve"))
        assert seat.phase("ap-1") is AttemptPhase.SENT
        fake.mute = {"approvals.get", "approvals.list"}
        await fake.hang_up()
        await seat.shows("UNKNOWN: asking")
        await seat.until(lambda: fake.called("approvals.get"))
        assert "APPROVED" not in seat.text()
        fake.mute = set()
        fake.approvals["ap-1"] = make_approval("ap-1", state="approved", approver="dana", decided=None)
        await fake.hang_up()
        await seat.shows("APPROVED by you")


async def test_a_decision_that_never_arrived_is_said(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    fake.mute = {"approvals.deny"}
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("d", "n", "o", "enter")
        await seat.until(lambda: fake.called("approvals.deny"))
        await fake.hang_up()
        await seat.shows("NOT DONE: the gateway never received it")


@asynccontextmanager
async def seated_with_lists(fake: FakeGateway, clock: HandClock) -> AsyncIterator[Seat]:
    """Begin with lists answered, then take the fake's own muting up."""
    muted, fake.mute = fake.mute, set()
    async with seated(fake, clock) as seat:
        fake.mute = muted
        yield seat


async def test_denying_takes_a_reason_only(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1", statement=LONG)
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await seat.press("d", "enter")
        assert isinstance(seat.app.screen, DenyDialog), "no reason, not sent"
        await seat.type("not now")
        await seat.press("enter")
        await seat.shows("DENIED by you")
        assert fake.called("approvals.deny") == [{"id": "ap-1", "hash": HASH, "reason": "not now"}]


async def test_who_only_watches_decides_nothing(fake: FakeGateway, clock: HandClock) -> None:
    fake.roles = ("watch",)
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        for key in ("a", "d"):
            await seat.press(key)
            await seat.shows("you may watch, not decide")
            assert isinstance(seat.app.screen, ApprovalsScreen)


async def test_nothing_is_decided_while_the_gateway_is_lost(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        await fake.stop()
        await seat.shows("STALE")
        await seat.shows("LOST")
        clock.advance(1)
        for key in ("a", "d"):
            await seat.press(key)
            await seat.shows("nothing can be decided")
            assert isinstance(seat.app.screen, ApprovalsScreen)
        await fake.start()
        await seat.shows("gw-1 connected")
        assert "STALE" not in seat.text()


async def test_from_the_list_alone_nothing_is_decided(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.press("2")
        await seat.until(lambda: isinstance(seat.app.screen, ApprovalsScreen) and seat.approvals.current())
        clock.advance(5)
        await seat.press("a")
        await seat.shows("open the card first")
