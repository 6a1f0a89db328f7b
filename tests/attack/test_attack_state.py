"""The verdict belongs to what runs: state that survives a rollback and state that does not, names, shadows, resets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running import RunningGateway, connection_table, running
from wire_client import Wire, bind, direct, error, errors, eventually, prepare, rows, shown, status, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import SYNC, execute

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text, email text);
INSERT INTO users SELECT i, 'name ' || i, 'person' || i || '@secret.example' FROM generate_series(1, 5) i;
CREATE TABLE items (id int PRIMARY KEY, label text);
INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 5) i;
CREATE VIEW labels AS SELECT id, label AS shown FROM items;
"""
FREE = "".join(
    f'[[connection.rule]]\nname = "{line}"\nreplaces = "standard/{line}"\naction = "allow"\n{risk}\n'
    for line, risk in (("create", ""), ("alter", ""), ("drop", 'accept_risk = "to attack"'), ("delete", ""))
)
SECRET = b"@secret.example"


@pytest.fixture(scope="module")
def gateway(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    postgres.create_database("stateful")
    postgres.execute(SCHEMA, "stateful")
    table = connection_table("stateful", postgres, "stateful", mask=["public.users.email"], hold="refuse") + FREE
    with running(tmp_path_factory.mktemp("stateful"), postgres, [table]) as found:
        yield found
    assert "Traceback" not in found.log, found.log


@pytest.fixture(scope="module")
def token(gateway: RunningGateway) -> str:
    return gateway.token()


@pytest.fixture
def agent(gateway: RunningGateway, token: str) -> Iterator[Wire]:
    """A session that must never have heard a secret."""
    with through(gateway, "stateful", token) as wire:
        yield wire
        assert SECRET not in bytes(wire.received)


EMAIL, ID = "SELECT email FROM users ORDER BY id", "SELECT id FROM users ORDER BY id"
SEQUENCES = (
    # PREPARE and DEALLOCATE outlive a rollback; what a name stood for before it does not come back
    (f"PREPARE p AS {ID}", "BEGIN", "DEALLOCATE p", f"PREPARE p AS {EMAIL}", "ROLLBACK", "EXECUTE p"),
    ("BEGIN", "SAVEPOINT a", f"PREPARE p AS {EMAIL}", "ROLLBACK TO a", "EXECUTE p", "COMMIT", "EXECUTE p"),
    (f"PREPARE p AS {EMAIL}", f"PREPARE p AS {ID}", "EXECUTE p"),
    (f"BEGIN; PREPARE p AS {EMAIL}; SELECT 1 / 0", "ROLLBACK", "EXECUTE p"),
    (f"DEALLOCATE ALL; PREPARE p AS {EMAIL}; EXECUTE p",),
    (f"PREPARE p AS {EMAIL}", "DISCARD PLANS", "EXECUTE p", "DISCARD ALL", f"PREPARE p AS {EMAIL}", "EXECUTE p"),
    # cursors
    (
        "BEGIN",
        f"DECLARE c CURSOR FOR {ID}",
        "SAVEPOINT s",
        "CLOSE c",
        f"DECLARE c CURSOR FOR {EMAIL}",
        "FETCH 2 FROM c",
    ),
    ("BEGIN", f"DECLARE c CURSOR FOR {EMAIL}", "SAVEPOINT s", "SELECT 1 / 0", "ROLLBACK TO s", "FETCH ALL FROM c"),
    (f"DECLARE c CURSOR WITH HOLD FOR {EMAIL}", "BEGIN", f"DECLARE c CURSOR FOR {ID}", "ROLLBACK", "FETCH ALL FROM c"),
    (f"BEGIN; DECLARE c CURSOR WITH HOLD FOR {EMAIL}; COMMIT; FETCH ALL FROM c",),
    # definitions, in a transaction and after its end
    (
        "PREPARE p AS SELECT shown FROM labels",
        "BEGIN",
        "CREATE OR REPLACE VIEW labels AS SELECT id, email AS shown FROM users",
        "EXECUTE p",
        "SELECT shown FROM labels",
        "ROLLBACK",
        "EXECUTE p",
    ),
    (
        "BEGIN",
        "SAVEPOINT s",
        "ALTER TABLE users RENAME email TO hidden",
        "SELECT hidden FROM users",
        "ROLLBACK TO s",
        "SELECT email FROM users",
        "ALTER TABLE users RENAME TO other",
        "SELECT email FROM other",
        "ROLLBACK",
        "SELECT email FROM users",
    ),
    # temporary names that hide others
    ("CREATE TEMP TABLE users (id text)", "SELECT id FROM users"),
    ("CREATE TABLE pg_temp.users (id text)", "SELECT id FROM users"),
    ("CREATE TEMP VIEW items AS SELECT email AS label, 1 AS id FROM users", "SELECT label FROM items"),
    (
        "CREATE TEMP VIEW aside AS SELECT id, email AS label FROM users",
        "ALTER VIEW aside RENAME TO items",
        "SELECT label FROM items",
        "SELECT label FROM pg_temp.items",
    ),
    (
        "BEGIN",
        "CREATE TEMP VIEW beside AS SELECT id, email AS label FROM users",
        "SELECT label FROM beside",
        "ALTER VIEW beside RENAME TO items",
        "SELECT label FROM items",
        "ROLLBACK",
    ),
    ("CREATE TEMP VIEW before AS SELECT email FROM users", "SET search_path = ''", "TABLE before", "RESET search_path"),
    # settings that change how a statement is read
    ("SET standard_conforming_strings = off", "SELECT '\\' || email FROM users"),
    ("BEGIN", "SET LOCAL search_path = pg_temp", "SELECT email FROM users"),
)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_no_sequence_brings_a_marked_value_out(agent: Wire, sequence: tuple[str, ...]) -> None:
    for sql in sequence:
        agent.query(sql)
    assert SECRET not in bytes(agent.received)
    agent.query("ROLLBACK")
    agent.query("DISCARD ALL")
    # a shadow that is gone is noticed within a second
    eventually(lambda: rows(agent.query("SELECT label FROM items WHERE id = 1")) == [("item 1",)])


def test_a_parse_that_failed_leaves_its_name_as_it_was(agent: Wire) -> None:
    agent.send(prepare(EMAIL, "p") + SYNC).until()
    assert error(agent.send(prepare(ID, "p") + SYNC).until())[0] == "42P05"
    assert rows(agent.send(bind(statement="p") + execute(b"") + SYNC).until()) == [("***",)] * 5
    agent.query("DEALLOCATE p")
    agent.send(prepare(ID, "p") + SYNC).until()
    found = agent.send(bind(statement="p") + execute(b"") + SYNC).until()
    assert [value for (value,) in rows(found)] == ["1", "2", "3", "4", "5"], shown(found)


def test_after_discard_all_no_name_stands_for_anything(agent: Wire) -> None:
    agent.query(f"PREPARE p AS {ID}")
    agent.query(f"DECLARE c CURSOR WITH HOLD FOR {ID}")
    assert not errors(agent.query("DISCARD ALL"))
    assert error(agent.query("EXECUTE p"))[0] == "26000"
    assert error(agent.query("FETCH 1 FROM c"))[0] == "34000"


def test_a_guarded_write_does_not_undo_what_postgresql_keeps(agent: Wire, postgres: PostgresServer) -> None:
    """Outside a transaction it runs inside one of the gateway's: what it prepares stays, what is refused does not."""
    sql = f"PREPARE kept AS {EMAIL}; UPDATE items SET label = 'x' WHERE id < 3"
    assert not errors(agent.query(sql))
    assert rows(agent.query("EXECUTE kept")) == [("***",)] * 5
    assert status(agent.query("SELECT 1")) == "I"
    with direct(postgres, "stateful") as owner:
        assert owner.rows("SELECT count(*) FROM items WHERE label = 'x'") == [("2",)]
        owner.rows("UPDATE items SET label = 'item ' || id")
