"""The watch over a real catalog: what moves its fingerprint, what does not, and how it says that it does not stand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.resources import files

import psycopg
import pytest
import trio

from gateway.demo.postgres import PostgresServer
from gateway.model import Connection, TargetAddress
from gateway.target.own_session import OwnSession
from gateway.target.watch import CatalogWatch

SCHEMA = """
CREATE SCHEMA crm;
CREATE TABLE users (id int PRIMARY KEY, name text, email text DEFAULT 'none');
CREATE TABLE events (day date, what text) PARTITION BY RANGE (day);
CREATE TABLE events_2026 (day date, what text);
CREATE VIEW people AS SELECT id, name AS shown FROM users;
CREATE MATERIALIZED VIEW stored AS SELECT name FROM users;
CREATE FUNCTION price(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE SEQUENCE counter;
INSERT INTO users SELECT i, 'n', 'e' FROM generate_series(1, 100) i;
"""
MOVES = (
    "CREATE OR REPLACE VIEW people AS SELECT id, email AS shown FROM users",
    "ALTER TABLE users RENAME name TO called",
    "ALTER TABLE users RENAME TO members",
    "ALTER TABLE users SET SCHEMA crm",
    "ALTER SCHEMA crm RENAME TO other",
    "ALTER TABLE users ADD COLUMN more text",
    "ALTER TABLE users DROP COLUMN name CASCADE",
    "ALTER TABLE events ALTER what TYPE varchar(9)",
    "ALTER TABLE users ALTER name SET NOT NULL",
    "ALTER TABLE users ALTER email SET DEFAULT 'x'",
    "ALTER TABLE users ADD CHECK (name <> 'x')",
    "ALTER TABLE events ATTACH PARTITION events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "CREATE TABLE child () INHERITS (users)",
    "CREATE OR REPLACE FUNCTION price(n int) RETURNS int LANGUAGE sql AS 'SELECT n + 1'",
    "CREATE FUNCTION price(n text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP FUNCTION price(int)",
    "CREATE TRIGGER stamped BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp()",
    "CREATE RULE also AS ON INSERT TO users DO ALSO DELETE FROM events",
    "CREATE POLICY own ON users USING (name = current_user)",
    "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
    "CREATE UNIQUE INDEX ON users (name, email, id)",
    "DROP MATERIALIZED VIEW stored",
    "CREATE TYPE mood AS ENUM ('ok')",
    "CREATE DOMAIN short AS text",
    "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
    "CREATE TEMP TABLE users AS SELECT 1 AS id",
    "CREATE TEMP VIEW people AS SELECT 1 AS id",
    "CREATE STATISTICS both_of ON name, email FROM users",
)
STAYS = (
    "INSERT INTO users VALUES (1000, 'a', 'b')",
    "TRUNCATE users",
    "REFRESH MATERIALIZED VIEW stored",
    "GRANT SELECT ON users TO PUBLIC",
    "ANALYZE",
    "SELECT nextval('counter')",
    "CREATE INDEX ON users (name)",
    "COMMENT ON TABLE users IS 'x'",
    "CREATE TEMP TABLE aside AS SELECT 1 AS id",
    "CREATE TEMP VIEW beside AS SELECT 1 AS id",
)


@pytest.fixture
def connection(postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv("WATCH_PASSWORD", postgres.password)
    monkeypatch.setenv("WATCHER", "watch-it")
    target = TargetAddress("127.0.0.1", postgres.port, database, "disable")
    return Connection("orders", target, postgres.user, "env:WATCH_PASSWORD", ())


@pytest.fixture
async def session(connection: Connection) -> AsyncIterator[OwnSession]:
    opened = OwnSession(connection)
    yield opened
    await opened.aclose()


def other(postgres: PostgresServer, connection: Connection) -> psycopg.Connection[tuple[object, ...]]:
    dsn = f"host=127.0.0.1 port={postgres.port} user={postgres.user} password={postgres.password}"
    return psycopg.connect(f"{dsn} dbname={connection.target.database}", autocommit=True)


async def test_what_moves_the_fingerprint_and_what_does_not(
    postgres: PostgresServer, connection: Connection, session: OwnSession
) -> None:
    postgres.execute(SCHEMA, connection.target.database)
    sql = files("gateway.target").joinpath("watch.sql").read_text()

    async def fingerprint() -> str | None:
        return (await session.ask(lambda client: client.run(sql), 20))[-1].rows[0][0]

    with other(postgres, connection) as admin:
        before = await fingerprint()
        assert before == await fingerprint()
        for change in STAYS:
            admin.execute(change)
            assert await fingerprint() == before, change
        admin.execute("DISCARD TEMP")
        for change in MOVES:
            with admin.transaction(force_rollback=True):
                admin.execute(change)
                assert await fingerprint() == before, f"{change} is not committed yet"
        for change in MOVES:
            admin.execute(
                "DISCARD TEMP; DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS crm, other CASCADE;"
                " CREATE SCHEMA public"
            )
            for statement in SCHEMA.split(";\n"):
                admin.execute(statement)  # type: ignore[arg-type]
            before = await fingerprint()
            admin.execute(change)
            assert await fingerprint() != before, change


async def test_a_change_is_told_and_a_dead_watch_says_so_and_comes_back(
    postgres: PostgresServer, connection: Connection
) -> None:
    postgres.execute("CREATE ROLE watcher LOGIN PASSWORD 'watch-it'")
    told: list[str] = []
    send, receive = trio.open_memory_channel[None](100)

    async def changed() -> None:
        await send.send(None)

    watch = CatalogWatch(replace(connection, username="watcher", password="env:WATCHER"), changed, told.append)
    assert not watch.up
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            with other(postgres, connection) as admin, trio.fail_after(60):
                await watch.begin()
                assert watch.up
                await receive.receive()  # the first look always tells
                admin.execute("CREATE TABLE anything (id int)")
                await receive.receive()
                admin.execute("ALTER ROLE watcher NOLOGIN")
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'watcher'")
                while watch.up:
                    await trio.lowlevel.checkpoint()
                assert "is not permitted to log in" in watch.why_down
                admin.execute("ALTER ROLE watcher LOGIN")
                await receive.receive()  # whatever happened meanwhile
                while not watch.up:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    finally:
        postgres.execute("DROP ROLE watcher")
    assert [words.partition(":")[0] for words in told] == [
        "the catalog cannot be watched",
        "the catalog is watched again",
    ]
