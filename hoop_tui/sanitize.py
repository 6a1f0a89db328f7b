"""Makes every string that comes from the gateway harmless, once, at the socket border.

Agents choose statement texts, names and result values, and an operator's terminal obeys what it is sent. After `scrub`,
a text holds only printable characters and ordinary spaces; everything else (C0, ESC, DEL, C1, bidirectional overrides,
zero-width and other invisible characters, lone surrogates) is written out as `<U+202E>`, so that it is seen and cannot
act. Newlines and tabs stay only where a pane of several lines wants them. Scrubbing twice changes nothing. No I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from gateway.control.unseen import judged, spelt

MULTILINE: Final = frozenset({"statement", "text", "current", "sql"})
"""Fields whose newlines and tabs a pane of several lines shows as such."""

HIDDEN_KEY: Final = "hidden_characters"
"""Where `scrub_message` leaves the number of hidden characters of each object; whatever was sent there is replaced."""

MOST_DEPTH: Final = 32
"""Nesting of a message; deeper ones are refused, as no message of the protocol comes near."""

_PLAIN: Final = re.compile(r"[ -~]*\Z")
_PLAIN_LINES: Final = re.compile(r"[ -~\n\t]*\Z")


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """A harmless text, and how many characters of the original would have been invisible or would have acted."""

    text: str
    hidden: int


def scrub(text: str, *, multiline: bool = False, ascii_only: bool = False) -> Scrubbed:
    """Return `text` with everything unprintable written out as `<U+XXXX>`.

    With `multiline`, newline and tab stay; without it they are written out too, but not counted as hidden: they are
    ordinary in statements. With `ascii_only` (a terminal without UTF-8) other characters are written out, uncounted.
    """
    if (_PLAIN_LINES if multiline else _PLAIN).match(text):
        return Scrubbed(text, 0)
    kept: list[str] = []
    hidden = 0
    for character, plain in judged(text):
        if character in "\n\t":
            kept.append(character if multiline else spelt(character))
        elif not plain:
            kept.append(spelt(character))
            hidden += 1
        elif ascii_only and not character.isascii():
            kept.append(spelt(character))
        else:
            kept.append(character)
    return Scrubbed("".join(kept), hidden)


def scrub_message(message: Any, *, ascii_only: bool = False) -> Any:
    """Return a decoded message with every string in it scrubbed, keys included.

    Each object gets `HIDDEN_KEY`: how many hidden characters stood in it and in what it holds. Raises ValueError where
    the message is nested deeper than any real one.
    """
    return _walk(message, "", ascii_only, 0)[0]


def _walk(value: Any, key: str, ascii_only: bool, depth: int) -> tuple[Any, int]:
    if depth > MOST_DEPTH:
        raise ValueError("a message nested too deeply")
    if isinstance(value, str):
        done = scrub(value, multiline=key in MULTILINE, ascii_only=ascii_only)
        return done.text, done.hidden
    if isinstance(value, list):
        pairs = [_walk(item, key, ascii_only, depth + 1) for item in value]
        return [item for item, _ in pairs], sum(hidden for _, hidden in pairs)
    if isinstance(value, dict):
        total = 0
        kept: dict[str, Any] = {}
        for name, item in value.items():
            clean_name = scrub(str(name), ascii_only=ascii_only)
            kept[clean_name.text], hidden = _walk(item, str(name), ascii_only, depth + 1)
            total += hidden + clean_name.hidden
        kept[HIDDEN_KEY] = total
        return kept, total
    return value, 0
