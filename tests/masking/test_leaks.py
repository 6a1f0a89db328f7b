"""A real PostgreSQL: whatever a query does with marked columns, no original value is left after its plan."""

# ruff: noqa: E501  one statement a line
from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from gateway.demo.postgres import PostgresServer
from gateway.masking.marks import bind
from gateway.masking.plan import plan
from gateway.model import Connection, Mark, TargetAddress, VerdictKind
from gateway.pgwire.backend import ColumnDescription
from gateway.policy.catalog import Catalog
from gateway.policy.decide import Context, decide
from gateway.policy.facts import SessionState, facts
from gateway.policy.rules import compile_rules
from gateway.target.catalog import CatalogReader

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email varchar(40) UNIQUE, tags text[], card text);
CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users, total numeric CHECK (total >= 0));
CREATE TABLE events (id int, who text) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100);
CREATE VIEW mails AS SELECT u.id, u.email AS mail FROM users u WHERE u.name <> 'nobody';
CREATE VIEW shouted AS SELECT *, upper(mail) AS loud FROM mails;
CREATE VIEW joined (a, b, c) AS SELECT * FROM (SELECT u.id, o.id, u.email FROM users u LEFT JOIN orders o ON o.user_id = u.id) j;
CREATE VIEW rows AS SELECT u AS whole, u.id FROM users u;
CREATE VIEW ids AS SELECT id, name FROM users;
CREATE VIEW united AS SELECT name AS x FROM users UNION ALL SELECT email FROM users;
CREATE MATERIALIZED VIEW snapshot AS SELECT id, mail FROM mails;
CREATE FUNCTION reveal(int) RETURNS text LANGUAGE sql AS 'SELECT email FROM users WHERE id = $1';
CREATE FUNCTION revealed() RETURNS SETOF users LANGUAGE sql AS 'SELECT * FROM users';
INSERT INTO users VALUES (1, 'ann', 'zqx-ann@example.org', '{zqx-tag}', 'zqx-4111'), (2, 'bob', 'zqx-bob@example.org', NULL, NULL);
INSERT INTO orders VALUES (10, 1, 99.5); INSERT INTO events VALUES (1, 'zqx-who');
ANALYZE; REFRESH MATERIALIZED VIEW snapshot;
"""
SECRET = ("zqx", b"zqx".hex(), "enF4", "ZQX", "xqz", "4111", "example.org", "gro.elpmaxe")

QUERIES = """
SELECT * FROM users
TABLE users
SELECT u FROM users u
SELECT (u).* FROM users u
SELECT u.*::text FROM users u
SELECT users::text FROM users
SELECT row_to_json(u), to_jsonb(u), json_agg(u) FROM users u GROUP BY u.id
SELECT xmlelement(name a, email), xmlforest(card) FROM users
SELECT * FROM users NATURAL JOIN orders
SELECT * FROM users JOIN orders USING (id)
SELECT * FROM users a JOIN users b USING (email)
SELECT a.email FROM users a FULL JOIN users b USING (email)
SELECT * FROM orders o LEFT JOIN users u ON u.id = o.user_id
SELECT x FROM (SELECT email AS x FROM users) y
SELECT b FROM (SELECT id, email FROM users) AS x (a, b)
SELECT d FROM users AS x (a, b, d)
SELECT y.z FROM (SELECT u AS z FROM users u) y
SELECT (y.z).email FROM (SELECT u AS z FROM users u) y
SELECT (y.z).* FROM (SELECT u AS z FROM users u) y
SELECT mail FROM mails
SELECT * FROM shouted
SELECT * FROM joined
SELECT c FROM joined
SELECT * FROM rows
SELECT (whole).email FROM rows
SELECT (whole).* FROM rows
SELECT * FROM united
SELECT * FROM snapshot
SELECT reveal(1)
SELECT * FROM revealed()
SELECT r.email FROM revealed() r
SELECT (revealed()).*
SELECT reveal FROM reveal(1)
SELECT * FROM reveal(1)
SELECT email || '' , email::bytea, encode(convert_to(email, 'UTF8'), 'base64'), reverse(email) FROM users
SELECT substr(email, 1, 3), left(email, 5), split_part(email, '@', 2), md5(card) FROM users
SELECT string_to_array(email, '-'), tags, tags[1], unnest(tags) FROM users
SELECT unnest(string_to_array(email, '-')) FROM users
SELECT v FROM users, unnest(tags) v
SELECT regexp_matches(email, '.*') FROM users
SELECT * FROM users u, regexp_split_to_table(u.email, '-') t
SELECT * FROM users u, LATERAL (SELECT u.email || 'x') l
SELECT * FROM users u, json_each_text(to_json(u))
SELECT * FROM users u, json_to_record(to_json(u)) AS r(email text, card text)
SELECT (SELECT email FROM users WHERE id = 1)
SELECT ARRAY(SELECT email FROM users), (SELECT array_agg(card) FROM users)
SELECT max(email), min(card), string_agg(email, ','), mode() WITHIN GROUP (ORDER BY email) FROM users
SELECT first_value(email) OVER (ORDER BY id), lag(card) OVER () FROM users
SELECT CASE WHEN true THEN email END, coalesce(card, 'x'), greatest(email, 'a'), nullif(email, '') FROM users
SELECT name FROM users UNION SELECT email FROM users
SELECT NULL::text, id FROM users UNION ALL SELECT card, id FROM users
WITH a AS (SELECT * FROM users) SELECT * FROM a
WITH a (p, q, r) AS (SELECT id, name, email FROM users) SELECT r FROM a
WITH RECURSIVE r AS (SELECT id, email FROM users UNION ALL SELECT id + 100, email FROM r WHERE id < 100) SELECT * FROM r
WITH u AS (UPDATE users SET name = 'x' WHERE id = 1 RETURNING *) SELECT * FROM u
UPDATE users SET name = 'y' WHERE id = 1 RETURNING *
INSERT INTO users (id, name, card) VALUES (3, 'zed', 'zqx-new') RETURNING *
DELETE FROM users WHERE id = 2 RETURNING email, users
UPDATE orders o SET total = 1 FROM users u WHERE u.id = o.user_id AND o.id = 10 RETURNING *
SELECT format('%s', email), concat(email, card), concat_ws('-', id, email), quote_literal(card) FROM users
SELECT email::name, email::varchar(3), email::char(5), card::text::varchar FROM users
SELECT to_tsvector(email), email::json FROM users WHERE id = 99
SELECT to_tsvector('simple', email) FROM users
SELECT jsonb_build_object('a', email), json_object_agg(name, email) FROM users GROUP BY email
SELECT jsonb_path_query(to_jsonb(u), '$.email') FROM users u
SELECT * FROM events
SELECT * FROM events_1
SELECT who FROM ONLY events_1
SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'users'
SELECT * FROM pg_stats WHERE tablename = 'users'
SELECT stavalues1, stavalues2 FROM pg_statistic WHERE starelid = 'users'::regclass
SELECT query FROM pg_stat_activity
SELECT * FROM pg_stat_activity
VALUES ((SELECT email FROM users WHERE id = 1))
SELECT DISTINCT email FROM users ORDER BY email
SELECT grouping(email), email FROM users GROUP BY CUBE (email)
SELECT * FROM users TABLESAMPLE SYSTEM (100)
SELECT * FROM (VALUES (1)) v JOIN LATERAL (SELECT * FROM users) u ON true
SELECT rank() OVER w, email FROM users WINDOW w AS (ORDER BY card)
SELECT u1.* FROM users u1, users u2 WHERE u1.id = u2.id
SELECT "?column?" FROM (SELECT email || 'x' FROM users) q
SELECT "row" FROM (SELECT row(email, card) FROM users) q
SELECT coalesce FROM (SELECT coalesce(email, card) FROM users) q
SELECT (row(email)).f1 FROM users
SELECT (ARRAY[email, card])[2] FROM users
SELECT (SELECT (SELECT (SELECT u.email))) FROM users u
SELECT email AS id, id AS email FROM users
SELECT id FROM (SELECT email AS id FROM users) x
SELECT users.email FROM users, (SELECT 1 AS email) x
"""
CLEAN = """
SELECT id, name FROM users
SELECT * FROM ids
SELECT count(*) FROM users
SELECT u.id, o.total FROM users u JOIN orders o ON o.user_id = u.id
SELECT id FROM mails
SELECT a, b FROM joined
SELECT id FROM rows
SELECT * FROM orders
SELECT relname, relkind FROM pg_class LIMIT 3
SELECT attname, null_frac FROM pg_stats LIMIT 3
SELECT pid, state FROM pg_stat_activity
SELECT pg_get_constraintdef(oid) FROM pg_constraint LIMIT 2
SELECT id FROM events
SELECT 'x' AS email, 1 AS card
SELECT x.id, y.n FROM users x, LATERAL (SELECT x.id + 1 AS n) y
WITH a AS (SELECT id, email FROM users) SELECT id FROM a
EXPLAIN SELECT * FROM users
"""


@pytest.fixture(scope="module")
def target(postgres: PostgresServer) -> Iterator[tuple[PostgresServer, str]]:
    postgres.create_database("leaks")
    postgres.execute(SCHEMA, "leaks")
    yield postgres, "leaks"
    postgres.drop_database("leaks")


@pytest.fixture
async def known(target: tuple[PostgresServer, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Catalog, Connection]:
    server, database = target
    monkeypatch.setenv("LEAKS_PASSWORD", server.password)
    marks = [Mark("public", "users", name) for name in ("email", "card", "tags")] + [Mark("public", "events", "who")]
    address = TargetAddress(server.host, server.port, database, "disable")
    connection = Connection("c", address, server.user, "env:LEAKS_PASSWORD", ("any",), marks=tuple(marks))
    reader = CatalogReader(connection)
    try:
        binding = bind(await reader.load(), connection)
    finally:
        await reader.aclose()
    assert not binding.unmatched
    return binding.catalog, connection


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def shown(sql: str, dsn: str, catalog: Catalog, *, binary: bool) -> tuple[list[str], bytes]:
    """Run `sql`, mask its result by the plan; return the masked columns' names and all bytes an agent would see."""
    with psycopg.connect(dsn) as session:
        cursor = session.execute(sql, binary=binary)
        result = cursor.pgresult
        assert result is not None
        row = tuple(
            ColumnDescription(
                (result.fname(n) or b"").decode(), result.ftable(n), result.ftablecol(n), result.ftype(n),
                result.fsize(n), result.fmod(n), result.fformat(n),
            )
            for n in range(result.nfields)
        )  # fmt: skip
        found = plan(facts(sql.encode(), SessionState(), catalog), 0, row)
        assert len(found.columns) == result.nfields
        seen = bytearray()
        for line in range(result.ntuples):
            for n, mask in enumerate(found.columns):
                value = result.get_value(line, n)
                if mask is not None and mask.guard is not None and value is not None:
                    seen += b"|" + (mask.guard(value, sql.encode()) or b"")
                else:
                    seen += b"|" + ((value if mask is None else mask.replacement) or b"")
        session.rollback()
    return [mask.column_name for mask in found.columns if mask is not None and mask.guard is None], bytes(seen)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
async def test_no_original_is_left(
    known: tuple[Catalog, Connection], target: tuple[PostgresServer, str], binary: bool
) -> None:
    catalog, connection = known
    rules = compile_rules(connection)
    dsn = target[0].dsn(target[1])
    leaked = []
    for sql in lines(QUERIES):
        if decide(facts(sql.encode(), SessionState(), catalog), rules, Context()).kind is VerdictKind.DENY:
            continue
        try:
            masked, seen = shown(sql, dsn, catalog, binary=binary)
        except psycopg.Error as error:
            pytest.fail(f"{sql}: {error}")
        if not masked or any(word.encode() in seen for word in SECRET):
            leaked.append((sql, masked, seen))
    assert not leaked


async def test_clean_queries_are_left_alone(
    known: tuple[Catalog, Connection], target: tuple[PostgresServer, str]
) -> None:
    catalog, connection = known
    rules = compile_rules(connection)
    for sql in lines(CLEAN):
        assert decide(facts(sql.encode(), SessionState(), catalog), rules, Context()).kind is VerdictKind.ALLOW, sql
        masked, _ = shown(sql, target[0].dsn(target[1]), catalog, binary=False)
        assert not masked, sql
