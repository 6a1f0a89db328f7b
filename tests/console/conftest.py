"""Console tests run on asyncio, against a fake gateway that speaks the real protocol over a real Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway
from hand_clock import HandClock


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The console lives on asyncio."""
    return ("asyncio", {})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeGateway]:
    gateway = FakeGateway(tmp_path / "control.sock")
    await gateway.start()
    yield gateway
    await gateway.stop()
