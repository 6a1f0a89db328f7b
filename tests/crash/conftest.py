"""The target of one test, and the count of all kills: how many of which kind, told while they happen and at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.kills import SEED, Kills, counts
from crash.mortal import Mortals, mortals
from crash.scene import Target

from gateway.demo.postgres import PostgresServer


@pytest.fixture
def target(postgres: PostgresServer, database: str) -> Target:
    return Target(postgres, database)


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> Kills:
    return Kills(request)


@pytest.fixture(scope="session")
def mortal() -> Iterator[Mortals]:
    with mortals() as found:
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    """A failure names the seed."""
    report = yield
    if report.failed and item.path.parent == Path(__file__).parent:
        report.sections.append(("seed", f"HOOP_CRASH_SEED={SEED}"))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        counts.update(str(value) for name, value in report.user_properties if name == "kill")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was killed where, and how often."""
    if counts:
        terminalreporter.section(f"{sum(counts.values())} kills, seed {SEED}")
        for what, count in sorted(counts.items()):
            terminalreporter.write_line(f"{count:6}  {what}")
