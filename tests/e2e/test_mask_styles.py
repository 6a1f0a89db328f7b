"""Every type by every style by every wire format: what comes back is a value that real drivers can read."""

# ruff: noqa: E501  tables of types
from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
from running import RunningGateway, connection_table, running

from gateway.demo.postgres import PostgresServer

TYPES = [
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "float8",
    "numeric(12,2)",
    "numeric",
    "money",
    "text",
    "varchar(40)",
    "varchar(2)",
    "char(30)",
    "name",
    '"char"',
    "bytea",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "uuid",
    "json",
    "jsonb",
    "xml",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "bit(3)",
    "varbit(5)",
    "oid",
    "xid",
    "tsvector",
    "tsquery",
    "pg_lsn",
    "mood",
    "wordy",
    "shorty",
    "citext",
    "regclass",
    "integer[]",
    "text[]",
    "int4range",
    "place",
    "int4multirange",
    "jsonpath",
    "tid",
]
VALUES: dict[str, str] = {
    "boolean": "true", "money": "12.5", '"char"': "'q'", "bytea": r"'\x00ff'", "date": "'2024-02-29'", "time": "'12:34:56.7'",
    "timetz": "'12:34:56+02'", "timestamp": "'2024-02-29 01:02'", "timestamptz": "'2024-02-29 01:02'", "interval": "'1 day'",
    "uuid": "'00000000-0000-4000-8000-000000000001'", "json": """'{"a":1}'""", "jsonb": """'{"a":1}'""", "xml": "'<a>b</a>'",
    "inet": "'10.1.2.3'", "cidr": "'10.0.0.0/8'", "macaddr": "'01:02:03:04:05:06'", "macaddr8": "'01:02:03:04:05:06:07:08'",
    "point": "'(1,2)'", "line": "'{1,2,3}'", "lseg": "'[(1,2),(3,4)]'", "box": "'(1,2),(3,4)'", "path": "'[(1,2),(3,4)]'",
    "polygon": "'((1,2),(3,4))'", "circle": "'<(1,2),3>'", "bit(3)": "B'101'", "varbit(5)": "B'101'", "tsvector": "'fat cat'",
    "tsquery": "'fat & cat'", "pg_lsn": "'16/B374D848'", "mood": "'happy'", "xid": "'7'", "tid": "'(3,4)'",
    "regclass": "'pg_class'", "integer[]": "'{1,2}'", "text[]": "'{secret}'", "int4range": "'[1,5)'", "place": "'(1,secret)'",
    "int4multirange": "'{[1,5)}'", "jsonpath": "'$.a'", "varchar(2)": "'zq'",
}  # fmt: skip
WORDS = "'zqx-4111-2222-7788'"
TEXTS = {"text", "varchar(40)", "varchar(2)", "char(30)", "name", "wordy", "shorty", "citext"}
WHOLE = {"integer[]", "text[]", "int4range", "place", "int4multirange"}
LONG = {"text", "varchar(40)", "char(30)", "name", "wordy", "citext"}
STYLES = ("redact", "last4", "pseudonym", "zero", "null")
SCHEMA = f"""
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE place AS (x int, y text);
CREATE DOMAIN wordy AS text;
CREATE DOMAIN shorty AS varchar(2);
CREATE TABLE kinds (id int PRIMARY KEY, {", ".join(f"c{n} {kind}" for n, kind in enumerate(TYPES))});
INSERT INTO kinds SELECT n, {", ".join(
    VALUES.get(kind, WORDS if kind in TEXTS else "4242") + ("::varchar(2)" if kind == "shorty" else "") for kind in TYPES
)} FROM generate_series(1, 2) n;
INSERT INTO kinds (id) VALUES (3);
"""  # fmt: skip


@pytest.fixture(scope="module")
def styled(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, str]]:
    """A connection for each style, all columns of `kinds` but the first marked."""
    postgres.create_database("styled")
    postgres.execute(SCHEMA, "styled")
    tables = []
    for style in STYLES:
        masks = ", ".join(f'{{ column = "public.kinds.c{n}", style = "{style}" }}' for n in range(len(TYPES)))
        tables.append(connection_table(style, postgres, "styled") + f"mask = [{masks}]\n")
    with running(tmp_path_factory.mktemp("styled"), postgres, tables) as gateway:
        yield gateway, gateway.token()


def by_psycopg(gateway: RunningGateway, token: str, style: str, *, binary: bool) -> list[tuple[Any, ...]]:
    with psycopg.connect(**gateway.connect_arguments(style, token)) as session:
        return session.execute("SELECT * FROM kinds ORDER BY id", binary=binary).fetchall()


def by_asyncpg(gateway: RunningGateway, token: str, style: str) -> list[tuple[Any, ...]]:
    async def ask() -> list[tuple[Any, ...]]:
        context = ssl.create_default_context(cafile=str(gateway.root_certificate))
        session = await asyncpg.connect(
            host="127.0.0.1", port=gateway.port, user="agent", database=style, password=token, ssl=context
        )
        try:
            return [tuple(row) for row in await session.fetch("SELECT * FROM kinds ORDER BY id")]
        finally:
            await session.close()

    return asyncio.run(ask())


READERS = ["psycopg text", "psycopg binary", "asyncpg"]


def read(reader: str, gateway: RunningGateway, token: str, style: str) -> dict[str, list[Any]]:
    rows = (
        by_asyncpg(gateway, token, style)
        if reader == "asyncpg"
        else by_psycopg(gateway, token, style, binary=reader.endswith("binary"))
    )
    assert [row[0] for row in rows] == [1, 2, 3]
    assert set(rows[2][1:]) == {None}
    assert rows[0][1:] == rows[1][1:]
    found = {kind: rows[0][place + 1] for place, kind in enumerate(TYPES)}
    # a driver that does not know a type leaves its binary form alone
    return {
        kind: value.decode("utf-8", "replace") if isinstance(value, bytes) and kind != "bytea" else value
        for kind, value in found.items()
    }


@pytest.mark.parametrize("reader", READERS)
def test_redact_and_null(styled: tuple[RunningGateway, str], reader: str) -> None:
    found = read(reader, *styled, "redact")
    cut = {"varchar(2)": "**", "shorty": "**", "char(30)": "***".ljust(30)}
    assert found == {kind: cut.get(kind, "***") if kind in TEXTS else None for kind in TYPES}
    assert set(read(reader, *styled, "null").values()) == {None}


@pytest.mark.parametrize("reader", READERS)
def test_last4_shows_a_quarter_of_long_texts(styled: tuple[RunningGateway, str], reader: str) -> None:
    found = read(reader, *styled, "last4")
    long = {kind: "***7788".ljust(30) if kind == "char(30)" else "***7788" for kind in LONG}
    assert found == dict.fromkeys(TYPES) | {"varchar(2)": "**", "shorty": "**"} | long


@pytest.mark.parametrize("reader", READERS)
def test_pseudonyms_are_stable_for_one_column(styled: tuple[RunningGateway, str], reader: str) -> None:
    found = read(reader, *styled, "pseudonym")
    names = {kind: str(found[kind]).rstrip() for kind in LONG}
    assert all(name.startswith("anon-") and len(name) == 25 for name in names.values())
    assert len(set(names.values())) == len(LONG), "each column has its own"
    assert {kind: found[kind] for kind in TYPES if kind not in LONG} == {
        kind: "**" if kind in TEXTS else None for kind in TYPES if kind not in LONG
    }
    again = read("psycopg text", *styled, "pseudonym")
    assert {kind: again[kind] for kind in LONG} == {kind: found[kind] for kind in LONG}


@pytest.mark.parametrize("reader", READERS)
def test_zero_is_a_value_of_each_type(styled: tuple[RunningGateway, str], reader: str) -> None:
    found = read(reader, *styled, "zero")
    assert {kind for kind, value in found.items() if value is None} == WHOLE
    assert found["mood"] == "sad"
    assert not any(found[kind] for kind in ("boolean", "integer", "bigint", "numeric", "float8", "text", "bytea"))
    assert found["char(30)"] == " " * 30


def test_zeros_are_what_postgresql_itself_would_read(
    styled: tuple[RunningGateway, str], postgres: PostgresServer
) -> None:
    """Each zero, in both formats, goes back into its type as a value that prints as the text form."""
    gateway, token = styled
    with psycopg.connect(**gateway.connect_arguments("zero", token)) as session:
        shown = {}
        for binary in (False, True):
            result = session.execute("SELECT * FROM kinds WHERE id = 1", binary=binary).pgresult
            assert result is not None
            shown[binary] = [result.get_value(0, place + 1) for place in range(len(TYPES))]
    with psycopg.connect(postgres.dsn("styled")) as session:
        for place, kind in enumerate(TYPES):
            if kind in WHOLE:
                continue
            sql = f"SELECT $1::{kind}::text, $2::{kind}::text".encode()
            values = [shown[False][place], shown[True][place]]
            answer = session.pgconn.exec_params(sql, values, param_formats=[0, 1])
            assert answer.status == psycopg.pq.ExecStatus.TUPLES_OK, (kind, answer.error_message)
            assert answer.get_value(0, 0) == answer.get_value(0, 1) is not None, kind
