"""What commands print cannot drive a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.output import print_fields, print_json, print_rows, visible

SHOWN = [
    ("SELECT 1", "SELECT 1"),
    ("Grüße, 世界 👍", "Grüße, 世界 👍"),
    ("\x1b[2J\x1b]0;pwned\x07", "<U+001B>[2J<U+001B>]0;pwned<U+0007>"),
    ("a\x9b31mb", "a<U+009B>31mb"),
    ("a\x7fb\x00", "a<U+007F>b<U+0000>"),
    ("abc\u202edcba\u2066x", "abc<U+202E>dcba<U+2066>x"),
    ("zero\u200bwidth\u200d\ufeff", "zero<U+200B>width<U+200D><U+FEFF>"),
    ("a\u2028b\u2029c\u00a0d", "a<U+2028>b<U+2029>c<U+00A0>d"),
    ("\u3164\u2800\ufe0f\U000e0041", "<U+3164><U+2800><U+FE0F><U+E0041>"),
    ("e\u0301", "e\u0301"),
    ("z" + "\u0301" * 5, "z" + "\u0301" * 3 + "<U+0301><U+0301>"),
    ("lone \ud800", "lone <U+D800>"),
    ("-- x\nDROP\tTABLE\r", "-- x\\nDROP\\tTABLE<U+000D>"),
]


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_what_is_unseen_or_acts_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_panes_of_several_lines_keep_their_lines() -> None:
    assert visible("a\n\tb\x1b", lines=True) == "a\n\tb<U+001B>"


ACTING = {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}


@given(st.text())
def test_nothing_that_acts_remains(text: str) -> None:
    for character in visible(text):
        assert unicodedata.category(character)[0] != "C"
        assert unicodedata.bidirectional(character) not in ACTING
    assert visible(visible(text)) == visible(text)


def test_a_table_keeps_one_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "a\nb", "statement": "\x1b[31m" + "x" * 100, "n": 3, "none": None}, {"id": "世界"}]
    print_rows(("id", "statement", "n", "none", "is_it"), [*rows, {"is_it": True}], False)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    head, first, second, third = printed.splitlines()
    assert head.split() == ["ID", "STATEMENT", "N", "NONE", "IS", "IT"]
    assert first.startswith("a\\nb  <U+001B>[31mxxx")
    assert "x..." in first
    assert second.startswith("世界  -")
    assert third.endswith("yes")


def test_an_empty_list_is_a_header_or_an_empty_array(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(("id",), [], False)
    print_rows(("id",), [], True)
    assert capsys.readouterr().out == "ID\n[]\n"


def test_json_is_printable_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "a", "statement": "\x1b\x7f\x9b\u202eé\n", "extra": [1, None]}]
    print_rows(("id",), rows, True)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert all(character.isprintable() or character == "\n" for character in printed)
    assert json.loads(printed) == rows
    print_json({"a": 1})
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_fields_set_long_text_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields(
        [("id", "x"), ("statement", "SELECT 1\n--\x1b\nhash: fake"), ("list", ["a", "b"]), ("one", ["a"]), ("none", [])]
    )
    assert capsys.readouterr().out.splitlines() == [
        "id:        x",
        "statement:",
        "  | SELECT 1",
        "  | --<U+001B>",
        "  | hash: fake",
        "list:",
        "  | a",
        "  | b",
        "one:       a",
        "none:      -",
    ]
