"""A person before the console: keys, what stands on the screen, and the gateway's side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fake_gateway import FakeGateway
from hand_clock import HandClock
from textual.pilot import Pilot

from gateway.model import ApprovalId
from hoop_tui.app import HoopApp
from hoop_tui.known import AttemptPhase
from hoop_tui.screens.approvals import ApprovalsScreen
from hoop_tui.screens.live import LiveScreen
from hoop_tui.screens.replay import ReplayScreen


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
