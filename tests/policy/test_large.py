"""Large and deep statements: understood or refused, in bounded time, and never at the price of this process."""

from __future__ import annotations

import time

import pytest
import trio
from policy_sample import BOUND
from policy_sample import understand as small

from gateway.parsing import DisposableParser, understand
from gateway.policy.facts import SessionState
from gateway.policy.parse import INLINE_LIMIT

STATE = SessionState()

CHAINS = {
    "plus": lambda n: "SELECT 1" + "+1" * n,
    "concat": lambda n: "SELECT note" + "||note" * n + " FROM orders",
    "and": lambda n: "SELECT 1 FROM orders WHERE id=1" + " AND id=2" * n,
    "or": lambda n: "SELECT 1 FROM orders WHERE id=1" + " OR id=2" * n,
    "union": lambda n: "SELECT 1" + " UNION ALL SELECT 1" * n,
    "cast": lambda n: "SELECT 1" + "::int" * n,
    "isnull": lambda n: "SELECT 1" + " IS NULL" * n,
    "join": lambda n: "SELECT 1 FROM orders" + " JOIN orders USING (id)" * n,
    "paren": lambda n: "SELECT " + "(" * n + "1" + ")" * n,
    "not": lambda n: "SELECT " + "NOT " * n + "true",
    "minus": lambda n: "SELECT " + "- " * n + "1",
    "array": lambda n: "SELECT " + "ARRAY[" * n + "1" + "]" * n,
    "subquery": lambda n: "SELECT * FROM " + "(SELECT * FROM " * n + "orders" + ") x" * n,
    "case": lambda n: "SELECT " + "CASE WHEN true THEN " * n + "1" + " END" * n,
    "call": lambda n: "SELECT " + "abs(" * n + "1" + ")" * n,
    "index": lambda n: "SELECT note" + "[1]" * n + " FROM orders",
    "exists": lambda n: "SELECT " + "EXISTS (SELECT " * n + "1" + ")" * n,
    "intersect": lambda n: "SELECT 1" + " INTERSECT SELECT 1" * n,
    "except": lambda n: "(" * n + "SELECT 1" + " EXCEPT SELECT 1)" * n,
    "values": lambda n: "SELECT * FROM " + "(VALUES ((SELECT 1 FROM " * n + "orders" + "))) v" * n,
    "ctes": lambda n: "WITH a AS (SELECT 1)" + ", a AS (SELECT 1 FROM a)" * n + " SELECT 1",
    "nested ctes": lambda n: "WITH a AS (" * n + "SELECT 1" + ") SELECT 1" * n,
    "lateral": lambda n: "SELECT 1 FROM orders" + ", LATERAL (SELECT id) l" * n,
    "right join": lambda n: "SELECT 1 FROM " + "(orders o JOIN " * n + "orders" + " ON true)" * n,
    "using": lambda n: "SELECT 1 FROM orders" + " NATURAL FULL JOIN orders" * n,
    "collate": lambda n: "SELECT note" + ' COLLATE "C"' * n + " FROM orders",
    "zone": lambda n: "SELECT now()" + " AT TIME ZONE 'UTC'" * n,
    "arrow": lambda n: "SELECT note::jsonb" + " -> 'a'" * n + " FROM orders",
    "field": lambda n: "SELECT " + "(" * n + "o" + ").a" * n + " FROM orders o",
    "like": lambda n: "SELECT note" + " LIKE note" * n + " FROM orders",
    "distinct": lambda n: "SELECT 1" + " IS DISTINCT FROM 1" * n,
    "between": lambda n: "SELECT 1" + " BETWEEN 1 AND 1 AND 1" * n,
    "in": lambda n: "SELECT 1 IN (" * n + "1" + ")" * n,
    "any": lambda n: "SELECT " + "1 = ANY (ARRAY[" * n + "1" + "])" * n,
    "row": lambda n: "SELECT " + "ROW(" * n + "1" + ")" * n,
    "coalesce": lambda n: "SELECT " + "coalesce(note, " * n + "note" + ")" * n + " FROM orders",
    "when": lambda n: "SELECT CASE" + " WHEN id = 1 THEN 2" * n + " END FROM orders",
    "filter": lambda n: "SELECT " + "count(*) FILTER (WHERE " * n + "true" + ")" * n,
    "window": lambda n: "SELECT " + "sum(1) OVER (ORDER BY " * n + "1" + ")" * n,
    "operator": lambda n: "SELECT 1" + " OPERATOR(pg_catalog.+) 1" * n,
    "columns": lambda n: "SELECT " + ", ".join(["note"] * (n + 1)) + " FROM orders",
    "statements": lambda n: "SELECT 1;" * n,
    "connections": lambda n: "SELECT '://';" * n,
    "marked statements": lambda n: "SELECT email, '://' FROM users;" * n,
    "comments": lambda n: "SELECT 1 " + "/* a */" * n,
    "nested comments": lambda n: "SELECT 1 " + "/*" * n + "*/" * n,
    "explain": lambda n: "EXPLAIN " * n + "SELECT 1",
    "string": lambda n: "SELECT '" + "a" * n + "'",
    "identifier": lambda n: 'SELECT 1 AS "' + "a" * n + '"',
    "number": lambda n: "SELECT " + "1" * n,
    "dollar": lambda n: "SELECT $a$" + "$b$" * n + "$a$",
    "parameters": lambda n: "SELECT " + ", ".join(["$1::int"] * (n + 1)),
    "marked plus": lambda n: "SELECT email" + " || email" * n + " FROM users",
    "marked union": lambda n: "SELECT id FROM users" + " UNION ALL SELECT id FROM users" * n,
    "predicate": lambda n: "DELETE FROM orders WHERE id = 1" + " OR id = 2" * n,
    "set": lambda n: "UPDATE orders SET note = 'x'" + ", note = 'x'" * n + " WHERE id = 1",
}


@pytest.mark.parametrize("size", [8 << 10, 15 << 10])
@pytest.mark.parametrize("form", sorted(CHAINS))
def test_chains_within_the_inline_limit(form: str, size: int) -> None:
    sql = _of_size(form, size)
    assert len(sql) <= INLINE_LIMIT
    began = time.process_time()
    facts = small(sql)
    assert time.process_time() - began < 1.5  # other sessions wait meanwhile
    assert facts.statements or facts.not_understood or facts.syntax_error


@pytest.mark.parametrize("form", sorted(CHAINS))
async def test_chains_beyond_it_cost_a_process_at_most(form: str) -> None:
    with trio.fail_after(60):
        facts = await understand(_of_size(form, 64 << 10).encode(), STATE, BOUND)
    assert facts.statements or facts.not_understood or facts.syntax_error
    assert not facts.wants


async def test_chains_of_a_megabyte_cost_a_process_at_most() -> None:
    parser = DisposableParser(seconds=1)

    async def check(form: str) -> None:
        facts = await parser.understand(_of_size(form, 1 << 20).encode(), STATE, BOUND)
        assert facts.statements or facts.not_understood or facts.syntax_error, form
        assert not facts.wants, form

    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            for form in sorted(CHAINS):
                nursery.start_soon(check, form)


def _of_size(form: str, size: int) -> str:
    one = len(CHAINS[form](2)) - len(CHAINS[form](1))
    return CHAINS[form]((size - 100) // one)


@pytest.mark.parametrize("sql", [
    "SELECT id FROM orders WHERE id IN (" + ",".join(map(str, range(20_000))) + ")",
    "INSERT INTO orders (id, note) VALUES " + ",".join(f"({n}, 'x')" for n in range(5_000)),
    "SELECT 1 FROM orders o0 " + " ".join(f"JOIN orders o{n} ON o{n}.id = o0.id" for n in range(1, 101)),
    "SELECT 1" + " UNION ALL SELECT 1" * 300,
    "SELECT ''" + " || note" * 200 + " FROM orders",
    "SELECT * FROM orders WHERE " + " AND ".join(f"id <> {n}" for n in range(2_000)),
])  # fmt: skip
async def test_large_ordinary_statements_are_understood(sql: str) -> None:
    facts = await understand(sql.encode(), STATE, BOUND)
    assert facts.not_understood is None
    assert facts.syntax_error is None
    assert len(facts.statements) == 1
    assert facts.statements[0].acts


@pytest.mark.parametrize(("sql", "masked"), [
    ("SELECT id, email FROM users WHERE id IN (" + ",".join(map(str, range(20_000))) + ")", [False, True]),
    ("SELECT u0.id, u99.email FROM users u0 " + " ".join(f"JOIN users u{n} ON u{n}.id = u0.id" for n in range(1, 101)),
     [False, True]),
    ("SELECT id, name FROM users" + " UNION ALL SELECT id, name FROM users" * 300, [False, False]),
    ("SELECT id, name FROM users" + " UNION ALL SELECT id, name FROM users" * 299 + " UNION SELECT 1, email FROM users",
     [False, True]),
    ("SELECT id, ''" + " || name" * 200 + " FROM users", [False, False]),
    ("SELECT id, ''" + " || name" * 199 + " || email FROM users", [False, True]),
])  # fmt: skip
async def test_large_ordinary_statements_are_masked_where_they_must_be(sql: str, masked: list[bool]) -> None:
    (statement,) = (await understand(sql.encode(), STATE, BOUND)).statements
    assert [not column.flow.clean for column in statement.outputs or ()] == masked


async def test_what_is_cut_from_long_lists_is_only_constants() -> None:
    rows = ",".join(f"({n}, 'x')" for n in range(3_000))
    facts = await understand(
        f"INSERT INTO orders (id, note) VALUES {rows}, (1, pg_read_file('x'))".encode(), STATE, BOUND
    )
    assert any(act.what == "reaching-function" for act in facts.statements[0].acts)
    facts = await understand(
        f"INSERT INTO orders (id, note) VALUES {rows}, (1, (SELECT email FROM users))".encode(), STATE, BOUND
    )
    assert any(act.what == "marked-write" for act in facts.statements[0].acts)


async def test_a_syntax_error_far_away_is_still_postgresqls_own() -> None:
    facts = await understand(("SELECT " + "1, " * 10_000 + "FROM FROM").encode(), STATE, BOUND)
    assert facts.syntax_error is not None
    assert facts.syntax_error.position == 7 + 30_000 + 1


async def test_large_prepared_statements_are_parsed_apart() -> None:
    text = ("SELECT email FROM users WHERE id IN (" + ",".join(map(str, range(9_000))) + ")").encode()
    state = SessionState(prepared={"p": text})
    assert small("EXECUTE p", state).wants == (text,)
    facts = await understand(b"EXECUTE p", state, BOUND)
    assert facts.not_understood is None
    assert facts.statements[0].marks_in_reach == ("public.users.email",)


@pytest.mark.parametrize("parser", [
    DisposableParser(memory=64 << 20), DisposableParser(answer=1000), DisposableParser(seconds=0.001),
])  # fmt: skip
async def test_limits_mean_not_understood(parser: DisposableParser) -> None:
    sql = "SELECT " + ",".join(f"f{n}(a{n})" for n in range(20_000))
    facts = await parser.understand(sql.encode(), STATE, BOUND)
    assert facts.not_understood
    assert facts.alarm.startswith("parser: ")
    assert not facts.statements


async def test_other_work_goes_on_beside_a_large_statement() -> None:
    sql = ("SELECT " + ",".join(f"f{n}(a{n})" for n in range(20_000))).encode()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await understand(sql, STATE, BOUND)
        nursery.cancel_scope.cancel()
    assert turns > 20


NESTED = {
    "exists in from": lambda n: _nest("SELECT EXISTS (SELECT 1 FROM ({}) x WHERE true) FROM users", n),
    "recursive in recursive": lambda n: _nest(
        "WITH RECURSIVE r AS (SELECT 1 AS a FROM ({}) x UNION SELECT a FROM r, users) SELECT a FROM r", n
    ),
    "doubled star": lambda n: _nest("SELECT x.*, x.* FROM ({}) x", n),
    "in and exists": lambda n: _nest("SELECT 1 IN (SELECT 1 FROM ({}) x WHERE EXISTS (SELECT 1)) FROM users", n),
    "lateral": lambda n: _nest("SELECT (SELECT y) FROM users u, LATERAL ({}) x, LATERAL (SELECT u.email) y", n),
    "joins": lambda n: "SELECT " + "email," * n + "1 FROM users" + " NATURAL JOIN users" * n,
    "names": lambda n: "SELECT " + "id," * n * 30 + "1 FROM users u0" + "".join(f",users u{i}" for i in range(1, n)),
    "tables": lambda n: (
        "WITH " + ",".join(f"a{i} AS (SELECT email FROM users)" for i in range(n)) + " SELECT * FROM a1"
    ),
}


def _nest(form: str, times: int) -> str:
    sql = "SELECT 1 AS y FROM users"
    for _ in range(times):
        sql = form.format(sql)
    return sql


@pytest.mark.parametrize("times", [5, 20, 40, 80])
@pytest.mark.parametrize("form", sorted(NESTED))
def test_nesting_never_multiplies_the_work(form: str, times: int) -> None:
    sql = NESTED[form](times)
    began = time.process_time()
    facts = small(sql)
    assert time.process_time() - began < 3
    assert facts.statements or facts.not_understood
