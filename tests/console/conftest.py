"""Console tests run on asyncio, against a fake gateway that speaks the real protocol over a real Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway

from gateway.model import Micros


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The console lives on asyncio."""
    return ("asyncio", {})


class HandClock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.elapsed = 0

    def now(self) -> Micros:
        return Micros(1_700_000_000_000_000 + self.elapsed)

    def monotonic(self) -> int:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        self.elapsed += int(seconds * 1_000_000)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeGateway]:
    gateway = FakeGateway(tmp_path / "control.sock")
    await gateway.start()
    yield gateway
    await gateway.stop()
