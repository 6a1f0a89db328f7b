"""EXPLAIN of a statement with marked columns in reach: constants that the agent did not write do not pass.

A plan prints the constants of what it plans: those of views, defaults, row policies, partial indexes and generated
columns too, which may be values of a marked column. Costs, row counts and names stay: what those tell of values is
inference (`predicate_touch`), which no masking stops. In text, JSON, XML and YAML alike. Pure.
"""

from __future__ import annotations

import re

_LITERAL = re.compile(rb"'((?:[^']|'')*)'")
_NUMBER = re.compile(rb"(?<![\w.'$])-?\d[\d.]*(?:[eE][+-]?\d+)?(?![\w.'])")
_CONDITION = re.compile(
    rb"^[\s>-]*[\"<]?(?:[A-Za-z-]+ )?(?:Filter|Cond|Output|Call|Key|Order By|SQL|Condition|Item)[\">:]"
)
"""Lines that hold expressions; elsewhere numbers are costs and counts."""
_TOKEN = re.compile(rb"[^\s{}(),\"\\]+")
_HIDDEN = b"***"


def scrubbed(plan: bytes, own: bytes) -> bytes:
    """Return a line or document of a plan without the constants that are not in `own`; `plan` itself where none is."""
    found = _LITERAL.sub(lambda match: match[0] if _is_own(match[1], own) else b"'" + _HIDDEN + b"'", plan)
    lines = [_line(line, own) for line in found.split(b"\n")]
    found = b"\n".join(lines)
    return plan if found == plan else found


def _line(line: bytes, own: bytes) -> bytes:
    if _CONDITION.match(line) is None:
        return line
    return _NUMBER.sub(lambda match: match[0] if _holds(own, match[0]) else _HIDDEN, line)


def _is_own(literal: bytes, own: bytes) -> bool:
    text = literal.replace(b"''", b"'")
    return text in own or all(token in own for token in _TOKEN.findall(text))


def _holds(own: bytes, number: bytes) -> bool:
    return re.search(rb"(?<![\d.])" + re.escape(number.lstrip(b"-")) + rb"(?![\d])", own) is not None
