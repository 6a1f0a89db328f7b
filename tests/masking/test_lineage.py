"""Lineage as a table: each statement's columns by letter: c clean, d derived, D direct, u unknown; `*` open."""

# ruff: noqa: E501  one statement a line
from __future__ import annotations

from dataclasses import replace

import pytest
from policy_sample import BOUND, CATALOG, UNMARKED, connection, flows, relation, understand

from gateway.masking.marks import bind

CASES = """
SELECT id, name, email FROM users | ccD
SELECT * FROM users | ccDc
SELECT u.* FROM users u | ccDc
SELECT users.* FROM users | ccDc
SELECT public.users.email FROM public.users | D
SELECT u.email AS e FROM users AS u | D
SELECT "email" FROM "users" | D
SELECT u FROM users u | d
SELECT users FROM users | d
SELECT (u).email, (u).id FROM users u | Dc
SELECT (u).* FROM users u | ccDc
SELECT (users.*)::text FROM users | d
SELECT u::text FROM users u | d
SELECT row_to_json(u) FROM users u | d
SELECT to_jsonb(u) - 'email' FROM users u | d
SELECT json_agg(u) FROM users u | d
SELECT row(u.*) FROM users u | d
SELECT row(id, name) FROM users | d?
SELECT array_agg(email) FROM users | d
SELECT ARRAY(SELECT email FROM users) | d
SELECT string_agg(email, ',') FROM users | d
SELECT upper(email) || 'x' FROM users | d
SELECT email::varchar(3) FROM users | d
SELECT email COLLATE "C" FROM users | d
SELECT CASE WHEN true THEN 'guess' ELSE email END FROM users | d
SELECT CASE WHEN email = 'a' THEN 1 ELSE 0 END FROM users | d
SELECT coalesce(NULL, email) FROM users | d
SELECT nullif(email, 'x'), greatest(email, 'a') FROM users | dd
SELECT email = 'x', email IS NULL, email LIKE 'a%', email IN ('a') FROM users | dddd
SELECT length(email), md5(email), substr(email, 1, 1) FROM users | ddd
SELECT count(email), count(*), max(email), count(*) FILTER (WHERE email = 'x') FROM users | dcdd
SELECT first_value(email) OVER (ORDER BY id), row_number() OVER (ORDER BY email) FROM users | dd
SELECT rank() OVER w FROM users WINDOW w AS (ORDER BY email) | d
SELECT id FROM users WHERE email = 'x' ORDER BY email | c
SELECT DISTINCT ON (email) id FROM users | c
SELECT (SELECT email FROM users LIMIT 1) | D
SELECT (SELECT max(email) FROM users) AS m, 1 | dc
SELECT (SELECT id FROM users u2 WHERE u2.email = u.email) FROM users u | c
SELECT (SELECT u.email) FROM users u | D
SELECT EXISTS (SELECT 1 FROM users WHERE email = 'x') | d
SELECT EXISTS (SELECT 1 FROM users WHERE id = 1) | c
SELECT 'x' IN (SELECT email FROM users) | d
SELECT 1 = ANY (SELECT id FROM users WHERE email LIKE 'a%') | d
SELECT x.e FROM (SELECT email AS e, id FROM users) x | D
SELECT x.* FROM (SELECT * FROM users) x | ccDc
SELECT b FROM (SELECT id, email FROM users) AS x (a, b) | D
SELECT a FROM (SELECT id, email FROM users) AS x (a, b) | c
SELECT c FROM users AS u (a, b, c) | D
SELECT a, city FROM users AS u (a, b, c) | cc
SELECT x FROM (SELECT id, email FROM users) x | d
SELECT (x).email FROM (SELECT id, email FROM users) x | D
SELECT y.u FROM (SELECT u FROM users u) y | d
SELECT (y.u).email FROM (SELECT u FROM users u) y | d
SELECT (y.u).* FROM (SELECT u FROM users u) y | d*
SELECT "upper" FROM (SELECT upper(email) FROM users) x | d
SELECT "max", "case" FROM (SELECT max(email), CASE WHEN true THEN 1 END FROM users) x | dc
SELECT "?column?" FROM (SELECT email || 'x' FROM users) x | d
SELECT text FROM (SELECT 'x'::text, email FROM users) x | c
SELECT column2 FROM (VALUES (1, (SELECT email FROM users LIMIT 1))) v | D
SELECT column1 FROM (VALUES (1, (SELECT email FROM users LIMIT 1))) v | c
SELECT u.id, o.total, u.email FROM users u JOIN orders o ON o.user_id = u.id | ccD
SELECT * FROM users u JOIN orders o ON o.user_id = u.id | ccDccccc
SELECT * FROM users JOIN orders USING (id) | ccDcccc
SELECT id FROM users JOIN orders USING (id) | c
SELECT * FROM users a JOIN users b USING (email) | Dcccccc
SELECT email FROM users a JOIN users b USING (email) | D
SELECT email FROM users a FULL JOIN users b USING (email) | d
SELECT j.email FROM users a JOIN users b USING (email) AS j | D
SELECT * FROM users NATURAL JOIN orders | ccDcccc
SELECT * FROM users a NATURAL JOIN users b | ccDc
SELECT city FROM users NATURAL JOIN crm.contacts | c
SELECT * FROM (users u JOIN orders o ON true) AS j (a, b, c) | ccDccccc
SELECT j.c FROM (users u JOIN orders o ON true) AS j (a, b, c) | D
SELECT j FROM (users u JOIN orders o ON true) AS j | d
SELECT * FROM orders LEFT JOIN users ON true RIGHT JOIN crm.contacts ON true | ccccccDccDc
SELECT l.x FROM users u, LATERAL (SELECT u.email AS x) l | D
SELECT l.x FROM users u CROSS JOIN LATERAL (SELECT upper(u.email)) l(x) | d
SELECT v FROM users u, unnest(ARRAY[u.email]) v | d
SELECT v FROM users u, unnest(ARRAY[u.id]) v | c
SELECT g, email FROM users, generate_series(1, 2) g | cD
SELECT key, value FROM users u, json_each(to_json(u)) | dd
SELECT * FROM users u, json_each(to_json(u)) | ccDcd*
SELECT x.a FROM users u, json_to_record(to_json(u)) AS x(a text) | d
SELECT t FROM users u, regexp_split_to_table(u.email, '@') t | d
SELECT x, o FROM users u, unnest(ARRAY[u.email]) WITH ORDINALITY AS t(x, o) | dc
SELECT w FROM users u, XMLTABLE('/a' PASSING xmlelement(name a, u.email) COLUMNS w text PATH '.') | d
SELECT w FROM users u, JSON_TABLE(to_jsonb(u), '$' COLUMNS (w text PATH '$.email')) j | d
SELECT xmlelement(name a, email), xmlforest(email, id) FROM users | dd
SELECT JSON_OBJECT('a': email) FROM users | d
SELECT 1 UNION ALL SELECT id FROM users | c
SELECT name FROM users UNION SELECT email FROM users | D
SELECT 'x', id FROM users UNION ALL SELECT email, 1 FROM users | Dc
SELECT id FROM users EXCEPT SELECT 1 | c
SELECT a FROM (SELECT name AS a FROM users UNION ALL SELECT email FROM users) x | D
(SELECT email FROM users ORDER BY 1 LIMIT 1) UNION (SELECT 'x') | D
WITH a AS (SELECT email AS e, id FROM users) SELECT e, id FROM a | Dc
WITH a (x, y) AS (SELECT id, email FROM users) SELECT y, x FROM a | Dc
WITH a AS (SELECT email FROM users), b AS (SELECT * FROM a) SELECT * FROM b | D
WITH users AS (SELECT 1 AS email) SELECT email FROM users | clean
WITH users AS (SELECT * FROM users) SELECT email FROM users | D
WITH a AS (SELECT id FROM users) SELECT * FROM (WITH a AS (SELECT email FROM users) SELECT * FROM a) x, a | Dc
WITH RECURSIVE r AS (SELECT id, email FROM users UNION ALL SELECT id, email FROM r) SELECT * FROM r | cD
WITH RECURSIVE r (n, e) AS (SELECT 1, 'x' UNION ALL SELECT n + 1, (SELECT email FROM users LIMIT 1) FROM r) SELECT * FROM r | cD
WITH RECURSIVE r (a, b, c) AS (SELECT email, '', '' FROM users UNION SELECT '', a, b FROM r) SELECT a, b, c FROM r | DDD
WITH RECURSIVE r AS (SELECT id FROM users UNION ALL SELECT id FROM r) SEARCH DEPTH FIRST BY id SET o SELECT id, o FROM r | cc
WITH d AS (UPDATE users SET name = 'x' WHERE id = 1 RETURNING email, id) SELECT * FROM d | Dc
SELECT mail, id, name FROM mails | Dcc
SELECT * FROM shouted | cd
SELECT id FROM mails | c
SELECT loud FROM shouted s JOIN names n USING (id) | d
SELECT * FROM names | cc
SELECT mail FROM snapshot | D
SELECT * FROM odd | cu
SELECT card FROM payments | D
SELECT card, archived FROM payments_old | Dc
SELECT card FROM ONLY payments | D
SELECT phone FROM crm.contacts | D
SELECT contacts.phone FROM crm.contacts | D
SELECT ctid, tableoid, xmin FROM users | ccc
SELECT u.ctid FROM users u | c
SELECT nothing FROM users | u
SELECT u.nothing FROM users u | u
SELECT nobody.email FROM users | u
SELECT email(u) FROM users u | u
SELECT leak(id) FROM users | u
SELECT leak(1), id FROM users | uc
SELECT net_price(id), net_price(length(email)) FROM users | cd
SELECT * FROM nowhere | u*
SELECT id, nowhere.* FROM users, nowhere | cu*
SELECT x FROM nowhere | u
SELECT users.id FROM users, nowhere | c
SELECT * FROM leak(1) | u*
SELECT l.* FROM users, leak(1) l | u*
SELECT email ===> 'x' FROM users | u
SELECT id ===> 1 FROM users | u
SELECT id::text::blob FROM users | u
SELECT most_common_vals, tablename FROM pg_stats | Dc
SELECT * FROM pg_stats | cccDD
SELECT query, pid FROM pg_stat_activity | Dc
SELECT relname FROM pg_class, users | c
SELECT 1 FROM users | c
SELECT count(*) FROM users | c
SELECT $1, id FROM users | cc
SELECT pg_typeof(email), pg_column_size(email) FROM users | dd
SELECT to_json(email), email::jsonb FROM users | dd
SELECT users.email AS "***" FROM users | D
SELECT a.email, b.email FROM users a, users b | DD
SELECT encode(convert_to(email, 'UTF8'), 'hex') FROM users | d
SELECT (ARRAY[email])[1] FROM users | d
SELECT (SELECT count(*) FROM users WHERE email > u.email) FROM users u | c
SELECT CURRENT_DATE, current_user, id FROM users | ccc
SELECT "current_date" FROM (SELECT current_date, email FROM users) x | c
SELECT string_agg(name, ',' ORDER BY email) FROM users | d
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY email) FROM users | d
SELECT grouping(email), name FROM users GROUP BY ROLLUP (email), name | dc
INSERT INTO users (email) VALUES ('x') RETURNING * | ccDc
INSERT INTO users (email) VALUES ('x') RETURNING id, upper(email) | cd
INSERT INTO users AS n (email) VALUES ('x') RETURNING n.email | D
INSERT INTO orders (note) SELECT email FROM users RETURNING note | d
INSERT INTO orders (note) SELECT email FROM users RETURNING id, orders | cd
INSERT INTO orders SELECT id, id, name, email FROM users RETURNING total, note | cd
INSERT INTO orders (id, note) VALUES (1, (SELECT email FROM users)) RETURNING id, note | cd
INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET note = (SELECT email FROM users) RETURNING note | d
INSERT INTO orders SELECT * FROM json_populate_record(NULL::users, (SELECT to_json(u) FROM users u)) RETURNING id | d
UPDATE orders SET note = u.email FROM users u WHERE u.id = user_id RETURNING note, total | dc
UPDATE orders SET (note, total) = (SELECT email, 1 FROM users) WHERE id = 1 RETURNING note, total, id | ddc
WITH a AS (INSERT INTO orders (note) SELECT email FROM users RETURNING note, id) SELECT note, id FROM a | dc
UPDATE users SET name = 'x' WHERE id = 1 RETURNING old.email, new.email, old.id, new.name | DDcc
UPDATE users SET name = email WHERE id = 1 RETURNING old.name, new.name, new.id | cdc
UPDATE users SET name = 'x' WHERE id = 1 RETURNING old.*, new.* | ccDcccDc
UPDATE users AS old SET name = 'x' FROM orders new WHERE old.id = 1 RETURNING old.email, new.id | Dc
MERGE INTO users u USING orders o ON u.id = o.id WHEN MATCHED THEN UPDATE SET name = 'x' RETURNING merge_action(), u.email | cD
SELECT JSON_ARRAYAGG(email), JSON_OBJECTAGG(name: email), JSON_ARRAYAGG(name) FROM users | ddc
SELECT EXISTS (SELECT 1 FROM users u JOIN orders o ON u.email LIKE 'z%') | d
SELECT EXISTS (SELECT 1 FROM orders UNION SELECT 1 FROM users WHERE email LIKE 'z%') | d
SELECT 1 = ANY (SELECT u.id FROM users u JOIN orders o ON u.id = o.user_id) | c
WITH w AS (UPDATE orders SET note = u.email FROM users u WHERE u.id = 1 RETURNING total, note) SELECT * FROM w | cd
UPDATE users SET name = 'x' WHERE id = 1 RETURNING users.email, id | Dc
UPDATE orders o SET total = 1 FROM users u WHERE o.id = 1 RETURNING * | ccccccDc
UPDATE orders o SET total = 1 FROM users u WHERE o.id = 1 RETURNING u.email | D
DELETE FROM users WHERE id = 1 RETURNING * | ccDc
DELETE FROM orders USING users u WHERE orders.id = 1 RETURNING u.email, total | Dc
MERGE INTO orders o USING users u ON o.id = u.id WHEN MATCHED THEN DELETE RETURNING u.email, o.id | Dc
MERGE INTO orders o USING users u ON o.id = u.id WHEN MATCHED THEN DELETE RETURNING * | ccDccccc
SELECT * FROM users TABLESAMPLE SYSTEM (10) | ccDc
VALUES ((SELECT email FROM users LIMIT 1), 1), ('x', 2) | Dc
SELECT * FROM (SELECT * FROM (SELECT * FROM (SELECT * FROM users) a) b) c | ccDc
SELECT min(x) FROM (SELECT email AS x FROM users UNION ALL SELECT mail FROM mails) y | d
SELECT DISTINCT email FROM users GROUP BY email HAVING count(*) > 1 | D
SELECT CAST(email AS text), CAST(id AS text) FROM users | dc
SELECT email FROM users FOR UPDATE | D
EXPLAIN SELECT email FROM users | c
"""


def _cases() -> list[tuple[str, str]]:
    rows = (line.rsplit("|", 1) for line in CASES.strip().splitlines() if not line.endswith("?"))
    return [(sql.strip(), expected.strip()) for sql, expected in rows]


@pytest.mark.parametrize(("sql", "expected"), _cases())
def test_lineage(sql: str, expected: str) -> None:
    assert flows(sql) == expected


@pytest.mark.parametrize(("sql", "expected"), _cases())
def test_without_marks_everything_is_clean(sql: str, expected: str) -> None:
    private = "pg_stat_activity" in sql
    assert (flows(sql, UNMARKED) == "clean") is not private


def test_a_row_of_clean_columns_is_clean() -> None:
    assert flows("SELECT row(id, name) FROM users") == "c"


def test_sources_and_styles_are_named() -> None:
    (statement,) = understand("SELECT email || card FROM users, payments").statements
    (output,) = statement.outputs or ()
    assert output.flow.sources == {"public.users.email", "public.payments.card"}
    assert output.name == "?column?"


@pytest.mark.parametrize(("sql", "marks"), [
    ("SELECT id FROM users WHERE email = 'x'", ("public.users.email",)),
    ("SELECT id FROM users ORDER BY email", ("public.users.email",)),
    ("SELECT email FROM users ORDER BY 1", ("public.users.email",)),
    ("SELECT upper(email) AS e FROM users ORDER BY e", ("public.users.email",)),
    ("SELECT count(*) FROM users GROUP BY email", ("public.users.email",)),
    ("SELECT 1 FROM users a JOIN users b ON a.email = b.email", ("public.users.email",)),
    ("SELECT 1 FROM users a JOIN users b USING (email)", ("public.users.email",)),
    ("SELECT 1 FROM users a NATURAL JOIN orders", ("public.users.email",)),
    ("SELECT 1 FROM mails WHERE mail LIKE 'a%'", ("public.users.email",)),
    ("DELETE FROM users WHERE email = 'x'", ("public.users.email",)),
    ("SELECT email FROM users WHERE id = 1", ()),
    ("SELECT id FROM users ORDER BY name", ()),
])  # fmt: skip
def test_predicates_touch(sql: str, marks: tuple[str, ...]) -> None:
    assert understand(sql).predicate_touch == marks


def test_a_temporary_relation_may_hide_any_other() -> None:
    hidden = relation(77, "pg_temp_3.orders", "id")
    relations = {**CATALOG.relations, 77: hidden}
    by_name = {**CATALOG.by_name, ("pg_temp_3", "orders"): hidden}
    known = bind(replace(CATALOG, relations=relations, by_name=by_name), connection()).catalog
    assert flows("SELECT * FROM orders", known) == "u*"
    assert flows("SELECT * FROM public.orders", known) == "clean"


def test_wide_and_deep_queries_are_masked_rather_than_traced() -> None:
    sql = "SELECT * FROM users"
    for _ in range(12):
        sql = f"SELECT x.*, x.* FROM ({sql}) x"
    (statement,) = understand(sql).statements
    assert statement.outputs is None
    assert understand("SELECT email FROM users" + " UNION ALL SELECT email FROM users" * 250).not_understood is None
    joins = "SELECT u0.email FROM users u0 " + " ".join(f"JOIN users u{n} ON u{n}.id = u0.id" for n in range(1, 100))
    assert flows(joins) == "D"
    assert flows("SELECT ''" + " || email" * 200 + " FROM users") == "d"


def test_marks_in_reach_go_through_views() -> None:
    assert understand("SELECT id FROM shouted").marks_in_reach == ("public.users.email",)
    assert understand("SELECT id FROM orders").marks_in_reach == ()
    assert BOUND.reach[3] == {"public.payments.card"}
