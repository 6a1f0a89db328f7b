"""What a session holds at a real server: told as names, modes and times, or not at all."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest
import trio

from gateway.demo.postgres import PostgresServer
from gateway.model import Connection, TargetAddress
from gateway.target.holdings import LOCKS, Holdings, holdings
from gateway.target.own_session import OwnSession


@pytest.fixture
async def ours(postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OwnSession]:
    monkeypatch.setenv("HOLDER", postgres.password)
    address = TargetAddress("127.0.0.1", postgres.port, database, "disable", None)
    session = OwnSession(Connection("orders", address, postgres.user, "env:HOLDER", agents=("any",)))
    yield session
    await session.aclose()


@pytest.fixture
def connect(postgres: PostgresServer, database: str) -> Iterator[Callable[[], psycopg.Connection]]:
    opened: list[psycopg.Connection] = []

    def one() -> psycopg.Connection:
        opened.append(psycopg.connect(postgres.dsn(database)))
        return opened[-1]

    yield one
    for each in opened:
        each.close()


async def test_a_transaction_its_locks_and_who_waits(
    ours: OwnSession, connect: Callable[[], psycopg.Connection]
) -> None:
    agent, other = connect(), connect()
    agent.execute("CREATE TABLE held (id int PRIMARY KEY); INSERT INTO held VALUES (1)")
    agent.commit()
    idle = await holdings(ours, agent.info.backend_pid)
    assert idle == Holdings(None, writes=False, blocks=0, locks=())
    agent.execute("SELECT * FROM held")
    reading = await holdings(ours, agent.info.backend_pid)
    assert reading is not None
    assert (reading.writes, reading.locks) == (False, (("public.held", "AccessShareLock"),))
    agent.execute("UPDATE held SET id = 2")
    waiting = threading.Thread(target=other.execute, args=("UPDATE held SET id = 3",))
    waiting.start()
    with trio.fail_after(20):
        while (found := await holdings(ours, agent.info.backend_pid)) is None or not found.blocks:
            await trio.lowlevel.checkpoint()
    agent.rollback()
    waiting.join()
    assert (found.writes, found.blocks) == (True, 1)
    assert ("public.held", "RowExclusiveLock") in found.locks
    assert found.age_ms is not None
    assert found.age_ms >= 0


async def test_what_is_told_is_bounded(ours: OwnSession, connect: Callable[[], psycopg.Connection]) -> None:
    agent = connect()
    for number in range(LOCKS + 5):
        agent.execute(f"CREATE TABLE many_{number} (id int)")
    agent.commit()
    agent.execute(f"LOCK TABLE {', '.join(f'many_{number}' for number in range(LOCKS + 5))}")
    found = await holdings(ours, agent.info.backend_pid)
    assert found is not None
    assert len(found.locks) == LOCKS


async def test_what_is_not_known(ours: OwnSession, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await holdings(ours, 0) is None
    await ours.aclose()
    monkeypatch.setenv("HOLDER", "wrong")
    assert await holdings(ours, 1) is None
    monkeypatch.delenv("HOLDER")
    assert await holdings(ours, 1) is None
