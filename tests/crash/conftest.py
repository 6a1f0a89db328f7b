"""The target of one test, and the count of all kills: how many of which kind, told while they happen and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.kills import ROUNDS, SEED, Kills, counts
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
    """Say what was killed how often, as docs/evidence.md has it, and then where."""
    if not counts:
        return
    whole = Counter[str]()
    for what, count in counts.items():
        whole[what.partition(":")[0]] += count
    which = f"{ROUNDS} rounds and every operation" if ROUNDS else "a sample; `just crash` kills at every operation"
    terminalreporter.section(f"{counts.total()} kills ({which}), seed {SEED}")
    for found in (whole, Counter({what: count for what, count in counts.items() if ":" in what})):
        for what, count in sorted(found.items()):
            terminalreporter.write_line(f"{count:6}  {what}")
