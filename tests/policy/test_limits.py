"""What rules with limits count, over how long, and which statements they are about."""

from __future__ import annotations

import pytest
from policy_sample import catalog, connection

from gateway.model import ConnectionRule, RelationPattern, VerdictKind
from gateway.policy.decide import Context, decide, limits
from gateway.policy.facts import SessionState, facts
from gateway.policy.limits import Allowance, Limit, Tally
from gateway.policy.own import compile_own, faults
from gateway.policy.rules import compile_rules

HOUR = 3_600_000_000
ORDERS = RelationPattern("public", "orders")
BULK = ConnectionRule(
    "bulk", VerdictKind.APPROVE, operations=("select", "copy-out"), relations=(ORDERS,), rows_over=100, where="f: r"
)
WIDE = ConnectionRule("wide", VerdictKind.DENY, operations=("insert", "update"), bytes_over=10, window=HOUR // 60)
RULES = compile_rules(connection(marks=(), rules=(BULK, WIDE)))
KNOWN = catalog(marks=(), rules=(BULK, WIDE))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM orders", ["bulk"]),
        ("SELECT * FROM users", []),
        ("COPY orders TO STDOUT", ["bulk"]),
        ("WITH o AS (SELECT * FROM orders) SELECT 1 FROM o", ["bulk"]),
        ("DECLARE c CURSOR FOR SELECT * FROM orders", []),
        ("DECLARE c CURSOR FOR SELECT * FROM orders; FETCH 3 FROM c", ["bulk"]),
        ("PREPARE p AS SELECT * FROM orders; EXECUTE p", ["bulk"]),
        ("EXPLAIN SELECT * FROM orders", []),
        ("EXPLAIN ANALYZE SELECT * FROM orders", ["bulk"]),
        ("INSERT INTO users SELECT id, note FROM orders", ["bulk", "wide"]),
        ("UPDATE users SET name = 'x' WHERE id = 1", ["wide"]),
        ("BEGIN", []),
        ("SELEC", []),
    ],
)
def test_which_statements_a_limit_is_about(sql: str, expected: list[str]) -> None:
    found = facts(sql.encode(), SessionState(), KNOWN)
    assert [rule.name for rule in limits(found, RULES, Context("a"))] == expected


def test_a_limit_matches_only_where_it_is_passed() -> None:
    found = facts(b"SELECT * FROM orders", SessionState(), KNOWN)
    assert decide(found, RULES, Context("a")).rule == "standard/select"
    verdict = decide(found, RULES, Context("a", exceeded={"bulk": "it has had enough"}))
    assert (verdict.kind, verdict.rule, verdict.where) == (VerdictKind.APPROVE, "bulk", "f: r")
    assert verdict.reason == "It reads public.orders, it has had enough."


def test_a_window_forgets_what_is_older_and_nothing_sooner() -> None:
    tally = Tally(HOUR)
    for minute in range(60):
        tally.forget(minute * 60_000_000)
        tally.add(minute * 60_000_000, 1, 10)
    assert (tally.rows, tally.size) == (60, 600)
    tally.forget(HOUR - 1)
    assert tally.rows == 60
    tally.forget(HOUR + HOUR // 2 + HOUR // 64)
    assert 27 <= tally.rows <= 30
    tally.forget(3 * HOUR)
    assert (tally.rows, tally.size) == (0, 0)


def test_the_row_that_would_pass_is_not_counted_and_not_had() -> None:
    (rule,) = compile_own("standard", [BULK])
    now = [0]
    tally = Tally(HOUR)
    allowance = Allowance((Limit(rule, tally, "agent-1"),), lambda: now[0])
    assert [allowance.take(1, 5) for _ in range(100)] == [None] * 100
    refusal = allowance.take(1, 5)
    assert refusal is not None
    assert (refusal.kind, refusal.rule) == (VerdictKind.DENY, "bulk")
    assert "agent-1 has had 100 rows within 1h, and 100 is the most" in refusal.reason
    assert tally.rows == 100
    assert allowance.lifted().take(50, 5) is None
    assert tally.rows == 150
    now[0] = 3 * HOUR
    assert allowance.take(1, 5) is None


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"action": VerdictKind.ALLOW}, "rows_over"), ({"replaces": "standard/delete"}, "rows_over")],
)
def test_a_limit_that_says_nothing_is_refused(changes: dict[str, object], key: str) -> None:
    rule = ConnectionRule(**{"name": "r", "action": VerdictKind.DENY, "rows_over": 5, **changes})  # type: ignore[arg-type]
    assert key in [found for _, found, _ in faults("standard", [rule])]
