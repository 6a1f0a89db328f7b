"""Rules that a connection brings itself: what they match, what they may relax, and how they rank beside the preset."""

# ruff: noqa: E501  tables of cases
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from policy_sample import CATALOG, RELATIONS, connection, relation

from gateway.errors import ConfigurationFault
from gateway.masking.marks import bind
from gateway.model import (
    Ask,
    Connection,
    ConnectionRule,
    Hours,
    Mark,
    Micros,
    RelationPattern,
    Verdict,
    VerdictKind,
)
from gateway.policy.decide import Context, decide
from gateway.policy.facts import SessionState, facts
from gateway.policy.rules import compile_rules
from gateway.settings.units import parse_hours, parse_moment, parse_relation

ALLOW, MASK, APPROVE, DENY = VerdictKind.ALLOW, VerdictKind.MASK, VerdictKind.APPROVE, VerdictKind.DENY
EVERYWHERE = (
    *RELATIONS,
    relation(20, "parts", "id a", children=frozenset({21})),
    relation(21, "parts_1", "id a", parents=frozenset({20})),
    relation(22, "scratch.notes", "id a"),
    relation(23, "scratch.window", "id note", "v", reads=frozenset({2}),
             definition="SELECT orders.id, orders.note FROM public.orders"),
    relation(24, "renaming", "id n", "v", reads=frozenset({2}),
             definition="SELECT orders.id, orders.note AS n FROM public.orders"),
    relation(25, "pg_temp_3.shadow", "id note", "v", reads=frozenset({2}),
             definition="SELECT orders.id, orders.note FROM public.orders"),
)  # fmt: skip
WIDE = replace(
    CATALOG,
    relations={found.oid: found for found in EVERYWHERE},
    by_name={(found.schema, found.name): found for found in EVERYWHERE},
)


def rule(name: str = "mine", action: VerdictKind = DENY, **conditions: object) -> ConnectionRule:
    """A rule; `relations`, `columns` and `hours` may be written as in the file."""
    shape = {
        "relations": parse_relation,
        "columns": lambda text: Mark(*text.split(".")),
        "hours": parse_hours,
    }
    for key, read in shape.items():
        if key in conditions:
            conditions[key] = tuple(read(text) for text in conditions[key])  # type: ignore[attr-defined, operator]
    return ConnectionRule(name, action, where="gateway.toml: connection.0.rule.0", **conditions)  # type: ignore[arg-type]


def ask(
    sql: str,
    *rules: ConnectionRule,
    context: Context | None = None,
    state: SessionState | None = None,
    **changes: object,
) -> Verdict:
    asked: Connection = connection(**{"marks": (), "rules": rules, **changes})
    known = bind(WIDE, asked).catalog
    return decide(
        facts(sql.encode(), state or SessionState(), known), compile_rules(asked), context or Context("agent")
    )


MATCHING = [
    # conditions, what matches, what does not
    ({"operations": ("select",)}, ["SELECT 1", "TABLE orders", "EXPLAIN SELECT * FROM orders", "COPY orders TO STDOUT",
      "COPY (SELECT 1) TO STDOUT", "INSERT INTO orders SELECT * FROM orders", "SELECT 1; COMMIT", "PREPARE p AS SELECT 1",
      "DECLARE c CURSOR FOR SELECT 1", "WITH a AS (TABLE users) DELETE FROM orders WHERE id = 1", "SELECT * FROM orders FOR SHARE"],
     ["INSERT INTO orders (id) VALUES (1)", "COMMIT", "SHOW search_path", "SELECT relname FROM pg_class"]),
    ({"operations": ("insert",)}, ["INSERT INTO orders (id) VALUES (1)", "COPY orders FROM STDIN",
      "MERGE INTO orders USING users ON orders.id = users.id WHEN NOT MATCHED THEN INSERT (id) VALUES (1)"],
     ["SELECT 1", "MERGE INTO orders USING users ON orders.id = users.id WHEN MATCHED THEN DELETE"]),
    ({"operations": ("update",)}, ["UPDATE orders SET total = 1 WHERE id = 1", "UPDATE orders SET total = 1",
      "INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET total = 1",
      "MERGE INTO orders USING users ON orders.id = users.id WHEN MATCHED THEN UPDATE SET total = 1"],
     ["DELETE FROM orders WHERE id = 1", "SELECT 1"]),
    ({"operations": ("delete",)}, ["DELETE FROM orders WHERE id = 1", "DELETE FROM orders",
      "WITH d AS (DELETE FROM orders WHERE id = 1) SELECT 1",
      "MERGE INTO orders USING users ON orders.id = users.id WHEN MATCHED THEN DELETE"], ["TRUNCATE orders"]),
    ({"operations": ("transaction", "listen")}, ["BEGIN", "LISTEN a"], ["SELECT 1"]),
    ({"relations": ("public.orders",)}, ["SELECT * FROM orders", "SELECT * FROM public.orders", "TABLE orders",
      "SELECT 1 FROM users u, LATERAL (SELECT 1 FROM orders) x", "SELECT EXISTS (SELECT FROM orders)",
      "WITH o AS (TABLE orders) SELECT 1", "UPDATE users SET name = 'x' WHERE id IN (SELECT id FROM orders)",
      "SELECT * FROM scratch.window", "SELECT * FROM renaming", "SELECT * FROM odd", "INSERT INTO scratch.window VALUES (1)",
      "SELECT * FROM shadow", "SELECT * FROM pg_temp.shadow", "COPY orders TO STDOUT", "TRUNCATE users, orders",
      "ALTER TABLE orders ADD x int", "CREATE INDEX ON orders (id)", "DROP TABLE orders", "DROP TABLE users CASCADE",
      "DROP SCHEMA public", "DROP TRIGGER t ON orders", "COMMENT ON COLUMN orders.id IS 'x'", "VACUUM", "LOCK orders",
      "CREATE TABLE t (id int REFERENCES orders)", "CREATE TABLE t AS TABLE orders", "ALTER TABLE users RENAME TO orders; TABLE orders",
      "CREATE VIEW v AS SELECT * FROM orders", "SELECT 1 INTO orders", "ALTER TABLE scratch.orders SET SCHEMA public"],
     ["SELECT * FROM users", "WITH orders AS (SELECT 1) SELECT * FROM orders", "SELECT 1", "BEGIN", "SELECT 'orders'",
      "DROP TABLE users", "VACUUM users"]),
    ({"relations": ("public.parts",)}, ["TABLE parts", "TABLE parts_1", "DELETE FROM parts_1 WHERE id = 1"], ["TABLE orders"]),
    ({"relations": ("public.parts_1",)}, ["TABLE parts", "TABLE parts_1"], ["TABLE orders"]),
    ({"relations": ("scratch.*",)}, ["TABLE scratch.notes", "TABLE scratch.window", "CREATE TABLE scratch.new (id int)"],
     ["TABLE orders", "TABLE renaming"]),
    ({"operations": ("insert",), "relations": ("public.orders",)}, ["INSERT INTO orders SELECT id FROM users"],
     ["INSERT INTO parts SELECT id FROM orders", "TABLE orders"]),
    ({"functions": ("pg_catalog.pg_sleep",)}, ["SELECT pg_sleep(1)", "SELECT 1 WHERE pg_catalog.pg_sleep(1) IS NULL",
      "SELECT (1::float8).pg_sleep", "INSERT INTO orders (note) VALUES (pg_sleep(1)::text)", "EXPLAIN SELECT pg_sleep(1)"],
     ["SELECT 1", "SELECT upper('pg_sleep')"]),
    ({"functions": ("pg_catalog.set_config",)}, ["SELECT set_config('jit', 'on', true)"], ["SET jit = on"]),
    ({"functions": ("public.*",)}, ["SELECT net_price(1)", "SELECT leak(1)", "SELECT nobody_knows(1)", "CALL purge()", "CALL public.purge()"],
     ["SELECT now()"]),
    ({"columns": ("public.orders.note",)}, ["SELECT note FROM orders", "SELECT * FROM orders", "TABLE orders", "SELECT o FROM orders o",
      "SELECT id FROM orders WHERE note = 'x'", "SELECT id FROM orders ORDER BY note", "SELECT n FROM renaming", "TABLE renaming",
      "SELECT count(note) FROM orders", "SELECT x FROM (SELECT note AS x FROM orders) s", "UPDATE orders SET note = 'x' WHERE id = 1",
      "INSERT INTO orders VALUES (1)", "INSERT INTO orders (note) VALUES ('x')", "COPY orders TO STDOUT", "COPY orders (note) FROM STDIN",
      "COPY (SELECT note FROM orders) TO STDOUT", "ALTER TABLE orders DROP COLUMN note", "ALTER TABLE orders RENAME note TO x",
      "CREATE INDEX ON orders (note)", "DROP TABLE orders", "PREPARE p AS SELECT note FROM orders", "SELECT 1 FROM orders a JOIN orders b USING (note)",
      "SELECT a.x FROM orders AS a (w, x, y, z)", "SELECT what FROM odd"],
     ["SELECT id FROM orders", "SELECT name FROM users", "UPDATE orders SET total = 1 WHERE id = 1", "INSERT INTO orders (id) VALUES (1)",
      "COPY orders (id) TO STDOUT", "SELECT id FROM renaming", "SELECT 'note'", "CREATE INDEX ON orders (id)"]),
    ({"operations": ("update",), "columns": ("public.orders.note",)}, ["UPDATE orders SET note = '' WHERE id = 1"],
     ["SELECT note FROM orders", "UPDATE orders SET total = 1 WHERE id = 1"]),
]  # fmt: skip


@pytest.mark.parametrize(("conditions", "sql"), [(case[0], sql) for case in MATCHING for sql in case[1]])
def test_matches(conditions: dict[str, object], sql: str) -> None:
    verdict = ask(sql, rule(**conditions))
    assert (verdict.kind, verdict.rule, verdict.where) == (DENY, "mine", "gateway.toml: connection.0.rule.0"), verdict
    assert verdict.reason.endswith(".")
    assert verdict.hint


@pytest.mark.parametrize(("conditions", "sql"), [(case[0], sql) for case in MATCHING for sql in case[2]])
def test_does_not_match(conditions: dict[str, object], sql: str) -> None:
    assert ask(sql, rule(**conditions)).rule != "mine"


NIGHT, WEEKEND = {"hours": ("18:00-09:00",)}, {"hours": ("sat,sun 00:00-24:00", "fri 20:00-24:00")}
WHO = [
    # conditions, (subject, groups, time) that match, and that do not
    ({"subjects": ("agent-7",)}, [("agent-7", (), "12:00")], [("agent-8", (), "12:00"), ("", ("agent-7",), "12:00")]),
    ({"groups": ("reporting", "bi")}, [("a", ("x", "bi"), "12:00")], [("bi", (), "12:00"), ("a", ("b",), "12:00")]),
    ({"subjects": ("a",), "groups": ("bi",)}, [("a", ("bi",), "12:00")], [("a", (), "12:00"), ("b", ("bi",), "12:00")]),
    (NIGHT, [("a", (), "18:00"), ("a", (), "23:59"), ("a", (), "00:00"), ("a", (), "08:59")], [("a", (), "09:00"), ("a", (), "17:59")]),
    (WEEKEND, [("a", (), "sat 00:00"), ("a", (), "sun 23:59"), ("a", (), "fri 20:00")], [("a", (), "mon 00:00"), ("a", (), "fri 19:59")]),
    ({"hours": ("fri 22:00-06:00",)}, [("a", (), "sat 05:59"), ("a", (), "fri 22:00")], [("a", (), "fri 05:00"), ("a", (), "sat 22:00")]),
]  # fmt: skip


def at(who: tuple[str, tuple[str, ...], str]) -> Context:
    return Context(who[0], who[1], parse_moment(who[2]))


@pytest.mark.parametrize(("conditions", "who"), [(case[0], who) for case in WHO for who in case[1]])
def test_concerns(conditions: dict[str, object], who: tuple[str, tuple[str, ...], str]) -> None:
    mine = rule(**dict(conditions))
    assert ask("SELECT 1", mine, context=at(who)).rule == "mine"
    for control in ("COMMIT", "ROLLBACK", "RESET ALL", "SET jit = on", "DISCARD ALL", "SHOW search_path"):
        assert ask(control, mine, context=at(who)).kind is ALLOW, control


@pytest.mark.parametrize(("conditions", "who"), [(case[0], who) for case in WHO for who in case[2]])
def test_does_not_concern(conditions: dict[str, object], who: tuple[str, tuple[str, ...], str]) -> None:
    assert ask("SELECT 1", rule(**dict(conditions)), context=at(who)).rule == "standard/select"


RANKS = [
    # rules, statement, verdict, rule
    ([rule(action=ALLOW, operations=("drop",))], "DROP TABLE orders", DENY, "standard/drop"),
    ([rule(action=APPROVE, operations=("drop",))], "DROP TABLE orders", DENY, "standard/drop"),
    ([rule(action=ALLOW, operations=("delete",))], "DELETE FROM orders WHERE id = 1", APPROVE, "standard/delete"),
    ([rule(action=APPROVE, operations=("delete",))], "DELETE FROM orders WHERE id = 1", APPROVE, "mine"),
    ([rule(action=DENY, operations=("drop",))], "DROP TABLE orders", DENY, "mine"),
    ([rule("a", APPROVE, operations=("select",)), rule("b", DENY, relations=("public.users",))], "TABLE users", DENY, "b"),
    ([rule("a", APPROVE, operations=("select",)), rule("b", APPROVE, relations=("public.users",))], "TABLE users", APPROVE, "a"),
    ([rule("a", APPROVE, operations=("select",))], "TABLE orders; DROP TABLE users", DENY, "standard/drop"),
    ([rule("a", DENY)], "SELEC", DENY, "standard/syntax-error"),
    ([rule("a", ALLOW)], "SELECT 1; \x00", DENY, "standard/not-understood"),
    ([rule("a", APPROVE, replaces="standard/select")], "TABLE orders", APPROVE, "a"),
    ([rule("a", APPROVE, replaces="standard/select", relations=("public.users",))], "TABLE orders", ALLOW, "standard/select"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "sql", "kind", "name"), RANKS)
def test_the_strictest_match_wins(rules: Sequence[ConnectionRule], sql: str, kind: VerdictKind, name: str) -> None:
    verdict = ask(sql, *rules)
    assert (verdict.kind, verdict.rule) == (kind, name), verdict


DROP, RISK = "standard/drop", {"accept_risk": "a scratch schema"}
RELAXED = [
    # rule, statement, verdict, rule
    (rule(action=APPROVE, replaces=DROP), "DROP TABLE orders", APPROVE, "mine"),
    (rule(action=APPROVE, replaces=DROP), "EXPLAIN ANALYZE DELETE FROM orders", DENY, "standard/delete-all"),
    (rule(action=APPROVE, replaces=DROP), "DROP TABLE orders; TRUNCATE orders", DENY, "standard/truncate"),
    (rule(action=ALLOW, replaces=DROP, relations=("scratch.*",), **RISK), "DROP TABLE scratch.notes", ALLOW, "mine"),
    (rule(action=ALLOW, replaces=DROP, relations=("scratch.*",), **RISK), "DROP TABLE scratch.notes, orders", DENY, DROP),
    (rule(action=ALLOW, replaces=DROP, relations=("scratch.*",), **RISK), "DROP TABLE scratch.notes CASCADE", DENY, DROP),
    (rule(action=ALLOW, replaces=DROP, relations=("scratch.*",), **RISK), "DROP VIEW scratch.window", DENY, DROP),
    (rule(action=ALLOW, replaces=DROP, relations=("scratch.*",), **RISK), "DROP SCHEMA scratch", DENY, DROP),
    (rule(action=ALLOW, replaces=DROP, relations=("scratch.*",), **RISK), "DROP TABLE scratch.nobody", DENY, DROP),
    (rule(action=ALLOW, replaces=DROP, relations=("scratch.*",), **RISK), "DROP INDEX scratch.i", DENY, DROP),
    (rule(action=ALLOW, replaces=DROP, relations=("scratch.*",), **RISK), "ALTER TABLE scratch.notes DROP a", ALLOW, "mine"),
    (rule(action=ALLOW, replaces="standard/delete-all", relations=("scratch.*",), **RISK), "DELETE FROM scratch.notes", ALLOW, "mine"),
    (rule(action=ALLOW, replaces="standard/delete-all", relations=("scratch.*",), **RISK), "DELETE FROM scratch.window", DENY, "standard/delete-all"),
    (rule(action=ALLOW, replaces="standard/delete-all", relations=("public.parts",), **RISK), "DELETE FROM parts", DENY, "standard/delete-all"),
    (rule(action=ALLOW, replaces="standard/create", relations=("scratch.*",)), "CREATE TABLE scratch.new (id int)", ALLOW, "mine"),
    (rule(action=ALLOW, replaces="standard/create", relations=("scratch.*",)), "CREATE TABLE new (id int)", APPROVE, "standard/create"),
    (rule(action=ALLOW, replaces="standard/create", relations=("scratch.*",)), "CREATE SCHEMA scratch", APPROVE, "standard/create"),
    (rule(action=ALLOW, replaces="standard/create", relations=("public.*",)), "CREATE TABLE new (id int)", ALLOW, "mine"),
    (rule(action=ALLOW, replaces="standard/user-function", functions=("public.purge",)), "SELECT purge()", ALLOW, "mine"),
    (rule(action=ALLOW, replaces="standard/user-function", functions=("public.purge",)), "SELECT purge(), leak(1)", APPROVE, "standard/user-function"),
    (rule(action=ALLOW, replaces="standard/user-function", functions=("public.purge",)), "SELECT purge() FROM nobody_knows(1)", APPROVE, "standard/user-function"),
    (rule(action=ALLOW, replaces="standard/delete", subjects=("agent",)), "DELETE FROM orders WHERE id = 1", ALLOW, "mine"),
    (rule(action=ALLOW, replaces="standard/delete", subjects=("other",)), "DELETE FROM orders WHERE id = 1", APPROVE, "standard/delete"),
    (rule(action=DENY, replaces="standard/delete", relations=("public.orders",)), "DELETE FROM scratch.window WHERE id = 1", DENY, "mine"),
]  # fmt: skip


@pytest.mark.parametrize(("relaxing", "sql", "kind", "name"), RELAXED)
def test_only_replaces_relaxes(relaxing: ConnectionRule, sql: str, kind: VerdictKind, name: str) -> None:
    verdict = ask(sql, relaxing)
    assert (verdict.kind, verdict.rule) == (kind, name), verdict


def test_what_is_relaxed_is_masked_all_the_same() -> None:
    mine = rule(action=ALLOW, replaces="standard/delete")
    verdict = ask("DELETE FROM users WHERE id = 1 RETURNING email", mine, marks=connection().marks)
    assert (verdict.kind, verdict.rule) == (MASK, "standard/masked")
    wanted = "DELETE FROM users WHERE email = 'x'"
    assert ask(wanted, mine, marks=connection().marks).rule == "standard/marked-write"
    for column, kind in (("public.users.email", ALLOW), ("public.users.name", APPROVE)):
        more = rule("more", ALLOW, replaces="standard/marked-write", columns=(column,))
        assert ask(wanted, mine, more, marks=connection().marks).kind is kind


def test_while_definitions_are_in_doubt_strict_rules_match_and_mild_ones_do_not() -> None:
    now = Context("agent", redefined=True)
    assert ask("TABLE users", rule(relations=("public.orders",)), context=now).rule == "mine"
    assert ask("TABLE users", rule(columns=("public.orders.note",)), context=now).rule == "mine"
    mild = rule(action=ALLOW, replaces="standard/delete", relations=("public.orders",))
    assert ask("DELETE FROM orders WHERE id = 1", mild, context=now).rule == "standard/delete"
    assert ask("DELETE FROM orders WHERE id = 1", mild).rule == "mine"


def test_a_rule_follows_its_relation_and_column_through_renames() -> None:
    asked = connection(marks=(), rules=(rule(relations=("public.orders",)),))
    columns = connection(marks=(), rules=(rule(columns=("public.orders.note",)),))
    moved = (
        *(each for each in EVERYWHERE if each.oid not in {2, 23, 24, 25, 11}),
        relation(2, "elsewhere", "id user_id total words"),
    )
    later = replace(
        WIDE, relations={each.oid: each for each in moved}, by_name={(each.schema, each.name): each for each in moved}
    )
    for wanted, sql, name in [
        (asked, "TABLE elsewhere", "mine"), (columns, "SELECT words FROM elsewhere", "mine"),
        (columns, "SELECT id FROM elsewhere", "standard/select"), (asked, "TABLE users", "standard/select"),
    ]:  # fmt: skip
        known = bind(later, wanted, bind(WIDE, wanted).catalog).catalog
        assert decide(facts(sql.encode(), SessionState(), known), compile_rules(wanted), Context()).rule == name, sql


def test_names_are_judged_by_what_they_stand_for() -> None:
    state = SessionState(
        prepared={"p": b"SELECT note FROM orders"}, cursors={"c": b"DECLARE c CURSOR FOR TABLE renaming"}
    )
    for mine in (
        rule(relations=("public.orders",)),
        rule(columns=("public.orders.note",)),
        rule(operations=("select",)),
    ):
        assert ask("EXECUTE p", mine, state=state).rule == "mine"
        assert ask("FETCH ALL FROM c", mine, state=state).rule == "mine"


DBA, ONCALL = "group:dba", "group:oncall"
REVIEWERS: list[tuple[dict[str, Any], dict[str, Any], str, tuple[Ask, ...]]] = [
    # what the rules for `select` and for relation users say, statement, whose approvals are needed
    ({"reviewers": (DBA,)}, {}, "SELECT 1", (Ask((DBA,)),)),
    ({}, {}, "SELECT 1", (Ask((ONCALL,)),)),
    ({"reviewers": ("group:a", "group:b")}, {"reviewers": ("group:b", "group:c")}, "TABLE users", (Ask(("group:b",)),)),
    ({"reviewers": ("group:a",)}, {"reviewers": ("group:b",)}, "TABLE users", (Ask(("group:a",)), Ask(("group:b",)))),
    ({"reviewers": ("group:a",)}, {"reviewers": ("group:b",)}, "TABLE orders", (Ask(("group:a",)),)),
    ({"reviewers": (DBA,)}, {}, "SELECT 1; DELETE FROM orders WHERE id = 1", (Ask((DBA,)), Ask((ONCALL,)))),
    ({"reviewers": (DBA, ONCALL)}, {}, "SELECT 1; DELETE FROM orders WHERE id = 1", (Ask((ONCALL,)),)),
    ({"approvals": 2}, {}, "SELECT 1", (Ask((ONCALL,), 2),)),
    ({"approvals": 2}, {"reviewers": (ONCALL, DBA)}, "TABLE users", (Ask((ONCALL,), 2),)),
    ({"approvals": 2, "reviewers": (DBA,)}, {"reviewers": (ONCALL,)}, "TABLE users", (Ask((DBA,), 2), Ask((ONCALL,)))),
    ({"approvals": 0, "reviewers": (DBA, ONCALL)}, {}, "SELECT 1", (Ask((DBA,)), Ask((ONCALL,)))),
    ({"approvals": 0, "reviewers": (DBA, ONCALL)}, {"approvals": 3, "reviewers": (DBA,)}, "TABLE users",
     (Ask((DBA,), 3), Ask((ONCALL,)))),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "sql", "asked"), REVIEWERS)
def test_the_approvals_of_every_rule_are_needed(
    first: dict[str, Any], second: dict[str, Any], sql: str, asked: tuple[Ask, ...]
) -> None:
    rules = (
        rule("a", APPROVE, operations=("select",), **first),
        rule("b", APPROVE, relations=("public.users",), **second),
    )
    verdict = ask(sql, *rules)
    assert verdict.kind is APPROVE
    assert (verdict.asks or (Ask(verdict.reviewers),)) == asked
    assert set(verdict.reviewers) == {name for each in asked for name in each.reviewers}


SESSIONS = [
    # rules, statement, rules under which leave for a period suffices
    ([{"operations": ("select",), "session": True}], "SELECT 1", ("r0",)),
    ([{"operations": ("select",)}], "SELECT 1", ()),
    ([{"operations": ("select",), "session": True}, {"relations": ("public.users",)}], "TABLE users", ()),
    ([{"operations": ("select",), "session": True}, {"relations": ("public.users",), "session": True}], "TABLE users",
     ("r0", "r1")),
    ([{"operations": ("delete",), "session": True}], "DELETE FROM orders WHERE id = 1", ()),
    ([{"replaces": "standard/delete", "session": True}], "DELETE FROM orders WHERE id = 1", ("r0",)),
    ([{"operations": ("select",), "session": True}], "SELECT 1; DELETE FROM orders WHERE id = 1", ()),
]  # fmt: skip


@pytest.mark.parametrize(("said", "sql", "sessions"), SESSIONS)
def test_leave_for_a_period_suffices_only_where_no_other_rule_asks(
    said: list[dict[str, Any]], sql: str, sessions: tuple[str, ...]
) -> None:
    verdict = ask(sql, *(rule(f"r{place}", APPROVE, **one) for place, one in enumerate(said)))
    assert (verdict.kind, verdict.sessions) == (APPROVE, sessions)


def test_observe_tries_rules_out() -> None:
    verdict = ask("SELECT 1", rule(operations=("select",)), policy="observe")
    assert (verdict.kind, verdict.would, verdict.rule) == (ALLOW, DENY, "observe/allow")
    assert "by mine" in verdict.reason


@pytest.mark.parametrize(("sql", "kind"), [
    ("DROP TABLE orders; SELECT pg_read_file('x')", DENY), ("DROP TABLE orders; SELECT leak(1)", APPROVE),
    ("DROP TABLE orders", ALLOW), ("SELECT 1", ALLOW), ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", APPROVE),
])  # fmt: skip
def test_observe_with_marks_keeps_what_stops_leaks_whatever_is_stricter(sql: str, kind: VerdictKind) -> None:
    rules = (rule(operations=("select",)), rule("code", APPROVE, replaces="standard/create-function"))
    assert ask(sql, *rules, policy="observe", marks=connection().marks).kind is kind


SENTENCES = [
    (rule(relations=("public.orders",)), "TABLE renaming", "It reads public.renaming, which can reach public.orders."),
    (rule(functions=("pg_catalog.pg_sleep",)), "SELECT pg_sleep(1)", "It reads no relation, it calls pg_catalog.pg_sleep."),
    (rule(columns=("public.orders.note",)), "TABLE orders", "It reads public.orders, it mentions public.orders.note."),
    (rule(operations=("insert",)), "EXPLAIN INSERT INTO orders (id) VALUES (1)", "It inserts into public.orders (inside explain)."),
    (rule(hours=("mon-fri 18:00-09:00",), groups=("bi",)), "SELECT 1",
     "It reads no relation, the subject is in bi and 19:30 UTC is within mon,tue,wed,thu,fri 18:00-09:00."),
]  # fmt: skip


@pytest.mark.parametrize(("mine", "sql", "sentence"), SENTENCES)
def test_the_fact_that_matched_is_one_sentence(mine: ConnectionRule, sql: str, sentence: str) -> None:
    assert ask(sql, mine, context=Context("a", ("bi",), parse_moment("tue 19:30"))).reason == sentence


NEVER = """server-file server-program load reaching-function query-function do role grant set-role alter-system
    password-table catalog-write pinned-setting read-only-access copy-out-marked temporary-name not-judged-together
    not-listed"""


@pytest.mark.parametrize("line", NEVER.split())
@pytest.mark.parametrize("preset", ["standard", "read-only", "migrations", "observe"])
def test_never_relaxed(line: str, preset: str) -> None:
    for action in (APPROVE, ALLOW):
        with pytest.raises(ConfigurationFault, match="never relaxed"):
            compile_rules(
                connection(policy=preset, rules=(rule(action=action, replaces=f"standard/{line}", accept_risk="x"),))
            )


WRONG = [
    ([rule(action=ALLOW, replaces=DROP)], r"rule.0.accept_risk: missing"),
    ([rule(action=ALLOW, replaces=DROP, accept_risk=" ")], r"rule.0.accept_risk: missing"),
    ([rule(action=APPROVE, accept_risk="x")], r"rule.0.accept_risk: stands beside"),
    ([rule(action=APPROVE, replaces="standard/nothing")], r"rule.0.replaces: .* no such line"),
    ([rule(action=APPROVE, replaces="standard/not-understood")], r"rule.0.replaces: .* no such line"),
    ([rule(action=APPROVE, replaces="standard/masked")], r"rule.0.replaces: .* no such line"),
    ([rule(action=APPROVE, replaces="migrations/drop")], r"rule.0.replaces: .* no such line"),
    ([rule(action=APPROVE, replaces="mine")], r"rule.0.replaces: .* no such line"),
    ([rule(operations=("selct",))], r"rule.0.operation: no such operation"),
    ([rule(), rule()], r"rule.1.name: another"),
    ([rule(reviewers=("group:a",))], r"rule.0.reviewers: only"),
    ([rule(action=APPROVE, replaces=DROP, functions=("public.f",))], r"rule.0.function: does not narrow"),
    ([rule(action=APPROVE, replaces=DROP, columns=("a.b.c",))], r"rule.0.column: does not narrow"),
    ([rule(action=APPROVE, replaces="standard/setting-not-listed", relations=("a.b",))], r"rule.0.relation: does not"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "words"), WRONG)
def test_what_a_rule_may_not_say(rules: Sequence[ConnectionRule], words: str) -> None:
    with pytest.raises(ConfigurationFault, match=words):
        compile_rules(connection(rules=tuple(rules)))


def test_the_hash_covers_every_rule_and_not_its_place() -> None:
    def hashed(*rules: ConnectionRule, **changes: object) -> str:
        return compile_rules(connection(rules=rules, **changes)).hash

    base = rule("a", APPROVE, operations=("select",))
    others = [
        replace(base, name="b"), replace(base, action=DENY), replace(base, operations=("insert",)),
        replace(base, relations=(RelationPattern("a", None),)), replace(base, functions=("a.b",)),
        replace(base, columns=(Mark("a", "b", "c"),)), replace(base, hours=(Hours(frozenset({1}), 0, 60),)),
        replace(base, subjects=("x",)), replace(base, groups=("x",)), replace(base, reviewers=("group:x",)),
        replace(base, approvals=2), replace(base, approvals=0), replace(base, session=True),
        replace(base, replaces=DROP), replace(base, replaces=DROP, accept_risk="x"),
    ]  # fmt: skip
    found = {hashed(), hashed(base), hashed(base, rule("z")), hashed(rule("z"), base)} | {
        hashed(each) for each in others
    }
    found |= {hashed(base, policy=preset) for preset in ("read-only", "migrations", "observe")}
    assert len(found) == 4 + len(others) + 3
    assert hashed(replace(base, where="elsewhere")) == hashed(base)


def test_hours_cover_a_week_minute_by_minute() -> None:
    night = parse_hours("mon-fri 22:00-06:00")
    start = parse_moment("mon 00:00")
    covered = [minute for minute in range(7 * 1440) if night.covers(Micros(start + minute * 60_000_000))]
    assert len(covered) == 5 * 8 * 60
    assert (covered[0], covered[-1]) == (22 * 60, 5 * 1440 + 6 * 60 - 1)
