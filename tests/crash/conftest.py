"""The target of one test."""

from __future__ import annotations

import pytest
from crash.scene import Target

from gateway.demo.postgres import PostgresServer


@pytest.fixture
def target(postgres: PostgresServer, database: str) -> Target:
    return Target(postgres, database)
