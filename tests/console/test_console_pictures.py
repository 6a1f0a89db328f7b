"""Each screen, as text, at 80x24 and 200x60. `HOOP_PICTURES=write` draws them anew; look at the difference then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_gateway import FakeGateway, at, make_approval, make_item, make_record, make_session
from hand_clock import HandClock
from seated import Seat, seated

from hoop_tui.screens.approvals import ApprovalsScreen
from hoop_tui.screens.replay import ReplayScreen

PICTURES = Path(__file__).parent / "pictures"


@pytest.fixture
def furnished(fake: FakeGateway) -> FakeGateway:
    fake.sessions = {
        "s-7f31": make_session("s-7f31"),
        "s-81c0": make_session("s-81c0", subject="migrate-agent", state="held", connection="billing", started=at(-60)),
        "s-9a02": make_session(
            "s-9a02", subject="rag-indexer", state="idle", current=None, denied=3, statements=12_034
        ),
    }
    fake.approvals = {
        "ap-51": make_approval("ap-51", subject="migrate-agent", connection="billing-prod", operation="alter-table",
                               rule="standard/ddl", reason="DDL that creates or alters is held for a person",
                               statement="ALTER TABLE public.invoices\n  ADD COLUMN note text -- \u202ereversed",
                               relations=["public.invoices"], expires=at(48), in_transaction=True),
        "ap-52": make_approval("ap-52", parameters=["2020-01-01", None]),
        "ap-53": make_approval("ap-53", reviewers=["group:dba"], expires=at(600)),
        "ap-47": make_approval("ap-47", state="executed", approver="dana", decided=at(-900),
                               decision_reason="monthly cleanup, ticket 4411",
                               result={"outcome": "ok", "rows": 182_340, "duration_us": 2_100_000}),
        "ap-46": make_approval("ap-46", state="refused", approver="erin", decided=at(-1900), decision_reason="no"),
    }  # fmt: skip
    fake.recordings = [
        {"id": "s-7f31", "started": at(-412), "ended": None, "subject": "report-bot", "connection": "orders",
         "statements": 3, "denied": 1, "held": 0, "rows": 2, "end_reason": None},
        {"id": "s-6e11", "started": at(-9000), "ended": at(-8400), "subject": "rag-indexer", "connection": "docs",
         "statements": 2201, "denied": 0, "held": 2, "rows": 993_120, "end_reason": "client closed"},
    ]  # fmt: skip
    table = " id | email | total\n----+-------+-------\n  1 | ***   | 12.50\n(1 row)\n"
    result = {"direction": "out", "kind": "result", "verdict": None}
    fake.transcripts["s-7f31"] = [
        make_item(1, 0, verdict="mask", text="SELECT id, email, total\n  FROM orders JOIN users USING (user_id)"),
        make_item(2, 0.2, **result, outcome="ok", rows=1, duration_us=3100, text=table),
        make_item(3, 40, verdict="deny", text="DROP TABLE users"),
        make_item(4, 40.1, **result, outcome="denied", text="ERROR:  hoop: denied"),
        make_item(5, 41, text="SELECT 1", verdict="allow"),
        make_item(6, 41.1, **result, outcome="ok", rows=1, duration_us=240, text="1", truncated=True),
    ]
    return fake


async def picture(seat: Seat, screen: str) -> str:
    fake = seat.fake
    if screen == "live":
        for seq, (verdict, text) in enumerate(
            [
                ("allow", "SELECT 1"),
                ("mask", "SELECT email\n  FROM users"),
                ("deny", "DROP TABLE users; -- \x1b]0;x\x07"),
            ]
        ):
            fake.publish("record", make_record(2 * seq, verdict=verdict, text=text))
            ended = {"verdict": None, "kind": "result", "text": "", "sqlstate": "00000"}
            fake.publish("record", make_record(2 * seq + 1, **ended, outcome="ok", rows=seq, duration_us=900 * seq))
        fake.publish("gap", {"from": 5, "to": 45})
        await seat.shows("GAP: 41 events")
    elif screen == "approvals":
        await seat.press("2")
        await seat.until(lambda: isinstance(seat.app.screen, ApprovalsScreen) and seat.approvals.current())
    elif screen == "card":
        await seat.open_card()
        seat.clock.advance(-1)
        await seat.press("ctrl+u")
        seat.approvals.flush()
    else:
        seat.app.replay("s-7f31")
        await seat.until(lambda: isinstance(seat.app.screen, ReplayScreen) and len(seat.replay.items) == 6)
        await seat.press("full_stop")
    await seat.until(lambda: "head w1:48211" in seat.text() or seat.app.size.width == 80)
    await seat.pilot.pause()
    return seat.text() + "\n"


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
@pytest.mark.parametrize("screen", ["live", "approvals", "card", "replay"])
async def test_the_screen_looks_as_it_did(
    furnished: FakeGateway, clock: HandClock, screen: str, size: tuple[int, int]
) -> None:
    async with seated(furnished, clock, size) as seat:
        shown = await picture(seat, screen)
    file = PICTURES / f"{screen}-{size[0]}x{size[1]}.txt"
    if os.environ.get("HOOP_PICTURES") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(shown, "utf-8")
    assert shown == file.read_text("utf-8")
