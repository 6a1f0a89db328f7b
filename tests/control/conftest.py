"""A control server for each test."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from controlling import OpenHouse, open_house


@pytest.fixture(name="open_house")
def fixture_open_house(tmp_path: Path) -> OpenHouse:
    """Start a server in this test's own directory."""
    return partial(open_house, tmp_path)
