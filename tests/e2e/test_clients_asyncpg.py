"""The same asyncpg scripts, directly and through the gateway: always binary, prepared and introspecting."""

from __future__ import annotations

import asyncio
import io
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from running import RunningGateway
from wire_client import Wire

from gateway.demo.postgres import PostgresServer

Script = Callable[[Any], Awaitable[object]]


def told(error: asyncpg.PostgresError) -> tuple[object, ...]:
    names = ("severity", "sqlstate", "message", "detail", "hint", "position", "table_name", "constraint_name")
    said = [getattr(error, name) for name in names]
    return (type(error).__name__, *(re.sub(r"__asyncpg_\w+__", "?", str(each)) for each in said))


async def attempt(working: Awaitable[Any]) -> object:
    try:
        return await working
    except asyncpg.PostgresError as error:
        return told(error)


async def fetching(connection: Any) -> object:
    return [
        await connection.fetch("SELECT id, label, price FROM items WHERE id < $1 ORDER BY id", 4),
        await connection.fetchrow("SELECT * FROM kinds WHERE id = 1"),
        await connection.fetchval("SELECT $1::text || $2::int::text", "ü", 5),
        await connection.execute("INSERT INTO scratch SELECT generate_series(1, 5)"),
        await connection.execute("SELECT 1; SELECT 2; INSERT INTO scratch VALUES (6)"),
        await connection.executemany("INSERT INTO scratch VALUES ($1, $2)", [(n, f"n{n}") for n in range(10, 210)]),
        await connection.fetch("SELECT count(*), sum(id) FROM scratch"),
        await connection.fetchmany("INSERT INTO scratch VALUES ($1) RETURNING id", [(n,) for n in range(300, 310)]),
    ]


async def types(connection: Any) -> object:
    """Enums, composites, domains, ranges and arrays of them: asyncpg asks the catalog about each."""
    statement = await connection.prepare(
        "SELECT feeling, place, tiny, span, ARRAY[feeling], ARRAY[place], ARRAY['x'::short] FROM kinds WHERE id = $1"
    )
    attributes = [(each.name, each.type.oid, each.type.name, each.type.kind) for each in statement.get_attributes()]
    schema = [each.name for each in statement.get_parameters()]
    values = await statement.fetch(1)
    given = await connection.fetchval("SELECT ($1::point3).z || $2::mood::text", (1, 2, "z"), "sad")
    return attributes, schema, values, statement.get_statusmsg(), given


async def cursors(connection: Any) -> object:
    async with connection.transaction():
        found: list[object] = []
        rows = connection.cursor("SELECT id FROM items WHERE id <= $1 ORDER BY id", 30, prefetch=7)
        found += [row["id"] async for row in rows]
        cursor = await connection.cursor("SELECT id, label FROM items ORDER BY id")
        found += [await cursor.fetch(3), await cursor.forward(4), await cursor.fetchrow()]
    return found


async def copies(connection: Any) -> object:
    records = [(n, f"note\t{n}", bytes((n % 256,))) for n in range(3000)]
    found: list[object] = [
        await connection.copy_records_to_table("scratch", records=records, columns=("id", "note", "data"))
    ]
    csv = io.BytesIO(b"5000,a\n5001,\n")
    found.append(await connection.copy_to_table("scratch", source=csv, columns=("id", "note"), format="csv"))
    for shape in ("text", "csv", "binary"):
        out = io.BytesIO()
        query = "SELECT id, note, data FROM scratch WHERE id % $1 = 0 ORDER BY id"
        found.append(await connection.copy_from_query(query, 100, output=out, format=shape))
        found.append(out.getvalue())
    out = io.BytesIO()
    found.append(await connection.copy_from_table("scratch", output=out, columns=("id",)))
    bad = connection.copy_records_to_table("scratch", records=[(1, "taken")], columns=("id", "note"))
    found.append(await attempt(bad))
    found.append(await connection.fetchval("SELECT count(*) FROM scratch"))
    return found


async def transactions(connection: Any) -> object:
    found: list[object] = []
    transaction = connection.transaction(isolation="serializable", readonly=False)
    await transaction.start()
    found.append(await connection.execute("INSERT INTO scratch VALUES (1)"))
    async with connection.transaction():
        found.append(await connection.execute("INSERT INTO scratch VALUES (2)"))
    inner = connection.transaction()
    await inner.start()
    found.append(await attempt(connection.execute("INSERT INTO scratch VALUES (2)")))
    found.append(await attempt(connection.execute("SELECT 1")))
    await inner.rollback()
    found.append(await connection.fetch("SELECT id FROM scratch ORDER BY id"))
    await transaction.rollback()
    found.append(await connection.fetch("SELECT id FROM scratch"))
    return found


async def errors(connection: Any) -> object:
    found = [
        await attempt(connection.fetch(sql))
        for sql in ("SELECT 1/0", "SELECT missing FROM items", "SELEC", "SELECT 'x'::int", "SELECT fails('luck')")
    ]
    found.append(await attempt(connection.execute("INSERT INTO parents VALUES (1, '')")))
    found.append(await attempt(connection.fetch("SELECT $1::int / $2::int", 1, 0)))
    return found


async def logs(connection: Any) -> object:
    found: list[object] = []
    connection.add_log_listener(lambda _, said: found.append((type(said).__name__, str(said), said.detail, said.hint)))
    found.append(await connection.fetchval("SELECT shouts($1)", "listen"))
    await asyncio.sleep(0)
    return found


async def settings(connection: Any) -> object:
    found: list[object] = [connection.get_server_version(), connection.get_settings().client_encoding]
    found.append(await connection.execute("SET application_name = 'renamed'"))
    found.append(connection.get_settings().application_name)
    await connection.reset()
    found.append(connection.get_settings().application_name)
    found.append(await connection.fetchval("SELECT current_setting('TimeZone')"))
    return found


async def listeners(connection: Any) -> object:
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    await connection.add_listener("news", lambda _c, _pid, channel, payload: heard.put_nowait((channel, payload)))
    async with straight(PLACE[0], PLACE[1]) as other:
        await other.execute("SELECT pg_notify('news', 'one')")
        await other.execute("NOTIFY news, 'two'")
    found = [await asyncio.wait_for(heard.get(), 10) for _ in range(2)]
    await connection.reset()
    return found


async def schema_changes(connection: Any) -> object:
    """asyncpg's own cache of statements outlives DEALLOCATE ALL by a retry."""
    found: list[object] = [await connection.fetch("SELECT id FROM items WHERE id = $1", 1)]
    await connection.execute("DEALLOCATE ALL")
    found.append(await attempt(connection.fetch("SELECT id FROM items WHERE id = $1", 1)))
    found.append(await attempt(connection.fetch("SELECT id, label FROM items WHERE id = $1", Decimal(1))))
    return found


PLACE: list[Any] = []
SCRIPTS: list[Script] = [
    fetching, types, cursors, copies, transactions, errors, logs, settings, listeners, schema_changes,
]  # fmt: skip


@asynccontextmanager
async def straight(postgres: PostgresServer, database: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres.dsn(database))
    try:
        yield connection
    finally:
        await connection.close()


def arguments(gateway: RunningGateway, name: str, token: str) -> dict[str, Any]:
    trusted = ssl.create_default_context(cafile=str(gateway.root_certificate))
    place = {"host": "127.0.0.1", "port": gateway.port, "database": name, "user": "agent", "password": token}
    return {**place, "ssl": trusted, "timeout": 20}


@pytest.mark.parametrize("name", ["orders", "observed"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_asyncpg_sees_the_same(
    postgres: PostgresServer, orders: str, gateway: RunningGateway, token: str, scratch: Wire, name: str, script: Script
) -> None:
    PLACE[:] = [postgres, orders]
    if script is listeners and name == "orders":
        name = "plain"  # where columns are marked, payloads are masked: see test_asyncpg_sees_masked_values

    async def directly() -> object:
        async with straight(postgres, orders) as connection:
            return await script(connection)

    async def through() -> object:
        connection = await asyncpg.connect(**arguments(gateway, name, token))
        try:
            return await script(connection)
        finally:
            await connection.close()

    wanted = asyncio.run(directly())
    scratch.rows("TRUNCATE scratch, children, parents")
    assert asyncio.run(through()) == wanted


def test_asyncpg_times_out_and_cancels(gateway: RunningGateway, token: str, admin: Wire) -> None:
    async def sleep() -> None:
        connection = await asyncpg.connect(**arguments(gateway, "observed", token))
        with pytest.raises(TimeoutError):
            await connection.fetch("SELECT pg_sleep(600), 'asyncpg'", timeout=0.3)
        assert await connection.fetchval("SELECT 1") == 1
        running = asyncio.ensure_future(connection.fetch("SELECT pg_sleep(600), 'asyncpg'"))
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await connection.fetchval("SELECT 2") == 2
        await connection.close()

    asyncio.run(sleep())
    assert admin.rows("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%, ''asyncpg%'") == []


def test_an_asyncpg_pool_is_reset_between_users(gateway: RunningGateway, token: str) -> None:
    async def use() -> list[object]:
        found: list[object] = []
        async with asyncpg.create_pool(**arguments(gateway, "plain", token), min_size=2, max_size=2) as pool:
            async with pool.acquire() as connection:
                await connection.execute("SET lock_timeout = '7s'")
                await connection.execute("LISTEN news")
            found += [await pool.fetchval("SELECT current_setting('lock_timeout')") for _ in range(4)]
            found += await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(20)))
        return found

    assert asyncio.run(use()) == ["0"] * 4 + list(range(20))


def test_asyncpg_sees_masked_values(postgres: PostgresServer, orders: str, gateway: RunningGateway, token: str) -> None:
    async def use() -> list[object]:
        connection = await asyncpg.connect(**arguments(gateway, "orders", token))
        found: list[object] = [await connection.fetchrow("SELECT id, email FROM users WHERE id = $1", 3)]
        async with connection.transaction():
            rows = connection.cursor("SELECT email FROM users ORDER BY id LIMIT 3", prefetch=2)
            found += [row["email"] async for row in rows]
        copied = io.BytesIO()
        await connection.copy_from_table("users", columns=("id", "email"), output=copied)
        lines = dict(line.split(b"\t") for line in copied.getvalue().splitlines())  # in no order: rows move about
        found.append((lines[b"1"], set(lines.values())))
        heard: asyncio.Queue[str] = asyncio.Queue()
        await connection.add_listener("news", lambda _c, _pid, _channel, payload: heard.put_nowait(payload))
        async with straight(postgres, orders) as other:
            await other.execute("SELECT pg_notify('news', email) FROM users WHERE id = 3")
        found.append(await asyncio.wait_for(heard.get(), 10))
        await connection.close()
        return found

    assert asyncio.run(use()) == [(3, "***"), "***", "***", "***", (b"***", {b"***"}), "***"]
