"""A verdict that is given by shape is the verdict that reading the text would give: anything else would be a hole."""

# ruff: noqa: E501  tables of cases

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import trio
from hypothesis import event, given
from hypothesis import strategies as st
from policy_sample import CATALOG, connection

from gateway.evidence.storage import SystemClock
from gateway.masking.marks import bind
from gateway.model import Connection, Micros, Principal, Statement, WireProtocol
from gateway.pgwire.actions import Analyse, Token
from gateway.pgwire.backend import ColumnDescription
from gateway.pgwire.judgement import Judgement, Names
from gateway.policy.catalog import Catalog
from gateway.policy.rules import compile_rules
from gateway.policy.shapes import LONGEST, shape_of, stands_for_all
from gateway.worker.judging import Judge

WHO = Principal("issuer", "agent", "jti", Micros(0))


@pytest.mark.parametrize("sql", [
    "SELECT abalance FROM pgbench_accounts WHERE aid = 54321;",
    "select a from t where b in (1, 2) and c between 3 and 4 or 5 < e",
    "SELECT t.a, u.b FROM t JOIN u ON t.id = u.id\nWHERE u.id <> 7 AND t.name >= 8",
    "select count(*) from orders where id = 007",
    "select a from t where c = 0",
])  # fmt: skip
def test_texts_that_stand_for_all_of_their_shape(sql: str) -> None:
    assert stands_for_all(sql.encode())
    other = re.sub(r"\b[0-9]+\b", "123456789", sql)
    assert shape_of(sql.encode()) == shape_of(other.encode()) is not None


@pytest.mark.parametrize("sql", [
    "select a from t where b = 'x'", "select a from t where b = '' and c = 0", "select a from t where b = 'x 5 y'",
    "select 1", "select a, 1 from t where b = 2", "select a from t order by 1", "select a from t group by 1",
    "select a from t where b = 5 limit 10", "select a from t where b = 5 offset 1", "select a from t where 1 = 1",
    "select a from t where b = 5 fetch first 3 rows only", "select a from t where 1", "select distinct on (1) a from t",
    "select a from t where b = '5'::regclass", "select a from t where b = date '2020'", "select a from t where f(5) = 1",
    "select a from t where b::varchar(3) = 'x'", "select cast(a as numeric(9)) from t where b = 1",
    "select set_config('a', 'b', true)", "select nextval('s')", "select a from t where b = 'a' 'b'",
    "select a from t where b = 'a'\n'b'", "select a from t where b = 'it''s'", "select a from t where b = E'a'",
    "select a from t where b = U&'a'", "select a from t where b = B'01'", "select a from t where b = N'a'",
    "select a from t where b = 'a\\'", "select a from t where b = -1", "select a from t where b = +1",
    "select a from t where b = 1.5", "select a from t where b = .5", "select a from t where b = 5.",
    "select a from t where b = 1e5", "select a from t where b = 0x1F", "select a from t where b = 1_000",
    "select a from t where b = 1234567890", "select a from t where b = $1", "select a from t where b = $1 and c = 2",
    "select a from t where b = 1 -- c = 2", "select a from t where b = 1 /* 2 */", 'select "a 1" from t where b = 1',
    "select a from t where b = $$1$$", "select a from t where b = 1; select a from t where b = 2",
    "update t set a = 1 where b = 2", "delete from t where b = 1", "insert into t values (1)", "set a = 1",
    "select a[1] from t where b = 2", "select a from t where b = any (array[1])", "select a from t where b || 'x' = 'y'",
    "select a from t where b like 'x'", "select a from t where b = 1 and c is null and", "select case when a = 1 then 2 end",
    "select a from t where (b, c) = (1, 2)", "select a from t where b = 'x' collate c and d = 1 limit 1",
    "values (1)", "table t", "explain select a from t where b = 1", "select a from t where b = interval '1' day",
    "select a from t tablesample system (5) where b = 1", "select a from t where b ~ 'x'", "execute p (1)",
    "select a from t where b = 1" + " " * LONGEST, "select a from t where b operator(x.=) 1", "select '1' = a from t \x00",
    "select a from t where b = 'ü'", "select ü from t where b = 1", "select a from t where b = 5 for update of t nowait limit 1",
])  # fmt: skip
def test_texts_that_stand_for_themselves(sql: str) -> None:
    assert shape_of(sql.encode()) is None or not stands_for_all(sql.encode())


def test_a_text_that_has_no_shape_is_given_up_at_once() -> None:
    """Words of many letters before something strange: a pattern that could cut them anywhere would never end."""
    assert not stands_for_all(b"select " + b"a" * 1900 + b"# where b = 1")


def test_no_text_is_the_shape_of_another() -> None:
    assert shape_of(b"select a from t where b = 0") != b"select a from t where b = 0"
    assert shape_of(b"select a from t where b0 = 1") != shape_of(b"select a from t where b1 = 1")
    assert shape_of(b"select a from t") is None


PLAIN = ["{c} = {v}", "{v} < {c}", "{c} <> {v}", "{c} IN ({v}, {v})", "{c} BETWEEN {v} AND {v}"]
"""What a shape is made for: drawn more often than the rest."""
NUMBERS = st.one_of(
    st.integers(0, 10**9 - 1).map(str),
    st.integers(0, 9).map(str),
    st.integers(0, 3).map(str),
    st.integers(0, 10**10).map(str),
    st.sampled_from(["007", "0x1", "1.5", "-1", "1_0"]),
)
WORDS = st.one_of(
    st.sampled_from(["", "a", "users", "email", "standard", "t", "1", "pg_authid", "it''s", "a' or 'a' = 'a", "x\\", "password=x", "password: x", "a://u:p@h", "/*", "--", "$$"]),
    st.text("ab1 _.,:-@'\\", max_size=6),
).map(lambda word: f"'{word}'")  # fmt: skip
LITERALS = NUMBERS | WORDS
COLUMNS = st.sampled_from(
    ["id", "name", "city", "email", "card", "note", "total", "o.id", "users.email", "what", "lower(name)"]
)
CONDITIONS = st.sampled_from(4 * PLAIN + [
    "{c} = {v}", "{v} < {c}", "{c} <> {v}", "{c} IN ({v}, {v})", "{c} BETWEEN {v} AND {v}", "{v} = {v}", "{c} = {c}",
    "{c} = {v} + {v}", "{c} LIKE {v}", "{c} = ANY (ARRAY[{v}])", "{c} = {v}::regclass", "lower({v}) = {c}", "{v}", "{c} IS NULL",
    "EXISTS (SELECT id FROM users WHERE {c} = {v})", "set_config({v}, {v}, true) = {v}", "pg_read_file({v}) = {v}",
    "id = (SELECT {v} FROM users LIMIT {v})", "net_price({v}) = {v}", "dblink_x({v}) = {v}", "leak({c}) = {v}",
])  # fmt: skip
TAILS = st.sampled_from(12 * [""] + [
    "", "", "", ";", " LIMIT {v}", " ORDER BY {v}", " GROUP BY {v}", " ORDER BY {c} = {v}", " FOR UPDATE", " -- {v}", "; SELECT {v}",
    " UNION SELECT {c} FROM users WHERE {c} = {v}", " FETCH FIRST {v} ROWS ONLY", "; DROP TABLE users",
])  # fmt: skip
HEADS = st.sampled_from(8 * ["SELECT {c} FROM {t}"] + [
    "SELECT {c} FROM {t}", "SELECT count(*) FROM {t}", "SELECT {v} FROM {t}", "SELECT * FROM {t}", "SELECT {c}, {c} = {v} FROM {t}",
    "DELETE FROM {t}", "UPDATE {t} SET note = {v}", "EXPLAIN SELECT {c} FROM {t}", "COPY (SELECT {c} FROM {t}) TO STDOUT",
    "WITH x AS (SELECT {c} FROM {t} WHERE {c} = {v}) SELECT {c} FROM x", "INSERT INTO orders SELECT {c} FROM {t}",
])  # fmt: skip
TABLES = st.sampled_from(
    ["orders", "orders o", "users", "payments", "names", "mails", "odd", "audited", "pg_class", "pg_stats", "nowhere"]
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two texts that are alike but for their literals."""
    conditions = draw(st.lists(CONDITIONS, max_size=3))
    where = "" if not conditions else " WHERE " + draw(st.sampled_from([" AND ", " OR ", " AND NOT "])).join(conditions)
    text = draw(HEADS) + where + draw(TAILS)
    while "{c}" in text:
        text = text.replace("{c}", draw(COLUMNS), 1)
    text = text.replace("{t}", draw(TABLES))
    texts = [text, text]
    kinds = draw(
        st.lists(st.sampled_from([NUMBERS, WORDS, LITERALS]), min_size=text.count("{v}"), max_size=text.count("{v}"))
    )
    for kind in kinds:
        texts = [one.replace("{v}", draw(kind), 1) for one in texts]
    return texts[0], texts[1]


def fresh(asked: Connection) -> Judge:
    async def read() -> Catalog:
        return bind(CATALOG, asked).catalog

    judge = Judge(compile_rules(asked), read, SystemClock())
    trio.run(judge.refresh)
    return judge


def judged(judge: Judge, sql: str) -> Judgement:
    action = Analyse(Token(1), Statement(sql.encode(), WireProtocol.SIMPLE), Names({}, {}, "I"))
    found = judge.judge(action, WHO)
    assert found is not None
    return found


ROW = tuple(ColumnDescription("c", 2, number, 25, -1, -1, 0) for number in (1, 2))


def seen(judgement: Judgement) -> Any:
    """All that a judgement says, its plan for a result among it."""
    planner = judgement.planner
    plans = None if planner is None else [planner(0, ROW[:width]) for width in (1, 2)]
    return replace(judgement, planner=None), plans


@pytest.mark.fuzz
@given(pairs(), st.sampled_from([{}, {"marks": ()}, {"policy": "observe"}, {"policy": "read-only"}]))
def test_a_verdict_by_shape_is_the_verdict_of_the_text(texts: tuple[str, str], changes: dict[str, Any]) -> None:
    asked = connection(**changes)
    warm = fresh(asked)
    first = judged(warm, texts[0])
    second = judged(warm, texts[1])
    event("by shape" if second is first and texts[0] != texts[1] else "read")
    assert seen(second) == seen(judged(fresh(asked), texts[1]))


def test_a_shape_is_used_at_all_and_only_where_nothing_is_marked() -> None:
    judge = fresh(connection())
    plain = judged(judge, "SELECT note FROM orders WHERE id = 5")
    assert judged(judge, "SELECT note FROM orders WHERE id = 77") is plain
    marked = judged(judge, "SELECT name FROM users WHERE id = 5")
    assert judged(judge, "SELECT name FROM users WHERE id = 77") is not marked
