"""Which characters of a text would act on a terminal, or show nothing, and how they are written instead.

Agents choose statements, names and reasons, and a terminal obeys what it is sent. One answer for the commands and the
console: whatever is not plainly printable is `<U+202E>`, so that it is seen and cannot act. No I/O.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import chain
from typing import Final

MOST_MARKS: Final = 3
"""Combining marks on one character; more of them climb into the lines above and below."""
_BLANK: Final = frozenset(
    chain(
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        range(0x180B, 0x1810),
        range(0xFE00, 0xFE10),
        range(0xE0100, 0xE01F0),
    )
)
"""Printable by Unicode, and yet they show nothing: fillers, joiners, variation selectors, the empty Braille pattern.
Everything else that is invisible has a category that `str.isprintable` refuses."""


def judged(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each character, and whether it may be shown as it is; line feeds and tabs may not."""
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        yield character, character.isprintable() and ord(character) not in _BLANK and marks <= MOST_MARKS


def spelt(character: str) -> str:
    """Return how a character is written that may not be shown."""
    return f"<U+{ord(character):04X}>"
