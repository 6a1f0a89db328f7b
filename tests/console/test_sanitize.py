from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoop_tui.sanitize import HIDDEN_KEY, MOST_DEPTH, scrub, scrub_message

SEEN = [
    ("plain", "SELECT 1", "SELECT 1", 0),
    ("esc", "\x1b[31mred", "<U+001B>[31mred", 1),
    ("osc title", "\x1b]0;owned\x07", "<U+001B>]0;owned<U+0007>", 2),
    ("nul", "a\x00b", "a<U+0000>b", 1),
    ("backspace", "DROP\x08\x08\x08\x08SELECT", "DROP" + "<U+0008>" * 4 + "SELECT", 4),
    ("carriage return", "x\ry", "x<U+000D>y", 1),
    ("del", "a\x7f", "a<U+007F>", 1),
    ("c1 csi", "a\x9b2J", "a<U+009B>2J", 1),
    ("nel", "a\x85b", "a<U+0085>b", 1),
    ("right-to-left override", "\u202eabc", "<U+202E>abc", 1),
    ("bidi isolates", "\u2066a\u2069", "<U+2066>a<U+2069>", 2),
    ("arabic letter mark", "\u061ca", "<U+061C>a", 1),
    ("zero width space", "DR\u200bOP", "DR<U+200B>OP", 1),
    ("zero width joiner", "a\u200db", "a<U+200D>b", 1),
    ("bom", "\ufeffx", "<U+FEFF>x", 1),
    ("soft hyphen", "a\u00adb", "a<U+00AD>b", 1),
    ("line separator", "a\u2028b", "a<U+2028>b", 1),
    ("no-break space", "a\u00a0b", "a<U+00A0>b", 1),
    ("hangul filler", "a\u3164b", "a<U+3164>b", 1),
    ("variation selector", "a\ufe0f", "a<U+FE0F>", 1),
    ("tag characters", "\U000e0041", "<U+E0041>", 1),
    ("braille blank", "a\u2800b", "a<U+2800>b", 1),
    ("lone surrogate", "a\ud800b", "a<U+D800>b", 1),
    ("letters of the world stay", "naïve Ωmega 注文 Übung", "naïve Ωmega 注文 Übung", 0),
    ("one accent stays", "e\u0301", "e\u0301", 0),
    ("a tower of accents does not", "e" + "\u0301" * 5, "e" + "\u0301" * 3 + "<U+0301>" * 2, 2),
]


@pytest.mark.parametrize(("text", "shown", "hidden"), [row[1:] for row in SEEN], ids=[row[0] for row in SEEN])
@pytest.mark.parametrize("multiline", [False, True])
def test_scrub(text: str, shown: str, hidden: int, multiline: bool) -> None:
    done = scrub(text, multiline=multiline)
    assert (done.text, done.hidden) == (shown, hidden)


def test_newline_and_tab_stay_only_where_a_pane_wants_them() -> None:
    assert scrub("a\n\tb", multiline=True).text == "a\n\tb"
    assert scrub("a\n\tb").text == "a<U+000A><U+0009>b"
    assert scrub("a\n\tb").hidden == 0


def test_without_utf8_everything_is_ascii() -> None:
    done = scrub("naïve\u202e", ascii_only=True)
    assert done.text == "na<U+00EF>ve<U+202E>"
    assert done.hidden == 1


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_nothing_unprintable_survives(text: str) -> None:
    one = scrub(text)
    assert one.text.isprintable()
    lines = scrub(text, multiline=True)
    assert all(character.isprintable() or character in "\n\t" for character in lines.text)
    assert one.hidden == lines.hidden
    assert scrub(text, ascii_only=True).text.isascii()
    one.text.encode("utf-8")


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_scrubbing_twice_changes_nothing(text: str) -> None:
    once = scrub(text, multiline=True).text
    assert scrub(once, multiline=True).text == once
    assert scrub(once, multiline=True).hidden == 0


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(alphabet=st.characters(exclude_categories=())),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_no_string_of_a_message_escapes(message: object) -> None:
    def texts(value: object) -> list[str]:
        if isinstance(value, str):
            return [value]
        if isinstance(value, list):
            return [text for item in value for text in texts(item)]
        if isinstance(value, dict):
            return [text for key, item in value.items() for text in (*texts(key), *texts(item))]
        return []

    for text in texts(scrub_message(message)):
        assert all(character.isprintable() or character in "\n\t" for character in text)


def test_a_message_counts_its_hidden_characters_and_takes_no_count_from_outside() -> None:
    clean = scrub_message({HIDDEN_KEY: -5, "statement": "a\n\u202eb", "parameters": ["\x1b", "x\ny"], "rule": "r"})
    assert clean[HIDDEN_KEY] == 2
    assert clean["statement"] == "a\n<U+202E>b"
    assert clean["parameters"] == ["<U+001B>", "x<U+000A>y"]


def test_a_bottomless_message_is_refused() -> None:
    message: list[object] = []
    for _ in range(MOST_DEPTH + 2):
        message = [message]
    with pytest.raises(ValueError, match="deeply"):
        scrub_message(message)
