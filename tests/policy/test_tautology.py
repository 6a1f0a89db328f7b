"""Conditions tried on values: what is true of every row restricts nothing, and ordinary conditions are left alone."""

from __future__ import annotations

import pytest
from policy_sample import CATALOG

from gateway.policy.parse import parse
from gateway.policy.tautology import always
from gateway.policy.tree import kind_of

ALWAYS = """
true
id = id
id = coalesce(id, 1)
id = greatest(id, id)
id = (SELECT id)
id IN (SELECT id)
id = ANY (ARRAY[1, id]::int[])
id - id = 0
id < id + 1
abs(id) >= 0
length(note) >= 0
id <> 0 OR id = 0
id IN (1) OR id NOT IN (1)
id = 1 OR NOT id = 1
id > 0 OR id <= 0
id > 5 OR id <= 5 OR random() < 2
note IS NOT NULL OR note IS NULL
note = 'x' OR note <> 'x' OR note IS NULL
EXISTS (SELECT 1 WHERE id = id)
ARRAY[id] = ARRAY[id]
ROW(id, note) = ROW(id, note)
id BETWEEN id - 1 AND id + 1
nullif(id, NULL) = id
CASE id WHEN id THEN true END
(id = 1) = (id = 1)
position('' in note) = 1
note LIKE '%' OR note IS NULL
note ~ '.*'
id = id::int
id = id AND total = total AND note = note AND user_id = user_id
"""
SOMETIMES = """
id = 1
id > 0
id <> 12345
id <> -3
id > -9223372036854775808
total >= 0
note <> 'archived'
note NOT LIKE '%foo%'
lower(note) <> 'paid'
note IS NOT NULL
note = '' OR note = 'a'
id = user_id
id < user_id OR user_id < id
NOT id = 1
length(note) > 0
length(note) < 100
length(note) <= 5000 AND note <> 'x'
id < 5000000000
position('@' in note) = 0
id * 2 <> 10
id IN (1, 2, 3)
id NOT IN (7, 8)
id BETWEEN 1 AND 5
note = ANY (ARRAY['a', 'b'])
random() < 2
note::date < now()
id = $1
NULL
id = NULL
EXISTS (SELECT 1 FROM users)
id IN (SELECT user_id FROM orders)
CASE WHEN id = 1 THEN true ELSE false END
note <> 'a' AND note <> 'b'
coalesce(note, '') = ''
"""


def verdict(condition: str) -> bool:
    (statement,) = parse(f"DELETE FROM orders WHERE {condition}".encode()).statements
    return always(kind_of(statement.node)[1]["whereClause"], CATALOG.relations[2])


@pytest.mark.parametrize("condition", ALWAYS.strip().splitlines())
def test_true_of_every_row(condition: str) -> None:
    assert verdict(condition)


@pytest.mark.parametrize("condition", SOMETIMES.strip().splitlines())
def test_not_shown_to_be_true_of_every_row(condition: str) -> None:
    assert not verdict(condition)


def test_a_large_condition_is_left_to_the_text() -> None:
    assert not verdict(" OR ".join(f"id = {n}" for n in range(500)))
