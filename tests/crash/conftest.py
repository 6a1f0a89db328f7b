"""What the tests of this folder share: a database of the module's own, and looks at the target from behind."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from gateway.demo.postgres import PostgresServer


@dataclass(frozen=True)
class Target:
    """One database, seen without the gateway."""

    server: PostgresServer
    database: str

    def ask(self, sql: str) -> list[str]:
        return self.server.execute(sql, self.database).splitlines()

    def sessions(self) -> int:
        """How many sessions others have open here."""
        (count,) = self.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(count)

    def wait_until_left(self, seconds: float = 15) -> None:
        """Return once nobody has a session here: what they began has ended, one way or the other."""
        deadline = time.monotonic() + seconds
        while self.sessions():
            assert time.monotonic() < deadline, self.ask("TABLE pg_stat_activity")


@pytest.fixture
def target(postgres: PostgresServer, database: str) -> Target:
    return Target(postgres, database)
