"""Lines of styled text: what every pane is painted from, and the arithmetic of cells.

A line is a tuple of spans; a span is a text and the role it plays. What a role looks like is the theme's business, so
painting is pure and can be read in a test. Widths are terminal cells. No span is ever parsed as markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from rich.cells import cell_len, get_character_cell_size, set_cell_size


class Span(NamedTuple):
    """A piece of a line: its text, and its role (a key of `theme.ROLES`)."""

    text: str
    role: str = "text"


Line: TypeAlias = tuple[Span, ...]

BLANK: Line = ()


class Row(NamedTuple):
    """A row of a list and the key of what it stands for; a heading stands for nothing."""

    key: str | None
    line: Line


TAB_WIDTH = 4


def line(*parts: Span | str) -> Line:
    """Build a line; a bare string is ordinary text."""
    return tuple(part if isinstance(part, Span) else Span(part) for part in parts)


def text_of(content: Line) -> str:
    """Return the line's characters without their roles."""
    return "".join(span.text for span in content)


def width_of(content: Line) -> int:
    """Return the line's width in cells."""
    return sum(cell_len(span.text) for span in content)


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """Cut or pad `text` to exactly `width` cells; a cut is shown by `ellipsis`."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text[: width + 1], width - 1) + ellipsis


def crop(content: Line, width: int, ellipsis: str = "…") -> Line:
    """Cut a line to at most `width` cells; a cut is shown by `ellipsis`."""
    if width_of(content) <= width:
        return content
    kept: list[Span] = []
    room = width
    for span in content:
        cells = cell_len(span.text)
        if cells < room:
            kept.append(span)
            room -= cells
            continue
        kept.append(Span(fit(span.text + " ", room, ellipsis), span.role))
        break
    return tuple(kept)


def spread(left: Line, right: Line, width: int, ellipsis: str = "…") -> Line:
    """Put `left` and `right` at the two ends of `width` cells; `left` gives way."""
    room = width - width_of(right)
    if room <= 0:
        return crop(right, width, ellipsis)
    cut = crop(left, max(0, room - 1), ellipsis)
    return (*cut, Span(" " * (room - width_of(cut)), "text"), *right)


def one_line(text: str, newline: str) -> str:
    """Flatten a text to one line: each line break becomes `newline`, so that a comment's end stays visible."""
    if "\n" not in text and "\t" not in text:
        return text
    text = text.strip()
    return f" {newline} ".join(part.strip() for part in text.replace("\t", " ").split("\n"))


def wrap(text: str, width: int, role: str = "text") -> list[Line]:
    """Break a text of several lines into lines of at most `width` cells.

    Nothing is dropped or joined: breaks fall after a space where there is one in the last third, else mid-word, so
    that a reader sees every character of a statement in its order.
    """
    return [
        (Span(piece, role),)
        for source in text.split("\n")
        for piece in _pieces(source.expandtabs(TAB_WIDTH), max(1, width))
    ]


def _pieces(source: str, width: int) -> Iterator[str]:
    start = cells = 0
    space = space_cells = 0  # where the newest space of the last third ends, and the cells up to there
    for place, character in enumerate(source):
        size = 1 if character.isascii() else get_character_cell_size(character)
        if cells + size > width and place > start:
            end = space if space > start else place
            yield source[start:end]
            cells = cells - space_cells if space > start else 0
            start, space, space_cells = end, 0, 0
        cells += size
        if character == " " and cells * 3 >= width * 2:
            space, space_cells = place + 1, cells
    yield source[start:]
