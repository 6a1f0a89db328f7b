"""The operation hash differs whenever anything that decides about the effect differs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.approval.operation_hash import Definition, OperationIdentity, operation_hash
from gateway.model import Parameter, WireProtocol

BASE = OperationIdentity(
    statement=b"DELETE FROM orders WHERE id = $1",
    protocol=WireProtocol.EXTENDED,
    issuer="https://idp.example",
    subject="agent-7",
    connection="orders",
    target="db:5432/orders",
    role="app",
    search_path=("public",),
    parameters=(Parameter(23, 1, b"\0\0\0\1"),),
    behind={"p1": b"SELECT 1"},
    relations=(Definition(16384, "public.orders", b"d1"),),
    functions=(Definition(16999, "public.net_price", b"f1"),),
    temporary=(Definition(17001, "pg_temp_3.t", b"t1"),),
    settings={"TimeZone": "UTC"},
    salt=b"s" * 32,
)
CHANGES = [
    {"statement": b"DELETE FROM orders WHERE id = $1 "},
    {"protocol": WireProtocol.SIMPLE},
    {"issuer": "https://idp.example/"},
    {"subject": "agent-8"},
    {"connection": "orders2"},
    {"target": "db:5433/orders"},
    {"role": "app2"},
    {"search_path": ("public", "crm")},
    {"search_path": ()},
    {"search_path": ("crm", "public")},
    {"parameters": ()},
    {"parameters": (Parameter(23, 1, b"\0\0\0\2"),)},
    {"parameters": (Parameter(20, 1, b"\0\0\0\1"),)},
    {"parameters": (Parameter(23, 0, b"\0\0\0\1"),)},
    {"parameters": (Parameter(23, 1, None),)},
    {"parameters": (Parameter(23, 1, b""),)},
    {"behind": {}},
    {"behind": {"p2": b"SELECT 1"}},
    {"behind": {"p1": b"SELECT 2"}},
    {"relations": (Definition(16385, "public.orders", b"d1"),)},
    {"relations": (Definition(16384, "public.orders", b"d2"),)},
    {"relations": (Definition(16384, "public.order", b"sd1"),)},
    {"relations": (), "functions": (*BASE.functions, *BASE.relations)},
    {"functions": (Definition(16999, "public.net_price", b"f2"),)},
    {"temporary": ()},
    {"settings": {"TimeZone": "CET"}},
    {"salt": b"t" * 32},
    {"subject": "agent-7o", "connection": "rders"},
]


@pytest.mark.parametrize("change", CHANGES, ids="+".join)
def test_any_difference_shows(change: dict[str, object]) -> None:
    assert operation_hash(replace(BASE, **change)) != operation_hash(BASE)  # type: ignore[arg-type]


def test_order_of_what_has_no_order_does_not_show() -> None:
    two = (Definition(1, "a", b"x"), Definition(2, "b", b"y"))
    assert operation_hash(replace(BASE, relations=two)) == operation_hash(replace(BASE, relations=two[::-1]))
    assert operation_hash(replace(BASE, behind={"a": b"1", "b": b"2"})) == operation_hash(
        replace(BASE, behind={"b": b"2", "a": b"1"})
    )


def test_version_1_never_changes() -> None:
    assert operation_hash(BASE) == "c17e3429bd523509d62cd4ff0a341362d3e960ae3c75c7e3287501943a44cade"


def test_the_salt_is_not_shown() -> None:
    assert "ssss" not in repr(BASE)


texts = st.text(max_size=4)


@given(left=st.lists(texts, max_size=4), right=st.lists(texts, max_size=4))
def test_lists_are_never_confused(left: list[str], right: list[str]) -> None:
    hashes = [operation_hash(replace(BASE, search_path=tuple(each))) for each in (left, right)]
    assert (hashes[0] == hashes[1]) == (left == right)


@given(
    left=st.lists(st.none() | st.binary(max_size=3), max_size=4),
    right=st.lists(st.none() | st.binary(max_size=3), max_size=4),
)
def test_parameters_are_never_confused(left: list[bytes | None], right: list[bytes | None]) -> None:
    hashes = [
        operation_hash(replace(BASE, parameters=tuple(Parameter(25, 0, value) for value in each)))
        for each in (left, right)
    ]
    assert (hashes[0] == hashes[1]) == (left == right)
