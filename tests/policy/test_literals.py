"""Which literals of a statement are withheld, case by case: those that meet a marked column, and all where in doubt."""

# ruff: noqa: E501  one statement a line
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_sample import BOUND, CATALOG

from gateway.model import Parameter, Statement, WireProtocol
from gateway.policy.facts import SessionState, facts
from gateway.policy.lexing import literals
from gateway.policy.literals import unread
from gateway.worker.withholding import Told, withhold

CASES = """
SELECT email FROM users WHERE email = 'a@b.example' | SELECT email FROM users WHERE email = $masked_1
SELECT name FROM users WHERE email <> 'x' AND city = 'Bonn' AND id > 7 LIMIT 10 | SELECT name FROM users WHERE email <> $masked_1 AND city = 'Bonn' AND id > 7 LIMIT 10
SELECT 1 FROM users WHERE city = 'Bonn' OR (id = 4 AND NOT email LIKE 'a%') | SELECT 1 FROM users WHERE city = 'Bonn' OR (id = 4 AND NOT email LIKE $masked_1)
SELECT 1 FROM users u WHERE u.email IN ('a', 'b') | SELECT 1 FROM users u WHERE u.email IN ($masked_1, $masked_2)
SELECT 1 FROM users WHERE email = ANY(ARRAY['a','b']) | SELECT 1 FROM users WHERE email = ANY(ARRAY[$masked_1,$masked_2])
SELECT 1 FROM users WHERE email BETWEEN 'a' AND 'b' AND city BETWEEN 'c' AND 'd' | SELECT 1 FROM users WHERE email BETWEEN $masked_1 AND $masked_2 AND city BETWEEN 'c' AND 'd'
SELECT 1 FROM users WHERE (email, city) = ('a', 'b') | SELECT 1 FROM users WHERE (email, city) = ($masked_1, $masked_2)
SELECT 1 FROM users WHERE CASE WHEN city = 'B' THEN email = 'a' ELSE false END | SELECT 1 FROM users WHERE CASE WHEN city = $masked_1 THEN email = $masked_2 ELSE false END
SELECT left(email, 3), left(city, 3), 'label' FROM users | SELECT left(email, $masked_1), left(city, 3), 'label' FROM users
SELECT count(*) FROM users GROUP BY city HAVING max(email) > 'q' AND max(city) > 'r' | SELECT count(*) FROM users GROUP BY city HAVING max(email) > $masked_1 AND max(city) > 'r'
SELECT city FROM users ORDER BY email = 'a', city = 'b' | SELECT city FROM users ORDER BY email = $masked_1, city = 'b'
SELECT 1 FROM users u JOIN orders o ON o.note = 'n' AND u.email = 'e' WHERE o.total > 5 | SELECT 1 FROM users u JOIN orders o ON o.note = 'n' AND u.email = $masked_1 WHERE o.total > 5
SELECT 1 FROM orders o, (VALUES ('a')) v(e), users u WHERE u.email = v.e | SELECT 1 FROM orders o, (VALUES ($masked_1)) v(e), users u WHERE u.email = v.e
SELECT 1 FROM users u, (SELECT 'a' AS e) v WHERE u.email = v.e AND u.city = 'b' | SELECT 1 FROM users u, (SELECT $masked_1 AS e) v WHERE u.email = v.e AND u.city = 'b'
SELECT 1 FROM users u, unnest(ARRAY['a']) e WHERE u.email = e | SELECT 1 FROM users u, unnest(ARRAY[$masked_1]) e WHERE u.email = e
WITH p AS (SELECT 'a' AS e, 5 AS n) SELECT 1 FROM users, p WHERE users.email = p.e | WITH p AS (SELECT $masked_1 AS e, $masked_2 AS n) SELECT 1 FROM users, p WHERE users.email = p.e
SELECT s.e FROM (SELECT email AS e FROM users) s WHERE s.e = 'a' | SELECT s.e FROM (SELECT email AS e FROM users) s WHERE s.e = $masked_1
SELECT 1 FROM users AS u(a, b, c, d) WHERE c = 'x' | SELECT $masked_1 FROM users AS u(a, b, c, d) WHERE c = $masked_2
SELECT 1 FROM (users u JOIN orders o ON true) AS j WHERE j.city = 'x' | SELECT $masked_1 FROM (users u JOIN orders o ON true) AS j WHERE j.city = $masked_2
SELECT email FROM users WHERE id = 1 UNION SELECT 'guess' | SELECT email FROM users WHERE id = 1 UNION SELECT $masked_1
SELECT email FROM users INTERSECT VALUES ('guess') | SELECT email FROM users INTERSECT VALUES ($masked_1)
SELECT 1 FROM orders WHERE user_id IN (SELECT id FROM users WHERE email = 'a') AND total = 9 | SELECT 1 FROM orders WHERE user_id IN (SELECT id FROM users WHERE email = $masked_1) AND total = 9
SELECT 1 FROM users WHERE users = ROW(1, 'n', 'e', 'c') | SELECT 1 FROM users WHERE users = ROW($masked_1, $masked_2, $masked_3, $masked_4)
SELECT 1 FROM mails WHERE mail = 'a' AND name = 'b' | SELECT 1 FROM mails WHERE mail = $masked_1 AND name = 'b'
SELECT 1 FROM payments WHERE card = 4000 AND amount = -12 AND amount <> - 13 | SELECT 1 FROM payments WHERE card = $masked_1 AND amount = -12 AND amount <> - 13
INSERT INTO users (id, name, email) VALUES (1, 'n', 'e'), (2, 'm', upper('f')) | INSERT INTO users (id, name, email) VALUES (1, 'n', $masked_1), (2, 'm', upper($masked_2))
INSERT INTO users VALUES (1, 'n', 'e', 'c') | INSERT INTO users VALUES (1, 'n', $masked_1, 'c')
INSERT INTO users (id, email) SELECT 5, 'e' | INSERT INTO users (id, email) SELECT $masked_1, $masked_2
INSERT INTO orders (note) SELECT 'x' FROM users WHERE email = 'e' | INSERT INTO orders (note) SELECT $masked_1 FROM users WHERE email = $masked_2
INSERT INTO users (id, email) VALUES (1, 'e') ON CONFLICT (id) DO UPDATE SET email = 'f', city = 'g' WHERE users.id = 3 | INSERT INTO users (id, email) VALUES (1, $masked_1) ON CONFLICT (id) DO UPDATE SET email = $masked_2, city = 'g' WHERE users.id = 3
UPDATE users SET email = 'e', city = 'c' WHERE id = 3 RETURNING 'r' | UPDATE users SET email = $masked_1, city = 'c' WHERE id = 3 RETURNING 'r'
UPDATE users SET (email, city) = ('e', 'c') WHERE id = 3 | UPDATE users SET (email, city) = ($masked_1, $masked_2) WHERE id = 3
UPDATE users SET city = 'c' FROM orders o WHERE o.note = email || 'x' AND users.id = 4 | UPDATE users SET city = 'c' FROM orders o WHERE o.note = email || $masked_1 AND users.id = 4
DELETE FROM users WHERE email = 'e' AND id = 1 | DELETE FROM users WHERE email = $masked_1 AND id = 1
MERGE INTO users u USING (SELECT 1 AS id, 'e' AS e) s ON u.id = s.id WHEN MATCHED THEN UPDATE SET email = s.e, city = 'c' WHEN NOT MATCHED THEN INSERT (id, email) VALUES (7, 'f') | MERGE INTO users u USING (SELECT $masked_1 AS id, $masked_2 AS e) s ON u.id = s.id WHEN MATCHED THEN UPDATE SET email = s.e, city = 'c' WHEN NOT MATCHED THEN INSERT (id, email) VALUES ($masked_3, $masked_4)
EXPLAIN SELECT 1 FROM users WHERE email = 'e' AND id = 1 | EXPLAIN SELECT 1 FROM users WHERE email = $masked_1 AND id = 1
PREPARE p AS SELECT 1 FROM users WHERE email = 'e' AND id = 1 | PREPARE p AS SELECT 1 FROM users WHERE email = $masked_1 AND id = 1
DECLARE c CURSOR FOR SELECT name FROM users WHERE email = 'e' AND id = 1 | DECLARE c CURSOR FOR SELECT name FROM users WHERE email = $masked_1 AND id = 1
COPY (SELECT name FROM users WHERE email = 'e' AND id = 1) TO STDOUT | COPY (SELECT name FROM users WHERE email = $masked_1 AND id = 1) TO STDOUT
SELECT leak('e') | SELECT leak($masked_1)
ALTER TABLE users ALTER COLUMN email SET DEFAULT 'e' | ALTER TABLE users ALTER COLUMN email SET DEFAULT $masked_1
SELECT 1 FROM users WHERE email = E'a\\'b' /* a'b */ AND name = $$a'b$$ -- a'b | SELECT 1 FROM users WHERE email = $masked_1 /* a'b */ AND name = $$a'b$$ -- a'b
SELECT 1 FROM users WHERE email = 'mail@x' AND name = 'mail@x' -- for mail@x | SELECT 1 FROM users WHERE email = $masked_1 AND name = '$masked_1' -- for $masked_1
SELECT 1 FROM orders WHERE note = 'x'; SELECT 1 FROM users WHERE email = 'y' | SELECT 1 FROM orders WHERE note = 'x'; SELECT 1 FROM users WHERE email = $masked_1
"""
PLAIN = """
SELECT note FROM orders WHERE note = 'x' AND total > 5
INSERT INTO orders (note) VALUES ('x')
BEGIN
SET application_name = 'x'
SELECT 'password', 'https://example.test/a:b'
"""
SECRET = """
ALTER ROLE bob PASSWORD 'hunter2' | ALTER ROLE bob PASSWORD $masked_1
CREATE USER bob WITH ENCRYPTED PASSWORD 'hunter2' VALID UNTIL '2030-01-01' | CREATE USER bob WITH ENCRYPTED PASSWORD $masked_1 VALID UNTIL $masked_2
CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'u', password 'p') | CREATE USER MAPPING FOR bob SERVER s OPTIONS (user $masked_1, password $masked_2)
CREATE SUBSCRIPTION s CONNECTION 'host=h password=p' PUBLICATION p | CREATE SUBSCRIPTION s CONNECTION $masked_1 PUBLICATION p
UPDATE pg_authid SET rolpassword = 'x' WHERE rolname = 'y' | UPDATE pg_authid SET rolpassword = $masked_1 WHERE rolname = $masked_2
SELECT dblink_x('host=h', 'SELECT 1') | SELECT dblink_x($masked_1, $masked_2)
SELECT crypt('p', gen_salt('bf')) | SELECT crypt($masked_1, gen_salt($masked_2))
SELECT note FROM orders WHERE note = 'x' AND note <> 'postgresql://u:p@h/d' | SELECT note FROM orders WHERE note = 'x' AND note <> $masked_1
INSERT INTO orders (note) VALUES ('host=h password = p'), ('x') | INSERT INTO orders (note) VALUES ($masked_1), ('x')
SELEC note FROM orders WHERE note = 'x' | SELEC note FROM orders WHERE note = $masked_1
SELECT 'never closed | SELECT $masked_1
SELECT 1 FROM orders WHERE note = U&'x' AND id = 0x1F AND total = 1.5e3 AND q(( | SELECT $masked_1 FROM orders WHERE note = $masked_2 AND id = $masked_3 AND total = $masked_4 AND q((
"""


def told(
    sql: str, *, marks: bool = True, state: SessionState | None = None, bound: tuple[bytes | None, ...] = ()
) -> Told:
    found = facts(sql.encode(), state or SessionState(), BOUND if marks else CATALOG)
    parameters = tuple(Parameter(25, 0, value) for value in bound)
    return withhold(Statement(sql.encode(), WireProtocol.EXTENDED, parameters), found.literals)


def table(text: str) -> list[tuple[str, str]]:
    pairs = (line.rsplit(" | ", 1) for line in text.strip().splitlines())
    return [(left.replace("\\\\", "\\"), right) for left, right in pairs]


@pytest.mark.parametrize(("sql", "shown"), table(CASES))
def test_what_meets_a_marked_column_is_withheld(sql: str, shown: str) -> None:
    found = told(sql)
    assert found.statement.sql.decode() == shown
    assert found.exact is not None
    assert found.exact.sql.decode() == sql
    assert len(found.values) == sum(f"$masked_{place}" in shown for place in range(1, 20))


@pytest.mark.parametrize("sql", PLAIN.strip().splitlines())
def test_what_meets_none_is_told_as_it_was_sent(sql: str) -> None:
    for marks in (True, False):
        assert told(sql, marks=marks).exact is None, sql


@pytest.mark.parametrize(("sql", "shown"), table(SECRET))
def test_secrets_and_what_is_not_understood_are_withheld_without_any_marks(sql: str, shown: str) -> None:
    for marks in (False, True):
        assert told(sql, marks=marks).statement.sql.decode() == shown


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("SELECT 1 FROM users WHERE email = $1 AND id = $2 LIMIT $3", {2, 3}),
        ("INSERT INTO users (id, email, name) VALUES ($1, $2, $3)", {1, 3}),
        ("INSERT INTO users VALUES ($1, $2, $3, $4)", {1, 2, 4}),
        ("UPDATE users SET email = $1, name = $2 WHERE id = $3", {2, 3}),
        ("UPDATE users SET name = $1 WHERE email = $1 AND id = $2", {2}),
        ("SELECT 1 FROM users WHERE email = ANY($1::text[]) AND name = ANY($2)", {2}),
        ("SELECT $1 FROM orders WHERE note = $2", {1, 2, 3, 4}),
        ("SELECT leak($1)", set()),
        ("SELECT crypt($1, $2)", set()),
        ("SELEC $1", set()),
    ],
)
def test_parameters_of_marked_columns_are_withheld(sql: str, kept: set[int]) -> None:
    found = told(sql, bound=(b"one", b"two", b"three", b"four"))
    shown = {
        place for place, one in enumerate(found.statement.parameters, 1) if not str(one.value).startswith("b'$masked")
    }
    assert shown == kept
    assert told(sql, bound=(None, None)).statement.parameters == (Parameter(25, 0, None),) * 2


def test_arguments_of_execute_are_withheld_where_what_runs_reaches_marks() -> None:
    state = SessionState(
        prepared={
            "p": b"PREPARE p AS SELECT 1 FROM users WHERE email = $1",
            "q": b"SELECT note FROM orders WHERE note = $1",
        }
    )
    assert told("EXECUTE p('a')", state=state).statement.sql == b"EXECUTE p($masked_1)"
    assert told("EXECUTE q('a')", state=state).exact is None
    failed = SessionState(status="E")
    assert told("SELECT 1 FROM orders WHERE note = 'x'", state=failed).values == ("1", "x")
    assert told("SELECT 1 FROM orders WHERE note = 'x'", state=failed, marks=False).exact is None


@pytest.mark.parametrize("sql", [b"SELECT '\xff'", b"SELECT 'a\0'", b"\x83\x27 SELECT 'hidden'"])
def test_what_is_no_text_is_withheld_whole(sql: bytes) -> None:
    found = facts(sql, SessionState(), CATALOG)
    assert withhold(Statement(sql, WireProtocol.SIMPLE), found.literals).statement.sql == b"$masked_1"


def test_copy_data_is_withheld_where_a_copied_column_is_marked() -> None:
    for sql, data in (("COPY users FROM STDIN", True), ("COPY users (id, email) FROM STDIN", True),
                      ("COPY users (id, name) FROM STDIN", False), ("COPY orders FROM STDIN", False)):  # fmt: skip
        assert facts(sql.encode(), SessionState(), BOUND).literals.data == data, sql


def test_a_statement_that_is_too_large_to_be_read_here_is_withheld() -> None:
    sql = "SELECT note FROM orders WHERE note = 'x' OR " + " OR ".join(f"id = {place}" for place in range(5000))
    assert len(told(sql, marks=False).values) == 5001


TOKENS = [
    ("'a' 'b'", ["a", "b"]),
    ("'a'\n'b'", ["a'\n'b"]),
    ("'a' -- c\n 'b'", ["a' -- c\n 'b"]),
    ("E'a\\'b\\x41\\u00e9\\101\\n\\q'''", ["a'bAéA\nq'"]),
    ("e'a'\n'\\'b'", ["a'\n''b"]),
    ("'it''s'", ["it's"]),
    ("$$a$$ $x$b$$c$x$", ["a", "b$$c"]),
    ("a$b$c$b$", []),
    ("$1 + $2", []),
    ("1 1.5 .5 1e3 1..2 0xFF 1_000 12abc", ["1", "1.5", ".5", "1e3", "1", ".2", "0xFF", "1_000", "12abc"]),
    ("-- 'no'\n/* 'no' /* 'no' */ 'no' */ 'yes'", ["yes"]),
    ('"it\'s" "a""b\'" \'c\'', ["c"]),
    ("U&'d' UESCAPE '!' B'1' X'F' N'n'", ["d", "!", "1", "F", "n"]),
    ("u&'\\0061b\\+000063\\\\' U&'d!0061t\\' uescape '!'", ["abc\\", "dat\\", "!"]),
    ("t1 'x'", ["x"]),
    ("'open", ["open"]),
    ("$a$open", ["open"]),
    ("/* open 'x'", []),
]


@pytest.mark.parametrize(("text", "values"), TOKENS)
def test_literals_are_found_as_postgresql_does(text: str, values: list[str]) -> None:
    assert [one.value for one in literals(text.encode())] == values


@given(st.text("ae'\"$\\/*-\n 1.xU&é", max_size=40).map(str.encode))
def test_literals_never_overlap_and_never_fail(text: bytes) -> None:
    position = 0
    for one in unread(text):
        assert position <= one.start < one.end <= len(text)
        position = one.end


@pytest.mark.parametrize(
    "part", [b"'a' --", b"'a'\n", b"$a", b"e'\\' ", b"/*", b"1.e", b"'a' \n-- 'b", b'u&"', b"$$ $"]
)
def test_no_text_of_a_megabyte_is_cut_for_ever(part: bytes) -> None:
    text = part * (1_000_000 // len(part))
    assert all(one.end <= len(text) for one in literals(text))


NEEDLE = "needle@secret.example"
MENTIONS = st.sampled_from([
    "email = {}", "email <> {}", "{} = u.email", "lower(email) = lower({})", "email LIKE {}", "email IN ('x', {})",
    "email = ANY(ARRAY[{}])", "email BETWEEN 'a' AND {}", "coalesce(email, {}) = 'q'", "(email, city) = ({}, 'c')",
    "email || 'x' > {}", "CASE WHEN email = {} THEN true ELSE false END", "position({} IN email) > 0",
    "email IS NOT DISTINCT FROM {}", "NOT (email = {})", "u.* = ROW(1, 'n', {}, 'c')", "email = (SELECT {})",
    "email IN (VALUES ({}))", "EXISTS (SELECT 1 FROM (SELECT {} AS e) s WHERE s.e = email)",
])  # fmt: skip
PLAIN_CONDITIONS = st.sampled_from(
    ["id = 5", "city = 'Bonn'", "true", "name LIKE 'a%' OR id > 3", "city IN ('a', 'b')"]
)
AROUND = st.sampled_from([
    "SELECT id FROM users u WHERE {}", "SELECT count(*) FROM users u GROUP BY city, email HAVING {}",
    "SELECT id FROM users u JOIN orders o ON {} WHERE o.total > 4", "SELECT {} FROM users u", "SELECT id FROM users u ORDER BY {}",
    "UPDATE users u SET city = 'c' WHERE {} AND id = 4", "DELETE FROM users u WHERE {} AND id = 4",
    "WITH w AS (SELECT id FROM users u WHERE {}) SELECT * FROM w", "SELECT * FROM (SELECT u.* FROM users u WHERE {}) x",
    "EXPLAIN SELECT id FROM users u WHERE {}", "PREPARE p AS SELECT id FROM users u WHERE {}",
    "SELECT id FROM users u WHERE {} UNION SELECT id FROM orders", "COPY (SELECT id FROM users u WHERE {}) TO STDOUT",
    "SELECT id FROM users u WHERE id IN (SELECT id FROM users u WHERE {})", "SELECT 1; SELECT id FROM users u WHERE {}",
    "SELECT max(id) FILTER (WHERE {}) FROM users u", "SELECT row_number() OVER (ORDER BY {}) FROM users u",
    "DECLARE c CURSOR FOR SELECT id FROM users u WHERE {}", "CREATE TABLE z AS SELECT id FROM users u WHERE {}",
])  # fmt: skip
SPELLINGS = st.sampled_from([
    f"'{NEEDLE}'", f"E'{NEEDLE}'", f"$${NEEDLE}$$", f"$q${NEEDLE}$q$", f"'{NEEDLE}'::text", f"CAST('{NEEDLE}' AS varchar)",
    f"text '{NEEDLE}'", f"U&'{NEEDLE}'", f"('{NEEDLE}')", f"/* {NEEDLE} */ '{NEEDLE}' -- {NEEDLE}\n",
])  # fmt: skip


@given(AROUND, MENTIONS, PLAIN_CONDITIONS, SPELLINGS, st.booleans())
def test_no_composed_statement_tells_what_a_marked_column_is_compared_with(
    around: str, mention: str, other: str, spelled: str, first: bool
) -> None:
    condition = mention.format(spelled)
    joined = f"({condition}) AND ({other})" if first else f"({other}) OR ({condition})"
    found = told(around.format(joined))
    assert NEEDLE not in found.statement.sql.decode(), found.statement.sql
    assert found.exact is not None
    short = told(
        around.format(joined).replace(f"/* {NEEDLE} */", "").replace(f"-- {NEEDLE}", "").replace(NEEDLE, "q7z")
    )
    assert "q7z" not in short.statement.sql.decode(), "by its place alone, a short value is not looked for elsewhere"
