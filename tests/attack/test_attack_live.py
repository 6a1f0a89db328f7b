"""The attacks that need a real target: what it does with names, portals and definitions is what counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from operating import approve
from running import RunningGateway, connection_table, running
from wire_client import Wire, bind, direct, error, kinds, notices, prepare, rows, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import SYNC, execute, query

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text, email text);
INSERT INTO users SELECT i, 'name ' || i, 'person' || i || '@secret.example' FROM generate_series(1, 5) i;
CREATE TABLE items (id int PRIMARY KEY, label text);
INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 5) i;
CREATE VIEW things AS SELECT id FROM items;
CREATE TABLE teams (id int PRIMARY KEY);
INSERT INTO teams VALUES (1);
ALTER TABLE users ADD team int NOT NULL DEFAULT 1 REFERENCES teams ON UPDATE SET NULL;
CREATE TABLE tripped (id int PRIMARY KEY);
INSERT INTO tripped VALUES (1), (2);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'the first is %', (SELECT email FROM users WHERE id = 1);
    RAISE EXCEPTION 'the first is %', (SELECT email FROM users WHERE id = 1);
END $$;
CREATE TRIGGER tell BEFORE UPDATE ON tripped FOR EACH ROW EXECUTE FUNCTION tell();
"""
HIDDEN = "SELECT email || '' FROM users"


@pytest.fixture(scope="module")
def attacked(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningGateway, str, Wire]]:
    """A gateway before a database with a marked column, a token, and a session of the database's owner."""
    postgres.create_database("attacked")
    postgres.execute(SCHEMA, "attacked")
    connection = connection_table("attacked", postgres, "attacked", mask=["public.users.email"])
    with (
        running(tmp_path_factory.mktemp("attacked"), postgres, [connection]) as gateway,
        direct(postgres, "attacked") as owner,
    ):
        yield gateway, gateway.token(), owner


@pytest.fixture
def agent(attacked: tuple[RunningGateway, str, Wire]) -> Iterator[Wire]:
    gateway, token, _ = attacked
    with through(gateway, "attacked", token) as wire:
        yield wire


def test_a_cursor_exchanged_under_a_bound_portal_is_masked(agent: Wire) -> None:
    agent.rows("BEGIN")
    agent.rows("DECLARE c CURSOR FOR SELECT label FROM items")
    assert kinds(agent.send(prepare("FETCH ALL FROM c"), bind(portal="p"), message(b"H")).until("2")) == "12"
    agent.rows("CLOSE c")
    agent.rows(f"DECLARE c CURSOR FOR {HIDDEN}")
    found = agent.send(execute(b"p"), SYNC).until()
    assert set(rows(found)) == {("***",)}
    assert b"@secret.example" not in agent.received


def test_a_statement_exchanged_under_a_bound_portal_does_not_run(
    agent: Wire, attacked: tuple[RunningGateway, str, Wire]
) -> None:
    agent.rows("BEGIN")
    agent.rows("PREPARE s AS SELECT label FROM items")
    agent.send(prepare("EXECUTE s"), bind(portal="p"), message(b"H")).until("2")
    agent.rows("DEALLOCATE s")
    agent.send(prepare("DELETE FROM items WHERE id = 1", "s"), SYNC).until()
    sqlstate, words = error(agent.send(execute(b"p"), SYNC).until())
    assert (sqlstate, words.split(":")[:2]) == ("42501", ["hoop", " denied"])
    assert attacked[2].rows("SELECT count(*) FROM items WHERE id = 1") == [("1",)]


def test_two_names_that_the_target_cuts_to_one_are_not_two_here(agent: Wire) -> None:
    short, long = "a" * 63, "a" * 64
    assert error(agent.send(prepare("SELECT 'x'::text", long), SYNC).until())[0] == "42622"
    agent.send(prepare(HIDDEN, short), SYNC).until()
    assert error(agent.send(bind(statement=long), execute(b""), SYNC).until())[0] == "42622"
    assert rows(agent.send(bind(statement=short), execute(b"", 1), SYNC).until()) == [("***",)]


@pytest.mark.parametrize(
    "hidden",
    [
        "$1, pg_read_file('/etc/passwd')::int = 1",
        "$1, (SELECT email FROM users LIMIT 1)::int = 1",
        "$1, (SELECT count(*) > 0 FROM pg_ls_dir('.'))",
        "$1) FILTER (WHERE pg_read_file('/etc/passwd') = ''",
        "$1::users",
    ],
)
def test_nothing_hides_in_what_is_not_looked_into(agent: Wire, hidden: str) -> None:
    """Comparing an access method with a setting is let through whole, for SQLAlchemy: exactly that, and no more."""
    sql = f"SELECT v.amname = current_setting({hidden}) FROM (VALUES ('a')) v(amname)"
    assert error(agent.send(prepare(sql), SYNC).until())[0] == "42501"
    plain = "SELECT v.amname <> current_setting($1::varchar) FROM (VALUES ('a')) v(amname)"
    found = agent.send(prepare(plain), bind(b"default_table_access_method"), execute(b""), SYNC).until()
    assert rows(found) == [("t",)]


@pytest.mark.parametrize(
    ("sql", "sqlstate"),
    [
        ("UPDATE teams SET id = 9 WHERE id = 1", "23502"),
        ("UPDATE tripped SET id = 9 WHERE id = 1", "P0001"),
    ],
)
def test_what_a_write_sets_off_prints_no_row_of_a_marked_relation(agent: Wire, sql: str, sqlstate: str) -> None:
    """Neither the foreign key's action nor the trigger stands in the statement; both print what they read."""
    assert error(agent.send(query(sql.encode())).until())[0] == sqlstate
    assert b"@secret.example" not in agent.received


def test_what_is_approved_does_not_run_by_another_definition(
    agent: Wire, attacked: tuple[RunningGateway, str, Wire]
) -> None:
    """Somebody gives the view another meaning while a person looks at the card; nobody tells the gateway."""
    gateway, _, owner = attacked
    (said,) = notices(agent.send(query(b"DELETE FROM things WHERE id = 5")).until("N"))
    approve(gateway, (said.get("M") or "").split()[4])
    assert kinds(agent.until()) == "CZ"
    (said,) = notices(agent.send(query(b"DELETE FROM things WHERE id = 1")).until("N"))
    owner.rows("CREATE OR REPLACE VIEW things AS SELECT id FROM users")
    approve(gateway, (said.get("M") or "").split()[4])
    assert error(agent.until()) == ("42501", "hoop: changed while waiting")
    assert owner.rows("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM items)") == [("5", "4")]
