"""How many rows a WHERE leaves at most, where a unique key proves it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from policy_sample import CATALOG, connection

from gateway.masking.marks import bind
from gateway.policy.catalog import Catalog
from gateway.policy.facts import SessionState, facts
from gateway.policy.weighing import begins_itself, commits_itself, writes

ID, PAIR = frozenset({1}), frozenset({2, 3})


def catalog(**changes: object) -> Catalog:
    relations = {
        oid: replace(relation, keys=(ID, PAIR) if relation.name == "orders" else (ID,))
        for oid, relation in CATALOG.relations.items()
    }
    by_name = {(found.schema, found.name): found for found in relations.values()}
    changed = replace(CATALOG, relations=relations, by_name=by_name, **changes)  # type: ignore[arg-type]
    return bind(changed, connection(marks=())).catalog


def most(sql: str, known: Catalog) -> int | None:
    (statement,) = facts(sql.encode(), SessionState(), known).statements
    (act,) = [act for act in statement.acts if act.what in {"update", "delete"}]
    return act.most


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("id = 1", 1),
        ("1 = id", 1),
        ("id = $1", 1),
        ("id = '7'::int", 1),
        ("orders.id = 1", 1),
        ("public.orders.id = 1", None),
        ("id IN (1, 2, $3)", 3),
        ("id IN (1, 2) AND id = 5", 1),
        ("user_id = 1 AND total = 2", 1),
        ("user_id IN (1, 2) AND total IN (1, 2, 3)", 6),
        ("user_id = 1", None),
        ("id = 1 OR id = 2", None),
        ("NOT id = 1", None),
        ("id <> 1", None),
        ("id = user_id", None),
        ("id = user_id AND note = 'x'", None),
        ("id = (SELECT 1)", None),
        ("id = (random() * 10)::int", None),
        ("id = ANY ($1)", None),
        ("id NOT IN (1, 2)", None),
        ("id OPERATOR(public.=) 1", None),
        ("(id = 1 OR note = 'x') AND total = 1", None),
    ],
)
def test_what_a_key_proves(where: str, expected: int | None) -> None:
    assert most(f"UPDATE orders SET note = 'x' WHERE {where}", catalog()) == expected
    assert most(f"DELETE FROM orders WHERE {where}", catalog()) == expected


def test_a_joined_relation_may_own_a_bare_name() -> None:
    known = catalog()
    assert most("UPDATE orders SET note = 'x' FROM users WHERE id = 1 AND users.id = orders.user_id", known) is None
    assert most("UPDATE orders o SET note = 'x' FROM users WHERE o.id = 1 AND users.id > o.user_id", known) == 1


def test_what_makes_a_key_prove_nothing() -> None:
    sql = "DELETE FROM payments WHERE id = 1"
    assert most(sql, catalog()) is None  # its child has no such key
    sql = "DELETE FROM users WHERE id = 1"
    assert most(sql, catalog()) == 1
    assert most(sql, catalog(operators={("public", "="): ""})) is None
    assert most(sql, catalog(operators={("public", "="): "citext"})) == 1


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE users SET name = 'x' WHERE id = 1", []),
        ("UPDATE users SET name = 'x' WHERE id > 1", [(0, "public.users", True)]),
        ("SELECT 1; DELETE FROM users WHERE id > 1", [(1, "public.users", True)]),
        ("DELETE FROM users", []),  # does not restrict: there is nothing to weigh
        ("WITH d AS (DELETE FROM users WHERE id > 1 RETURNING 1) SELECT 1", [(0, "public.users", False)]),
        ("EXPLAIN DELETE FROM users WHERE id > 1", []),
        ("EXPLAIN ANALYZE DELETE FROM users WHERE id > 1", [(0, "public.users", False)]),
        ("EXPLAIN (ANALYZE off, ANALYZE) DELETE FROM users WHERE id > 1", [(0, "public.users", False)]),
        ("EXPLAIN (ANALYZE false) DELETE FROM users WHERE id > 1", []),
        ("PREPARE p AS DELETE FROM users WHERE id > 1", []),
        ("PREPARE p AS DELETE FROM users WHERE id > 1; EXECUTE p", [(1, "public.users", True)]),
        ("COPY (DELETE FROM users WHERE id > 1 RETURNING 1) TO STDOUT", [(0, "public.users", True)]),
        ("INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'", []),
    ],
)
def test_which_writes_are_weighed(sql: str, expected: list[tuple[int, str, bool]]) -> None:
    found = facts(sql.encode(), SessionState(), catalog())
    assert [(write.index, write.relation, write.counted) for write in writes(found)] == expected


@pytest.mark.parametrize(
    ("sql", "begins", "commits"),
    [
        ("SELECT 1; SELECT 2", False, False),
        ("BEGIN; SELECT 1", True, False),
        ("BEGIN; SELECT 1; COMMIT", True, True),
        ("SELECT 1; ROLLBACK; SELECT 2", True, True),
        ("COMMIT", True, False),
    ],
)
def test_strings_that_say_themselves_where_a_transaction_ends(sql: str, begins: bool, commits: bool) -> None:
    found = facts(sql.encode(), SessionState(), catalog())
    assert (begins_itself(found), commits_itself(found)) == (begins, commits)
