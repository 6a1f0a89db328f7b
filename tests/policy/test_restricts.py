"""Which WHERE restricts, by text."""

from __future__ import annotations

import pytest
from policy_sample import judge

NOT_RESTRICTING = """
true
false
1 = 1
1 < 2
'a' = 'a'
now() > '2000-01-01'
random() < 2
$1
$1 = 1
$1 IS NULL
NOT false
NOT (1 = 2)
id = id
id = orders.id
orders.id = id
id >= id
id = id::int
id::text = id::text
id = (id)
id = id + 0
id + 0 = id
id < id + 1
id BETWEEN id AND id
id IN (id)
id IN (1, id)
id = ANY (ARRAY(SELECT 1)) OR true
id IS NOT DISTINCT FROM id
id IS NOT NULL
NOT (id IS NULL)
id = 1 OR true
id = 1 OR 1 = 1
id = 1 OR id = id
true AND 1 = 1
NOT (id = 1 AND false)
NOT (NOT true)
(id = 1) IS NOT NULL
(id = 1) IS NOT UNKNOWN
(id = id) IS TRUE
note LIKE '%'
note LIKE '%%'
note ILIKE '%'
note ~ '.*'
note ~ ''
coalesce(id = 1, true)
CASE WHEN id = 1 THEN true ELSE true END
CASE WHEN true THEN true END
EXISTS (SELECT 1)
EXISTS (SELECT 1 FROM users)
EXISTS (SELECT 1 FROM users WHERE users.id = 1)
NOT EXISTS (SELECT 1 FROM users WHERE users.id < 0)
id IN (SELECT id FROM orders)
(SELECT true)
(SELECT count(*) FROM users) > 0
users.id = 1
(id = 1 AND note = 'x') OR true
pg_sleep(1) IS NOT NULL
true::bool
current_user = 'app'
length('x') = 1
lower(note) = lower(note)
"""

RESTRICTING = """
id = 1
id = $1
id IN (1, 2)
id > 3 AND note = 'x'
id = 1 AND true
id = 1 OR id = 2
NOT (id = 1 OR false)
note LIKE 'a%'
note ~ '^a'
note IS NULL
note IS NOT NULL
id = (SELECT max(id) FROM users)
id IN (SELECT user_id FROM orders WHERE total > 3)
id IN (SELECT id FROM users)
EXISTS (SELECT 1 FROM users u WHERE u.id = orders.user_id)
note <> trim(note)
total > user_id
CURRENT OF c
(id, note) = (1, 'x')
id = ANY ('{1,2}'::int[])
id BETWEEN 1 AND 5
coalesce(note, '') = ''
lower(note) = 'x'
orders.id = 1
id = 1 IS TRUE
CASE WHEN id = 1 THEN note = 'x' ELSE id = 3 END
"""


def _lines(table: str) -> list[str]:
    return table.strip().splitlines()


@pytest.mark.parametrize("where", _lines(NOT_RESTRICTING))
def test_does_not_restrict(where: str) -> None:
    assert (
        judge(f"UPDATE orders SET total = 1 WHERE {where}", functions=("public.lower",)).rule == "standard/update-all"
    )
    assert judge(f"DELETE FROM orders WHERE {where}", functions=("public.lower",)).rule == "standard/delete-all"


@pytest.mark.parametrize("where", _lines(RESTRICTING))
def test_restricts(where: str) -> None:
    assert judge(f"UPDATE orders SET total = 1 WHERE {where}", functions=("public.lower",)).rule == "standard/update"
    assert judge(f"DELETE FROM orders WHERE {where}", functions=("public.lower",)).rule == "standard/delete"


@pytest.mark.parametrize(("sql", "rule"), [
    ("DELETE FROM orders o USING users u WHERE u.id = 1", "delete-all"),
    ("DELETE FROM orders o USING users u WHERE u.id = o.user_id AND u.name = 'x'", "delete"),
    ("DELETE FROM orders a USING orders b WHERE a.id = b.id", "delete-all"),
    ("DELETE FROM orders a USING orders b WHERE a.id < b.id AND a.note = b.note", "delete"),
    ("UPDATE orders o SET total = 1 FROM users u WHERE u.name = 'x'", "update-all"),
    ("UPDATE orders o SET total = 1 FROM users u WHERE name = 'x'", "update-all"),
    ("UPDATE orders o SET total = 1 FROM orders p WHERE p.id = o.id", "update-all"),
    ("UPDATE orders o SET total = 1 FROM users u WHERE o.id = 2", "update"),
    ("DELETE FROM orders WHERE public.orders.id = 1", "delete"),
    ("DELETE FROM nowhere WHERE x = 1", "delete"),
])  # fmt: skip
def test_joined_writes(sql: str, rule: str) -> None:
    assert judge(sql).rule == f"standard/{rule}"
