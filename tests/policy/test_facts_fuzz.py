"""facts() is total and bounded: whatever it is given, it answers, and what it does not know it says."""

# ruff: noqa: E501  one statement a line
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_sample import BOUND, connection
from test_verdicts import ALLOWED, APPROVED, DENIED, MASKED

from gateway.model import VerdictKind
from gateway.policy.decide import Context, decide
from gateway.policy.facts import SessionState, facts
from gateway.policy.rules import compile_rules
from score.corpus import read_corpus

RULES = compile_rules(connection())
STATUS = st.sampled_from(["I", "T", "E"])
SEEDS = [
    line.rsplit(" | ", 1)[0] for table in (ALLOWED, APPROVED, DENIED, MASKED) for line in table.strip().splitlines()
]
CORPUS = [step for folder in ("hostile", "ordinary") for case in read_corpus(folder) for step in case.steps]
WORDS = st.sampled_from(sorted({word for sql in SEEDS for word in sql.replace("(", " ( ").replace(",", " , ").split()}))


def check(sql: bytes, status: str = "I") -> None:
    found = facts(sql, SessionState(status=status), BOUND)
    verdict = decide(found, RULES, Context())
    assert verdict.reason
    assert verdict.rule
    if found.not_understood is not None or found.syntax_error is not None:
        assert verdict.kind is VerdictKind.DENY
        assert not found.statements
    for statement in found.statements:
        assert 0 <= statement.start <= statement.end <= len(sql)


@given(st.binary(max_size=300), STATUS)
def test_bytes(sql: bytes, status: str) -> None:
    check(sql, status)


@given(st.lists(WORDS, max_size=25), STATUS)
def test_words_of_sql(parts: list[str], status: str) -> None:
    check(" ".join(parts).encode(), status)


@given(st.sampled_from(SEEDS), st.sampled_from(SEEDS), st.integers(0, 400), st.integers(0, 400))
def test_statements_cut_and_joined(one: str, two: str, left: int, right: int) -> None:
    check((one[:left] + " " + two[right:]).encode())
    check(f"{one}; {two}".encode())


@given(st.sampled_from(CORPUS), st.sampled_from(CORPUS), st.integers(0, 2000), st.integers(0, 2000), STATUS)
def test_statements_of_the_corpora_cut_and_joined(one: str, two: str, left: int, right: int, status: str) -> None:
    check((one[:left] + two[right:]).encode(), status)
    check(f"{one}; {two}".encode(), status)
    check(one.replace(one[left : left + 3], two[right : right + 3]).encode(), status)


@given(st.sampled_from(SEEDS), st.sampled_from([
    "EXPLAIN {}", "EXPLAIN ANALYZE {}", "PREPARE z AS {}", "DECLARE z CURSOR FOR {}", "COPY ({}) TO STDOUT",
    "WITH z AS ({}) SELECT * FROM z", "CREATE TABLE z AS {}", "CREATE VIEW z AS {}", "SELECT 1; {}", "BEGIN; {}; COMMIT",
    "SELECT * FROM ({}) z", "SELECT ({})", "/* {{}} */ {}", "EXPLAIN (FORMAT json) {}",
]))  # fmt: skip
def test_a_wrapper_never_makes_a_verdict_milder(sql: str, wrapper: str) -> None:
    bare = decide(facts(sql.encode(), SessionState(), BOUND), RULES, Context())
    wrapped = decide(facts(wrapper.format(sql).encode(), SessionState(), BOUND), RULES, Context())
    other = re.fullmatch(r"\w+( '[^']*')?", sql)  # within SELECT (…) CHECKPOINT is a column, LOAD 'x' a typed constant
    if bare.kind.strictness >= VerdictKind.APPROVE.strictness and bare.rule != "standard/unknown-name" and not other:
        assert wrapped.kind.strictness >= bare.kind.strictness


@pytest.mark.parametrize("sql", SEEDS)
def test_comments_case_and_blanks_change_nothing(sql: str) -> None:
    plain = decide(facts(sql.encode(), SessionState(), BOUND), RULES, Context())
    dressed = f"/* a */\n\t{sql} -- b\n;"
    assert decide(facts(dressed.encode(), SessionState(), BOUND), RULES, Context()).rule == plain.rule
