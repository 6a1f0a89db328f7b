"""The same psycopg scripts, directly and through the gateway: same results, types, notices and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from running import RunningGateway
from wire_client import Wire, eventually

from gateway.demo.postgres import PostgresServer

Script = Callable[[psycopg.Connection[Any]], object]
Connect = Callable[..., psycopg.Connection[Any]]


@pytest.fixture
def straight(postgres: PostgresServer, orders: str) -> Iterator[Connect]:
    yield from connecting({"conninfo": postgres.dsn(orders)})


@pytest.fixture(params=["orders", "observed"])
def through(gateway: RunningGateway, token: str, script: Script, request: pytest.FixtureRequest) -> Iterator[Connect]:
    # where columns are marked, the payloads of notifications are masked
    name = "plain" if script is listening else request.param
    yield from connecting(gateway.connect_arguments(name, token))


def connecting(arguments: dict[str, Any]) -> Iterator[Connect]:
    opened: list[psycopg.Connection[Any]] = []

    def connect(**more: Any) -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(**arguments, **more))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def told(error: psycopg.Error) -> tuple[object, ...]:
    """Everything an error says, but the place in PostgreSQL's source."""
    said = error.diag
    names = (
        "severity", "sqlstate", "message_primary", "message_detail", "message_hint", "statement_position", "context",
        "schema_name", "table_name", "column_name", "datatype_name", "constraint_name",
    )  # fmt: skip
    return (type(error).__name__, *(getattr(said, name) for name in names))


def attempt(connection: psycopg.Connection[Any], sql: str, *values: object, **more: Any) -> object:
    """Rows and their description, or the error."""
    try:
        cursor = connection.execute(sql, values or None, **more)
    except psycopg.Error as error:
        return told(error)
    described = cursor.description and [
        (each.name, each.type_code, each.type_display, each.internal_size, each.precision, each.scale)
        for each in cursor.description
    ]
    rows = cursor.fetchall() if cursor.description else None
    return described, rows, cursor.statusmessage, cursor.rowcount


def texts(connection: psycopg.Connection[Any]) -> object:
    return [attempt(connection, f"SELECT * FROM kinds WHERE id = {number} ORDER BY id") for number in (1,)]


def binaries(connection: psycopg.Connection[Any]) -> object:
    columns = "id, small, big, real4, real8, amount, yes, words, cut, raw, day, stamp_tz, uid, docb, list, texts, tiny"
    return attempt(connection, f"SELECT {columns} FROM kinds WHERE id = %s", 1, binary=True, prepare=True)


def parameters(connection: psycopg.Connection[Any]) -> object:
    values = (1, Decimal("1.50"), "ü", b"\0\xff", None, [1, 2], True)
    return [
        attempt(connection, "SELECT %s + 1, %s * 2, %s || 'x', %s::bytea, %s::int, %s::int[], %s", *values),
        attempt(connection, "SELECT %s::int", "x"),
        attempt(connection, "SELECT id FROM items WHERE label = ANY(%s) ORDER BY id", ["item 1", "item 2"]),
    ]


def server_side_cursors(connection: psycopg.Connection[Any]) -> object:
    found: list[object] = []
    for binary in (False, True):
        with connection.transaction(), connection.cursor("c", binary=binary, scrollable=True) as cursor:
            cursor.execute("SELECT id, label FROM items ORDER BY id")
            cursor.itersize = 7
            found.append(cursor.fetchmany(3))
            cursor.scroll(10)
            found.append(cursor.fetchone())
            cursor.scroll(0, mode="absolute")
            found.append([row[0] for _, row in zip(range(20), cursor, strict=False)])
    with connection.cursor("held", withhold=True) as cursor:
        cursor.execute("SELECT id FROM items ORDER BY id")
        connection.commit()
        found.append(cursor.fetchmany(2))
    connection.commit()
    return found


def pipelines(connection: psycopg.Connection[Any]) -> object:
    found: list[object] = []
    with connection.pipeline() as pipeline:
        cursors = [connection.execute("SELECT %s::int", (number,)) for number in range(300)]
        pipeline.sync()
        found.append([cursor.fetchone() for cursor in cursors])
        connection.execute("INSERT INTO scratch VALUES (1, 'a')")
        found.append(connection.execute("SELECT note FROM scratch").fetchall())
    connection.rollback()
    try:
        with connection.pipeline():
            connection.execute("INSERT INTO scratch VALUES (2, 'b')")
            connection.execute("SELECT 1/0")
            connection.execute("INSERT INTO scratch VALUES (3, 'c')")
    except psycopg.Error as error:
        found.append(told(error))
    connection.rollback()
    found.append(connection.execute("SELECT count(*) FROM scratch").fetchall())
    return found


def copies(connection: psycopg.Connection[Any]) -> object:
    found: list[object] = []
    with connection.cursor() as cursor:
        with cursor.copy("COPY scratch (id, note, data) FROM STDIN") as copy:
            for number in range(2000):
                copy.write_row((number, f"tab\t and ü {number}", bytes((number % 256,))))
        found.append(cursor.rowcount)
        with cursor.copy("COPY scratch (id, note) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            for number in range(5000, 5100):
                copy.write_row((number, None))
        with cursor.copy("COPY (SELECT id, note FROM scratch ORDER BY id) TO STDOUT") as copy:
            found.append(list(copy.rows()))
        with cursor.copy("COPY (SELECT id, data FROM scratch ORDER BY id) TO STDOUT (FORMAT binary)") as copy:
            found.append(b"".join(bytes(block) for block in copy))
        for bad in ("not a number", "99999999999"):
            try:
                with connection.transaction(), cursor.copy("COPY scratch (id) FROM STDIN") as copy:
                    copy.write(f"{bad}\n")
            except psycopg.Error as error:
                found.append(told(error))
        try:
            with connection.transaction(), cursor.copy("COPY scratch (id) FROM STDIN") as copy:
                copy.write("77777\n")
                _ = 1 / 0
        except (psycopg.Error, ZeroDivisionError) as error:
            found.append(type(error).__name__)
    found.append(connection.execute("SELECT count(*), sum(id) FROM scratch").fetchall())
    connection.rollback()
    return found


def many(connection: psycopg.Connection[Any]) -> object:
    with connection.cursor() as cursor:
        rows = [(number, f"note {number}") for number in range(200)]
        cursor.executemany("INSERT INTO scratch VALUES (%s, %s) RETURNING id", rows, returning=True)
        found: list[object] = [cursor.rowcount, cursor.fetchone()]
        while cursor.nextset():
            found.append(cursor.fetchone())
        try:
            cursor.executemany("INSERT INTO scratch VALUES (%s, %s)", [(900, "x"), (1, "taken")])
        except psycopg.Error as error:
            found.append(told(error))
    connection.rollback()
    return found


def notices(connection: psycopg.Connection[Any]) -> object:
    found: list[object] = []
    connection.add_notice_handler(lambda said: found.append((said.severity, said.message_primary, said.message_hint)))
    found.append(attempt(connection, "SELECT shouts('quiet')"))
    found.append(attempt(connection, "SELECT fails('luck')"))
    connection.rollback()
    return found


def prepared(connection: psycopg.Connection[Any]) -> object:
    connection.prepare_threshold = 2
    found = [attempt(connection, "SELECT label FROM items WHERE id = %s", number) for number in range(1, 12)]
    connection.execute("DEALLOCATE ALL")
    connection.rollback()
    found.append(attempt(connection, "SELECT label FROM items WHERE id = %s", 5, prepare=True))
    return found


def transactions(connection: psycopg.Connection[Any]) -> object:
    found: list[object] = []
    with connection.transaction():
        connection.execute("INSERT INTO scratch VALUES (1, 'outer')")
        try:
            with connection.transaction():
                connection.execute("INSERT INTO scratch VALUES (1, 'twice')")
        except psycopg.Error as error:
            found.append(told(error))
        found.append(connection.info.transaction_status.name)
        with connection.transaction(force_rollback=True):
            connection.execute("INSERT INTO scratch VALUES (2, 'inner')")
    found.append(attempt(connection, "SELECT * FROM scratch ORDER BY id"))
    connection.rollback()
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    connection.read_only = True
    found.append(attempt(connection, "UPDATE scratch SET note = 'x' WHERE id = 1"))
    found.append(attempt(connection, "SELECT 1"))
    connection.rollback()
    return found


def errors(connection: psycopg.Connection[Any]) -> object:
    connection.autocommit = True
    return [
        attempt(connection, sql)
        for sql in (
            "SELECT 1/0", "SELECT * FROM missing", "SELECT missing FROM items", "SELEC", "SELECT 'x'::uuid",
            "INSERT INTO parents VALUES (1, '')", "INSERT INTO items (id) VALUES (1)", "SELECT (1", "",
            "INSERT INTO kinds (id, tiny) VALUES (9, 'never')", "SELECT 'ü' || missing",
        )
    ]  # fmt: skip


def listening(connection: psycopg.Connection[Any]) -> object:
    connection.autocommit = True
    connection.execute("LISTEN news")
    with psycopg.connect(SERVER[0], autocommit=True) as other:
        other.execute("NOTIFY news, 'hello'")
        other.execute("NOTIFY elsewhere, 'not for us'")
        other.execute("SELECT pg_notify('news', %s)", ("x" * 7000,))
    found = [(each.channel, each.payload) for each in connection.notifies(timeout=10, stop_after=2)]
    connection.execute("UNLISTEN *")
    return found


def state(connection: psycopg.Connection[Any]) -> object:
    info = connection.info
    names = (
        "server_version",
        "client_encoding",
        "standard_conforming_strings",
        "DateStyle",
        "TimeZone",
        "is_superuser",
    )
    return info.server_version, [info.parameter_status(name) for name in names], info.encoding, info.timezone


SCRIPTS: list[Script] = [
    texts, binaries, parameters, server_side_cursors, pipelines, copies, many, notices, prepared, transactions, errors,
    listening, state,
]  # fmt: skip
SERVER: list[str] = []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_psycopg_sees_the_same(
    postgres: PostgresServer, orders: str, straight: Connect, through: Connect, scratch: Wire, script: Script
) -> None:
    SERVER[:] = [postgres.dsn(orders)]
    with closing(straight()) as connection:
        wanted = script(connection)
    scratch.rows("TRUNCATE scratch, children, parents")
    assert script(through()) == wanted


@pytest.mark.parametrize("way", ["cancel", "cancel_safe"])
def test_psycopg_cancels_from_another_thread(gateway: RunningGateway, token: str, admin: Wire, way: str) -> None:
    with psycopg.connect(**gateway.connect_arguments("observed", token), autocommit=True) as connection:
        failed: list[psycopg.Error] = []

        def sleep() -> None:
            try:
                connection.execute(f"SELECT pg_sleep(600), '{way}'")
            except psycopg.Error as error:
                failed.append(error)

        thread = threading.Thread(target=sleep)
        thread.start()
        active = f"SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sleep(600), ''{way}%'"
        eventually(lambda: admin.rows(active))
        getattr(connection, way)()
        thread.join(20)
        assert not thread.is_alive()
        assert [type(error) for error in failed] == [psycopg.errors.QueryCanceled]
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("prepare", [False, True])
def test_psycopg_sees_masked_values(gateway: RunningGateway, token: str, *, binary: bool, prepare: bool) -> None:
    with psycopg.connect(**gateway.connect_arguments("orders", token), row_factory=dict_row) as connection:
        for _ in range(3):
            cursor = connection.execute(
                "SELECT id, email, email AS alias, upper(email) AS up, length(email) AS size FROM users WHERE id = %s",
                (1,), binary=binary, prepare=prepare,
            )  # fmt: skip
            assert cursor.fetchall() == [{"id": 1, "email": "***", "alias": "***", "up": "***", "size": None}]
        with connection.cursor("c", binary=binary) as named:
            named.execute("SELECT email FROM users")
            assert {row["email"] for row in named} == {"***"}
        with connection.pipeline():
            found = [connection.execute("SELECT u FROM users u WHERE id = %s", (1,), binary=binary) for _ in range(3)]
        assert [cursor.fetchall() for cursor in found] == [[{"u": None}]] * 3
