"""Values that move keep their marks, over restarts too; a masked value that comes back is refused on every way."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from operating import approve
from running import RunningGateway, connection_table, running, start
from wire_client import (
    COPY_DONE,
    Wire,
    bind,
    copy_data,
    direct,
    error,
    errors,
    kinds,
    notices,
    prepare,
    rows,
    shown,
    status,
    through,
)

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.backend import Report
from gateway.pgwire.framing import Message
from gateway.pgwire.frontend import SYNC, execute, query

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text, email text, card varchar(40));
INSERT INTO users SELECT i, 'name ' || i, 'person' || i || '@secret.example', '4111-secret-000' || i
    FROM generate_series(1, 3) i;
CREATE TABLE notes (id int, words text);
CREATE TABLE parents (id int, email text);
CREATE TABLE child () INHERITS (parents);
INSERT INTO child VALUES (1, 'child@secret.example');
"""
MASK = """mask = ["public.users.email", "public.parents.email",
    { column = "public.users.card", style = "pseudonym" }]
"""
RULES = """
[[connection.rule]]
name = "drops"
replaces = "standard/drop"
action = "approve"
"""


@pytest.fixture(scope="module")
def world(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home for gateways, one after the other, before one database."""
    postgres.create_database("moves")
    postgres.execute(SCHEMA, "moves")
    home = tmp_path_factory.mktemp("moves")
    return home, "moves"


@pytest.fixture(scope="module")
def gateway(world: tuple[Path, str], postgres: PostgresServer) -> Iterator[RunningGateway]:
    home, database = world
    with running(home, postgres, [connection_table("moves", postgres, database) + MASK + RULES]) as found:
        yield found


@pytest.fixture
def agent(gateway: RunningGateway) -> Iterator[Wire]:
    with through(gateway, "moves", gateway.token()) as wire:
        yield wire
        assert b"secret" not in wire.received


@pytest.fixture
def owner(postgres: PostgresServer, world: tuple[Path, str]) -> Iterator[Wire]:
    with direct(postgres, world[1]) as wire:
        yield wire


def approved(gateway: RunningGateway, wire: Wire, sql: str) -> list[Message]:
    """Send a statement that is held, approve it, and return its answer."""
    (said,) = notices(wire.send(query(sql.encode())).until("N"))
    approve(gateway, (said.get("M") or "").split()[4])
    found = wire.until()
    assert not errors(found), shown(found)
    return found


def marks(gateway: RunningGateway) -> list[str]:
    """What `policies` says is marked now."""
    (row,) = gateway.query("SELECT marks FROM policies WHERE connection = 'moves' ORDER BY ts DESC LIMIT 1")
    return [str(mark) for mark in row["marks"]]


def test_new_tables_and_filled_ones_are_marked_and_stay_so(
    gateway: RunningGateway, agent: Wire, owner: Wire, postgres: PostgresServer
) -> None:
    approved(gateway, agent, "CREATE TABLE copied AS SELECT id, email AS mail, card, name FROM users")
    assert agent.rows("SELECT mail, name FROM copied ORDER BY id LIMIT 1") == [("***", "name 1")]
    (card,), (again,) = (
        agent.rows("SELECT card FROM copied WHERE id = 1"),
        agent.rows("SELECT card FROM users WHERE id = 1"),
    )
    assert card == again != ("***",), "one column's values have one pseudonym wherever they are copied"
    approved(gateway, agent, "SELECT upper(email) AS loud INTO louder FROM users")
    assert set(agent.rows("SELECT loud FROM louder")) == {("***",)}
    approved(gateway, agent, "CREATE VIEW seen AS SELECT mail AS m, id FROM copied")
    approved(gateway, agent, "CREATE MATERIALIZED VIEW frozen AS SELECT email AS f FROM users")
    for sql in (
        "SELECT m FROM seen",
        "SELECT f FROM frozen",
        "COPY copied (mail) TO STDOUT",
        "COPY (SELECT m FROM seen) TO STDOUT",
    ):
        found = agent.query(sql)
        assert not errors(found), shown(found)
        assert {each.body.lstrip(b"\0\x01\x03\n") for each in found if each.kind in (b"D", b"d")} <= {b"***", b"***\n"}

    agent.rows("INSERT INTO notes VALUES (7, 'mine')")
    assert agent.rows("SELECT words FROM notes") == [("mine",)]
    found = approved(gateway, agent, "INSERT INTO notes SELECT id, email FROM users RETURNING id, words")
    assert rows(found) == [("1", "***"), ("2", "***"), ("3", "***")]
    assert set(agent.rows("SELECT words FROM notes")) == {("***",)}
    approved(gateway, agent, "CREATE TABLE like_users (LIKE users)")
    approved(gateway, agent, "INSERT INTO like_users SELECT * FROM users")
    assert agent.rows("SELECT id, email FROM like_users WHERE id = 2") == [("2", "***")]
    approved(gateway, agent, "ALTER TABLE child NO INHERIT parents")
    assert agent.rows("SELECT email FROM child") == [("***",)]

    agent.rows("BEGIN")
    approved(gateway, agent, "CREATE TABLE hasty AS SELECT id, email AS mail FROM users")
    approved(gateway, agent, "ALTER TABLE hasty RENAME TO hidden")
    approved(gateway, agent, "ALTER TABLE hidden RENAME COLUMN mail TO plain")
    agent.rows("SELECT * FROM hidden")
    agent.rows("COMMIT")
    assert agent.rows("SELECT id, plain FROM hidden ORDER BY id LIMIT 1") == [("1", "***")]

    approved(gateway, agent, "ALTER TABLE copied RENAME COLUMN mail TO post")
    approved(gateway, agent, "ALTER TABLE copied RENAME TO renamed")
    assert set(agent.rows("SELECT post FROM renamed")) == {("***",)}
    named = {"public.renamed.post", "public.louder.loud", "public.notes.words", "public.like_users.email"}
    assert {"public.copied.mail", "public.louder.loud", "public.notes.words", "public.like_users.email"} <= set(
        marks(gateway)
    )
    found_alarms = gateway.query("SELECT detail FROM alarms WHERE alarm = 'marks-carried'")
    assert any("public.notes.words carries public.users.email" in row["detail"] for row in found_alarms)

    agent.leave()
    restart(gateway, while_down=lambda: owner.rows("ALTER TABLE louder RENAME TO loudest"))
    assert named <= set(marks(gateway))
    with through(gateway, "moves", gateway.token()) as wire:
        for sql in (
            "SELECT post FROM renamed",
            "SELECT loud FROM loudest",
            "SELECT words FROM notes",
            "SELECT m FROM seen",
            "SELECT email FROM like_users",
            "SELECT email FROM child",
        ):
            assert set(wire.rows(sql)) == {("***",)}, sql
        assert card in wire.rows("SELECT card FROM users")
        assert b"secret" not in wire.received


def restart(gateway: RunningGateway, while_down: Callable[[], object]) -> None:
    """Stop the gateway and start it anew on what it left; the object is the new one afterwards."""
    assert gateway.stop(signal.SIGTERM) == 0, gateway.log
    while_down()
    stdout, later = gateway.process.stdout, start(gateway.home)
    assert stdout is not None
    stdout.close()
    gateway.process, gateway.port = later.process, later.port


def refusal(found: list[Message]) -> Report:
    (said,) = errors(found)
    assert (said.sqlstate, said.get("M")) == ("42501", "hoop: masked value"), said
    return said


def test_a_masked_value_is_not_written_back(agent: Wire, owner: Wire) -> None:
    said = refusal(agent.query("UPDATE users SET email = '***' WHERE id = 1"))
    assert "public.users.email" in (said.get("D") or "")
    assert said.get("H")
    ((card,),) = agent.rows("SELECT card FROM users WHERE id = 2")
    refusal(agent.query(f"UPDATE users SET card = '{card}' WHERE id = 1"))
    update = "UPDATE users SET email = $1 WHERE id = $2"
    found = agent.send(prepare(update), bind(b"***", b"1"), execute(b""), SYNC).until()
    assert kinds(found) == "1EZ"
    refusal(found)
    agent.rows("BEGIN")
    refusal(agent.query("INSERT INTO users (id, email) VALUES (9, '***')"))
    assert error(agent.query("SELECT 1"))[0] == "25P02"
    agent.rows("ROLLBACK")
    assert agent.rows("SELECT count(*) FROM users") == [("3",)]
    assert owner.rows("SELECT count(*) FROM users WHERE email LIKE 'person%'") == [("3",)]


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ("", [b"9\tnine@example.org\n8\t**", b"*\n"]),
        ("(FORMAT csv, HEADER)", [b'id,email\n9,x\n8,"***"\n']),
        ("(FORMAT csv, NULL '-')", [b"8,***\r\n"]),
        ("(NULL '')", [b"9\t\n", b"8\t***\n"]),
        (
            "(FORMAT binary)",
            [b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\0\2\0\0\0\4\0\0\0\x08\0\0\0\3***" + b"\xff\xff"],
        ),
    ],
)
def test_a_masked_value_in_copy_data_ends_the_copy(
    gateway: RunningGateway, agent: Wire, owner: Wire, options: str, pieces: list[bytes]
) -> None:
    (said,) = notices(agent.send(query(f"COPY users (id, email) FROM STDIN {options}".encode())).until("N"))
    approve(gateway, (said.get("M") or "").split()[4])
    agent.until("G")
    found = agent.send(*map(copy_data, pieces), COPY_DONE).until()
    refusal(found)
    assert status(found) == "I"
    assert owner.rows("SELECT count(*) FROM users") == [("3",)]
    assert agent.rows("SELECT 1") == [("1",)]
    last = gateway.query(
        "SELECT outcome, sqlstate FROM statements WHERE sql LIKE 'COPY users (id, email)%' ORDER BY ts DESC LIMIT 1"
    )
    assert last == [{"outcome": "error", "sqlstate": "42501"}]


def test_a_driver_hears_it_too(gateway: RunningGateway, owner: Wire) -> None:
    with psycopg.connect(**gateway.connect_arguments("moves", gateway.token()), autocommit=True) as session:
        ((email,),) = session.execute("SELECT email FROM users WHERE id = 1").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="hoop: masked value"):
            session.execute("UPDATE users SET name = %s, email = %s WHERE id = 1", ("new", email))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="hoop: masked value"):
            session.execute("UPDATE users SET name = %s, email = %b WHERE id = 1", ("new", email))
        session.execute("UPDATE users SET name = %s WHERE id = 1", ("***",))
    assert owner.rows("SELECT name, email FROM users WHERE id = 1") == [("***", "person1@secret.example")]
