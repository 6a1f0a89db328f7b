"""COPY … TO STDOUT of marked columns: whatever the format, PostgreSQL reads back what SELECT would have shown."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from operating import approve
from running import RunningGateway, connection_table, running
from wire_client import (
    COPY_DONE,
    Wire,
    comparable,
    copy_data,
    direct,
    error,
    errors,
    eventually,
    kinds,
    memory,
    notices,
    prepare,
    run,
    shown,
    through,
)

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.backend import decode_row_description
from gateway.pgwire.framing import Message
from gateway.pgwire.frontend import SYNC, describe, query

SCHEMA = r"""
CREATE TABLE people (
    id int PRIMARY KEY, email text, card varchar(30), born date, note text,
    handle text GENERATED ALWAYS AS (lower(email)) STORED, tags text[]
);
INSERT INTO people (id, email, card, born, note, tags) VALUES
    (1, 'Zqx-Ann@secret.example', 'zqx-4111-2222-7788', '1970-01-02', 'plain', '{zqx}'),
    (2, E'zqx,"b"|o;b''\t\\\n@secret.example', E'zqx \\. ', '1980-02-03', E'a,b|c;d\t"e" ''f'' \\ \n g', NULL),
    (3, NULL, NULL, NULL, NULL, NULL),
    (4, '', '', '1990-03-04', '', '{}'),
    (5, 'zqx-ünï@secret.example', 'zqx-éééé-7788', '2000-04-05', 'ünï', '{zqx,"zq x"}');
CREATE VIEW mails AS SELECT id, email AS mail, note FROM people;
"""
SECRETS = (b"zqx", b"secret.example", b"Zqx", b"ZQX", b"1970-01-02")
MASK = """mask = ["public.people.email", { column = "public.people.card", style = "last4" }, "public.people.tags",
    { column = "public.people.born", style = "zero" }]
"""

SOURCES = [
    "people",
    "people (email, id)",
    "(SELECT * FROM people ORDER BY id)",
    "(SELECT id, upper(email), card, substr(card, 1, 4), born, note || '' FROM people ORDER BY id)",
    "(SELECT mail, note FROM mails ORDER BY id)",
    "(SELECT people FROM people ORDER BY id)",
    "(WITH p AS (SELECT * FROM people) SELECT count(*), max(email), string_agg(handle, ')') FROM p)",
    "(VALUES ((SELECT email FROM people WHERE id = 1), 'a, ) \"b\"', 3))",
]
OPTIONS = [
    "",
    "(FORMAT csv)",
    "(FORMAT csv, HEADER, FORCE_QUOTE *)",
    "(FORMAT csv, DELIMITER ';', NULL 'nil', QUOTE '''', ESCAPE '\\')",
    "(FORMAT csv, DELIMITER '*', ENCODING 'LATIN1')",
    "(FORMAT csv, QUOTE '*')",
    "(DELIMITER '|', NULL '\\quit')",
    "(HEADER)",
    "(ENCODING 'LATIN1')",
    "(FORMAT binary)",
]


@pytest.fixture(scope="module")
def copied(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningGateway, str, Wire]]:
    postgres.create_database("copied")
    postgres.execute(SCHEMA, "copied")
    connection = connection_table("copied", postgres, "copied") + MASK
    with (
        running(tmp_path_factory.mktemp("copied"), postgres, [connection]) as gateway,
        direct(postgres, "copied") as owner,
    ):
        yield gateway, gateway.token(), owner


@pytest.fixture
def agent(copied: tuple[RunningGateway, str, Wire]) -> Iterator[Wire]:
    gateway, token, _ = copied
    with through(gateway, "copied", token) as wire:
        yield wire
        assert not any(secret in wire.received for secret in SECRETS)


@pytest.fixture
def owner(copied: tuple[RunningGateway, str, Wire]) -> Wire:
    return copied[2]


def data(found: list[Message]) -> list[bytes]:
    """The COPY data of an answer that must succeed."""
    assert not errors(found), shown(found)
    return [each.body for each in found if each.kind == b"d"]


def select(source: str) -> str:
    """The query whose result COPY hands out."""
    if source.startswith("("):
        return source[1:-1]
    table, _, columns = source.partition(" ")
    return f"SELECT {columns.strip('()') or 'id, email, card, born, note, tags'} FROM ONLY {table} ORDER BY id"


def read_back(owner: Wire, types: list[str], options: str, pieces: list[bytes]) -> list[tuple[str | None, ...]]:
    """Have PostgreSQL itself read the data, and return its rows as text."""
    columns = ", ".join(f"c{place} {kind}" for place, kind in enumerate(types))
    force = options.replace(", FORCE_QUOTE *", "")
    owner.rows(f"DROP TABLE IF EXISTS pg_temp.back; CREATE TEMP TABLE back (n serial, {columns})")
    names = ", ".join(f"c{place}" for place in range(len(types)))
    owner.send(query(f"COPY pg_temp.back ({names}) FROM STDIN {force}".encode())).until("G")
    found = owner.send(*map(copy_data, pieces), COPY_DONE).until()
    assert not errors(found), shown(found)
    return owner.rows(f"SELECT {names} FROM pg_temp.back ORDER BY n")


def described(owner: Wire, sql: str) -> list[str]:
    """The types of a query's columns."""
    found = owner.send(prepare(sql), describe(b"S", b""), SYNC).until()
    (body,) = (each.body for each in found if each.kind == b"T")
    columns = decode_row_description(body)
    return [owner.rows(f"SELECT format_type({each.type_oid}, {each.type_modifier})")[0][0] or "" for each in columns]


@pytest.mark.parametrize(("source", "options"), list(itertools.product(SOURCES, OPTIONS)))
def test_copy_shows_what_select_shows(agent: Wire, owner: Wire, source: str, options: str) -> None:
    if options == "(HEADER)" and int(agent.parameters["server_version"].split(".")[0]) < 15:
        pytest.skip("HEADER in the text format came with PostgreSQL 15")
    expected = agent.rows(select(source))
    pieces = data(agent.query(f"COPY {source} TO STDOUT {options}"))
    assert read_back(owner, described(owner, select(source)), options, pieces) == expected
    straight = data(owner.query(f"COPY {source} TO STDOUT {options}"))
    assert len(pieces) == len(straight), "one message for each that the target sent"
    again = agent.send(run(f"COPY {source} TO STDOUT {options}"), SYNC).until()
    assert data(again) == pieces


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT id FROM people) TO STDOUT",
        "COPY (SELECT id, note FROM people ORDER BY id) TO STDOUT (FORMAT binary)",
    ],
)
def test_what_is_clean_is_as_from_the_target_itself(agent: Wire, owner: Wire, sql: str) -> None:
    for wire in (agent, owner):
        wire.rows("ROLLBACK")
    assert comparable(agent.query(sql)) == comparable(owner.query(sql))
    assert agent.rows("SELECT 1") == [("1",)]
    for wire in (agent, owner):
        wire.rows("BEGIN")
    assert comparable(agent.query(sql)) == comparable(owner.query(sql))
    assert comparable(agent.query("ROLLBACK")) == comparable(owner.query("ROLLBACK"))
    assert comparable(agent.send(run(sql), SYNC).until()) == comparable(owner.send(run(sql), SYNC).until())
    assert agent.rows("SELECT 1") == [("1",)]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT id, nope FROM people) TO STDOUT",
        "/* ü */ COPY /* ü */ (SELECT id FROM people WHERE id = nope) TO STDOUT (FORMAT csv)",
        "COPY (SELECT id FROM people, nowhere) TO STDOUT",
    ],
)
def test_an_error_in_the_query_stands_where_the_agent_wrote_it(agent: Wire, owner: Wire, sql: str) -> None:
    """The query is described before it is copied; what fails there must look as if COPY itself had failed."""
    for before, after in (("SELECT", "SELECT"), ("BEGIN", "ROLLBACK")):
        answers = []
        for wire in (agent, owner):
            wire.query(before)
            for sent in (query(sql.encode()), run(sql) + SYNC):
                found = wire.send(sent).until()
                (said,) = errors(found)
                answers.append((said.sqlstate, said.get("M"), said.get("P"), kinds(found)))
                wire.query("ROLLBACK; BEGIN" if before == "BEGIN" else "SELECT")
            wire.query(after)
        assert answers[0] == answers[2]
        assert answers[1][:3] == answers[3][:3]
    assert agent.rows("SELECT 1") == [("1",)]


def test_the_values_of_clean_columns_keep_their_bytes(agent: Wire, owner: Wire) -> None:
    sql = "COPY (SELECT id, note, email FROM people ORDER BY id) TO STDOUT (FORMAT csv, FORCE_QUOTE (note))"
    clean = "COPY (SELECT id, note, CASE WHEN email IS NULL THEN NULL ELSE '***' END FROM people ORDER BY id) TO STDOUT"
    assert data(agent.query(sql)) == data(owner.query(f"{clean} (FORMAT csv, FORCE_QUOTE (note))"))


def test_in_a_string_of_several_each_copy_is_masked(agent: Wire) -> None:
    found = agent.query("SELECT 1; COPY (SELECT id, email FROM people WHERE id = 1) TO STDOUT; COPY people TO STDOUT")
    assert kinds(found).startswith("TDCHdcCHd")
    assert data(found)[0] == b"1\t\\N\n"
    assert data(found)[1].startswith(b"1\t***\t***7788\t2000-01-01\t")


def test_what_a_write_returns_is_masked(copied: tuple[RunningGateway, str, Wire], agent: Wire, owner: Wire) -> None:
    gateway, _, _ = copied
    sql = "COPY (DELETE FROM people WHERE id = 9 RETURNING id, email, card) TO STDOUT"
    owner.rows("INSERT INTO people (id, email, card) VALUES (9, 'zqx-nine@secret.example', 'zqx-nine-9999')")
    (said,) = notices(agent.send(query(sql.encode())).until("N"))
    approve(gateway, (said.get("M") or "").split()[4])
    assert data(agent.until()) == [b"9\t***\t***999\n"]


def test_a_character_set_that_cannot_be_walked_is_refused(agent: Wire) -> None:
    for sql in ("COPY people TO STDOUT (ENCODING 'SJIS')", "COPY (SELECT 1 FROM people) TO STDOUT (ENCODING 'BIG5')"):
        sqlstate, words = error(agent.query(sql))
        assert (sqlstate, words.startswith("hoop: denied")) == ("42501", True)


def test_what_was_masked_is_recorded(copied: tuple[RunningGateway, str, Wire], agent: Wire) -> None:
    gateway, _, _ = copied
    sql = "COPY (SELECT id, email, 'recorded' FROM people ORDER BY id) TO STDOUT"
    data(agent.query(sql))
    where = f"sql = '{sql.replace(chr(39), chr(39) * 2)}'"
    found = eventually(lambda: gateway.query(
        f"SELECT s.verdict, s.outcome, s.rows, s.masked_columns, m.values_masked, t.text FROM statements s"
        f" JOIN masked m USING (session_id) JOIN transcript t ON t.session_id = s.session_id AND t.n = s.n"
        f" WHERE {where} AND s.outcome IS NOT NULL AND m.column_name = 'email'"))  # fmt: skip
    assert isinstance(found, list)
    first = found[0]
    assert (first["verdict"], first["outcome"], first["rows"], first["values_masked"]) == ("mask", "ok", 5, 4)
    assert "zqx" not in str(found)


def test_many_rows_pass_in_bounded_memory(copied: tuple[RunningGateway, str, Wire], agent: Wire) -> None:
    gateway, _, _ = copied
    before = memory(gateway)
    found = agent.query("COPY (SELECT i, email, repeat('x', 500) FROM people, generate_series(1, 20000) i) TO STDOUT")
    assert len(data(found)) == 100_000
    assert memory(gateway) - before < 64 << 20
