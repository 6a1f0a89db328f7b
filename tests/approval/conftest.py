"""Approvals on a clock that jumps whenever every task waits."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest
from approving import Desk, open_desk
from trio.testing import MockClock


class OpenDesk(Protocol):
    """Starts approvals over this test's own journal."""

    def __call__(self, *, linger: int = 0) -> AbstractAsyncContextManager[Desk]: ...


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio, on a clock that jumps."""
    return ("trio", {"clock": MockClock(autojump_threshold=0)})


@pytest.fixture(name="open_desk")
def fixture_open_desk(tmp_path: Path) -> OpenDesk:
    """Start approvals over a journal in `tmp_path`; leaving stops them."""
    return lambda *, linger=0: open_desk(tmp_path / "control", linger=linger)
