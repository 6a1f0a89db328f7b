"""What the tests of this folder share: a gateway that cannot outlive a test, and looks at target and evidence."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.running import RunningGateway, start

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


@contextmanager
def serving(
    home: Path, wrap: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[RunningGateway]:
    """A gateway for the time of a block; `kill -9` at its end, if it still runs then."""
    gateway = start(home, environment, wrap)
    try:
        yield gateway
    finally:
        gateway.process.kill()
        gateway.process.wait()
        assert gateway.process.stdout is not None
        gateway.process.stdout.close()


def assert_intact(gateway: RunningGateway) -> None:
    """The evidence verifies, to the letter of the command."""
    verified = gateway.command("evidence", "verify", str(gateway.evidence), check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
