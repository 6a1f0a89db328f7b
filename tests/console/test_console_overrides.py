"""The console when nobody answers: the broken glass and its banner, the second group, and the time before a request."""

from __future__ import annotations

from typing import Any

import pytest
from fake_gateway import HASH, FakeGateway, at, make_approval
from hand_clock import HandClock
from seated import Seat, seated

from gateway.control.messages import Refusal
from hoop_tui.screens.deciding import BreakGlassDialog

WHY = "INC-7: the shop is down"
BROKEN = {"id": "ap-9", "at": at(-60), "by": "ira\x1b[2J", "subject": "report-bot", "connection": "orders", "rule": "r"}


async def broken(seat: Seat, *texts: str) -> None:
    """Open the dialog and type into one field after the other."""
    await seat.open_card()
    await seat.press("B")
    await seat.until(lambda: isinstance(seat.app.screen, BreakGlassDialog))
    for text in texts:
        await seat.type(text)
        await seat.press("enter")


async def test_the_dialog_says_what_it_means_and_asks_for_the_name(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1", approvals_needed=2, missing=["group:oncall"], sessions=["visit"])
    async with seated(fake, clock) as seat:
        await broken(seat, WHY, HASH[:4])
        for words in ("BREAK THE GLASS", "in the place of group:oncall", "An alarm is recorded", "everybody is told"):
            assert words in " ".join(seat.text().split())
        assert "so many minutes" not in seat.text(), "one operation, once"
        await seat.press("ctrl+s")
        await seat.shows("the target's name")
        assert fake.called("approvals.approve") == []
        await seat.type("orders")
        await seat.press("ctrl+s")
        await seat.shows("BREAK-GLASS by you")
        assert fake.called("approvals.approve") == [{"id": "ap-1", "hash": HASH, "reason": WHY, "break_glass": True}]
        await seat.shows("dana: ap-1 on orders for report-bot")


async def test_the_gateways_refusal_is_shown(fake: FakeGateway, clock: HandClock) -> None:
    def refuse(_: dict[str, Any]) -> None:
        raise Refusal("forbidden", "only group:incident may break the glass")

    fake.approvals["ap-1"] = make_approval("ap-1")
    fake.answers["approvals.approve"] = refuse
    async with seated(fake, clock) as seat:
        await broken(seat, WHY, HASH[:4], "orders")
        await seat.press("ctrl+s")
        await seat.shows("NOT DONE: only group:incident may break the glass")


@pytest.mark.parametrize("states", [["approved"], ["pending"]])
async def test_neither_is_what_is_decided_broken_nor_is_a_card_that_just_came(
    fake: FakeGateway, clock: HandClock, states: list[str]
) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1", state=states[0], decided=at(0), approver="erin")
    async with seated(fake, clock) as seat:
        await seat.press("2", "enter", "B")
        await seat.pilot.pause()
        assert not isinstance(seat.app.screen, BreakGlassDialog)


async def test_a_banner_stands_above_every_screen(fake: FakeGateway, clock: HandClock) -> None:
    async with seated(fake, clock) as seat:
        assert "BREAK-GLASS" not in seat.text()
    fake.broken = [BROKEN, {**BROKEN, "id": "ap-8"}]
    async with seated(fake, clock) as seat:
        for key in ("1", "2", "3"):
            await seat.press(key)
            await seat.shows("BREAK-GLASS x2")
            assert "ira<U+001B>[2J: ap-9 on orders for report-bot" in seat.text()


async def test_an_answer_that_is_older_than_the_broken_glass_does_not_take_the_banner_away(
    fake: FakeGateway, clock: HandClock
) -> None:
    async with seated(fake, clock) as seat:
        fake.mute = {"status"}
        asked = len(fake.called("status"))
        await seat.until(lambda: len(fake.called("status")) > asked)
        changes = {"state": "approved", "approver": "ira", "decided": at(0), "break_glass": True}
        fake.put(make_approval("ap-1", **changes), "approval.changed")
        await seat.shows("ira: ap-1 on orders")
        fake.reply("status", {"healthy": True, "evidence": {"gw-1/w1": {"seq": 7}}, "break_glass": []})
        await seat.until(lambda: seat.app.store.state.head == "w1:7")
        assert [one.id for one in seat.app.store.state.broken] == ["ap-1"]
        await seat.until(lambda: len(fake.called("status")) > asked + 1)
        fake.reply("status", {"healthy": True, "evidence": {"gw-1/w1": {"seq": 8}}, "break_glass": []})
        await seat.until(lambda: "BREAK-GLASS" not in seat.text())  # asked after it, the gateway knows better


async def test_who_was_asked_too_is_said_and_counts_as_asked(fake: FakeGateway, clock: HandClock) -> None:
    fake.groups = ("leads",)
    fake.approvals["ap-1"] = make_approval("ap-1", escalates=at(60))
    async with seated(fake, clock) as seat:
        await seat.press("2")
        await seat.shows("WAITING FOR OTHERS 1")
        await seat.open_card()
        await seat.shows("others too at")
        fake.put(make_approval("ap-1", escalated=at(0), escalated_to=["group:leads"]), "approval.changed")
        await seat.shows("escalated to group:leads")
        await seat.press("escape")
        await seat.shows("MINE 1")


HISTORY = {
    "lately": [
        {"at": at(-90), "connection": "orders", "verdict": "deny", "outcome": "denied",
         "text": "DROP TABLE\x1b]0;x\x07"},
    ],
    "earlier": [
        {"id": "ap-0", "requested": at(-900), "subject": "report-bot", "state": "refused", "approver": "erin",
         "reason": "not during the freeze"}
    ],
}  # fmt: skip


async def test_the_time_before_comes_from_the_evidence_once_somebody_reads_the_card(
    fake: FakeGateway, clock: HandClock
) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    fake.answers["approvals.history"] = lambda _: HISTORY
    async with seated(fake, clock) as seat:
        await seat.press("2")
        assert fake.called("approvals.history") == [], "nobody reads it yet"
        await seat.open_card()
        clock.advance(1.0)
        seat.app.screen.tick()  # type: ignore[attr-defined]
        await seat.until(lambda: fake.called("approvals.history"))
        await seat.press("G")
        await seat.shows("DROP TABLE<U+001B>]0;x<U+0007>")
        await seat.shows("DENIED by erin  report-bot  not during the freeze")
        seat.app.screen.tick()  # type: ignore[attr-defined]
        assert fake.called("approvals.history") == [{"id": "ap-1"}]


async def test_where_the_evidence_cannot_be_read_it_says_so(fake: FakeGateway, clock: HandClock) -> None:
    fake.approvals["ap-1"] = make_approval("ap-1")
    async with seated(fake, clock) as seat:
        await seat.open_card()
        clock.advance(1.0)
        seat.app.screen.tick()  # type: ignore[attr-defined]
        await seat.press("G")
        await seat.shows("as this console saw it; approvals.history")
