"""Every way by which bytes of a marked column could reach an agent, on a real PostgreSQL; not one of them does."""

# ruff: noqa: E501  tables of statements
from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from operating import approve
from running import RunningGateway, connection_table, running
from wire_client import (
    Wire,
    bind,
    direct,
    errors,
    kinds,
    notices,
    prepare,
    rows,
    run,
    shown,
    through,
)

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.framing import Message, message
from gateway.pgwire.frontend import SYNC, execute, query

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text, email text DEFAULT 'zqx-default@secret.example', salary int DEFAULT 987654);
INSERT INTO users SELECT i, 'name ' || i, 'zqx-' || i || '@secret.example', 987650 + i FROM generate_series(1, 9) i;
CREATE INDEX few ON users (id) WHERE email <> 'zqx-index@secret.example';
CREATE TABLE items (id int PRIMARY KEY, label text, contact text);
INSERT INTO items VALUES (1, 'one', 'shop@items.example'), (2, 'two', NULL);
CREATE TABLE shops (id int PRIMARY KEY, contact text);
INSERT INTO shops VALUES (1, 'shop@items.example'), (2, NULL);
CREATE VIEW vips AS SELECT id, name FROM users WHERE email <> 'zqx-view@secret.example' AND salary > 987654;
CREATE FUNCTION peek(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT email FROM users WHERE id = $1';
CREATE FUNCTION mutter(int) RETURNS int LANGUAGE plpgsql STABLE AS $$
    BEGIN RAISE NOTICE 'it is %', peek($1); RETURN $1; END $$;
CREATE FUNCTION cry(int) RETURNS int LANGUAGE plpgsql STABLE AS $$
    BEGIN RAISE EXCEPTION 'it is %', peek($1) USING DETAIL = peek($1), HINT = peek($1); END $$;
CREATE FUNCTION name_it(int) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN PERFORM set_config('application_name', peek($1), false); RETURN $1; END $$;
CREATE FUNCTION tell(int) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_notify('ears', peek($1)); RETURN $1; END $$;
ANALYZE;
"""
SECRETS = (b"zqx", b"secret.example", b"98765")


def forms(secret: bytes) -> Iterator[bytes]:
    """The bytes of `secret` as they are, in hex, and in base64 at each of its three offsets."""
    yield from (secret, secret.hex().encode(), secret.hex().upper().encode())
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
        yield base64.b64encode(bytes(before) + secret)[first:last]


FORMS = [form for secret in SECRETS for form in forms(secret)]
MASK = ["public.users.email", "public.users.salary"]
FUNCTIONS = [f"public.{name}" for name in ("peek", "mutter", "cry", "name_it", "tell")]


@pytest.fixture(scope="module")
def routed(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningGateway, str, Wire]]:
    postgres.create_database("routed")
    postgres.execute(SCHEMA, "routed")
    connection = connection_table("routed", postgres, "routed", mask=MASK, functions=FUNCTIONS)
    with (
        running(tmp_path_factory.mktemp("routed"), postgres, [connection]) as gateway,
        direct(postgres, "routed") as owner,
    ):
        yield gateway, gateway.token(), owner


@pytest.fixture
def agent(routed: tuple[RunningGateway, str, Wire]) -> Iterator[Wire]:
    gateway, token, _ = routed
    with through(gateway, "routed", token) as wire:
        yield wire
        found = [form for form in FORMS if form in wire.received]
        assert not found, found


def alarms(gateway: RunningGateway) -> list[str]:
    return [row["detail"] for row in gateway.query("SELECT detail FROM alarms WHERE alarm = 'tripwire' ORDER BY ts")]


def approved(gateway: RunningGateway, wire: Wire, sql: str) -> list[Message]:
    """Run a statement to its ReadyForQuery; where it is held, approve it."""
    wire.send(query(sql.encode()))
    found: list[Message] = []
    while not found or found[-1].kind != b"Z":
        new = wire.message()
        assert new is not None
        found.append(new)
        words = "".join(said.get("M") or "" for said in notices([new]))
        if words.startswith("hoop: held"):
            approve(gateway, words.split()[4])
    return found


@pytest.mark.parametrize("binary", [0, 1])
def test_cursors_and_portals_in_parts(agent: Wire, binary: int) -> None:
    def whole(found: list[Message]) -> list[tuple[str | None, ...]]:
        assert not errors(found), shown(found)
        return rows(found)

    sql = "SELECT email, email || '' FROM users ORDER BY id"
    agent.send(prepare(sql), bind(results=binary), execute(b"", 2), execute(b"", 3), execute(b""), SYNC)
    found = agent.until()
    assert whole(found) == [("***", "***")] * 9
    assert kinds(found) == "12" + "DDs" + "DDDs" + "DDDDC" + "Z"
    agent.rows("BEGIN")
    kind = "BINARY" if binary else ""
    agent.rows(f"DECLARE c {kind} SCROLL CURSOR FOR {sql}")
    for fetch in ("FETCH 2 FROM c", "FETCH BACKWARD 1 FROM c", "FETCH LAST FROM c", "FETCH ABSOLUTE 3 FROM c"):
        assert set(whole(agent.query(fetch))) == {("***", "***")}
    agent.rows("PREPARE p AS SELECT salary, email FROM users WHERE id = $1")
    assert whole(agent.query("EXECUTE p(3)")) == [(None, "***")]
    assert set(whole(agent.send(prepare("FETCH 1 FROM c"), bind(results=binary), execute(b""), SYNC).until())) == {
        ("***", "***")
    }
    assert set(whole(agent.send(message(b"D", b"Pc\0"), execute(b"c", 2), SYNC).until())) == {("***", "***")}
    agent.rows("ROLLBACK")


@pytest.mark.parametrize("sql", [
    "INSERT INTO users (id) VALUES (101) RETURNING *",
    "INSERT INTO users (id, email) SELECT 102, email FROM users WHERE id = 1 RETURNING id, email, users",
    "INSERT INTO items SELECT 103, email, name FROM users WHERE id = 1 RETURNING label, items::text, upper(label)",
    "INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = users.email RETURNING name",
    "UPDATE users SET name = 'x' WHERE id = 2 RETURNING email, salary + 0",
    "UPDATE items SET contact = (SELECT email FROM users WHERE id = 3) WHERE id = 1 RETURNING contact, row_to_json(items)",
    "WITH w AS (UPDATE items SET label = u.email FROM users u WHERE u.id = items.id RETURNING label) SELECT * FROM w",
    "DELETE FROM users WHERE id = 9 RETURNING *, encode(email::bytea, 'base64')",
    "MERGE INTO items i USING users u ON i.id = u.id WHEN MATCHED THEN UPDATE SET label = u.email",
    "EXPLAIN (ANALYZE, VERBOSE) UPDATE users SET name = email WHERE id = 4",
])  # fmt: skip
def test_what_writes_return(routed: tuple[RunningGateway, str, Wire], agent: Wire, sql: str) -> None:
    gateway, _, _ = routed
    if sql.startswith("MERGE") and int(agent.parameters["server_version"].split(".")[0]) < 15:
        pytest.skip("MERGE came with PostgreSQL 15")
    agent.rows("BEGIN")
    found = approved(gateway, agent, sql)
    assert not errors(found), shown(found)
    agent.rows("SELECT * FROM items")
    agent.rows("ROLLBACK")


@pytest.mark.parametrize("options", ["", "(VERBOSE)", "(ANALYZE, VERBOSE, BUFFERS)", "(FORMAT json, VERBOSE)", "(FORMAT xml, VERBOSE)",
                                     "(FORMAT yaml, VERBOSE, ANALYZE)"])  # fmt: skip
def test_plans(agent: Wire, options: str) -> None:
    for sql in (
        "SELECT * FROM vips",
        "SELECT * FROM users WHERE id = 5 AND email <> 'zqx-index@' || 'secret' || '.example'",
        "SELECT u.email, i.label FROM users u JOIN items i ON i.label = u.email AND u.id > 5",
        "SELECT email, count(*) FROM users GROUP BY email HAVING count(*) > 1",
        "SELECT id FROM users WHERE id IN (SELECT id FROM vips)",
    ):
        found = agent.query(f"EXPLAIN {options} {sql}")
        assert not errors(found), shown(found)
        assert b"users" in b"".join(each.body for each in found)
        agent.received[:] = agent.received.replace(b"zqx-index@", b"")  # what the agent wrote itself may come back
        found = agent.send(run(f"EXPLAIN {options} {sql}"), SYNC).until()
        agent.received[:] = agent.received.replace(b"zqx-index@", b"")
        assert not errors(found), shown(found)


def test_a_plan_shows_what_the_agent_wrote(agent: Wire) -> None:
    plan = agent.rows("EXPLAIN (COSTS off) SELECT id FROM users WHERE id = 5 AND name IN ('ann', 'bob')")
    text = "\n".join(line or "" for (line,) in plan)
    assert "(id = 5)" in text
    assert "'{ann,bob}'" in text
    plan = agent.rows("EXPLAIN (COSTS off) SELECT * FROM vips")
    assert "(email <> '***'::text)" in str(plan)
    assert "salary > ***" in str(plan)


def test_a_function_that_was_listed_wrongly_trips_the_wire(
    routed: tuple[RunningGateway, str, Wire], agent: Wire
) -> None:
    """The connection says that these functions reveal nothing. They do, and only the look of the values tells."""
    gateway, _, _ = routed
    assert agent.rows("SELECT peek(1), 'shop@items.example', id FROM items WHERE id = 1") == [
        ("***", "shop@items.example", "1")
    ]
    found = agent.send(run("SELECT peek(2)"), SYNC).until()
    assert rows(found) == [("***",)]
    found = agent.query("COPY (SELECT id, peek(3) FROM items ORDER BY id) TO STDOUT")
    assert [each.body for each in found if each.kind == b"d"] == [b"1\t***\n", b"2\t***\n"]
    assert kinds(agent.query("SELECT mutter(4)")) == "TDCZ"
    (said,) = errors(agent.query("SELECT cry(5)"))
    assert (said.sqlstate, said.get("D"), said.get("H")) == ("P0001", None, None)
    found = agent.query("SELECT name_it(6)")
    assert b"S\0\0\0\x19application_name\0***\0" in agent.received
    agent.rows("LISTEN ears")
    found = agent.query("SELECT tell(7)")
    assert b"ears\0***\0" in agent.received
    told = alarms(gateway)
    assert len(told) >= 5
    assert not any("zqx" in line for line in told)


def test_unmarked_personal_data_passes_where_it_is_proven_clean(
    agent: Wire, routed: tuple[RunningGateway, str, Wire]
) -> None:
    gateway, _, owner = routed
    before = len(alarms(gateway))
    for sql in (
        "SELECT contact, contact || '' FROM shops ORDER BY id",
        "SELECT i.contact, upper(i.contact), u.id FROM shops i JOIN users u USING (id) ORDER BY u.id",
        "SELECT 'bob@corp.example'::text, '4111111111111111'::text FROM users LIMIT 1",
    ):
        assert agent.rows(sql) == owner.rows(sql)
    for sql in (
        "COPY shops TO STDOUT",
        "COPY (SELECT contact, lower(contact) FROM shops ORDER BY id) TO STDOUT (FORMAT csv)",
    ):
        assert [each.body for each in agent.query(sql)] == [each.body for each in owner.query(sql)]
    (said,) = errors(agent.query("SELECT 'bob@corp.example'::int"))
    assert "bob@corp.example" in (said.get("M") or "")
    agent.rows("SET application_name = 'bob@corp.example'")
    assert b"application_name\0bob@corp.example\0" in agent.received
    assert len(alarms(gateway)) == before


@pytest.mark.parametrize("sql", [
    "SELECT email::int FROM users", "SELECT ('x' || email)::date FROM users", "SELECT 1 / (length(email) - length(email)) FROM users",
    "INSERT INTO users (id, email) VALUES (1, 'me@me.example')", "SELECT email::regclass FROM users", "SELECT jsonb(email) FROM users",
    "SELECT to_number(email, '9') FROM users", "SELECT ('{' || email || '}')::int[] FROM users",
    "SELECT xmlparse(document email) FROM users", "SELECT set_config('work_mem', email, true) FROM users",
    "DO $$ BEGIN RAISE NOTICE '%', (SELECT email FROM users LIMIT 1); END $$", "SELECT * FROM users FOR UPDATE NOWAIT",
])  # fmt: skip
def test_errors(agent: Wire, sql: str) -> None:
    for sent in (query(sql.encode()), run(sql) + SYNC):
        wire = agent.send(sent)
        found = wire.until("N") if sql.startswith("INSERT") else wire.until()
        if sql.startswith("INSERT"):
            agent.send(message(b"X"))
            agent.rest()
            return
        assert errors(found) or "FOR UPDATE" in sql, shown(found)
