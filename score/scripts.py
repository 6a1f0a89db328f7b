"""Cuts psql scripts into the statements that psql would send. Pure.

Knows quotes of every kind, dollar quotes, nested comments, parentheses, bodies of BEGIN ATOMIC, backslash commands and
the data of COPY FROM STDIN. Variables of psql (`:name`) stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* )
    | (?P<open> /\* )
    | (?P<quoted> [eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | "(?:[^"]|"")*" )
    | (?P<dollar> \$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$ )
    | (?P<word> [A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]* )
    | (?P<command> \\[^\n]* )
    | (?P<end> ; )
    | (?P<bracket> [()] )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_FROM_STDIN = re.compile(r"^\s*copy\b.*\bfrom\s+stdin\b", re.IGNORECASE | re.DOTALL)
_NESTED = re.compile(r"/\*|\*/")


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, without their semicolons; what never ends is left out."""
    at, start, depth, atomic = 0, 0, 0, 0
    words: list[str] = []
    pieces: list[str] = []
    while at < len(script):
        match = _TOKEN.match(script, at)
        if match is None:
            return
        kind, at = match.lastgroup, match.end()
        if kind == "open":
            at = _comment_end(script, at)
        elif kind == "dollar":
            end = script.find(match[0], at)
            at = len(script) if end < 0 else end + len(match[0])
        elif kind == "word":
            words = [*words[-1:], match[0].lower()]
            atomic += words == ["begin", "atomic"]
            atomic -= bool(atomic) and words[-1] == "end"
            atomic += bool(atomic) and words[-1] == "case"
        elif kind == "bracket":
            depth = max(0, depth + (1 if match[0] == "(" else -1))
        elif kind == "command":
            pieces.append(script[start : match.start()])
            start = at
            if match[0].startswith(("\\g", "\\crosstabview", "\\watch", "\\bind")):
                yield from _whole("".join(pieces))
                pieces, depth, atomic = [], 0, 0
        elif kind == "end" and not depth and not atomic:
            text = "".join([*pieces, script[start : match.start()]])
            pieces, words = [], []
            yield from _whole(text)
            if _FROM_STDIN.match(_bare(text)):
                data = script.find("\n\\.", at)
                at = len(script) if data < 0 else data + 3
            start = at


def _whole(text: str) -> Iterator[str]:
    if _bare(text):
        yield text.strip()


def _bare(text: str) -> str:
    """The text without comments at its beginning."""
    return re.sub(r"\A(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", "", text, flags=re.DOTALL)


def _comment_end(script: str, at: int) -> int:
    depth = 1
    while depth:
        found = _NESTED.search(script, at)
        if found is None:
            return len(script)
        depth += 1 if found[0] == "/*" else -1
        at = found.end()
    return at
