"""What ordinary clients ask of a catalog by themselves passes: psql's commands, SQLAlchemy, asyncpg, psycopg, JDBC, pools."""

# ruff: noqa: E501  one statement a line
from __future__ import annotations

import inspect
import re
import subprocess
from collections.abc import Iterator

import pytest
import sqlalchemy
from asyncpg import introspection
from psycopg import _typeinfo

from gateway.demo.postgres import PostgresServer
from gateway.masking.marks import bind
from gateway.model import Connection, Mark, TargetAddress, VerdictKind
from gateway.policy.catalog import Catalog
from gateway.policy.decide import Context, decide
from gateway.policy.facts import SessionState, facts
from gateway.policy.rules import compile_rules
from gateway.target.catalog import CatalogReader
from requires import requires

SCHEMA = """
CREATE SCHEMA crm;
CREATE TYPE mood AS ENUM ('a', 'b'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, email text UNIQUE, feels mood, age positive);
CREATE TABLE orders (id bigserial PRIMARY KEY, user_id int REFERENCES users, total numeric(10, 2) CHECK (total >= 0));
CREATE TABLE crm."Contact List" ("E-Mail" text, id int PRIMARY KEY);
CREATE TABLE events (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE VIEW mails AS SELECT id, email FROM users; CREATE MATERIALIZED VIEW kept AS SELECT id FROM users;
CREATE INDEX ON orders (total); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
COMMENT ON TABLE users IS 'people';
"""
COMMANDS = r"""\d \d+ \dt+ \dv+ \dm+ \di+ \ds+ \dn+ \df+ \du+ \dg \dT+ \dD+ \dx+ \l+ \dp \z \ddp \dC \da \do \dO \dy \dF \dFd
\dFp \dFt \dP+ \db+ \dew \des \det \dL+ \dc \dX \drds \dRp+ \dRs \dA \dAc \dAf \dAo \dAp \dd \dconfig \lo_list \dE"""
WITH_NAMES = [r"\d users", r"\d+ users", r"\d orders", r"\d+ mails", r"\d+ kept", r"\d+ events", r"\d events_1",
              r"\d users_pkey", r"\d users_id_seq", r'\d crm."Contact List"', r"\sf f", r"\sv mails", r"\df f",
              r"\dt crm.*"]  # fmt: skip
SPOKEN = """
SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;
DISCARD ALL
SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES
SET extra_float_digits = 3
SET application_name = 'PostgreSQL JDBC Driver'
SHOW TRANSACTION ISOLATION LEVEL
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED
SELECT current_schema(), session_user
select pg_catalog.version()
select current_schema()
show standard_conforming_strings
SELECT set_config('TimeZone', 'UTC', false)
SET client_encoding TO 'UTF8'; SET default_transaction_isolation TO 'read committed'; SET timezone TO 'UTC'
SELECT set_config('bytea_output','hex',false) FROM pg_show_all_settings() WHERE name = 'bytea_output'; SET client_encoding='utf-8'
SELECT db.oid as did, db.datname, pg_catalog.has_database_privilege(db.oid, 'CREATE') FROM pg_catalog.pg_database db WHERE db.datname = current_database()
SELECT c.relname, c.relkind FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid)
SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, d.description AS REMARKS FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid
SELECT * FROM (SELECT n.nspname, c.relname, a.attname, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON (a.attrelid = c.oid) LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid = def.adrelid AND a.attnum = def.adnum)) c WHERE true
SELECT result.TABLE_CAT, result.PK_NAME FROM (SELECT NULL AS TABLE_CAT, ct.relname AS TABLE_NAME, (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, ci.relname AS PK_NAME FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_index i ON (ct.oid = i.indrelid) JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid)) result
SELECT e.typdelim FROM pg_catalog.pg_type t, pg_catalog.pg_type e WHERE t.oid = $1 and t.typelem = e.oid
SELECT string_agg(word, ',') FROM pg_catalog.pg_get_keywords() WHERE word <> ALL ('{a,abs}'::text[])
"""


@pytest.fixture(scope="module")
def asked(postgres: PostgresServer) -> Iterator[tuple[PostgresServer, str]]:
    postgres.create_database("clients")
    postgres.execute(SCHEMA, "clients")
    yield postgres, "clients"
    postgres.drop_database("clients")


@pytest.fixture
async def judged(asked: tuple[PostgresServer, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Catalog, Connection]:
    server, database = asked
    monkeypatch.setenv("CLIENTS_PASSWORD", server.password)
    connection = Connection("c", TargetAddress(server.host, server.port, database, "disable"), server.user,
                            "env:CLIENTS_PASSWORD", ("any",), marks=(Mark("public", "users", "email"),
                                                                     Mark("crm", "Contact List", "E-Mail")))  # fmt: skip
    reader = CatalogReader(connection)
    try:
        return bind(await reader.load(), connection).catalog, connection
    finally:
        await reader.aclose()


def hindered(statements: list[str], known: tuple[Catalog, Connection]) -> list[tuple[str, str]]:
    catalog, connection = known
    rules = compile_rules(connection)
    found = []
    for sql in statements:
        verdict = decide(facts(sql.encode(), SessionState(), catalog), rules, Context())
        if verdict.kind is not VerdictKind.ALLOW:
            found.append((verdict.reason, " ".join(sql.split())))
    return found


async def test_psql_s_commands_pass(asked: tuple[PostgresServer, str], judged: tuple[Catalog, Connection]) -> None:
    psql = requires("psql")
    dsn = asked[0].dsn(asked[1])
    arguments = [part for command in (*COMMANDS.split(), *WITH_NAMES) for part in ("-c", command)]
    shown = subprocess.run([psql, "-X", "-E", dsn, *arguments], capture_output=True, text=True, timeout=60).stdout
    statements = re.findall(r"(?:\*+ QUERY \*+|/\*+ QUERY \*+/)\n(.*?)\n(?:\*{10,}|/\*{10,}/)", shown, re.DOTALL)
    assert len(statements) > 60
    assert not hindered(statements, judged)


async def test_sqlalchemy_s_reflection_passes(
    asked: tuple[PostgresServer, str], judged: tuple[Catalog, Connection]
) -> None:
    engine = sqlalchemy.create_engine(asked[0].dsn(asked[1]).replace("postgresql:", "postgresql+pg8000:"))
    statements: list[str] = []
    sqlalchemy.event.listen(engine, "before_cursor_execute", lambda _c, _k, sql, _p, _x, _m: statements.append(sql))
    for schema in (None, "crm"):
        sqlalchemy.MetaData().reflect(engine, schema=schema, views=True)
    seen = sqlalchemy.inspect(engine)
    for name in (*seen.get_table_names(), *seen.get_view_names(), *seen.get_materialized_view_names()):
        for look in ("columns", "indexes", "foreign_keys", "unique_constraints", "check_constraints", "table_comment",
                     "table_options"):  # fmt: skip
            getattr(seen, f"get_{look}")(name)
    seen.get_enums()
    seen.get_domains()
    seen.get_sequence_names()
    seen.get_view_definition("mails")
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as session:
        session.exec_driver_sql("SELECT 1")
    engine.dispose()
    numbered = [re.sub(r"%s", "$1", sql) for sql in statements]
    assert len(numbered) > 20
    assert not hindered(numbered, judged)


async def test_drivers_own_questions_pass(judged: tuple[Catalog, Connection]) -> None:
    texts = [value for name, value in vars(introspection).items() if name.isupper() and isinstance(value, str)]
    queries = [text for text in texts if re.match(r"\s*(SELECT|WITH)\b", text)]
    assert len(queries) >= 3
    psycopg_queries = re.findall(r'f?"""\\?\n(SELECT.*?)"""', inspect.getsource(_typeinfo), re.DOTALL)
    plain = [re.sub(r"%\((\w+)\)s|%s", "$1", sql) for sql in psycopg_queries if "{" not in sql]
    assert not hindered([*queries, *plain, *SPOKEN.strip().splitlines()], judged)
