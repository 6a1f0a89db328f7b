"""From votes to a plan, and what stands instead of a value."""

from __future__ import annotations

import pytest
from policy_sample import UNMARKED, catalog, understand

from gateway.masking.flow import CLEAN, UNKNOWN, Flow, Level, Output, join
from gateway.masking.plan import plan, spread
from gateway.masking.pseudonyms import Pseudonyms, of_connection
from gateway.masking.styles import Kind, last4, replacement
from gateway.model import Mark, MaskStyle
from gateway.pgwire.backend import ColumnDescription

REDACT, NULL = MaskStyle.REDACT, MaskStyle.NULL


def column(
    name: str, table: int = 0, number: int = 0, kind: int = 25, modifier: int = -1, wire: int = 0
) -> ColumnDescription:
    return ColumnDescription(name, table, number, kind, -1, modifier, wire)


@pytest.mark.parametrize(("style", "kind", "modifier", "expected"), [
    (REDACT, 25, -1, b"***"), (REDACT, 1043, -1, b"***"), (REDACT, 1043, 4 + 2, b"**"), (REDACT, 1043, 4 + 10, b"***"),
    (REDACT, 1042, 4 + 5, b"***  "), (REDACT, 1042, 4 + 1, b"*"), (REDACT, 19, -1, b"***"), (REDACT, 705, -1, b"***"),
    (REDACT, 23, -1, None), (REDACT, 114, -1, None), (REDACT, 3802, -1, None), (REDACT, 1009, -1, None),
    (REDACT, 17, -1, None), (REDACT, 2249, -1, None), (REDACT, 99999, -1, None), (REDACT, 1184, -1, None),
    (REDACT, 1700, 655366, None), (REDACT, 16, -1, None), (REDACT, 2950, -1, None), (REDACT, 142, -1, None),
    (NULL, 25, -1, None), (NULL, 23, -1, None),
])  # fmt: skip
def test_styles(style: MaskStyle, kind: int, modifier: int, expected: bytes | None) -> None:
    assert replacement(style, kind, modifier) == expected


def test_lineage_masks_what_the_target_calls_an_expression() -> None:
    found = plan(understand("SELECT id, upper(email) FROM users"), 0, (column("id", 1, 1, 23), column("upper")))
    assert found.columns[0] is None
    mask = found.columns[1]
    assert mask is not None
    assert (mask.column_name, mask.source_columns, mask.style, mask.replacement) == (
        "upper", ("public.users.email",), REDACT, b"***",
    )  # fmt: skip
    assert found.masks
    assert not found.disagreement


def test_the_target_s_own_vote_masks_and_is_an_alarm() -> None:
    found = plan(understand("SELECT id FROM users"), 0, (column("id", 1, 3),))
    assert found.columns[0] is not None
    assert "id" in found.disagreement


def test_a_relation_nobody_knows_is_masked() -> None:
    found = plan(understand("SELECT id FROM users"), 0, (column("id", 4242, 1, 23),))
    assert found.columns[0] is not None
    assert found.columns[0].replacement is None


@pytest.mark.parametrize("sql", ["SELECT id FROM users", "SELECT id, name, city FROM users", "\x00", "SELEC"])
def test_a_row_of_another_width_is_masked_whole(sql: str) -> None:
    found = plan(understand(sql), 0, (column("a", 1, 1), column("b", 2, 1)))
    assert all(mask is not None for mask in found.columns)


def test_a_statement_out_of_place_is_masked_whole() -> None:
    assert all(plan(understand("SELECT id FROM orders"), 7, (column("id", 2, 1),)).columns)


def test_unmarked_statements_are_left_alone() -> None:
    assert not plan(understand("SELECT 1, 2"), 0, (column("a"), column("b"))).masks
    assert not plan(understand("SELECT * FROM orders"), 0, tuple(column("x", 2, n) for n in range(1, 5))).masks
    assert not plan(understand("anything at all", known=UNMARKED), 0, (column("a", 999, 1),)).masks


def test_style_null_is_kept_and_mixed_styles_are_redacted() -> None:
    row = (column("card", 3, 2), column("both"))
    found = plan(understand("SELECT card, card || email FROM payments, users"), 0, row)
    assert [mask and mask.replacement for mask in found.columns] == [None, b"***"]
    assert all(found.columns)


LAST4 = (Mark("public", "users", "email", MaskStyle.LAST4), Mark("public", "payments", "card", MaskStyle.PSEUDONYM),
         Mark("crm", "contacts", "phone", MaskStyle.ZERO))  # fmt: skip
NAMES = of_connection(bytes(32), "orders")


@pytest.mark.parametrize(("sql", "at", "style"), [
    ("SELECT email FROM users", (1, 3), "last4"),
    ("SELECT x.e FROM (SELECT u.email AS e FROM users u) x", (1, 3), "last4"),
    ("WITH w AS (SELECT email FROM users) SELECT email FROM w", (1, 3), "last4"),
    ("SELECT mail FROM mails", (6, 2), "last4"),
    ("SELECT email FROM users UNION ALL SELECT mail FROM mails", (0, 0), "last4"),
    ("SELECT (SELECT email FROM users)", (0, 0), "last4"),
    ("DELETE FROM users WHERE id = 1 RETURNING email", (1, 3), "last4"),
    ("SELECT card FROM payments", (3, 2), "pseudonym"),
    ("SELECT card FROM payments_old", (4, 2), "pseudonym"),
    ("SELECT phone FROM crm.contacts", (5, 2), "zero"),
    ("SELECT upper(phone) FROM crm.contacts", (0, 0), "zero"),
    # computed, cast, or what an agent may have chosen
    ("SELECT substr(email, 1, 4) FROM users", (0, 0), "redact"),
    ("SELECT email::varchar FROM users", (0, 0), "redact"),
    ("SELECT max(email) FROM users", (0, 0), "redact"),
    ("SELECT CASE WHEN true THEN 'guess' ELSE card END FROM payments", (0, 0), "redact"),
    ("SELECT coalesce(card) FROM payments", (0, 0), "redact"),
    ("SELECT card FROM payments UNION SELECT 'guess'", (0, 0), "redact"),
    ("SELECT card FROM payments p RIGHT JOIN (VALUES ('guess')) x(card) USING (card)", (3, 2), "redact"),
    ("WITH RECURSIVE r AS (SELECT 'x' AS g UNION ALL SELECT card FROM payments, r) SELECT g FROM r", (0, 0), "redact"),
    ("INSERT INTO payments (card) VALUES ('guess') RETURNING card", (3, 2), "redact"),
    ("UPDATE payments SET card = 'guess' WHERE id = 1 RETURNING card", (3, 2), "redact"),
    ("SELECT card FROM payments, users", (1, 3), "redact"),
    ("SELECT loud FROM shouted", (7, 2), "redact"),
    ("SELECT card, email FROM payments, users UNION SELECT email, card FROM payments, users", (0, 0), "redact"),
])  # fmt: skip
def test_a_part_of_a_value_is_shown_only_where_it_is_one_direct_reference(
    sql: str, at: tuple[int, int], style: str
) -> None:
    known = catalog(marks=LAST4)
    (statement,) = understand(sql, known=known).statements
    width = len(statement.outputs or ())
    found = plan(understand(sql, known=known), 0, tuple(column("c", *at) for _ in range(width)), NAMES)
    masks = [mask for mask in found.columns if mask is not None]
    assert masks
    assert {mask.style.value for mask in masks} <= {style}


def test_pseudonyms_need_the_connection_s_secret_and_room() -> None:
    known = catalog(marks=LAST4)
    facts = understand("SELECT card FROM payments", known=known)

    def style(pseudonyms: Pseudonyms | None, length: int) -> str:
        (mask,) = plan(facts, 0, (column("card", 3, 2, 1043, 4 + length),), pseudonyms).columns
        assert mask is not None
        return mask.style.value

    assert [style(NAMES, 12), style(NAMES, 11), style(None, 40)] == ["pseudonym", "redact", "redact"]


@pytest.mark.parametrize(("value", "shown"), [
    ("4111222233334444", "***4444"), ("12345678", "***78"), ("1234567", "***"), ("", "***"), ("ünïcödé", "***"),
    ("ünïcödé!", "***é!"), ("123456789012", "***012"), ("x" * 400, "***xxxx"),
])  # fmt: skip
def test_last4_shows_at_most_a_quarter(value: str, shown: str) -> None:
    assert last4(value.encode(), Kind(25, text=True)).decode() == shown
    assert last4(value.ljust(450).encode(), Kind(1042, 4 + 450, text=True)).decode() == shown.ljust(450)


def test_what_is_no_text_in_its_encoding_is_redacted() -> None:
    assert last4(b"\xff" * 20, Kind(25, text=True)) == b"***"
    assert last4("naïve-naïve-à".encode("latin-1"), Kind(25, text=True), "latin-1") == "***e-à".encode("latin-1")


def test_pseudonyms_tell_columns_apart_and_are_recognised() -> None:
    one, other = (
        NAMES.of("public.users.email", b"ann@example.org"),
        NAMES.of("public.payments.card", b"ann@example.org"),
    )
    assert one == NAMES.of("public.users.email", b"ann@example.org") != other
    assert len(one) == 25
    assert all(NAMES.made(each) for each in (one, other, one[:14]))
    forged = one[:-1] + (b"a" if one[-1:] != b"a" else b"b")
    foreign = of_connection(bytes(32), "billing").of("public.users.email", b"ann@example.org")
    assert not any(NAMES.made(each) for each in (forged, foreign, one + b"a", one[:9], b"anon-", b"anonymous"))
    assert "secret" not in repr(NAMES)


def test_private_columns_of_the_catalog_are_masked_without_marks() -> None:
    found = plan(understand("SELECT pid, query FROM pg_stat_activity", known=UNMARKED), 0,
                 (column("pid", 104, 1, 23), column("query", 104, 3)))  # fmt: skip
    assert found.columns[0] is None
    assert found.columns[1] is not None
    free = catalog(marks=(), policy="observe")
    assert not plan(understand("SELECT query FROM pg_stat_activity", known=free), 0, (column("query", 104, 3),)).masks


def test_open_outputs_spread_over_what_the_target_counts() -> None:
    mark = Flow(Level.DIRECT, frozenset({"a"}))
    outputs = (Output("a", mark), Output("", CLEAN, many=True), Output("b", UNKNOWN))
    assert spread(outputs, 4) == (mark, CLEAN, CLEAN, UNKNOWN)
    assert spread(outputs, 2) == (mark, UNKNOWN)
    assert spread(outputs, 1) is None
    assert spread(None, 1) is None
    two = (Output("", mark, many=True), Output("x", CLEAN), Output("", CLEAN, many=True))
    assert spread(two, 3) == (mark, mark, mark)


def test_the_lattice_never_loses_a_source() -> None:
    one, two = Flow(Level.DIRECT, frozenset({"a"})), Flow(Level.DERIVED, frozenset({"b"}), NULL)
    assert join((one, two)) == Flow(Level.DIRECT, frozenset({"a", "b"}), REDACT)
    assert join((CLEAN, two)) == two
    assert join(()) == CLEAN
    assert one.derived().level is Level.DERIVED
    assert UNKNOWN.derived() == UNKNOWN
