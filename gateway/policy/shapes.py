"""When two texts that differ in whole numbers alone get the same verdict, so that the second need not be parsed.

Promises to say so only of one SELECT in a small alphabet (no quotes of any kind, no comments, no dollars, no
backslashes), every constant of which is a short whole number that a column is compared with: `column = 5`,
`5 < column`, `column IN (1, 2)`, `column BETWEEN 1 AND 9`. Nowhere else may a number stand: as a position, a count, a
function's argument or a type's length it has a meaning of its own; and strings never have a shape, since what they say
may matter (a password, the name of a relation). Texts of one shape have one tree but for the values of those numbers,
since PostgreSQL's lexer cuts both at the same places. Pure.
"""

from __future__ import annotations

import re

from gateway.policy.parse import NotUnderstoodError, SyntaxFaultError, parse
from gateway.policy.tree import Node, items, kind_of, strings

LONGEST = 2000
"""Bytes of a text that may have a shape."""

_NUMBER = re.compile(rb"(?<![\w.$])[0-9]{1,9}(?![\w.$])", re.ASCII)
_SKELETON = re.compile(
    rb"(?: [A-Za-z_][A-Za-z0-9_]*+ | 0 (?![\w.$]) | [ \n\t] | [(),;.=<>*] )++", re.ASCII | re.VERBOSE
)
"""Possessive: a text that does not fit is given up at once, and not cut into words in every way there is."""
_COMPARISONS = frozenset({"=", "<", ">", "<=", ">=", "<>"})


def shape_of(sql: bytes) -> bytes | None:
    """Return the text without the values of its numbers, distinct from every text; None: it has none, or no shape."""
    if len(sql) > LONGEST or b"'" in sql:
        return None
    shape, count = _NUMBER.subn(b"0", sql)
    return b"\0" + shape if count else None


def stands_for_all(sql: bytes) -> bool:
    """Say whether every text with the shape of `sql` reads as `sql` does but for what columns are compared with."""
    shape, count = _NUMBER.subn(b"0", sql)
    if len(sql) > LONGEST or _SKELETON.fullmatch(shape) is None:
        return False
    try:
        statements = parse(sql).statements
    except (SyntaxFaultError, NotUnderstoodError):
        return False
    if len(statements) != 1 or kind_of(statements[0].node)[0] != "SelectStmt":
        return False
    return _counts(statements[0].node) == (count, count)


def _counts(root: Node) -> tuple[int, int]:
    """Count the constants of a tree, and those that a column is compared with."""
    constants = compared = 0
    waiting: list[object] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
            continue
        if not isinstance(node, dict):
            continue
        kind, fields = kind_of(node)
        constants += kind in {"A_Const", "Integer", "Float", "BitString", "Boolean"}
        if kind == "A_Expr":
            compared += _compared(fields)
        waiting += node.values()
    return constants, compared


def _compared(expression: Node) -> int:
    """Count the constants that an expression compares a column with."""
    left, right = kind_of(expression.get("lexpr"))[0], kind_of(expression.get("rexpr"))
    how, names = expression.get("kind"), strings(expression.get("name"))
    if how == "AEXPR_OP" and len(names) == 1 and names[0] in _COMPARISONS:
        return sorted((left, right[0])) == ["A_Const", "ColumnRef"]
    if left != "ColumnRef" or right[0] != "List" or how not in {"AEXPR_IN", "AEXPR_BETWEEN"}:
        return 0
    return sum(kind_of(item)[0] == "A_Const" for item in items(right[1].get("items")))
