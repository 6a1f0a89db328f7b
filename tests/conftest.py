"""Fixtures for every test: the event loop, hypothesis profiles, and real PostgreSQL servers started once a session.

Async tests simply run, on Trio; the console's folder overrides `anyio_backend` with asyncio. Each test that asks for
`database` gets its own empty database, so that tests never see each other.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

import keycloak_server
from gateway.demo.binaries import find_tls_binaries
from gateway.demo.postgres import PostgresServer
from requires import requires

# A run starts hundreds of gateways and commands; without bytecode on disk, each would compile all of its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# `ci` is repeatable, and does not spend minutes on explaining a failure; `fuzz` (just fuzz) looks for new examples
# for as long as it is told.
_examples = os.environ.get("HOOP_FUZZ_EXAMPLES", "")
settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(_examples or 100), phases=[phase for phase in Phase if phase is not Phase.explain],
)  # fmt: skip
settings.register_profile(
    "fuzz", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=int(_examples or 5000)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_numbers = itertools.count()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: much of a test is waiting for a server, a sync, or a process that starts."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Async tests run on Trio."""
    return ("trio", {})


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A plain server of whatever build is preferred here, shared by the whole run: make your own database in it."""
    requires("postgres")
    with PostgresServer(fast=True) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_tls() -> Iterator[PostgresServer]:
    """A server that speaks TLS; trust `server.tls_root`."""
    requires("postgres-tls")
    with PostgresServer(binaries=find_tls_binaries(), tls=True, fast=True) as server:
        yield server


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[keycloak_server.Keycloak]:
    """A real Keycloak with the gateway's realm (`hoop`); started once, which takes half a minute and more."""
    requires("keycloak")
    server = keycloak_server.start(tmp_path_factory.mktemp("keycloak") / "log")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The name of an empty database of this test's own in `postgres`."""
    name = f"test_{next(_numbers)}"
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)
