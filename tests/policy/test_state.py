"""What a statement leaves behind, what names stand for, and strings of several statements."""

# ruff: noqa: E501  tables of cases
from __future__ import annotations

import pytest
from policy_sample import flows, judge, understand

from gateway.model import Closed, Deallocated, Declared, Prepared, VerdictKind
from gateway.policy.facts import Discarded, SessionState, StateEffect, Transaction

MAIL = SessionState(
    prepared={"p": b"SELECT email, id FROM users"}, cursors={"c": b"DECLARE c CURSOR FOR SELECT * FROM mails"}
)


@pytest.mark.parametrize(("sql", "effects"), [
    ("PREPARE p AS SELECT 1", (Prepared("p", b"PREPARE p AS SELECT 1"),)),
    (" SELECT 1; PREPARE p AS SELECT 'é' ;", (Prepared("p", "PREPARE p AS SELECT 'é'".encode()),)),
    ("DEALLOCATE p", (Deallocated("p"),)),
    ("DEALLOCATE PREPARE ALL", (Deallocated(None),)),
    ("DECLARE c CURSOR FOR SELECT 1", (Declared("c", b"DECLARE c CURSOR FOR SELECT 1"),)),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", (Declared("c", b"DECLARE c CURSOR WITH HOLD FOR SELECT 1", hold=True),)),
    ("CLOSE c", (Closed("c"),)),
    ("CLOSE ALL", (Closed(None),)),
    ("DISCARD ALL", (Discarded(),)),
    ("DISCARD PLANS", ()),
    ("SELECT 1", ()),
])  # fmt: skip
def test_effects(sql: str, effects: tuple[StateEffect, ...]) -> None:
    assert understand(sql).effects == effects


@pytest.mark.parametrize(("sql", "expected"), [
    ("EXECUTE p", "Dc"), ("FETCH ALL FROM c", "cDc"), ("EXPLAIN EXECUTE p", "c"), ("MOVE c", "cDc"),
    ("CREATE TABLE t AS EXECUTE p", "Dc"),
])  # fmt: skip
def test_names_flow_as_what_they_stand_for(sql: str, expected: str) -> None:
    facts = understand(sql, MAIL)
    (statement,) = facts.statements
    letters = "".join(output.flow.level.name[0] for output in statement.outputs or ())
    assert letters == expected.replace("c", "C")
    assert facts.depends_on_state
    assert facts.touches_marks


@pytest.mark.parametrize(("prepared", "rule"), [
    (b"DELETE FROM orders", "delete-all"), (b"PREPARE x AS DELETE FROM orders", "delete-all"),
    (b"DELETE FROM orders WHERE id = $1", "delete"), (b"SELECT 1", "prepare"), (b"SELEC", "syntax-error"),
    (b"SELECT 1; SELECT 2", "not-understood"), (b"\xff", "not-understood"), (b"EXECUTE p", "not-understood"),
])  # fmt: skip
def test_execute_is_what_it_runs(prepared: bytes, rule: str) -> None:
    assert judge("EXECUTE p(1)", SessionState(prepared={"p": prepared})).rule == f"standard/{rule}"


def test_arguments_of_execute_are_judged() -> None:
    assert judge("EXECUTE p(pg_read_file('x'))", MAIL).rule == "standard/reaching-function"


@pytest.mark.parametrize(("sql", "words", "sqlstate"), [
    ("EXECUTE q", 'prepared statement "q" does not exist', "26000"), ("FETCH q", 'cursor "q" does not exist', "34000"),
])  # fmt: skip
def test_unknown_names_are_refused_in_postgresqls_words(sql: str, words: str, sqlstate: str) -> None:
    verdict = judge(sql, MAIL)
    assert (verdict.kind, verdict.sqlstate) == (VerdictKind.DENY, sqlstate)
    assert verdict.reason.startswith(words)


@pytest.mark.parametrize(("sql", "rule"), [
    ("PREPARE q AS DELETE FROM orders WHERE id = 1; EXECUTE q", "delete"),
    ("PREPARE q AS SELECT email FROM users; EXECUTE q", "masked"),
    ("DEALLOCATE p; EXECUTE p", "unknown-name"),
    ("DISCARD ALL; FETCH c", "unknown-name"),
    ("DEALLOCATE p; PREPARE p AS DELETE FROM orders; EXECUTE p", "delete-all"),
    ("DECLARE d CURSOR FOR SELECT email FROM users; FETCH d", "masked"),
    ("CLOSE c; DECLARE c CURSOR FOR SELECT id FROM orders; FETCH c", "cursor"),
    ("CREATE TABLE q (id int); SELECT 1", "create"),
    ("CREATE TABLE q (id int); CREATE INDEX ON q (id)", "create"),
    ("CREATE TABLE q (id int); SELECT * FROM orders", "not-judged-together"),
    ("ALTER TABLE users RENAME TO u; TABLE u", "not-judged-together"),
    ("BEGIN; UPDATE orders SET total = 1 WHERE id = 2; COMMIT", "transaction"),
])  # fmt: skip
def test_strings_are_judged_left_to_right(sql: str, rule: str) -> None:
    assert judge(sql, MAIL).rule == f"standard/{rule}"


@pytest.mark.parametrize(("sql", "kind"), [
    ("BEGIN", Transaction.BEGIN), ("START TRANSACTION", Transaction.BEGIN), ("END", Transaction.COMMIT),
    ("ABORT", Transaction.ROLLBACK), ("ROLLBACK TO a", Transaction.ROLLBACK_TO), ("SAVEPOINT a", Transaction.SAVEPOINT),
    ("RELEASE a", Transaction.RELEASE), ("PREPARE TRANSACTION 'x'", Transaction.TWO_PHASE), ("SELECT 1", Transaction.NONE),
    ("BEGIN; SELECT 1; COMMIT", Transaction.COMMIT),
])  # fmt: skip
def test_transactions(sql: str, kind: Transaction) -> None:
    assert understand(sql).transaction is kind


@pytest.mark.parametrize(("sql", "passes"), [
    ("SELECT 1", True), ("DROP TABLE orders", True), ("DELETE FROM orders", True), ("SET search_path TO evil", True),
    ("SELECT 1; ROLLBACK", True), ("BEGIN", True), ("SAVEPOINT a", True),
    ("ROLLBACK", False), ("COMMIT", False), ("ROLLBACK TO a", False), ("ROLLBACK; DROP TABLE orders", False), ("", False),
])  # fmt: skip
def test_in_a_failed_transaction_the_target_itself_refuses(sql: str, passes: bool) -> None:
    facts = understand(sql, SessionState(status="E"))
    assert facts.failed_transaction is passes
    if passes:
        assert judge(sql, SessionState(status="E")).rule == "standard/failed-transaction"


@pytest.mark.parametrize(("sql", "rule"), [
    ("ROLLBACK; DROP TABLE orders", "drop"), ("COMMIT; SELECT email FROM users", "masked"), ("SELEC", "syntax-error"),
    (b"\xff", "not-understood"),
])  # fmt: skip
def test_from_the_first_rollback_on_everything_is_judged(sql: str | bytes, rule: str) -> None:
    assert judge(sql, SessionState(status="E")).rule == f"standard/{rule}"


@pytest.mark.parametrize(("sql", "ddl"), [
    ("CREATE TABLE t (id int)", True), ("ALTER TABLE orders ADD x int", True), ("DROP TABLE orders", True),
    ("CREATE TABLE t AS SELECT 1", True), ("CALL purge(1)", True), ("DO ''", True), ("SELECT 1", False),
    ("INSERT INTO orders (id) VALUES (1)", False), ("VACUUM", False),
])  # fmt: skip
def test_definitions_make_the_catalog_old(sql: str, ddl: bool) -> None:
    assert understand(sql).ddl is ddl


def test_places_cut_a_string_into_its_statements() -> None:
    sql = "SELECT 'é'; SELECT 2 ; -- end"
    facts = understand(sql)
    assert [sql.encode()[s.start : s.end].strip() for s in facts.statements] == ["SELECT 'é'".encode(), b"SELECT 2"]
    assert facts.operation == "select"
    assert understand("SELECT 1; BEGIN").operation == "several"


def test_whatever_may_reach_marks_is_said_to_touch_them() -> None:
    for sql in ("SELECT id FROM users", "SELECT leak(1)", "CALL purge(1)", "SELECT * FROM nowhere", "DO ''", "\x00"):
        assert understand(sql).touches_marks, sql
    for sql in ("SELECT id FROM orders", "SELECT 1", "BEGIN", "SELECT net_price(1)"):
        assert not understand(sql).touches_marks, sql
    assert flows("SELECT id FROM orders") == "clean"


@pytest.mark.parametrize("sql", [
    "ALTER TABLE users ADD CHECK (email::int > 0)",
    "ALTER TABLE users ALTER COLUMN email TYPE int USING email::int",
    "CREATE UNIQUE INDEX ON users (email)",
    "ALTER TABLE orders ADD FOREIGN KEY (note) REFERENCES users (email)",
    "ALTER DOMAIN d ADD CHECK (VALUE::int > 0)",
    "ALTER TYPE t ALTER ATTRIBUTE a TYPE int CASCADE",
    "REINDEX SCHEMA public",
    "VACUUM",
    "REFRESH MATERIALIZED VIEW snapshot",
])  # fmt: skip
def test_what_fails_in_a_definition_may_print_a_row(sql: str) -> None:
    assert understand(sql).touches_marks


@pytest.mark.parametrize("sql", [
    "ALTER TABLE orders ADD COLUMN x int", "CREATE INDEX ON orders (id)", "CREATE TABLE t (id int)", "CREATE SCHEMA s",
    "CREATE TYPE e AS ENUM ('a')", "VACUUM orders", "DROP TABLE orders",
])  # fmt: skip
def test_definitions_away_from_marks_fail_in_postgresql_s_own_words(sql: str) -> None:
    assert not understand(sql).touches_marks
