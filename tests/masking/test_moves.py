"""Where marked values go: columns that receive them are marked, and what was read masked is not written back."""

# ruff: noqa: E501  tables of cases
from __future__ import annotations

from dataclasses import replace

import pytest
from policy_sample import BOUND, CATALOG, catalog, connection, relation, understand

from gateway.masking.carried import Carried
from gateway.masking.marks import bind
from gateway.masking.pseudonyms import of_connection
from gateway.model import Mark, MaskStyle, Parameter
from gateway.policy.catalog import Catalog, Relation
from gateway.policy.facts import SessionState, facts
from gateway.policy.parse import parse
from gateway.policy.returned import returned

STYLED = catalog(marks=(
    Mark("public", "users", "email"), Mark("public", "users", "city", MaskStyle.LAST4),
    Mark("public", "payments", "card", MaskStyle.PSEUDONYM),
))  # fmt: skip
MAIL = frozenset({"public.users.email"})
NAMES = of_connection(bytes(32), "orders")
OURS = NAMES.of("public.payments.card", b"4111").decode()
FOREIGN = of_connection(bytes(32), "billing").of("public.payments.card", b"4111").decode()


@pytest.mark.parametrize(("sql", "expected"), [
    ("CREATE TABLE t AS SELECT id, email FROM users", "public.t.email"),
    ("CREATE TABLE crm.t AS SELECT upper(email), id AS email FROM users", "crm.t.upper"),
    ("CREATE TABLE t (a, b) AS SELECT name, email || '' FROM users", "public.t.b"),
    ("CREATE TABLE t AS SELECT email || '' , name FROM users", "public.t.?column?"),
    ("CREATE TABLE t AS TABLE users", "public.t.email"),
    ("CREATE TABLE t AS SELECT * FROM users NATURAL JOIN nowhere", "public.t.*"),
    ("CREATE TABLE t AS SELECT id, name FROM users WHERE email = 'x'", ""),
    ("CREATE TABLE t AS SELECT u FROM users u", "public.t.u"),
    ("CREATE TABLE t AS WITH w AS (SELECT email AS e FROM users) SELECT e, 1 AS one FROM w", "public.t.e"),
    ("CREATE TABLE t AS EXECUTE marked", "public.t.*"),
    ("CREATE TEMP TABLE t AS SELECT email FROM users", ""),
    ("CREATE MATERIALIZED VIEW m AS SELECT email FROM users", ""),
    ("SELECT email, id INTO t FROM users", "public.t.email"),
    ("SELECT mail INTO t FROM mails UNION SELECT name FROM users", "public.t.mail"),
    ("CREATE TABLE t (LIKE users INCLUDING ALL)", "public.t.email"),
    ("CREATE TABLE t (LIKE shouted)", "public.t.loud"),
    ("CREATE TABLE t (LIKE orders)", ""),
    ("CREATE TABLE t (LIKE nowhere)", "public.t.*"),
    ("INSERT INTO orders (note) SELECT email FROM users", "public.orders.note"),
    ("INSERT INTO orders SELECT id, id, 1, mail FROM mails", "public.orders.note"),
    ("INSERT INTO orders (id, note) VALUES (1, (SELECT email FROM users LIMIT 1))", "public.orders.note"),
    ("INSERT INTO orders (id, note) SELECT id, name FROM users", ""),
    ("INSERT INTO orders SELECT * FROM users NATURAL JOIN nowhere", "public.orders.id public.orders.user_id public.orders.total public.orders.note"),
    ("WITH w AS (SELECT email FROM users) INSERT INTO orders (note) SELECT email FROM w", "public.orders.note"),
    ("WITH w AS (SELECT email AS e FROM users), i AS (INSERT INTO orders (note) SELECT e FROM w RETURNING id) SELECT * FROM i", "public.orders.note"),
    ("INSERT INTO users (email) SELECT email FROM users", ""),
    ("INSERT INTO users (name) SELECT email FROM users", "public.users.name"),
    ("INSERT INTO orders (id, note) SELECT id, email FROM users ON CONFLICT (id) DO UPDATE SET total = excluded.total", "public.orders.note public.orders.total"),
    ("INSERT INTO users (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = users.email", "public.users.name"),
    ("INSERT INTO users (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name", ""),
    ("INSERT INTO names (name) SELECT email FROM users", "public.users.name"),
    ("UPDATE orders SET note = u.email FROM users u WHERE u.id = orders.user_id", "public.orders.note"),
    ("UPDATE orders SET note = (SELECT email FROM users LIMIT 1), total = 1 WHERE id = 1", "public.orders.note"),
    ("UPDATE orders SET (note, total) = (SELECT email, id FROM users LIMIT 1) WHERE id = 1", "public.orders.note public.orders.total"),
    ("UPDATE users SET name = lower(email) WHERE id = 1", "public.users.name"),
    ("UPDATE users SET email = name WHERE id = 1", ""),
    ("UPDATE users SET name = 'x' WHERE email = 'y'", ""),
    ("MERGE INTO orders o USING users u ON o.id = u.id WHEN MATCHED THEN UPDATE SET note = u.email WHEN NOT MATCHED THEN INSERT (id, note) VALUES (u.id, u.name)", "public.orders.note"),
    ("MERGE INTO orders o USING users u ON o.id = u.id WHEN NOT MATCHED THEN INSERT VALUES (u.id, 1, 2, u.email)", "public.orders.note"),
    ("ALTER TABLE users ALTER COLUMN name TYPE text USING email", "public.users.name"),
    ("ALTER TABLE users ALTER COLUMN name TYPE varchar USING name || ''", ""),
    ("EXPLAIN ANALYZE INSERT INTO orders (note) SELECT email FROM users", "public.orders.note"),
    ("EXECUTE moving", "public.orders.note"),
    ("PREPARE p AS INSERT INTO orders (note) SELECT email FROM users", ""),
    ("SELECT email FROM users", ""),
])  # fmt: skip
def test_what_receives_marked_values_is_marked(sql: str, expected: str) -> None:
    state = SessionState(prepared={
        "marked": b"SELECT email FROM users", "moving": b"INSERT INTO orders (note) SELECT email FROM users",
    })  # fmt: skip
    (statement,) = understand(sql, state).statements
    assert " ".join(map(str, statement.carries)) == expected
    if expected:
        assert all(each.sources or "nowhere" in sql or "EXECUTE marked" in sql for each in statement.carries)


@pytest.mark.parametrize(("sql", "expected"), [
    ("ALTER TABLE t RENAME TO u", "public.u.mail public.u.x"), ("ALTER TABLE t SET SCHEMA crm", "crm.t.mail crm.t.x"),
    ("ALTER TABLE t RENAME COLUMN x TO y", "public.t.y"), ("ALTER TABLE t RENAME COLUMN z TO y", ""),
    ("ALTER TABLE made_just_now RENAME TO u", "public.u.*"), ("ALTER TABLE crm.made RENAME a TO b", "crm.made.*"),
    ("ALTER TABLE orders RENAME TO u", ""), ("ALTER TABLE users RENAME email TO e", ""), ("ALTER INDEX i RENAME TO j", ""),
])  # fmt: skip
def test_a_table_that_is_not_committed_yet_takes_its_marks_to_another_name(sql: str, expected: str) -> None:
    promised = (Carried("public", "t", "mail", 2, MAIL), Carried("public", "t", "x", 0, MAIL))
    (statement,) = understand(sql, known=replace(BOUND, carried=promised)).statements
    assert " ".join(map(str, statement.carries)) == expected


def test_many_rows_of_constants_fill_nothing() -> None:
    """Whatever their number: lineage gives up on large statements, and would call all of them unknown."""
    rows = ", ".join(f"({n}, 'name {n}', lower('A{n}'), 'x' || {n})" for n in range(3000))
    for changed, expected in ((rows, []), (rows.replace("'name 2999'", "public.leak(1)"), ["public.users.name"])):
        text = f"INSERT INTO users VALUES {changed}".encode()
        (statement,) = facts(text, SessionState(), BOUND, {text: parse(text)}).statements
        assert [str(each) for each in statement.carries] == expected


def test_what_reads_what_was_just_filled_is_sent_by_itself() -> None:
    found = understand("INSERT INTO orders (note) SELECT email FROM users; SELECT note FROM orders")
    assert "not-judged-together" in {act.what for act in found.statements[1].acts}
    assert found.statements[1].outputs is None


def known(*relations: Relation) -> Catalog:
    every = {**CATALOG.relations, **{each.oid: each for each in relations}}
    return replace(CATALOG, relations=every, by_name={(each.schema, each.name): each for each in every.values()})


def marked(bound: Catalog, oid: int) -> dict[int, frozenset[str]]:
    return {number: flow.sources for number, flow in bound.flows.get(oid, {}).items() if not flow.clean}


def test_a_carried_mark_follows_its_table_through_renames_and_ends_with_it() -> None:
    carried = (
        Carried("public", "t", "mail", 2, MAIL),
        Carried("public", "w", sources=MAIL),
        Carried("public", "l", "x", 0, MAIL),
    )
    before = replace(CATALOG, carried=carried)
    nothing_yet = bind(CATALOG, connection(), before).catalog
    assert nothing_yet.carried == carried
    made = known(relation(70, "t", "id post"), relation(71, "w", "id b"), relation(72, "l", "id x"),
                 relation(73, "seen", "p", "v", reads=frozenset({70}), definition="SELECT t.post AS p FROM public.t"))  # fmt: skip
    first = bind(made, connection(), nothing_yet).catalog
    assert [marked(first, oid) for oid in (70, 71, 72, 73)] == [{2: MAIL}, {1: MAIL, 2: MAIL}, {2: MAIL}, {1: MAIL}]
    moved = known(relation(70, "crm.u", "id post"), relation(74, "t", "id post"), relation(75, "child", "id post", parents=frozenset({70})),
                  relation(72, "l", "id"))  # fmt: skip
    moved = replace(moved, relations={**moved.relations, 70: replace(moved.relations[70], children=frozenset({75}))})
    later = bind(moved, connection(), first).catalog
    assert [marked(later, oid) for oid in (70, 74, 75)] == [{2: MAIL}, {}, {2: MAIL}]
    assert [str(each) for each in later.carried] == ["crm.u.post"]


def test_a_child_that_leaves_its_parent_keeps_its_marks() -> None:
    first = bind(CATALOG, connection()).catalog
    assert marked(first, 4) == {2: frozenset({"public.payments.card"})}
    alone = known(
        replace(CATALOG.relations[3], children=frozenset()), replace(CATALOG.relations[4], parents=frozenset())
    )
    assert marked(bind(alone, connection(), first).catalog, 4) == marked(first, 4)


def test_a_generated_column_holds_what_it_is_computed_from() -> None:
    with_generated = replace(CATALOG, computed={(1, 4): frozenset({3}), (1, 2): frozenset({1}), (2, 4): None})
    found = bind(with_generated, connection()).catalog
    assert marked(found, 1) == {3: MAIL, 4: MAIL}
    assert not marked(found, 2)


def refused(sql: str, *parameters: bytes | None, prepared: str = "SELECT 1") -> list[str]:
    state = SessionState(prepared={"p": prepared.encode()})
    bound = tuple(Parameter(25, 0, value) for value in parameters)
    found = returned(understand(sql, state, STYLED), bound, NAMES)
    return [act.target for statement in found.statements for act in statement.acts if act.what == "masked-value"]


@pytest.mark.parametrize("sql", [
    "UPDATE users SET email = '***' WHERE id = 1",
    "UPDATE users SET name = 'x', email = '***'::varchar WHERE id = 1",
    "UPDATE users SET (name, email) = ('x', '***') WHERE id = 1",
    "UPDATE users SET email = v.e FROM (VALUES (1, '***')) v(id, e) WHERE v.id = users.id",
    "UPDATE users SET email = (SELECT '***') WHERE id = 1",
    "WITH v AS (SELECT '***' AS e) UPDATE users SET email = v.e FROM v WHERE id = 1",
    "UPDATE users SET city = '***ille' WHERE id = 1",
    "UPDATE users SET city = '***' WHERE id = 1",
    f"UPDATE payments SET card = '{OURS}' WHERE id = 1",
    f"UPDATE payments SET card = '{OURS[:15]}' WHERE id = 1",
    f"UPDATE payments_old SET card = '{OURS}' WHERE id = 1",
    "INSERT INTO users (id, email) VALUES (1, 'a@b.c'), (2, '***')",
    "INSERT INTO users VALUES (1, 'x', '***', 'y')",
    "INSERT INTO users (id, email) SELECT id, '***' FROM orders",
    "INSERT INTO users SELECT * FROM (VALUES (1, 'x', '***', 'y')) v",
    "INSERT INTO users (id, email) SELECT 1, 'x' UNION ALL SELECT 2, '***'",
    "WITH v(e) AS (VALUES ('***')) INSERT INTO users (email) SELECT e FROM v",
    "INSERT INTO users (id, email) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET email = '***'",
    "MERGE INTO users u USING orders o ON u.id = o.id WHEN MATCHED THEN UPDATE SET email = '***'",
    "MERGE INTO users u USING orders o ON u.id = o.id WHEN NOT MATCHED THEN INSERT (id, email) VALUES (1, '***')",
    "WITH w AS (UPDATE users SET email = '***' WHERE id = 1 RETURNING id) SELECT * FROM w",
    "UPDATE users SET email = '***' || 'x' WHERE id = 1",
    "INSERT INTO mails (mail) VALUES ('***')",
    "PREPARE q AS UPDATE users SET email = '***' WHERE id = 1",
    "EXPLAIN UPDATE users SET email = '***' WHERE id = 1",
])  # fmt: skip
def test_what_was_read_masked_is_not_written_back(sql: str) -> None:
    assert refused(sql)


@pytest.mark.parametrize("sql", [
    "UPDATE users SET name = '***' WHERE id = 1",
    "UPDATE users SET email = 'a@b.c' WHERE name = '***'",
    "UPDATE users SET email = lower(email), name = '***' WHERE id = 1",
    "INSERT INTO users (id, name, email) VALUES (1, '***', 'a@b.c')",
    "INSERT INTO users (id, email) SELECT id, note FROM orders WHERE note = '***'",
    "UPDATE users SET email = '***1234' WHERE id = 1",
    "UPDATE users SET email = '' WHERE id = 1", "UPDATE users SET email = NULL WHERE id = 1",
    "UPDATE users SET email = 'not *** this' WHERE id = 1",
    f"UPDATE users SET email = '{OURS}' WHERE id = 1",
    f"UPDATE payments SET card = '{FOREIGN}' WHERE id = 1",
    "UPDATE payments SET card = 'anon-ymous' WHERE id = 1",
    "SELECT id FROM users WHERE email = '***'", "DELETE FROM users WHERE email = '***'",
    "INSERT INTO orders (note) VALUES ('***')",
])  # fmt: skip
def test_what_is_no_masked_value_of_that_column_is_written(sql: str) -> None:
    assert not refused(sql)


def test_parameters_are_looked_at_where_they_are_bound() -> None:
    update = "UPDATE users SET email = $2, name = $1 WHERE city = $3"
    assert refused(update, b"***", b"a@b.c", b"***") == []
    assert refused(update, b"x", b"***", b"y") == ["public.users.email"]
    assert refused(update) == []
    assert refused(update, b"x", None, b"y") == []
    assert refused("UPDATE payments SET card = $1::text WHERE id = 1", OURS.encode()) == ["public.payments.card"]
    assert refused("EXECUTE p('x', '***')", prepared=update) == ["public.users.email"]
    assert refused("EXECUTE p('***', 'x')", prepared=update) == []
    assert refused("INSERT INTO users (email) SELECT v.e FROM (VALUES ($1), ($2)) v(e)", b"x", b"***") == [
        "public.users.email"
    ]
