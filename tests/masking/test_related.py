"""What a condition gives away, as a table: each statement's columns by letter, as in `test_lineage`.

A clean column that is compared with a marked one is derived; a marked column compared with constants, or in a condition
beside others, makes nothing so.
"""

# ruff: noqa: E501  one statement a line
from __future__ import annotations

import pytest
from policy_sample import flows

TOLD = """
SELECT g FROM generate_series(1, 9) g, users WHERE g = length(email) | d
SELECT g FROM generate_series(1, 9) g JOIN users ON length(email) >= g | d
SELECT g FROM generate_series(1, 9) g WHERE g = (SELECT length(email) FROM users LIMIT 1) | d
SELECT g FROM generate_series(1, 9) g WHERE g IN (SELECT length(email) FROM users) | d
SELECT g FROM generate_series(1, 9) g WHERE g = ANY (ARRAY(SELECT length(email) FROM users)) | d
SELECT g FROM generate_series(1, 9) g WHERE EXISTS (SELECT 1 FROM users WHERE length(email) = g) | d
SELECT g FROM generate_series(1, 9) g WHERE NOT EXISTS (SELECT 1 FROM users u WHERE NOT (length(u.email) = g)) | d
SELECT g, (SELECT 1 FROM users WHERE length(email) = g) FROM generate_series(1, 9) g | dc
SELECT max(g) FROM generate_series(1, 9) g, users WHERE g <= length(email) | d
SELECT g FROM generate_series(1, 9) g, users ORDER BY abs(g - length(email)) LIMIT 1 | d
SELECT g, abs(g - length(email)) AS x FROM generate_series(1, 9) g, users ORDER BY x | dd
SELECT g, abs(g - length(email)) FROM generate_series(1, 9) g, users ORDER BY 2 | dd
SELECT g FROM generate_series(1, 9) g, users GROUP BY g, email HAVING g = length(email) | d
SELECT DISTINCT ON (g = length(email)) g FROM generate_series(1, 9) g, users | d
SELECT a, b FROM generate_series(1, 9) a, generate_series(1, 9) b, users WHERE a = length(email) AND b = a | dd
SELECT c FROM (VALUES ('a'), ('b')) v (c), users WHERE left(email, 1) = v.c | d
SELECT v FROM (VALUES ('a'), ('b')) v (c), users WHERE left(email, 1) = v.c | d
SELECT v.* FROM (VALUES ('a'), ('b')) v (c), users WHERE ROW(v.*) = ROW(email) | d
SELECT c FROM (VALUES ('a')) v (c), LATERAL (SELECT 1 FROM users WHERE left(email, 1) = c) x | d
SELECT c FROM (VALUES ('a')) v (c), users WHERE (c = 'a' AND email LIKE 'a%') OR (c = 'b' AND email LIKE 'b%') | d
SELECT c FROM (VALUES ('a')) v (c), users WHERE CASE c WHEN 'a' THEN email LIKE 'a%' END | d
WITH RECURSIVE r (s) AS (SELECT '' UNION ALL SELECT s || c FROM r, (VALUES ('a')) v (c) WHERE EXISTS (SELECT 1 FROM users WHERE email LIKE s || c || '%')) SELECT s FROM r | d
SELECT x.g FROM (SELECT g, length(email) AS n FROM generate_series(1, 9) g, users) x WHERE g = n | d
WITH z AS (SELECT g FROM generate_series(1, 9) g), y AS (SELECT length(email) AS n FROM users) SELECT g FROM z, y WHERE g = n | d
SELECT o.note FROM orders o JOIN users u ON o.note = u.email | d
SELECT o.note FROM orders o JOIN (SELECT email AS note FROM users) u USING (note) | d
SELECT o.note, o.id FROM orders o WHERE o.note IN (SELECT email FROM users) | dc
SELECT n FROM generate_series(1, 9) n, mails WHERE length(mail) = n | d
SELECT k FROM (SELECT g AS k, g = length(email) AS hit FROM generate_series(1, 9) g, users) x WHERE hit | d
SELECT x.k FROM (SELECT g AS k, g = length(email) AS hit FROM generate_series(1, 9) g, users) x ORDER BY x.hit DESC LIMIT 1 | d
WITH x AS (SELECT g AS k, g = (SELECT length(email) FROM users LIMIT 1) AS hit FROM generate_series(1, 9) g), y AS (SELECT * FROM x) SELECT k FROM y WHERE hit | d
SELECT k FROM (SELECT k, k = left(email, 1) AS hit FROM (SELECT 'a' AS k UNION ALL SELECT 'b') v, users) x WHERE hit | d
"""
COUNTED = """
SELECT count(*) FROM generate_series(1, (SELECT length(email) FROM users LIMIT 1)) | d
SELECT count(*), id FROM users, string_to_table(email, NULL) GROUP BY id | dc
SELECT count(*) FROM (SELECT 1 FROM users, generate_series(1, length(email))) x | d
SELECT max(n) FROM (SELECT row_number() OVER () AS n FROM users, generate_series(1, length(email))) x | d
SELECT count(*) FROM generate_series(1, 99) g WHERE g <= (SELECT length(email) FROM users LIMIT 1) | d
SELECT sum(1) FROM (SELECT g FROM generate_series(1, 99) g, users WHERE g <= length(email)) x | d
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < (SELECT length(email) FROM users LIMIT 1)) SELECT count(*), max(i) FROM n | dd
WITH n AS (SELECT generate_series(1, 99) AS g) SELECT count(*) FROM n WHERE g < (SELECT length(email) FROM users LIMIT 1) | d
SELECT g FROM generate_series(1, 99) g OFFSET (SELECT length(email) FROM users LIMIT 1) LIMIT 1 | d
SELECT count(*) FROM (SELECT g FROM generate_series(1, 99) g LIMIT (SELECT length(email) FROM users LIMIT 1)) x | d
SELECT count(*) FROM (SELECT generate_series(1, length(email)) FROM users) x | d
SELECT cardinality(ARRAY(SELECT 1 FROM generate_series(1, (SELECT length(email) FROM users LIMIT 1)))) | d
SELECT array_length(ARRAY(SELECT 1 FROM generate_series(1, 9) g, users WHERE g < length(email)), 1) | d
SELECT EXISTS (SELECT 1 FROM (SELECT 1 FROM users WHERE email LIKE 'a%') x) | d
SELECT EXISTS (WITH a AS (SELECT 1 FROM users WHERE email LIKE 'a%') SELECT 1 FROM a) | ?
"""
ORDINARY = """
SELECT count(*) FROM users WHERE email LIKE 'a%' | c
SELECT id, name FROM users WHERE name ILIKE '%a%' OR email ILIKE '%a%' ORDER BY name LIMIT 10 | cc
SELECT id, city FROM users WHERE email = 'x' AND city = 'oslo' | cc
SELECT o.id, o.user_id FROM orders o WHERE o.user_id IN (SELECT id FROM users WHERE email LIKE 'a%') | cc
SELECT o.id, o.user_id FROM orders o WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = o.user_id AND u.email > 'a') | cc
SELECT o.id, u.id FROM orders o JOIN users u ON u.id = o.user_id AND u.email LIKE 'a%' | cc
SELECT o.id, u.name FROM orders o JOIN users u ON o.note = u.email | cc
SELECT count(*), sum(o.total) FROM orders o JOIN users u ON o.note = u.email | cc
SELECT id FROM users ORDER BY email LIMIT 3 | c
SELECT id, row_number() OVER (ORDER BY id) FROM users WHERE email LIKE 'a%' | cc
SELECT d, count(o.id) FROM generate_series(1, 9) d LEFT JOIN orders o ON o.total = d LEFT JOIN users u ON u.id = o.user_id AND u.email IS NOT NULL GROUP BY d | cc
SELECT id FROM users LIMIT 10 OFFSET 20 | c
SELECT id, label FROM (SELECT id, name || ' ' || email AS label FROM users) x WHERE label ILIKE '%a%' ORDER BY label | cd
SELECT count(*), id FROM (SELECT id, concat(name, email) AS label FROM users) x WHERE label > 'a' GROUP BY id | cc
SELECT id, cardinality(ARRAY(SELECT id FROM orders WHERE user_id = users.id)) FROM users WHERE email > 'a' | cc
SELECT city, count(*) FROM users WHERE email IS NOT NULL GROUP BY city HAVING count(*) > 1 | cc
"""


def _cases(text: str) -> list[tuple[str, ...]]:
    return [tuple(part.strip() for part in line.rsplit("|", 1)) for line in text.strip().splitlines()]


@pytest.mark.parametrize(("sql", "expected"), _cases(TOLD))
def test_what_is_compared_with_a_marked_column_is_told_by_the_rows_that_are_left(sql: str, expected: str) -> None:
    assert flows(sql) == expected


@pytest.mark.parametrize(("sql", "expected"), _cases(COUNTED))
def test_a_number_of_rows_that_a_marked_value_decides_is_such_a_value(sql: str, expected: str) -> None:
    assert flows(sql) == expected


@pytest.mark.parametrize(("sql", "expected"), _cases(ORDINARY))
def test_conditions_of_reports_stay_what_they_were(sql: str, expected: str) -> None:
    assert flows(sql) == expected
