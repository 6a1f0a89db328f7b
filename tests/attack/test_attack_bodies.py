"""While a person looks at a card, somebody changes what runs behind its names: the approval is void then."""

from __future__ import annotations

import psycopg
import pytest

from gateway.approval.operation_hash import OperationIdentity, operation_hash
from gateway.demo.postgres import PostgresServer
from gateway.evidence.storage import SystemClock
from gateway.masking.marks import bind
from gateway.model import Connection, Micros, Principal, Statement, TargetAddress, VerdictKind, WireProtocol
from gateway.pgwire.actions import Analyse, Token
from gateway.pgwire.judgement import Judgement, Names
from gateway.policy.catalog import Catalog
from gateway.policy.rules import compile_rules
from gateway.target.catalog import CatalogReader
from gateway.worker.judging import Judge

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text, email text);
CREATE TABLE orders (id int PRIMARY KEY, buyer int REFERENCES users ON DELETE CASCADE, total int);
CREATE TABLE audit (what text);
CREATE VIEW people AS SELECT id, name FROM users;
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
CREATE TRIGGER logged BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION log();
CREATE FUNCTION next_total() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER TABLE orders ALTER total SET DEFAULT next_total();
CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
ALTER TABLE orders ADD CONSTRAINT fitting CHECK (fits(total));
CREATE FUNCTION purge(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE RULE also AS ON DELETE TO orders DO ALSO INSERT INTO audit VALUES ('gone');
"""
USERS, ORDERS, PEOPLE = (
    "DELETE FROM users WHERE id = 1",
    "DELETE FROM orders WHERE id = 1",
    "DELETE FROM people WHERE id = 1",
)
PURGE = "SELECT purge(1)"
CHANGES = (
    (USERS, "CREATE OR REPLACE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"),
    (USERS, "CREATE TRIGGER second BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION log()"),
    (USERS, "ALTER TABLE users DISABLE TRIGGER logged"),
    (USERS, "ALTER TABLE orders DROP CONSTRAINT orders_buyer_fkey"),
    (USERS, "ALTER TABLE users RENAME name TO called"),
    (USERS, "ALTER TABLE users RENAME TO old; CREATE TABLE users (id int PRIMARY KEY, name text, email text)"),
    (USERS, "CREATE POLICY own ON users USING (id > 0)"),
    (ORDERS, "CREATE OR REPLACE FUNCTION next_total() RETURNS int LANGUAGE sql AS 'SELECT 2'"),
    (ORDERS, "CREATE OR REPLACE FUNCTION fits(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0'"),
    (ORDERS, "CREATE OR REPLACE RULE also AS ON DELETE TO orders DO ALSO DELETE FROM audit"),
    (ORDERS, "ALTER TABLE orders DISABLE RULE also"),
    (ORDERS, "ALTER TABLE orders ALTER total DROP DEFAULT"),
    (PEOPLE, "CREATE OR REPLACE VIEW people AS SELECT id, email AS name FROM users"),
    (PEOPLE, "CREATE OR REPLACE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"),
    (PURGE, "CREATE OR REPLACE FUNCTION purge(int) RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'"),
    (PURGE, "CREATE FUNCTION purge(bigint) RETURNS int LANGUAGE sql AS 'SELECT 1'"),
)  # fmt: skip
ANYBODY = Principal("issuer", "agent", "jti", Micros(0))


@pytest.fixture
def connection(postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv("ATTACK_PASSWORD", postgres.password)
    target = TargetAddress("127.0.0.1", postgres.port, database, "disable")
    return Connection("orders", target, postgres.user, "env:ATTACK_PASSWORD", ("any",))


async def judged(connection: Connection, *statements: str) -> list[Judgement]:
    reader = CatalogReader(connection)

    async def read() -> Catalog:
        return bind(await reader.load(), connection).catalog

    judge = Judge(compile_rules(connection), read, SystemClock())
    await judge.refresh()
    found = []
    for sql in statements:
        action = Analyse(Token(1), Statement(sql.encode(), WireProtocol.SIMPLE), Names({}, {}, "I"))
        judgement = judge.judge(action, ANYBODY)
        assert judgement is not None
        assert judgement.verdict.kind is VerdictKind.APPROVE, judgement.verdict
        found.append(judgement)
    await reader.aclose()
    return found


def hashed(sql: str, judgement: Judgement) -> str:
    return operation_hash(
        OperationIdentity(
            statement=sql.encode(),
            protocol=WireProtocol.SIMPLE,
            issuer="i",
            subject="s",
            connection="c",
            target="t",
            role="r",
            search_path=("public",),
            relations=judgement.definitions,
            salt=b"s",
        )
    )


@pytest.mark.parametrize(("sql", "change"), CHANGES)
async def test_a_changed_definition_changes_the_hash(
    postgres: PostgresServer, connection: Connection, sql: str, change: str
) -> None:
    postgres.execute(SCHEMA, connection.target.database)
    (before,) = await judged(connection, sql)
    (same,) = await judged(connection, sql)
    assert hashed(sql, before) == hashed(sql, same)
    postgres.execute(change, connection.target.database)
    (after,) = await judged(connection, sql)
    assert hashed(sql, before) != hashed(sql, after)


async def test_a_reviewer_is_told_what_a_write_sets_off(postgres: PostgresServer, connection: Connection) -> None:
    postgres.execute(SCHEMA, connection.target.database)
    users, orders, people = await judged(connection, USERS, ORDERS, PEOPLE)
    below = (
        "foreign key orders_buyer_fkey of public.orders on public.users; "
        "trigger logged calls public.log on public.users"
    )
    assert users.verdict.reason.endswith(f"It sets off: {below}.")
    assert people.verdict.reason.endswith(f"It sets off: {below}.")
    expected = (
        "constraint fitting calls public.fits on public.orders; default of total calls public.next_total on"
        " public.orders; rule also on public.orders"
    )
    assert orders.verdict.reason.endswith(f"It sets off: {expected}.")


async def test_a_temporary_relation_of_that_name_is_part_of_the_hash(
    postgres: PostgresServer, connection: Connection
) -> None:
    postgres.execute(SCHEMA, connection.target.database)
    (before,) = await judged(connection, USERS)
    dsn = f"host=127.0.0.1 port={postgres.port} user={postgres.user} password={postgres.password}"
    with psycopg.connect(f"{dsn} dbname={connection.target.database}", autocommit=True) as other:
        other.execute("CREATE TEMP TABLE users (id int)")
        (hidden,) = await judged(connection, USERS)
    assert hashed(USERS, before) != hashed(USERS, hidden)
