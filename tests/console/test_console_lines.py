from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from hoop_tui.glyphs import PLAIN, RICH, choose
from hoop_tui.lines import Span, crop, fit, line, one_line, spread, text_of, width_of, wrap
from hoop_tui.ring import Ring

printable = st.text(alphabet=st.characters(categories=("L", "N", "P", "S"), include_characters=" \n"), max_size=200)


@given(printable, st.integers(2, 60))
def test_wrapping_drops_no_character(text: str, width: int) -> None:
    rows = wrap(text, width)
    assert all(width_of(row) <= width for row in rows)
    assert "".join(map(text_of, rows)) == text.replace("\n", "")


@given(printable.map(lambda text: text.replace("\n", " ")), st.integers(0, 60))
def test_fit_is_exact(text: str, width: int) -> None:
    assert cell_len(fit(text, width)) == width


@given(printable.map(lambda text: text.replace("\n", " ")), printable.map(lambda text: text.replace("\n", " ")))
def test_crop_and_spread_stay_inside(left: str, right: str) -> None:
    for width in (1, 7, 40):
        assert width_of(crop(line(left, right), width)) <= width
        assert width_of(spread(line(left), line(right), width)) <= width


def test_prose_breaks_at_spaces() -> None:
    assert [text_of(row) for row in wrap("its locks block others", 18)] == ["its locks block ", "others"]


def test_a_flattened_comment_shows_where_it_ends() -> None:
    assert one_line("-- harmless\nDROP TABLE x", "↵") == "-- harmless ↵ DROP TABLE x"


def test_crop_shows_that_it_cut() -> None:
    assert text_of(crop((Span("abcdef"),), 4)) == "abc…"


@pytest.mark.parametrize(
    ("environment", "encoding", "glyphs"),
    [
        ({"TERM": "xterm-256color"}, "utf-8", RICH),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "UTF-8", PLAIN),
        ({"TERM": "linux"}, "utf-8", PLAIN),
        ({"TERM": "xterm"}, "iso8859-1", PLAIN),
        ({}, None, PLAIN),
    ],
)
def test_which_signs(environment: dict[str, str], encoding: str | None, glyphs: object) -> None:
    assert choose(environment, encoding) is glyphs


@pytest.mark.parametrize("glyphs", [RICH, PLAIN], ids=lambda glyphs: glyphs.name)
def test_every_sign_is_one_cell(glyphs: object) -> None:
    signs = [getattr(glyphs, name) for name in type(glyphs).__slots__ if name != "name"]  # type: ignore[attr-defined]
    assert all(cell_len(sign) == 1 for sign in signs)
    assert glyphs is RICH or all(sign.isascii() for sign in signs)


@given(st.integers(1, 8), st.lists(st.integers(), max_size=40))
def test_a_ring_keeps_the_newest_and_their_numbers(capacity: int, items: list[int]) -> None:
    ring: Ring[int] = Ring(capacity)
    ring.extend(items)
    assert list(ring) == items[-capacity:]
    assert (ring.first, ring.end) == (max(0, len(items) - capacity), len(items))
    assert [ring.get(number) for number in range(ring.first, ring.end)] == items[-capacity:]
    assert ring.get(ring.end) is None
    assert ring.get(ring.first - 1) is None
    assert ring.since(0) == items[-capacity:]
    copy = ring.copy()
    ring.append(1)
    assert list(copy) == items[-capacity:]
