"""EXPLAIN of a statement with marked columns in reach: constants that the agent did not write do not pass.

A plan prints the constants of what it plans: those of views, defaults, row policies, partial indexes and generated
columns too, which may be values of a marked column. Costs, row counts and names stay: what those tell of values is
inference (`predicate_touch`), which no masking stops. In text, JSON, XML and YAML alike. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LITERAL = re.compile(rb"'((?:[^']|'')*+)'")
_NUMBER = re.compile(rb"(?<![\w.'$])-?\d[\d.]*(?:[eE][+-]?\d+)?(?![\w.'])")
_CONDITION = re.compile(
    rb"^[\s>-]*[\"<]?(?:[A-Za-z-]+ )?(?:Filter|Cond|Output|Call|Key|Order By|SQL|Condition|Item)[\">:]"
)
"""Lines that hold expressions; elsewhere numbers are costs and counts."""
_TOKEN = re.compile(rb"[^\s{}(),\"\\']+")
_HIDDEN = b"***"
_LONGEST = 1 << 20
"""Bytes of what the agent sent that are looked at."""


def scrubbed(plan: bytes, own: bytes) -> bytes:
    """Return a line or document of a plan without the constants that are not in `own`; `plan` itself where none is."""
    known = _words(own[:_LONGEST])
    found = _LITERAL.sub(lambda match: match[0] if _is_own(match[1], known) else b"'" + _HIDDEN + b"'", plan)
    found = b"\n".join([_line(line, known) for line in found.split(b"\n")])
    return plan if found == plan else found


def _line(line: bytes, known: frozenset[bytes]) -> bytes:
    if _CONDITION.match(line) is None:
        return line
    return _NUMBER.sub(lambda match: match[0] if match[0].lstrip(b"-") in known else _HIDDEN, line)


def _is_own(literal: bytes, known: frozenset[bytes]) -> bool:
    """A literal may be put together of what the agent wrote: `ANY ('{1,2}'::integer[])` of `IN (1, 2)`."""
    return all(token in known or token.lstrip(b"-") in known for token in _TOKEN.findall(literal))


@lru_cache(maxsize=4)
def _words(own: bytes) -> frozenset[bytes]:
    """Return the words and numbers of what the agent sent; a plan of many lines asks for them again and again."""
    return frozenset((*_TOKEN.findall(own), *_NUMBER.findall(own)))
