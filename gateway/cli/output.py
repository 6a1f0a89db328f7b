"""How commands speak: tables for people, JSON for programs, and nothing that could drive a terminal.

Agents choose statements, names and reasons, and a terminal obeys what it is sent. `visible` writes out everything that
is not plainly printable; `print_rows` and `print_fields` pass every text through it. JSON is pure ASCII, escapes
included, so that it may be printed too.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence

from gateway.control.unseen import judged, spelt
from gateway.model import Json

CELL = 60
"""Columns a table's cell may take on a screen; programs read the JSON."""


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return `text` with controls, bidirectional overrides, zero-width and other unseen characters as `<U+202E>`.

    Line feeds and tabs are written `\n` and `\t`, or kept where `lines`.
    """
    if text.isascii() and text.isprintable():
        return text
    written = []
    for character, plain in judged(text):
        if character in "\n\t":
            written.append(character if lines else {"\n": "\\n", "\t": "\\t"}[character])
        else:
            written.append(character if plain else spelt(character))
    return "".join(written)


def print_rows(columns: Sequence[str], rows: Sequence[Mapping[str, Json]], as_json: bool) -> None:
    """Print `columns` of `rows` as a table for people, or the whole rows as a JSON array."""
    if as_json:
        print_json(list(rows))  # type: ignore[arg-type]  # Mapping is invariant in Json's list
        return
    table = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max([len(name), *(_width(cells[at]) for cells in table)]) for at, name in enumerate(columns)]
    room = shutil.get_terminal_size((200, 24)).columns if sys.stdout.isatty() else 10_000
    for cells in [[name.upper().replace("_", " ") for name in columns], *table]:
        line = "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
        print(_cut(line.rstrip(), room))


def print_fields(fields: Sequence[tuple[str, Json]]) -> None:
    """Print names and values one below the other; a value of several lines is set apart."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        text = visible("\n".join(map(_words, value)) if isinstance(value, list) else _words(value), lines=True) or "-"
        if "\n" in text:
            print(f"{name}:")
            for line in text.split("\n"):
                print(f"  | {line.expandtabs(4)}")
        else:
            print(f"{name + ':':<{width + 1}} {text.expandtabs(4)}")


def print_json(value: Json) -> None:
    """Print JSON in pure ASCII, nothing in it that a terminal would obey."""
    print(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def _words(value: Json) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(_words(item) for item in value) or "-"
        case dict():
            return json.dumps(value)
        case _:
            return str(value)


def _cell(value: Json) -> str:
    return _cut(visible(_words(value)), CELL)


def _cut(text: str, room: int) -> str:
    if _width(text) <= room:
        return text
    while _width(text) > room - 3:
        text = text[:-1]
    return text + "..."


def _width(text: str) -> int:
    """Columns that `text`, already made visible, takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
