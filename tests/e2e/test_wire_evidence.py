"""What the target ran is what the evidence says: every statement has its record, and no sealed value left."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from operating import approve, deny
from running import RunningGateway, connection_table, running
from wire_client import (
    COPY_DONE,
    Wire,
    bind,
    copy_data,
    errors,
    eventually,
    kinds,
    notices,
    prepare,
    rows,
    run,
    send_cancel,
    shown,
    through,
)

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import SYNC, execute, query

SCHEMA = "CREATE TABLE t (id int PRIMARY KEY, note text);"


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, RunningGateway]]:
    """A server that logs every statement it runs, and a gateway in front of it."""
    settings = {"log_statement": "all", "log_line_prefix": "%a|", "log_error_verbosity": "terse"}
    with PostgresServer(fast=True, settings=settings) as server:
        server.create_database("audited")
        server.execute(SCHEMA, "audited")
        tables = [
            connection_table("audited", server, "audited"),
            connection_table("observed", server, "audited", policy="observe"),
        ]
        with running(tmp_path_factory.mktemp("audited"), server, tables) as gateway:
            yield server, gateway


_LOGGED = re.compile(r"^agents\|LOG:  (?:statement|execute (?!fetch from)[^:]+): (.*)$", re.MULTILINE)
"""A portal that runs on in parts is one operation, logged again as `execute fetch from`."""


def ran(server: PostgresServer) -> Counter[str]:
    """Every statement that the server logged for agents' sessions, as often as it ran."""
    return Counter(_LOGGED.findall((server.home / "postgres.log").read_text()))


def test_every_statement_that_ran_has_its_record(audited: tuple[PostgresServer, RunningGateway]) -> None:
    server, gateway = audited
    secret = gateway.token()
    for connection in ("audited", "observed"):
        with through(gateway, connection, secret, application_name="agents") as wire:
            _work(wire, connection)
            if connection == "audited":
                _decide(gateway, wire)
            wire.leave()
    logged = ran(server)
    assert sum(logged.values()) > 40
    recorded = Counter(str(row["sql"]) for row in gateway.query("SELECT sql FROM statements WHERE sql IS NOT NULL"))
    missing = {sql: count for sql, count in logged.items() if recorded[sql] < count}
    assert not missing
    refused = gateway.query("SELECT sql FROM statements WHERE outcome IN ('denied', 'refused', 'cancelled', 'expired')")
    assert {"DROP TABLE t", "DELETE FROM t WHERE id = 2"} <= {row["sql"] for row in refused}
    assert "DELETE FROM t WHERE id = 2" not in logged
    assert logged["DROP TABLE t"] == 0
    assert logged["DELETE FROM t WHERE id = 1"] == 1


def _work(wire: Wire, connection: str) -> None:
    """A bit of everything, each statement with words of its own."""
    base = 100 if connection == "audited" else 200
    for sql in (
        "SELECT 1", "SELECT 2; SELECT 3", "BEGIN", f"INSERT INTO t VALUES ({base}, 'x')", "SAVEPOINT s",
        "SELECT 1/0", "ROLLBACK TO s", "COMMIT", "PREPARE p AS SELECT 4", "EXECUTE p", "EXECUTE p", "DEALLOCATE p",
        "SET lock_timeout = 5", "BEGIN", "DECLARE c CURSOR FOR SELECT id FROM t", "FETCH 1 FROM c", "FETCH ALL FROM c",
        "CLOSE c", "ROLLBACK", "SELECT * FROM missing", "EXPLAIN SELECT 5", "TABLE t", "VALUES (1), (2)",
        "SHOW lock_timeout", "DISCARD ALL",
    ):  # fmt: skip
        wire.query(sql)
    if connection == "audited":
        wire.query("DROP TABLE t")
        wire.send(run("SELECT 6"), run("DROP TABLE t"), run("SELECT 7"), SYNC).until()
    wire.send(query(b"COPY t FROM STDIN"), copy_data(b"%d\tcopied\n" % (base + 1)), COPY_DONE).until()
    wire.query("COPY t TO STDOUT")
    wire.send(prepare("SELECT $1::int + 8", "s"), SYNC).until()
    for number in range(5):
        wire.send(bind(b"%d" % number, statement="s"), execute(b""), SYNC).until()
    parts = run("SELECT generate_series(1, 9)", portal="q", max_rows=2)
    wire.send(parts, execute(b"q", 2), execute(b"q"), SYNC).until()
    wire.send(run("SELECT 10"), run("SELECT 1/0 + 11"), run("SELECT 12"), SYNC).until()


def _decide(gateway: RunningGateway, wire: Wire) -> None:
    wire.rows("INSERT INTO t VALUES (1), (2), (3)")
    for sql, decide in (("DELETE FROM t WHERE id = 1", approve), ("DELETE FROM t WHERE id = 2", deny)):
        wire.send(query(sql.encode()))
        (said,) = notices(wire.until("N"))
        found = re.search(r"ap-[0-9a-f]+", said.get("M") or "")
        assert found
        decide(gateway, found[0])
        wire.until()
    wire.send(query(b"DELETE FROM t WHERE id = 3"))
    wire.until("N")
    send_cancel(gateway, wire)
    assert errors(wire.until())[0].sqlstate == "57014"
    assert wire.rows("SELECT id FROM t WHERE id < 4 ORDER BY id") == [("2",), ("3",)]


def test_what_was_answered_is_what_the_transcript_says(gateway: RunningGateway, agent: Callable[..., Wire]) -> None:
    wire = agent("orders", application_name="transcribed")
    wire.query("SELECT id, email, NULL AS nothing FROM users WHERE id = 7")
    wire.query("SELECT 1/0 AS transcribed")
    wire.leave()
    asked = "SELECT direction, text FROM transcript JOIN sessions USING (session_id) WHERE agent_application"

    def answers() -> list[str]:
        found = gateway.query(f"{asked} = 'transcribed' ORDER BY log, seq")
        return [str(row["text"]) for row in found if row["direction"] == "out"]

    texts = eventually(answers)
    assert isinstance(texts, list)
    assert any("7\t***\t\\N" in text for text in texts), texts
    assert any("22012" in text and "division by zero" in text for text in texts), texts
    results = gateway.query(
        "SELECT outcome, sqlstate, statements.rows, masked_columns FROM statements JOIN sessions USING (session_id) "
        "WHERE agent_application = 'transcribed' ORDER BY seq"
    )
    assert [(row["outcome"], row["sqlstate"], row["rows"]) for row in results] == [
        ("ok", None, 1),
        ("error", "22012", 0),
    ]
    assert results[0]["masked_columns"] == ["email"]


# --- no value of a marked column, by any route -----------------------------------------------------------------------

SECRET = b"secret.example"
FORMS = (SECRET, SECRET.hex().encode(), b"c2VjcmV0LmV4YW1wbG", SECRET.upper(), SECRET[::-1])
"""A marked value's tail: plain, in hex, in base64, in capitals, reversed."""

ROUTES = """
SELECT email FROM users
SELECT * FROM users
TABLE users
SELECT u.* FROM users u
SELECT u FROM users u
SELECT (u).email FROM users u
SELECT row_to_json(u) FROM users u
SELECT to_jsonb(u) -> 'email' FROM users u
SELECT json_agg(u) FROM users u
SELECT users::text FROM users
SELECT upper(email), reverse(email), md5(email) || email FROM users
SELECT encode(email::bytea, 'hex'), encode(email::bytea, 'base64') FROM users
SELECT string_agg(email, ',') FROM users
SELECT array_agg(email) FROM users
SELECT max(email), min(email) FROM users
SELECT CASE WHEN id > 0 THEN email END FROM users
SELECT coalesce(NULL, email) FROM users
SELECT x FROM (SELECT email AS x FROM users) s
WITH w AS (SELECT email FROM users) SELECT * FROM w
WITH RECURSIVE w(n, e) AS (SELECT 1, email FROM users UNION SELECT n + 1, e FROM w WHERE n < 2) SELECT e FROM w
SELECT name FROM users UNION ALL SELECT email FROM users
SELECT (SELECT email FROM users u WHERE u.id = v.id) FROM users v
SELECT e FROM users u, LATERAL (SELECT u.email AS e) l
SELECT unnest(ARRAY[email]) FROM users
SELECT * FROM users NATURAL JOIN users u2
SELECT email FROM users JOIN users u2 USING (id, email)
SELECT first_value(email) OVER (ORDER BY id) FROM users
SELECT format('%s', email), concat(email), email || '', email::varchar(40) FROM users
SELECT substr(email, 1, 40), regexp_replace(email, '^', ''), split_part(email, '@', 2) FROM users
SELECT email::int FROM users
SELECT 1 / (length(email) - length(email)) FROM users
SELECT email::json FROM users
SELECT email::date FROM users
SELECT ('{' || email || '}')::int[] FROM users
SELECT shouts(email) FROM users
SELECT fails(email) FROM users
SELECT query_to_xml('SELECT email FROM users', true, true, '')
SELECT table_to_xml('users', true, true, '')
SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE tablename = 'users'
SELECT stavalues1::text FROM pg_statistic
SELECT pg_get_expr('x', 0)
SELECT pg_read_file('postgresql.conf')
COPY users TO STDOUT
COPY users (email) TO STDOUT (FORMAT csv)
COPY (SELECT email FROM users) TO STDOUT
COPY (SELECT upper(email) FROM users) TO STDOUT (FORMAT binary)
INSERT INTO scratch (id, note) SELECT id, email FROM users
INSERT INTO users SELECT * FROM users RETURNING email
UPDATE users SET name = email WHERE id = 1
UPDATE users SET balance = 1 WHERE id = 1 RETURNING email
EXPLAIN (ANALYZE, VERBOSE) SELECT email FROM users
EXPLAIN SELECT * FROM users WHERE email > (SELECT min(email) FROM users)
DECLARE c CURSOR WITH HOLD FOR SELECT email FROM users
PREPARE leak AS SELECT email FROM users
EXECUTE leak
FETCH ALL FROM c
SELECT lo_from_bytea(0, email::bytea) FROM users
SELECT set_config('application_name', email, false) FROM users
SELECT pg_notify('news', email) FROM users
DO $$ BEGIN RAISE NOTICE '%', (SELECT email FROM users LIMIT 1); END $$
SELECT current_setting('application_name'), email FROM users
SELECT email FROM users ORDER BY email LIMIT 1 FOR UPDATE
VALUES ((SELECT email FROM users LIMIT 1))
SELECT * FROM (VALUES (1)) v (a), users
SELECT xmlelement(name x, email) FROM users
SELECT row(email) FROM users
SELECT ARRAY(SELECT email FROM users)
SELECT id, name, (users).* FROM users
MERGE INTO scratch s USING users u ON s.id = u.id WHEN NOT MATCHED THEN INSERT (id, note) VALUES (u.id, u.email)
SELECT string_to_table(email, '@') FROM users
SELECT email COLLATE "C" FROM users
SELECT email IS NULL, email FROM users GROUP BY email
SELECT * FROM json_to_recordset((SELECT json_agg(u) FROM users u)) AS x(email text)
""".strip().splitlines()


@pytest.mark.parametrize(("extended", "binary"), [(False, 0), (True, 0), (True, 1)])
def test_no_route_hands_out_a_marked_value(
    agent: Callable[..., Wire], scratch: Wire, *, extended: bool, binary: int
) -> None:
    wire = agent("orders", options="-c hoop.hold=refuse")
    leaked = []
    for sql in ROUTES:
        wire.received.clear()
        if extended:
            found = wire.send(prepare(sql), bind(results=binary), execute(b""), SYNC).until()
        else:
            found = wire.query(sql)
        said = b"".join(each.body for each in found)
        if any(form in said for form in FORMS):
            leaked.append((sql, shown(found)[:300]))
    assert not leaked
    assert scratch.rows("SELECT count(*) FROM scratch") == [("0",)]
    assert rows(wire.query("SELECT email FROM users WHERE id = 1")) == [("***",)]


def test_no_marked_value_is_in_the_evidence_of_results(gateway: RunningGateway, agent: Callable[..., Wire]) -> None:
    wire = agent("orders")
    for sql in ROUTES[:8]:
        wire.query(sql)
    eventually(lambda: kinds(wire.query("SELECT 1")) == "TDCZ")
    leaked = "direction = 'out' AND text LIKE '%secret.example%'"
    found = gateway.query(f"SELECT count(*) AS n FROM transcript WHERE {leaked}")
    assert found == [{"n": 0}]


def test_the_evidence_holds_while_sessions_run(gateway: RunningGateway, agent: Callable[..., Wire]) -> None:
    wire = agent()
    wire.rows("SELECT 1")
    done = gateway.command("evidence", "verify", str(gateway.evidence), "--quick", check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
