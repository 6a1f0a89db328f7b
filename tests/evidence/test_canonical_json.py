"""One value, one encoding: RFC 8785 under the format's restrictions."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence.entry import Line, Malformed, canonical, parse, parse_line, parse_time
from gateway.model import Micros, format_time

KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({}, b"{}"),
        ({"b": 1, "a": None}, b'{"a":null,"b":1}'),
        ({"A": 1, "a": 2, "_": 3, "~": 4, "0": 5}, b'{"0":5,"A":1,"_":3,"a":2,"~":4}'),
        ({"t": "é€😀\u2028\x7f"}, '{"t":"é€😀\u2028\x7f"}'.encode()),
        # RFC 8785, section 3.2.2.2: two-character escapes where JSON has them, \u00xx in lower case for the rest.
        ({"t": '\b\t\n\f\r"\\/\x00\x1f'}, b'{"t":"\\b\\t\\n\\f\\r\\"\\\\/\\u0000\\u001f"}'),
        ({"l": [True, False, -1, 9007199254740991]}, b'{"l":[true,false,-1,9007199254740991]}'),
    ],
)
def test_encodes(value: dict[str, object], encoded: bytes) -> None:
    assert canonical(value) == encoded
    assert parse(encoded) == value


@pytest.mark.parametrize(
    "value",
    [
        {"f": 1.0},
        {"f": float("nan")},
        {"i": 2**53},
        {"i": -(2**53)},
        {"s": "\ud800"},
        {"s": ["\udfff"]},
        {"ключ": 1},
        {"o": {"é": 1}},
        {"o": {1: 2}},
        {"b": b"bytes"},
        {"set": {1, 2}},
    ],
)
def test_refuses(value: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        canonical(value)


@given(OBJECTS)
def test_is_what_json_dumps_gives_and_reads_back(value: dict[str, object]) -> None:
    encoded = canonical(value)
    assert encoded == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert parse(encoded) == value
    assert b"\t" not in encoded
    assert b"\n" not in encoded


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"[]",
        b"1",
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":NaN}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":1}\n',
        b"\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":12345678901234567890}',
    ],
)
def test_reads_nothing_but_the_one_encoding(encoded: bytes) -> None:
    with pytest.raises(Malformed):
        parse(encoded)


@given(st.binary(max_size=40))
def test_reading_never_fails_otherwise(encoded: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert canonical(parse(encoded)) == encoded


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32) | st.just(b""), OBJECTS, OBJECTS)
def test_a_line_reads_back(chain: bytes, salt: bytes, entry: dict[str, object], payload: dict[str, object]) -> None:
    line = Line(chain, salt, canonical(entry), canonical(payload))
    encoded = line.encode()
    assert encoded.endswith(b"\n")
    assert parse_line(encoded[:-1]) == line


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\t\t\t",
        b"ab\t\t{}\t",
        b"%b\t\t{}" % (b"a" * 64),
        b"%b\t\t{}\t\t" % (b"a" * 64),
        b"%b\t\t{}\t" % (b"A" * 64),
        b"%b\tab\t{}\t" % (b"a" * 64),
        b"%b\t\t{}\t" % (b"g" * 64),
        b"%b\t\t{}\t" % (b" " * 64),
        b"%b\t\t{}\t" % ("\u0661" * 32).encode(),
    ],
)
def test_what_is_no_line_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse_line(raw)


@given(st.integers(0, 4_102_444_800_000_000))
def test_times_read_back(at: int) -> None:
    assert parse_time(format_time(Micros(at))) == at


@pytest.mark.parametrize(
    "text", ["", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-13-01T00:00:00.000000Z"]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_time(text)
