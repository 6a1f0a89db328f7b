"""What looks like personal data, what does not, and which constants of a plan are the agent's own."""

# ruff: noqa: E501  tables of cases
from __future__ import annotations

import pytest

from gateway.masking.explained import scrubbed
from gateway.masking.tripwire import trips


@pytest.mark.parametrize(("value", "expected"), [
    ("ann@example.org", "an e-mail address"), ("<Ann.B+c@mail.example.co.uk>", "an e-mail address"),
    ('Key (mail)=(ann@example.org) already exists.', "an e-mail address"),
    ("4111 1111 1111 1111", "a card number"), ("4111111111111111", "a card number"), ("5500-0000-0000-0004", "a card number"),
    ("378282246310005", "a card number"), ("card 6011000990139424.", "a card number"),
    ("078-05-1120", "a national id"), ("AB 12 34 56 C", "a national id"), ("RSSMRA85T10A562S", "a national id"),
    ("2 55 08 14 168 025 38", "a national id"), ("529.982.247-25", "a national id"), ("12345678Z", "a national id"),
    ("X1234567L", "a national id"),
])  # fmt: skip
def test_what_trips(value: str, expected: str) -> None:
    assert trips(value.encode()) == expected
    assert trips(value.encode(), f"SELECT '{value}'".encode()) == ""


@pytest.mark.parametrize("value", [
    "", "plain words", "a @ b", "@user", "user@host", "x@y.1", "1.5", "42", "2024-02-29 12:34:56.789+00", "10.0.0.1",
    "1700000000000000", "1732550400123456", "4111111111111112", "4111-1111-1111-1112", "0000000000000000",
    "550e8400-e29b-41d4-a716-446655440000", "00000000-0000-4000-8000-000000000001", "+49 30 1234567", "000-12-3456",
    "666-12-3456", "123-45-67890", "DE89370400440532013000", "12345678A", "111.111.111-11", "529.982.247-26",
    "2 55 08 14 168 025 39", "cost=0.00..4111111111111111.50", "/path/to@1.2.3", "9780306406157", "SELECT 1", "BG123456C",
    "4444444444444444", "(0,1)", "16/B374D848", "100000000000000000000000000000",
])  # fmt: skip
def test_what_does_not(value: str) -> None:
    assert trips(value.encode()) == ""


OWN = b"EXPLAIN SELECT * FROM users WHERE id = 5 AND name IN ('ann', 'bob') AND total > 12.5"


@pytest.mark.parametrize(("plan", "shown"), [
    ("Seq Scan on users  (cost=0.00..35.50 rows=10 width=4) (actual time=0.010..0.020 rows=3 loops=1)", None),
    ("  Filter: ((id = 5) AND (name = ANY ('{ann,bob}'::text[])))", None),
    ("  Filter: (email <> 'boss@corp.example'::text)", "  Filter: (email <> '***'::text)"),
    ("  Filter: (email <> 'it''s'::text)", "  Filter: (email <> '***'::text)"),
    ("  Filter: ((id = 5) AND (salary > 90000))", "  Filter: ((id = 5) AND (salary > ***))"),
    ("  Filter: (total > 12.5)", None), ("  Filter: (total > 2.5)", "  Filter: (total > ***)"),
    ("  Index Cond: (id = 55)", "  Index Cond: (id = ***)"),
    ("        Output: 1, 'secret default'::text, 777", "        Output: ***, '***'::text, ***"),
    ("  Rows Removed by Filter: 7", None), ("  Buffers: shared hit=3", None), ("Execution Time: 0.045 ms", None),
    ("  Sort Method: quicksort  Memory: 25kB", None), ("  Heap Fetches: 0", None), ("  ->  Index Scan using users_pkey", None),
    ('      "Filter": "(email = \'x@y.example\'::text)",', '      "Filter": "(email = \'***\'::text)",'),
    ('      "Plan Rows": 4711,', None), ('      "Index Cond": "(n = 77)",', '      "Index Cond": "(n = ***)",'),
    ("      <Filter>(n &gt; 77)</Filter>", "      <Filter>(n &gt; ***)</Filter>"),
    ('      Filter: "(n > 77)"', '      Filter: "(n > ***)"'),
    ("  Join Filter: (a.n = (b.n + 7))", "  Join Filter: (a.n = (b.n + ***))"),
    ("  Filter: (n = '-77'::integer)", "  Filter: (n = '***'::integer)"),
    ("  Filter: (n = ANY ('{5,88}'::integer[]))", "  Filter: (n = ANY ('***'::integer[]))"),
])  # fmt: skip
def test_a_plan_shows_the_constants_of_the_agent_alone(plan: str, shown: str | None) -> None:
    raw = plan.encode()
    found = scrubbed(raw, OWN)
    assert found.decode() == (plan if shown is None else shown)
    assert (found is raw) is (shown is None)
