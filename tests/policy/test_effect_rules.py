"""What may be approved after it ran, which rule says so, what a rollback leaves, and how its rows are read."""

# ruff: noqa: E501  tables of cases
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_sample import CATALOG, RELATIONS, connection, relation

from gateway.masking.marks import bind
from gateway.model import ConnectionRule, Mark, Verdict, VerdictKind
from gateway.policy.catalog import Catalog
from gateway.policy.decide import Context, decide
from gateway.policy.effects import effect_plan
from gateway.policy.facts import SessionState, facts
from gateway.policy.lexing import tokens
from gateway.policy.parse import parse
from gateway.policy.rules import compile_rules
from gateway.policy.sampling import SamplePlan, after_sql, before_sql, inserted_sql
from gateway.settings.units import parse_relation

KEYED = (
    relation(2, "orders", "id! user_id total note", keys=(frozenset({1}),)),
    relation(1, "users", "id! name email city", keys=(frozenset({1}), frozenset({3}))),
    relation(30, "by_email", "email! note", keys=(frozenset({1}),)),
    relation(31, "pairs", "id! id2! what", keys=(frozenset({1, 2}),), sets_off=("trigger t calls public.f",)),
    relation(32, "loose", "id note", keys=(frozenset({1}),)),
    relation(33, "Odd Name", "id! where", keys=(frozenset({1}),)),
)
TABLES = {**{found.oid: found for found in RELATIONS}, **{found.oid: found for found in KEYED}}
KNOWN = replace(CATALOG, relations=TABLES, by_name={(found.schema, found.name): found for found in TABLES.values()})
MARKED = (Mark("public", "by_email", "email"),)
EFFECT, PLAIN = "approve-effect", "approve"


def rule(name: str, action: str, *operations: str, relation: str = "", **more: object) -> ConnectionRule:
    return ConnectionRule(
        name,
        VerdictKind(action.partition("-")[0]),
        operations=operations,
        relations=(parse_relation(relation),) if relation else (),
        effect=action == EFFECT,
        where="gateway.toml: connection.0.rule.0",
        **more,  # type: ignore[arg-type]
    )


def ask(sql: str, *rules: ConnectionRule, state: SessionState | None = None, **changes: object) -> Verdict:
    asked = connection(**{"rules": rules, "marks": (), **changes})
    found = facts(sql.encode(), state or SessionState(), bind(KNOWN, asked).catalog)
    return decide(found, compile_rules(asked), Context("agent"))


DELETES = rule("deletes", EFFECT, replaces="standard/delete")
UPDATES = rule("updates", EFFECT, "update", "insert")
DELETE = "DELETE FROM orders WHERE id = 1"


@pytest.mark.parametrize(
    ("sql", "rules", "named", "effect"),
    [
        (DELETE, [DELETES], "deletes", True),
        (DELETE, [], "standard/delete", False),
        (DELETE, [rule("beside", EFFECT, "delete")], "standard/delete", False),  # the preset's line is stricter
        (DELETE, [DELETES, rule("plain", PLAIN, "delete")], "plain", False),
        (DELETE, [DELETES, rule("visit", PLAIN, "delete", session=True)], "visit", False),
        (DELETE, [DELETES, rule("never", "deny", "delete")], "never", None),
        (DELETE, [rule("relaxed", EFFECT, replaces="standard/delete", relation="public.orders")], "relaxed", True),
        (DELETE, [rule("relaxed", EFFECT, replaces="standard/delete", relation="public.users")], "standard/delete", False),
        ("DELETE FROM payments WHERE id = 1", [rule("narrow", EFFECT, replaces="standard/delete", relation="public.payments")],
         "standard/delete", False),  # payments_old is reached, and not named
        ("UPDATE orders SET total = 1 WHERE id = 1", [UPDATES], "updates", True),
        ("UPDATE orders SET total = leak(1)::text WHERE id = 1", [UPDATES], "standard/user-function", False),
        ("UPDATE orders SET total = 1", [UPDATES], "standard/update-all", None),
        ("TRUNCATE orders", [rule("relaxed", EFFECT, replaces="standard/truncate")], "relaxed", False),
        ("SELECT 1", [UPDATES], "standard/select", None),
    ],
)  # fmt: skip
def test_the_strictest_match_wins(sql: str, rules: list[ConnectionRule], named: str, effect: bool | None) -> None:
    verdict = ask(sql, *rules)
    assert verdict.rule == named
    assert (verdict.effect if verdict.kind is VerdictKind.APPROVE else None) is effect


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (f"BEGIN; {DELETE}; COMMIT", "controls the transaction"),
        (f"{DELETE}; COMMIT", "controls the transaction"),
        ("COPY orders FROM STDIN", "COPY data"),
        (f"EXPLAIN ANALYZE {DELETE}", "explain is nothing"),
        (f"PREPARE p AS {DELETE}", "prepare is nothing"),
        ("CALL purge()", "a procedure may commit"),
        ("VACUUM orders", "maintenance"),
        ("CREATE INDEX CONCURRENTLY ON orders (id)", "create"),
        ("SELECT leak(1)", "it changes no rows"),
        (f"{DELETE}; SET statement_timeout = 1", "set is nothing"),
    ],
)
def test_what_cannot_run_first_is_held_before(sql: str, why: str) -> None:
    everything = [rule("all", EFFECT)] + [
        rule(f"r{place}", EFFECT, replaces=f"standard/{line}")
        for place, line in enumerate(("delete", "call", "maintenance", "create", "user-function"))
    ]
    verdict = ask(sql, *everything)
    assert (verdict.kind, verdict.effect) == (VerdictKind.APPROVE, False), verdict
    assert "It is held before it runs, not after: " in verdict.reason
    assert why in verdict.reason


@pytest.mark.parametrize(
    "sql",
    [
        DELETE,
        f"{DELETE}; UPDATE users SET name = 'x' WHERE id = 2",
        f"WITH d AS ({DELETE} RETURNING id) SELECT count(*) FROM d",
        "INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET total = 2",
        "EXECUTE d",
    ],
)
def test_what_changes_rows_may_run_first(sql: str) -> None:
    state = SessionState({"d": b"PREPARE d AS DELETE FROM orders WHERE id = 1"})
    assert ask(sql, rule("all", EFFECT, "delete", "update", "insert"), DELETES, state=state).effect


def test_observe_tries_it_out_only() -> None:
    verdict = ask(DELETE, DELETES, policy="observe")
    assert (verdict.kind, verdict.effect) == (VerdictKind.ALLOW, False)


def plan(sql: str, known: Catalog | None = None) -> SamplePlan | str:
    bound = known or bind(KNOWN, connection()).catalog
    found = effect_plan(facts(sql.encode(), SessionState(), bound))
    return found.sample if found.sample is not None else found.no_sample


@pytest.mark.parametrize(
    ("sql", "where", "parameters"),
    [
        (DELETE, " id = 1", ()),
        ("DELETE FROM ONLY public.orders AS o WHERE o.id = $3 AND o.total = $1 RETURNING o.id", " o.id = $1 AND o.total = $2 ", (3, 1)),
        ("UPDATE orders SET note = $1 WHERE id IN ($2, $2, $10)", " id IN ($1, $1, $2)", (2, 10)),
        ("UPDATE orders SET note = 'where $1' /* where */ WHERE note = $$ returning $$ -- where", " note = $$ returning $$ -- where", ()),
        ('UPDATE "Odd Name" SET "where" = "Odd Name".where WHERE "Odd Name".where = \'x\'', ' "Odd Name".where = \'x\'', ()),
        ("UPDATE orders SET note = (SELECT name FROM users WHERE id = 3) WHERE id = (SELECT 1 WHERE true)",
         " id = (SELECT 1 WHERE true)", ()),
        ("DELETE FROM orders", "", ()),
    ],
)  # fmt: skip
def test_the_condition_is_taken_over_as_it_is(sql: str, where: str, parameters: tuple[int, ...]) -> None:
    found = plan(sql)
    assert isinstance(found, SamplePlan), found
    assert (found.where, found.parameters) == (where, parameters)
    for text in (before_sql(found, 5), after_sql(found, 3), inserted_sql(found, 100, 5)):
        (statement,) = parse(text).statements
        assert list(statement.node) == ["SelectStmt"]
        assert b"email" not in text


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (f"{DELETE}; {DELETE}", "several"),
        (f"WITH a AS (SELECT 1) {DELETE}", "plain"),
        ("DELETE FROM orders USING users WHERE users.id = orders.id AND users.id = 3", "plain"),
        ("UPDATE orders SET total = name FROM users WHERE users.id = orders.id AND users.id = 3", "plain"),
        ("INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO NOTHING", "plain"),
        ("DELETE FROM mails WHERE id = 1", "ordinary table"),
        ("DELETE FROM payments WHERE id = 1", "ordinary table"),
        ("DELETE FROM audited WHERE id = 1", "runs code"),
        ("DELETE FROM loose WHERE id = 1", "no key"),
        ("DELETE FROM by_email WHERE note = 'x'", "a marked one"),
        ("UPDATE orders SET id = 3 WHERE id = 1", "key by which"),
        ("UPDATE orders SET (note, id) = ('a', 3) WHERE id = 1", "key by which"),
        ("DELETE FROM orders WHERE id = leak(1)::int", "runs code"),
        ("DELETE FROM orders WHERE pg_advisory_lock(1) IS NULL", "runs code"),
        ("DELETE FROM orders WHERE id = nextval('s')", "runs code"),
        ("DELETE FROM orders WHERE CURRENT OF c", "cannot be read apart"),
    ],
)
def test_what_is_no_plain_write_has_no_sample(sql: str, why: str) -> None:
    marked = bind(KNOWN, connection(marks=(*connection().marks, *MARKED))).catalog
    found = plan(sql, marked)
    assert isinstance(found, str), found
    assert why in found


def test_a_marked_column_is_not_selected() -> None:
    found = plan("UPDATE users SET city = 'x' WHERE email = 'a@b.c'")
    assert isinstance(found, SamplePlan)
    assert dict(zip(found.columns, found.shown, strict=True)) == {
        "id": True,
        "city": True,
        "name": True,
        "email": False,
    }
    read = before_sql(found, 5).split(b" FROM ")[0]
    assert b"email" not in read
    assert b"city" in read


def test_what_stays_is_named() -> None:
    def lasting(sql: str) -> str:
        return "; ".join(effect_plan(facts(sql.encode(), SessionState(), bind(KNOWN, connection()).catalog)).lasting)

    assert "trigger t calls public.f on public.pairs" in lasting("DELETE FROM pairs WHERE id = 1")
    assert "leak" in lasting("DELETE FROM orders WHERE id = leak(1)::int")
    assert "public.net_price" in lasting("UPDATE orders SET total = net_price(1)::text WHERE id = 1")
    assert "sequences" in lasting("INSERT INTO orders VALUES (nextval('s'))")
    assert lasting(DELETE) == ""


@given(st.text(alphabet="wWhere ()[]$1'\"-/*\n;.EnU&x", max_size=60))
def test_tokens_never_stand_in_a_literal_and_never_fail(text: str) -> None:
    raw = text.encode()
    end = 0
    for kind, start, stop, _ in tokens(raw):
        assert end <= start < stop <= len(raw)
        assert kind in {"word", "parameter"}
        assert b"'" not in raw[start:stop]
        end = stop
