"""An agent changes definitions so that a marked column is read by a name that the gateway still calls clean."""

from __future__ import annotations

import struct

import psycopg
import pytest
import trio
from driving import Drive, allow

from gateway.demo.postgres import PostgresServer
from gateway.evidence.storage import SystemClock
from gateway.masking.marks import bind as bind_marks
from gateway.model import (
    Closed,
    Connection,
    Declared,
    Mark,
    MaskStyle,
    Micros,
    Principal,
    Statement,
    TargetAddress,
    VerdictKind,
    WireProtocol,
)
from gateway.pgwire.actions import Analyse, CatalogChanged, Token
from gateway.pgwire.backend import ColumnDescription, error_response, ready_for_query
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import SYNC, Parse, execute, query
from gateway.pgwire.judgement import Judgement, Names
from gateway.policy.catalog import Catalog
from gateway.policy.rules import compile_rules
from gateway.target.catalog import CatalogReader
from gateway.worker.judging import Judge

IDLE, BLOCK = ready_for_query(b"I"), ready_for_query(b"T")


def complete(tag: bytes) -> bytes:
    return message(b"C", cstring(tag))


def bound(sql: bytes) -> bytes:
    bind = message(b"B", cstring(b"") + cstring(b"") + struct.pack("!hhh", 0, 0, 0))
    return Parse(b"", sql, ()).encode() + bind + execute(b"")


def defining(action: Analyse) -> Judgement:
    return allow(changes_catalog=action.statement.sql.startswith((b"create", b"begin; create")))


def test_the_catalog_is_read_again_when_the_transaction_ends_and_not_before() -> None:
    """Before, its change is not visible; and reading would wait for the locks of the agent's own transaction."""
    drive = Drive(defining)
    drive.client(query(b"begin")).target(complete(b"BEGIN"), BLOCK)
    drive.client(query(b"create view v")).target(complete(b"CREATE VIEW"), BLOCK)
    assert drive.other == []
    drive.client(query(b"select 1"))
    assert drive.asked[-1].names.redefined
    drive.target(complete(b"SELECT 1"), BLOCK)
    drive.client(query(b"commit")).target(complete(b"COMMIT"), IDLE)
    assert drive.other == [CatalogChanged()]
    drive.client(query(b"select 1"))
    assert not drive.asked[-1].names.redefined


def test_a_string_that_failed_after_its_commit_changed_the_catalog_too() -> None:
    drive = Drive(defining).client(query(b"begin; create view v; commit; select 1/0"))
    drive.target(complete(b"BEGIN"), complete(b"CREATE VIEW"), complete(b"COMMIT"), error_response("22012", "no"), IDLE)
    assert drive.other == [CatalogChanged()]


def test_nothing_is_judged_by_the_old_catalog_behind_a_definition_in_a_pipeline() -> None:
    drive = Drive(defining).client(bound(b"create view v"), SYNC, bound(b"select b from v"), SYNC)
    assert b"select b from v" not in [action.statement.sql for action in drive.asked]
    drive.target(message(b"1"), message(b"2"), complete(b"CREATE VIEW"), IDLE)
    assert drive.order.index("CatalogChanged") < len(drive.order) - 1
    last = next(action for action in drive.asked if action.statement.sql == b"select b from v")
    assert not last.names.redefined
    assert drive.other == [CatalogChanged()]


def test_an_agent_that_hangs_up_after_a_definition_leaves_no_stale_catalog() -> None:
    drive = Drive(defining).client(query(b"create view v"), message(b"X"))
    assert drive.other == [CatalogChanged()]
    assert drive.closed == "client"


def test_a_cursor_remembers_the_epoch_of_the_marks_that_it_read() -> None:
    def judge(action: Analyse) -> Judgement:
        sql = action.statement.sql
        if sql.startswith(b"declare"):
            return allow(effects=((0, Declared("c", sql, hold=True)),), touches_marks=b"email" in sql, epoch=7)
        return allow(effects=((0, Closed("c")),)) if sql == b"close c" else allow()

    drive = Drive(judge)
    for sql, expected in (
        (b"declare c for email", frozenset({7})),
        (b"declare c for name", frozenset()),
        (b"declare c for email", frozenset({7})),
        (b"close c", frozenset()),
    ):
        drive.client(query(sql)).target(complete(b"x"), IDLE)
        drive.client(query(b"select 1"))
        assert drive.asked[-1].names.epochs == expected
        drive.target(complete(b"SELECT 1"), IDLE)


# --- on a real catalog ------------------------------------------------------------------------------------------------

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text, email text);
CREATE TABLE items (id int PRIMARY KEY, label text);
CREATE VIEW people AS SELECT id, name AS shown FROM users;
CREATE VIEW labels AS SELECT label FROM items;
"""
TEXT = ColumnDescription("shown", 0, 0, 25, -1, -1, 0)
ANYBODY = Principal("issuer", "agent", "jti", Micros(0))


@pytest.fixture
def connection(postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv("ATTACK_PASSWORD", postgres.password)
    postgres.execute(SCHEMA, database)
    target = TargetAddress("127.0.0.1", postgres.port, database, "disable")
    mark = Mark("public", "users", "email", MaskStyle.REDACT)
    return Connection("orders", target, postgres.user, "env:ATTACK_PASSWORD", ("any",), marks=(mark,))


def judge_of(connection: Connection, reader: CatalogReader) -> Judge:
    async def read() -> Catalog:
        return bind_marks(await reader.load(), connection).catalog

    return Judge(compile_rules(connection), read, SystemClock())


def asked(sql: bytes, *, redefined: bool = False, epochs: frozenset[int] = frozenset()) -> Analyse:
    cursors = {"c": b"DECLARE c CURSOR WITH HOLD FOR SELECT shown FROM people"}
    names = Names({"s": b"PREPARE s AS SELECT shown FROM people"}, cursors, "T", redefined, epochs)
    return Analyse(Token(1), Statement(sql, WireProtocol.SIMPLE), names)


@pytest.mark.parametrize("sql", [b"SELECT shown FROM people", b"EXECUTE s", b"FETCH ALL FROM c"])
async def test_what_a_changed_definition_may_hide_is_masked(connection: Connection, sql: bytes) -> None:
    reader = CatalogReader(connection)
    judge = judge_of(connection, reader)
    await judge.refresh()
    clean = judge.judge(asked(sql), ANYBODY)
    assert clean is not None
    assert clean.planner is not None
    assert clean.planner(0, (TEXT,)).columns == (None,)
    unsure = judge.judge(asked(sql, redefined=True), ANYBODY)
    assert unsure is not None
    assert unsure.planner is not None
    assert unsure.touches_marks
    assert unsure.planner(0, (TEXT,)).columns != (None,)
    again = judge.judge(asked(sql), ANYBODY)
    assert again is not None
    assert again.planner is not None
    assert again.planner(0, (TEXT,)).columns == (None,)
    await reader.aclose()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"INSERT INTO items SELECT id, shown FROM people", VerdictKind.APPROVE),
        (b"UPDATE items SET label = shown FROM people WHERE items.id = 1", VerdictKind.APPROVE),
        (b"COPY people TO STDOUT", VerdictKind.MASK),
        (b"COPY (SELECT shown FROM people) TO STDOUT", VerdictKind.MASK),
        (b"INSERT INTO items VALUES (1, 'x')", VerdictKind.ALLOW),
        (b"SELECT 1", VerdictKind.ALLOW),
    ],
)
async def test_nothing_is_copied_by_a_changed_definition_unasked(
    connection: Connection, sql: bytes, expected: VerdictKind
) -> None:
    reader = CatalogReader(connection)
    judge = judge_of(connection, reader)
    await judge.refresh()
    found = judge.judge(asked(sql, redefined=True), ANYBODY)
    assert found is not None
    assert found.verdict.kind is expected
    await reader.aclose()


async def test_a_held_cursor_is_masked_once_the_catalog_it_was_judged_by_is_gone(connection: Connection) -> None:
    reader = CatalogReader(connection)
    judge = judge_of(connection, reader)
    catalog = await judge.refresh()
    for epoch, masked in ((catalog.epoch, False), (catalog.epoch - 1, True)):
        found = judge.judge(asked(b"FETCH ALL FROM c", epochs=frozenset({epoch})), ANYBODY)
        assert found is not None
        assert found.planner is not None
        assert (found.planner(0, (TEXT,)).columns != (None,)) is masked
    await reader.aclose()


async def test_an_open_definition_does_not_keep_others_from_the_catalog(
    postgres: PostgresServer, connection: Connection
) -> None:
    """A view's text is printed under locks; whoever holds one open must not stop every session of the connection."""
    reader = CatalogReader(connection)
    dsn = f"host=127.0.0.1 port={postgres.port} user={postgres.user} password={postgres.password}"
    with psycopg.connect(f"{dsn} dbname={connection.target.database}") as other:
        other.execute("ALTER TABLE items ADD COLUMN more int")
        with trio.fail_after(20):
            locked = await reader.load()
        assert locked.by_name["public", "labels"].definition is None
        assert locked.by_name["public", "people"].definition is not None
        other.rollback()
    free = await reader.load()
    assert free.by_name["public", "labels"].definition is not None
    await reader.aclose()
