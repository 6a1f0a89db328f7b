"""The same bytes sent directly and through the gateway get the same messages back, byte for byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wire_client import (
    COPY_DONE,
    Wire,
    bind,
    comparable,
    copy_data,
    copy_fail,
    direct,
    kinds,
    prepare,
    run,
)

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.framing import Message, message
from gateway.pgwire.frontend import FLUSH, SYNC, describe, execute, query

Step = tuple[bytes, int]
"""What to send, and how many ReadyForQuery to read after it."""


def simple(*statements: str) -> list[Step]:
    return [(query(sql.encode()), 1) for sql in statements]


def extended(*parts: bytes) -> list[Step]:
    return [(b"".join(parts) + SYNC, 1)]


def close(target: bytes, name: str = "") -> bytes:
    return message(b"C", target + name.encode() + b"\0")


CONVERSATIONS: dict[str, list[Step]] = {
    "select": simple("SELECT id, label, price FROM items ORDER BY id LIMIT 3"),
    "every type as text": simple("SELECT * FROM kinds ORDER BY id"),
    "every type in binary": extended(
        prepare("SELECT * FROM kinds ORDER BY id"), bind(results=1), describe(b"P", b""), execute(b"")
    ),
    "nothing": simple("", ";", "-- a remark", "SELECT", "SELECT WHERE false"),
    "several statements": simple("SELECT 1; SELECT 'two' AS b, 3; SELECT NULL", "SELECT 1; SELECT 1/0; SELECT 2"),
    "errors": simple(
        "SELECT * FROM missing",
        "SELECT nocolumn FROM items",
        "SELECT 1/0",
        "SELECT 'x'::int",
        "SELECT 'abc'::date",
        "INSERT INTO items (id) VALUES (1)",
        "SELECT fails('x')",
        "SELECT 1::text::mood",
    ),
    "a constraint's names": simple(
        "INSERT INTO parents VALUES (1, '')",
        "INSERT INTO parents VALUES (1, NULL)",
        "INSERT INTO parents VALUES (1, 'longer than twenty characters')",
        "INSERT INTO children VALUES (1, 1, 12345678)",
        "INSERT INTO kinds (id, tiny) VALUES (9, 'never')",
    ),
    "notices": simple("SELECT shouts('a')", "SELECT shouts(label) FROM items WHERE id <= 3", "ROLLBACK", "COMMIT"),
    "transactions": simple(
        "BEGIN",
        "INSERT INTO scratch VALUES (1, 'a')",
        "SAVEPOINT s",
        "INSERT INTO scratch VALUES (1, 'b')",
        "SELECT 1",
        "ROLLBACK TO s",
        "UPDATE scratch SET note = 'c' WHERE id = 1",
        "RELEASE s",
        "COMMIT",
        "SELECT * FROM scratch",
        "BEGIN",
        "SELECT 1/0",
        "COMMIT",
        "BEGIN; SELECT 1/0; COMMIT",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "ROLLBACK",
    ),
    "a failing commit": simple(
        "BEGIN", "INSERT INTO children VALUES (1, 77, 1)", "COMMIT", "SELECT count(*) FROM children"
    ),
    "a failing commit at sync": [
        *extended(run("INSERT INTO children VALUES (2, 77, 1)")),
        *simple("SELECT count(*) FROM children"),
    ],
    "cursors": simple(
        "BEGIN",
        "DECLARE c SCROLL CURSOR FOR SELECT id, label FROM items ORDER BY id",
        "FETCH 2 FROM c",
        "MOVE 5 IN c",
        "FETCH BACKWARD 1 FROM c",
        "FETCH ABSOLUTE 10 FROM c",
        "CLOSE c",
        "FETCH c",
        "ROLLBACK",
        "DECLARE d CURSOR FOR SELECT 1",
        "BEGIN",
        "DECLARE e CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY id",
        "COMMIT",
        "FETCH 2 FROM e",
        "CLOSE ALL",
        "FETCH e",
    ),
    "prepared in SQL": simple(
        "PREPARE p (int) AS SELECT id, label FROM items WHERE id = $1",
        "EXECUTE p(3)",
        "EXECUTE p(4)",
        "DEALLOCATE p",
        "EXECUTE p(3)",
        "PREPARE q AS SELECT 1",
        "DEALLOCATE ALL",
        "EXECUTE q",
    ),
    "settings": simple(
        "SET application_name = 'renamed'",
        "SHOW application_name",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET DateStyle = 'German'",
        "SELECT '2024-01-02'::date",
        "RESET ALL",
        "SET LOCAL lock_timeout = '1s'",
        "SET extra_float_digits = 99",
        "DISCARD ALL",
        "SHOW TimeZone",
        "SET IntervalStyle = iso_8601",
        "SELECT '1 day'::interval",
        "RESET IntervalStyle",
        "SET client_encoding = 'UTF8'",
        "SET NAMES 'utf-8'",
        "SET standard_conforming_strings = on",
    ),
    "explain": simple("EXPLAIN (COSTS OFF) SELECT * FROM items WHERE id = 1"),
    "copy out": simple(
        "COPY (SELECT id, label FROM items ORDER BY id LIMIT 3) TO STDOUT",
        "COPY kinds TO STDOUT (FORMAT csv, HEADER)",
        "COPY (SELECT id FROM items ORDER BY id LIMIT 2) TO STDOUT (FORMAT binary)",
    ),
    "copy in": [
        (query(b"COPY scratch (id, note) FROM STDIN") + copy_data(b"1\ta\n2\t") + copy_data(b"b\n") + COPY_DONE, 1),
        (query(b"COPY scratch (id, note) FROM STDIN (FORMAT csv)") + copy_data(b'3,"c, d"\n') + COPY_DONE, 1),
        (query(b"COPY scratch (id, note) FROM STDIN") + copy_data(b"4\tx\n") + copy_fail("changed my mind"), 1),
        (query(b"COPY scratch (id, note) FROM STDIN") + copy_data(b"bad\n") + copy_data(b"5\ty\n") + COPY_DONE, 1),
        (query(b"COPY scratch (id, note) FROM STDIN") + COPY_DONE, 1),
        (query(b"COPY scratch (missing) FROM STDIN") + copy_data(b"1\n") + COPY_DONE, 1),
        *simple("SELECT id, note FROM scratch ORDER BY id"),
    ],
    "copy in a string of statements": [
        (query(b"SELECT 1; COPY scratch (id) FROM STDIN; SELECT 2") + copy_data(b"1\n") + COPY_DONE, 1),
        (
            query(b"COPY scratch (id) FROM STDIN; COPY scratch (id) FROM STDIN")
            + copy_data(b"2\n")
            + COPY_DONE
            + copy_data(b"3\n")
            + COPY_DONE,
            1,
        ),
        *simple("SELECT id FROM scratch ORDER BY id"),
    ],
    "copy in the extended protocol": [
        (run("COPY scratch (id, note) FROM STDIN") + copy_data(b"1\ta\n") + COPY_DONE + SYNC, 1),
        (run("COPY scratch (id, note) FROM STDIN") + copy_data(b"bad\n") + copy_data(b"1\tb\n") + COPY_DONE + SYNC, 1),
        (run("COPY scratch (id, note) FROM STDIN") + FLUSH + SYNC + copy_data(b"2\tc\n") + COPY_DONE + SYNC, 1),
        (run("COPY (SELECT note FROM scratch ORDER BY id) TO STDOUT") + SYNC, 1),
    ],
    "parameters": extended(
        prepare("SELECT $1::int + 1, $2 || 'x', $3::bytea", types=(23, 25)),
        describe(b"S", b""),
        bind(b"41", b"y", None),
        describe(b"P", b""),
        execute(b""),
        bind(b"\0\0\0\x07", "ü".encode(), b"\xff\0", formats=(1, 0, 1), results=1),
        describe(b"P", b""),
        execute(b""),
    ),
    "named statements and portals": [
        *extended(prepare("SELECT id FROM items WHERE id > $1 ORDER BY id", "s", (23,))),
        *extended(bind(b"5", statement="s", portal="p"), describe(b"P", b"p"), execute(b"p", 2)),
        *extended(execute(b"p", 2)),
        *simple("BEGIN"),
        *extended(bind(b"5", statement="s", portal="p"), execute(b"p", 2), execute(b"p", 2)),
        *extended(execute(b"p", 3), close(b"P", "p")),
        *extended(execute(b"p", 3)),
        *simple("ROLLBACK"),
        *extended(describe(b"S", b"s"), close(b"S", "s"), close(b"S", "s")),
        *extended(describe(b"S", b"s")),
        *extended(bind(b"5", statement="s")),
        *extended(bind(statement="never")),
        *extended(describe(b"P", b"never")),
    ],
    "a name twice": [
        *extended(prepare("SELECT 1", "twice"), prepare("SELECT 2", "twice")),
        *extended(bind(statement="twice"), execute(b"")),
        *extended(close(b"S", "twice")),
    ],
    "portal to its end": [
        *extended(prepare("SELECT generate_series(1, 4)"), bind(), execute(b"", 4), execute(b"", 1), execute(b"", 1)),
        *extended(prepare("INSERT INTO scratch VALUES (1) RETURNING id"), bind(), execute(b""), execute(b"")),
    ],
    "nothing in the extended protocol": [
        *extended(run("")),
        *extended(prepare(""), describe(b"S", b""), bind(), describe(b"P", b""), execute(b"")),
        (SYNC, 1),
        (SYNC + SYNC, 2),
    ],
    "wrong binds": [
        *extended(prepare("SELECT $1::int"), bind()),
        *extended(prepare("SELECT $1::int"), bind(b"x")),
        *extended(prepare("SELECT 1; SELECT 2")),
        *extended(prepare("SELECT $1")),
        *extended(run("SELECT")),
    ],
    "an error in a pipeline": [
        (run("INSERT INTO scratch VALUES (1)") + run("SELECT 1/0") + run("INSERT INTO scratch VALUES (2)") + SYNC, 1),
        *simple("SELECT id FROM scratch"),
        (
            run("INSERT INTO scratch VALUES (3)")
            + SYNC
            + run("SELECT 1/0")
            + SYNC
            + run("INSERT INTO scratch VALUES (4)")
            + SYNC,
            3,
        ),
        *simple("SELECT id FROM scratch ORDER BY id"),
    ],
    "transaction blocks in a pipeline": [
        (run("BEGIN") + run("INSERT INTO scratch VALUES (1)") + run("COMMIT") + run("SELECT 1/0") + SYNC, 1),
        (run("BEGIN") + SYNC + run("SELECT 1/0") + SYNC + run("SELECT 1") + SYNC + run("ROLLBACK") + SYNC, 4),
        *simple("SELECT id FROM scratch"),
    ],
    "a query without a sync before it": [
        (prepare("SELECT 1", "n") + bind(statement="n", portal="x") + execute(b"x") + query(b"SELECT 2"), 1),
        (run("SELECT 1/0") + query(b"SELECT 3") + SYNC, 1),
        *simple("SELECT 4", "DEALLOCATE n"),
    ],
    "queries without waiting": [
        (
            query(b"SELECT 1")
            + query(b"BEGIN")
            + query(b"SELECT 1/0")
            + query(b"SELECT 2")
            + query(b"ROLLBACK")
            + SYNC,
            6,
        ),
        (query(b"SELECT 1") + run("SELECT 2") + SYNC + query(b"SELECT 3"), 3),
    ],
    "sql and protocol share names": [
        *extended(prepare("SELECT 1", "s1")),
        *simple("EXECUTE s1", "DEALLOCATE s1"),
        *extended(bind(statement="s1")),
        *simple("PREPARE s2 AS SELECT 2"),
        *extended(describe(b"S", b"s2"), bind(statement="s2"), execute(b""), close(b"S", "s2")),
        *simple("EXECUTE s2", "BEGIN", "DECLARE c CURSOR FOR SELECT id FROM items ORDER BY id"),
        *extended(describe(b"P", b"c"), execute(b"c", 2), close(b"P", "c")),
        *simple("FETCH c", "ROLLBACK"),
        *simple("BEGIN"),
        *extended(prepare("SELECT id FROM items ORDER BY id"), bind(portal="q"), execute(b"q", 1)),
        *simple("FETCH 2 FROM q", "CLOSE q", "DECLARE q CURSOR FOR SELECT 'other'"),
        *extended(execute(b"q")),
        *simple("ROLLBACK"),
    ],
    "the unnamed statement": [
        *extended(prepare("SELECT 'kept'")),
        *extended(bind(), execute(b"")),
        *simple("SELECT 1"),
        *extended(bind()),
        *extended(prepare("SELECT 'again'")),
        *simple("DEALLOCATE ALL"),
        *extended(prepare("SELECT 'third'")),
        *extended(prepare("SELEC")),
        *extended(bind(), execute(b"")),
    ],
    "deallocate all spares the unnamed": [
        *extended(prepare("SELECT 'kept'")),
        *extended(prepare("DEALLOCATE ALL", "d"), bind(statement="d"), execute(b"")),
        *extended(bind(), execute(b"")),
    ],
    "left over copy messages": [(copy_data(b"x") + COPY_DONE + copy_fail("y") + SYNC, 1), *simple("SELECT 1")],
    "listen": simple("LISTEN news", "UNLISTEN news", "UNLISTEN *"),
    "locks": simple("SELECT pg_advisory_lock(7)", "SELECT pg_advisory_unlock(7)", "SELECT pg_advisory_unlock(7)"),
    "syntax errors": simple("SELEC 1", "SELECT 'ü', FROM x", "SELECT (1", "SELECT 'open", "INSERT INTO"),
}


def converse(wire: Wire, steps: list[Step]) -> list[list[Message]]:
    return [wire.send(data).until("Z", count) for data, count in steps]


@pytest.mark.parametrize("connection", ["plain", "orders"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_same_messages_come_back(
    postgres: PostgresServer, orders: str, agent: Callable[..., Wire], scratch: Wire, connection: str, name: str
) -> None:
    steps = CONVERSATIONS[name]
    with direct(postgres, orders) as wire:
        wanted = converse(wire, steps)
    scratch.rows("TRUNCATE scratch, children, parents")
    found = converse(agent(connection), steps)
    for (data, _), due, came in zip(steps, wanted, found, strict=True):
        assert comparable(came) == comparable(due), f"{data!r}: {kinds(came)} instead of {kinds(due)}"
