"""The second reader: what it sees, what it leaves alone, that it is heard, and that nothing an agent sends stalls it."""

# ruff: noqa: E501  one statement a line
from __future__ import annotations

import logging
import time

import pytest
from policy_sample import BOUND, judge, understand

from gateway.masking import second
from gateway.masking.flow import CLEAN, Output
from gateway.model import VerdictKind
from gateway.policy import reader
from gateway.policy.copies import named_query
from gateway.policy.facts import SessionState, facts
from gateway.policy.parse import parse
from gateway.policy.tree import child, kind_of

VOTES = """
SELECT id, email FROM users | cD
SELECT * FROM users | ccDc
SELECT u.*, 1 FROM users u | ccDcc
SELECT EMAIL, "email", "Email" FROM users | DDc
SELECT upper(email), name || email, CASE WHEN email = 'x' THEN 1 END FROM users | DDD
SELECT u, u.id, (u).email, (u).name FROM users u | DcDc
SELECT u.ctid, u.tableoid FROM users u | cc
SELECT x.b, x.a FROM (SELECT id AS a, email AS b FROM users) x | Dc
SELECT c, a FROM users AS u (a, b, c) | Dc
SELECT (SELECT email FROM users LIMIT 1), (SELECT id FROM users LIMIT 1) | Dc
SELECT (SELECT u.email) FROM users u | D
SELECT l.x FROM users u, LATERAL (SELECT u.email AS x) l | D
SELECT name FROM users UNION ALL SELECT email FROM users UNION SELECT 'x' | D
WITH a AS (SELECT email AS e, id FROM users), b AS (SELECT * FROM a) SELECT id, e FROM b | cD
WITH RECURSIVE r (i, a, b) AS (SELECT 1, '', email FROM users UNION ALL SELECT i + 1, b, b FROM r) SELECT i, a FROM r | cD
WITH users AS (SELECT 1 AS email) SELECT email FROM users | c
SELECT mail, loud FROM mails JOIN shouted USING (id) | DD
SELECT v.y, v.x FROM (VALUES (1, (SELECT email FROM users))) AS v (x, y) | Dc
SELECT max(email), count(*), rank() OVER (ORDER BY email) FROM users | DcD
SELECT x FROM users, unnest(ARRAY[email]) AS t (x) | D
SELECT id FROM users WHERE email = 'x' ORDER BY email | c
UPDATE users SET name = 'x' WHERE id = 1 RETURNING id, email | cD
DELETE FROM users WHERE id = 1 RETURNING * | ccDc
INSERT INTO users (id) VALUES (1) RETURNING email, id | Dc
"""
UNREAD = """
SELECT * FROM users JOIN orders USING (id)
SELECT (u).* FROM users u
SELECT * FROM nowhere
SELECT email FROM users u, somewhere s
SELECT FROM WHERE
COPY users TO STDOUT
"""


def shown(votes: tuple[bool, ...] | None) -> str:
    return "?" if votes is None else "".join("D" if dirty else "c" for dirty in votes)


@pytest.mark.parametrize("line", VOTES.strip().splitlines())
def test_votes(line: str) -> None:
    sql, expected = line.rsplit(" | ", 1)
    assert shown(second.votes(sql, BOUND)) == expected


@pytest.mark.parametrize("sql", UNREAD.strip().splitlines())
def test_what_it_cannot_read_whole_it_does_not_vote_on(sql: str) -> None:
    assert second.votes(sql, BOUND) is None


def test_the_stricter_of_two_readers_counts_and_the_difference_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "outputs", lambda *_: (Output("id", CLEAN), Output("upper", CLEAN)))
    sql = "SELECT id, upper(email) FROM users"
    found = understand(sql)
    assert [column.flow.clean for column in found.statements[0].outputs or ()] == [True, False]
    assert found.alarm == "readers differ: only the second found a marked column in output 2"
    assert judge(sql).kind is VerdictKind.MASK


BODIES = {
    b"EXECUTE p": SessionState(prepared={"p": b"SELECT id, upper(email) FROM users"}),
    b"EXECUTE p (1)": SessionState(
        prepared={
            "p": b'PREPARE /* as */ "as" (int, numeric(3, 1)) AS SELECT id, upper(email) FROM users WHERE id = $1'
        }
    ),
    b"FETCH c": SessionState(
        cursors={"c": b"DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT id, upper(email) FROM users"}
    ),
    b"COPY (SELECT id, upper(email) FROM users) TO STDOUT": SessionState(),
    b"EXPLAIN SELECT id, upper(email) FROM users": None,
    ("SELECT id, upper(email) FROM users WHERE id IN (" + "1, " * 4000 + "2)").encode(): SessionState(),
}


@pytest.mark.parametrize("sql", BODIES, ids=lambda sql: sql[:20].decode())
def test_it_is_asked_about_the_text_behind_a_name_and_within_copy(sql: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "outputs", lambda *_: (Output("id", CLEAN), Output("upper", CLEAN)))
    state = BODIES[sql]
    found = facts(sql, state or SessionState(), BOUND)
    assert found.not_understood is None
    assert bool(found.alarm) is (state is not None)


@pytest.mark.parametrize(("text", "body"), [
    (b"PREPARE p AS SELECT 1", b"SELECT 1"),
    (b'PREPARE "for" (int) AS VALUES ($1)', b"VALUES ($1)"),
    (b"DECLARE c CURSOR FOR SELECT 1 AS for_", b"SELECT 1 AS for_"),
    (b"DECLARE c -- for\n/* as */ NO SCROLL CURSOR FOR TABLE t", b"TABLE t"),
])  # fmt: skip
def test_the_text_behind_a_name_is_found(text: bytes, body: bytes) -> None:
    query = child(kind_of(parse(text).statements[0].node)[1], "query")
    found = named_query(text, query)
    assert found is not None
    assert found.strip() == body
    assert named_query(text, kind_of(parse(b"SELECT 2").statements[0].node)) is None


@pytest.mark.parametrize("sql", ["SELECT id, name FROM users", "SELECT id, email FROM users", "SELECT * FROM orders"])
def test_readers_that_agree_raise_no_alarm(sql: str) -> None:
    assert not understand(sql).alarm


FORMS = {
    "array": lambda n: "SELECT " + "ARRAY[" * n + "email" + "]" * n + " FROM users",
    "paren": lambda n: "SELECT " + "(" * n + "email" + ")" * n + " FROM users",
    "call": lambda n: "SELECT " + "lower(" * n + "email" + ")" * n + " FROM users",
    "case": lambda n: "SELECT " + "CASE WHEN true THEN " * n + "email" + " END" * n + " FROM users",
    "subquery": lambda n: "SELECT * FROM " + "(SELECT * FROM " * n + "users" + ") x" * n,
    "index": lambda n: "SELECT email" + "[" * n + "1" + "]" * n + " FROM users",
    "array call": lambda n: "SELECT " + "ARRAY[lower(" * n + "email" + ")]" * n + " FROM users",
    "cross join": lambda n: "SELECT email FROM users u0" + "".join(f", users u{i}" for i in range(n)),
    "with": lambda n: "WITH a0 AS (SELECT email e FROM users)" + "".join(f", a{i} AS (SELECT x.e FROM a{i - 1} x, a{i - 1} y)" for i in range(1, n + 1)) + f" SELECT e FROM a{n}",
    "doubled": lambda n: "SELECT * FROM " + "(SELECT x.*, x.* FROM " * n + "users" + " x) x" * n,
}  # fmt: skip


@pytest.mark.parametrize("times", [4, 12, 25, 60, 200])
@pytest.mark.parametrize("form", sorted(FORMS))
def test_no_form_costs_more_than_its_limit(form: str, times: int) -> None:
    sql = FORMS[form](times)
    began = time.process_time()
    votes = second.votes(sql, BOUND)
    assert time.process_time() - began < 2
    assert votes is None or all(votes[:1]) or form in {"subquery", "doubled"}


def test_the_library_s_own_log_says_nothing_of_what_agents_send(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        second.votes("CREATE OPERATOR secret_words (x)", BOUND)
        second.votes("VACUUM secret_words FULL FULL", BOUND)
        second.votes("SELECT email FROM users MATCH secret_words", BOUND)
    assert "secret_words" not in caplog.text
