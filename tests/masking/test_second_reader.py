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
