"""The console as a person uses it: keys in, the gateway's requests and the screen out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import HASH, FakeGateway, make_approval, make_item, make_record, make_session
from hand_clock import HandClock
from textual import events
from textual.pilot import Pilot

from gateway.model import ApprovalId
from hoop_tui.app import HoopApp
from hoop_tui.known import AttemptPhase
from hoop_tui.screens.approvals import ApprovalsScreen
from hoop_tui.screens.dialogs import ApproveDialog, DenyDialog, KillDialog
from hoop_tui.screens.frame import Frame
from hoop_tui.screens.help import HelpScreen
from hoop_tui.screens.live import LiveScreen
from hoop_tui.screens.replay import ReplayScreen

LONG = "\n".join(f"-- line {number}" for number in range(60)) + "\nDELETE FROM public.orders WHERE id = 1"


class Seat:
    """A person before the console."""

    def __init__(self, app: HoopApp, pilot: Pilot[None], clock: HandClock, fake: FakeGateway) -> None:
        self.app, self.pilot, self.clock, self.fake = app, pilot, clock, fake

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(8):
            while not true():
                await self.pilot.pause(0.005)
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(*("space" if character == " " else character for character in text))

    def text(self) -> str:
        """Return what stands on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)

    async def shows(self, words: str) -> None:
        await self.until(lambda: words in self.text())

    @property
    def approvals(self) -> ApprovalsScreen:
        assert isinstance(self.app.screen, ApprovalsScreen)
        return self.app.screen

    @property
    def live(self) -> LiveScreen:
        assert isinstance(self.app.screen, LiveScreen)
        return self.app.screen

    @property
    def replay(self) -> ReplayScreen:
        assert isinstance(self.app.screen, ReplayScreen)
        return self.app.screen

    async def open_card(self) -> None:
        """Go to the first request's card and let the quarantine pass."""
        await self.press("2")
        await self.until(lambda: isinstance(self.app.screen, ApprovalsScreen) and self.approvals.current())
        if not self.approvals.wide:
            await self.press("enter")
        await self.shows("HELD")
        self.clock.advance(1)

    def phase(self, id_: str) -> AttemptPhase | None:
        attempt = self.app.store.state.attempts.get(ApprovalId(id_))
        return attempt.phase if attempt else None


@asynccontextmanager
async def seated(
    fake: FakeGateway, clock: HandClock, size: tuple[int, int] = (80, 24), **options: Any
) -> AsyncIterator[Seat]:
    environment = options.pop("environment", {"TERM": "xterm-256color"})

    async def soon(seconds: float) -> None:
        await asyncio.sleep(0.15)

    app = HoopApp(fake.path, clock=clock, environment=environment, pause=soon, **options)
    async with app.run_test(size=size) as pilot:
        seat = Seat(app, pilot, clock, fake)
        if options.get("wait", True) and fake._server is not None:
            await seat.until(lambda: app.store.state.live and app.store.state.head)
        yield seat


# --- Approving -----------------------------------------------------------------------------------------------------


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


# --- The inbox -----------------------------------------------------------------------------------------------------


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


# --- Live ----------------------------------------------------------------------------------------------------------


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


# --- Replay --------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr("hoop_tui.app.PAGE", 3)
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


# --- The frame -----------------------------------------------------------------------------------------------------


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


# --- Hostile texts -------------------------------------------------------------------------------------------------

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
