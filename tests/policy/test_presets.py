"""The presets `read-only` and `migrations`, line by line, and the names by which `replaces` finds their lines."""

from __future__ import annotations

import pytest
from policy_sample import connection, judge

from gateway.model import ConnectionRule, VerdictKind
from gateway.policy.presets import PRESETS, STANDARD, line_of
from gateway.policy.rules import compile_rules

READ_ONLY = """
SELECT * FROM orders | allow standard/select
SELECT email FROM users | mask standard/masked
SELECT * FROM orders FOR UPDATE | deny read-only/for-update
SELECT * FROM orders o, LATERAL (SELECT 1 FROM users FOR KEY SHARE) x | deny read-only/for-update
DECLARE c CURSOR FOR SELECT * FROM orders FOR SHARE | deny read-only/for-update
COPY orders TO STDOUT | allow standard/copy-out
COPY orders FROM STDIN | deny read-only/copy-in
INSERT INTO orders (id) VALUES (1) | deny read-only/insert
WITH i AS (INSERT INTO orders (id) VALUES (1) RETURNING id) SELECT * FROM i | deny read-only/insert
EXPLAIN ANALYZE UPDATE orders SET total = 1 WHERE id = 1 | deny read-only/update
PREPARE p AS DELETE FROM orders WHERE id = $1 | deny read-only/delete
MERGE INTO orders USING users ON orders.id = users.id WHEN MATCHED THEN DELETE | deny read-only/merge
UPDATE orders SET total = 1 | deny standard/update-all
SELECT nextval('s') | deny read-only/nextval
SELECT ('s'::regclass).nextval | deny read-only/nextval
SELECT currval('s'), lastval() | allow standard/select
SELECT setval('s', 1) | deny read-only/sequence
CREATE TABLE t (id int) | deny read-only/create
CREATE TEMP TABLE t (id int) | deny read-only/create
CREATE TABLE t AS SELECT 1 | deny read-only/create-as
SELECT 1 INTO t | deny read-only/create-as
ALTER TABLE orders ADD x int | deny read-only/alter
DROP TABLE orders | deny standard/drop
TRUNCATE orders | deny standard/truncate
VACUUM orders | deny read-only/maintenance
ANALYZE | deny read-only/maintenance
LOCK orders | deny read-only/maintenance
NOTIFY a | deny read-only/notify
SELECT pg_notify('a', 'b') | deny read-only/notify
LISTEN a | allow standard/listen
INSERT INTO audited (id) VALUES (1) | deny read-only/insert
SELECT pg_advisory_lock(1) | allow standard/select
SELECT leak(1) | approve standard/user-function
CALL purge() | approve standard/call
BEGIN | allow standard/transaction
SET work_mem = '64MB' | allow standard/setting
DO $$ $$ | deny standard/do
"""

MIGRATIONS = """
SELECT * FROM orders | allow standard/select
SELECT * FROM orders FOR UPDATE | allow standard/select
CREATE TABLE t (id int) | approve standard/create
ALTER TABLE orders ADD x int | approve standard/alter
DROP TABLE orders | approve migrations/drop
DROP TABLE orders CASCADE | approve migrations/drop
DROP SCHEMA s CASCADE | approve migrations/drop
DROP INDEX i | approve migrations/drop
DROP VIEW IF EXISTS names | approve migrations/drop
DROP FUNCTION f(int) | approve migrations/drop
ALTER TABLE orders DROP COLUMN note | approve migrations/drop
BEGIN; DROP TABLE orders; COMMIT | approve migrations/drop
DROP TABLE orders; TRUNCATE users | deny standard/truncate
DROP DATABASE d | deny migrations/drop-database
DROP TABLESPACE t | deny migrations/drop-database
DROP ROLE r | deny standard/role
DROP OWNED BY r | deny standard/owned
TRUNCATE orders | deny standard/truncate
DELETE FROM orders | deny standard/delete-all
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1' | deny standard/create-function
CREATE EXTENSION dblink | deny standard/create-extension
COPY orders TO '/tmp/x' | deny standard/server-file
"""


def _cases(table: str) -> list[tuple[str, str, str]]:
    return [(sql, *outcome.split()) for sql, outcome in (line.rsplit(" | ", 1) for line in table.strip().splitlines())]  # type: ignore[misc]


@pytest.mark.parametrize(("sql", "kind", "rule"), _cases(READ_ONLY))
def test_read_only(sql: str, kind: str, rule: str) -> None:
    verdict = judge(sql, policy="read-only")
    assert (verdict.kind.value, verdict.rule) == (kind, rule), verdict
    assert verdict.where == f"preset {rule.partition('/')[0]}"


@pytest.mark.parametrize(("sql", "kind", "rule"), _cases(MIGRATIONS))
def test_migrations(sql: str, kind: str, rule: str) -> None:
    verdict = judge(sql, policy="migrations")
    assert (verdict.kind.value, verdict.rule) == (kind, rule), verdict
    assert verdict.where == f"preset {rule.partition('/')[0]}"


def test_every_changed_line_has_a_case() -> None:
    for preset, table in (("read-only", READ_ONLY), ("migrations", MIGRATIONS)):
        changed = {line.name for line in PRESETS[preset]} - {line.name for line in STANDARD}
        # an insert is denied before its rules are, and what sets a marked column is an insert or an update
        assert changed - {rule for _, _, rule in _cases(table)} <= {"read-only/rewrite-rule", "read-only/marked-write"}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_act_has_one_line(preset: str) -> None:
    acts = [act for line in PRESETS[preset] for act in line.acts]
    assert len(acts) == len(set(acts))
    assert set(acts) == {act for line in STANDARD for act in line.acts}
    names = [line.name for line in PRESETS[preset]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("preset", "name", "found"), [
    ("standard", "standard/drop", "standard/drop"), ("migrations", "migrations/drop", "migrations/drop"),
    ("migrations", "standard/drop", "migrations/drop"), ("migrations", "migrations/select", "standard/select"),
    ("read-only", "standard/insert", "read-only/insert"), ("read-only", "migrations/drop", None),
    ("observe", "standard/drop", "standard/drop"), ("standard", "drop", None), ("standard", "other/drop", None),
])  # fmt: skip
def test_a_line_is_found_by_name(preset: str, name: str, found: str | None) -> None:
    line = line_of(preset, name)
    assert (line.name if line is not None else None) == found


def test_a_preset_is_relaxed_by_its_own_names() -> None:
    mine = ConnectionRule("mine", VerdictKind.APPROVE, replaces="read-only/insert")
    assert compile_rules(connection(policy="read-only", rules=(mine,))).own[0].relaxes
    assert judge("INSERT INTO orders (id) VALUES (1)", policy="read-only", rules=(mine,)).rule == "mine"
    assert judge("COPY orders FROM STDIN", policy="read-only", rules=(mine,)).rule == "read-only/copy-in"
