"""Where the literals of a statement stand: PostgreSQL's lexical rules, as far as they end a literal or hide one.

Promises that every string, bit string and number of a text is found with its byte range, whatever surrounds it, and
that what is never closed counts as a literal up to the end. Pure and total; parses nothing. As the sessions behind the
gateway do, it reads with standard_conforming_strings on. Source: PostgreSQL, "Lexical Structure".
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
      (?P<comment>--[^\r\n]*)
    | (?P<block>/\*)
    | (?P<escape>[eE]'(?:[^'\\]|''|\\.)*(?P<closed1>'))
    | (?P<string>(?:[uU]&|[bBxXnN])?'(?:[^']|'')*(?P<closed2>'))
    | (?P<open>(?:[uU]&|[bBxXnNeE])?')
    | (?P<identifier>(?:[uU]&)?"(?:[^"]|"")*(?:"|\Z))
    | (?P<dollar>\$(?P<tag>(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?)\$)
    | (?P<parameter>\$[0-9]+)
    | (?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)
    | (?P<number>0[xX][0-9A-Fa-f_]+|0[oO][0-7_]+|0[bB][01_]+|
        (?:[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?[A-Za-z_]*)
    """,
    re.VERBOSE | re.DOTALL,
)
_CONTINUED = re.compile(rb"(?:[ \t\f\v]++|--[^\r\n]*+)*+[\r\n](?:[ \t\f\v\r\n]++|--[^\r\n]*+[\r\n])*+'")
"""Two strings with a line break between them are one. Possessive: a text made for it would take forever otherwise."""
_BLOCK = re.compile(rb"/\*|\*/")
_UESCAPE = re.compile(rb"(?:\s|--[^\r\n]*[\r\n])*+UESCAPE\s*'([^'])'", re.IGNORECASE)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[0-7]{1,3}|.)|''", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Literal:
    """One literal: its byte range, and its value near enough to find it again elsewhere."""

    start: int
    end: int
    value: str


class Lexed:
    """A text, and its literals: found once, however many statements ask for theirs."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._found: tuple[Literal, ...] | None = None

    def within(self, start: int, end: int) -> tuple[Literal, ...]:
        """Return the literals that begin between two offsets."""
        if self._found is None:
            self._found = tuple(literals(self.text))
        first = bisect_left(self._found, start, key=lambda one: one.start)
        return self._found[first : bisect_left(self._found, end, key=lambda one: one.start)]


def tokens(text: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Yield the words and parameters outside literals and comments: kind, start, end, depth of parentheses."""
    position = depth = 0
    while (found := _TOKEN.search(text, position)) is not None:
        between = text[position : found.start()]
        depth += between.count(b"(") + between.count(b"[") - between.count(b")") - between.count(b"]")
        start, position = found.start(), found.end()
        match found.lastgroup if found["dollar"] is None else "dollar":
            case "block":
                position = _after_comment(text, position)
            case "open":
                return
            case "dollar":
                closing = text.find(found[0], position)
                position = len(text) if closing < 0 else closing + len(found[0])
            case "word" | "parameter" as kind:
                yield kind, start, position, depth
            case _ if found["escape"] is not None or found["string"] is not None:
                while (more := _CONTINUED.match(text, position)) is not None:
                    position = _string_end(text, more.end(), escapes=found["escape"] is not None)


def literals(text: bytes) -> Iterator[Literal]:
    """Yield the literals of `text`, in order."""
    position = 0
    while (found := _TOKEN.search(text, position)) is not None:
        start, position = found.start(), found.end()
        match found.lastgroup if found["dollar"] is None else "dollar":
            case "block":
                position = _after_comment(text, position)
            case "open":
                position = len(text)
                yield _literal(text, start, position)
            case "dollar":
                closing = text.find(found[0], position)
                position = len(text) if closing < 0 else closing + len(found[0])
                value = text[found.end() : len(text) if closing < 0 else closing]
                yield Literal(start, position, value.decode("utf-8", "replace"))
            case "number":
                yield _literal(text, start, position)
            case _ if found["escape"] is not None or found["string"] is not None:
                escapes = found["escape"] is not None
                while (more := _CONTINUED.match(text, position)) is not None:
                    position = _string_end(text, more.end(), escapes=escapes)
                given = _UESCAPE.match(text, position)
                yield _literal(text, start, position, given[1].decode("utf-8", "replace") if given else "\\")


def _string_end(text: bytes, position: int, *, escapes: bool) -> int:
    """Return where the string ends whose opening quote stands before `position`."""
    form = rb"(?:[^'\\]|''|\\.)*'" if escapes else rb"(?:[^']|'')*'"
    found = re.compile(form, re.DOTALL).match(text, position)
    return len(text) if found is None else found.end()


def _after_comment(text: bytes, position: int) -> int:
    """Return where a block comment ends; they nest."""
    depth = 1
    while depth and (found := _BLOCK.search(text, position)) is not None:
        depth += 1 if found[0] == b"/*" else -1
        position = found.end()
    return len(text) if depth else position


def _literal(text: bytes, start: int, end: int, escape: str = "\\") -> Literal:
    raw = text[start:end].decode("utf-8", "replace")
    prefix, quote, inside = raw.partition("'")
    if not quote:
        return Literal(start, end, raw)
    inside = inside.removesuffix("'")
    if prefix in {"e", "E"}:
        return Literal(start, end, _ESCAPE.sub(_plain, inside))
    inside = inside.replace("''", "'")
    if prefix in {"u&", "U&"}:
        form = re.compile(rf"{re.escape(escape)}(?:\+([0-9A-Fa-f]{{6}})|([0-9A-Fa-f]{{4}})|{re.escape(escape)})")
        inside = form.sub(lambda found: _character(found[1] or found[2]) if found[1] or found[2] else escape, inside)
    return Literal(start, end, inside)


def _plain(found: re.Match[str]) -> str:
    code = found[1]
    if code is None:
        return "'"
    if code[0] in "xuU" and len(code) > 1:
        return _character(code[1:])
    if code[0] in "01234567":
        return chr(int(code, 8))
    return _ESCAPES.get(code, code)


def _character(digits: str) -> str:
    number = int(digits, 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
