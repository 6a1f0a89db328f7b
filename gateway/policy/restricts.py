"""Does a write's WHERE restrict the rows it changes? By text: constants, tautologies and self-comparisons do not.

Errs towards "no": a condition restricts only if, in every way it may hold, some column of the target is compared with
something else. How many rows that leaves is a question for the planner, except where a unique key proves it
(`most_rows`). Pure, without recursion deeper than `_DEPTH`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from gateway.policy.catalog import Catalog, Relation
from gateway.policy.tautology import always
from gateway.policy.tree import Node, below, child, constant_text, items, kind_of, string, strings

_DEPTH = 200


@dataclass(frozen=True, slots=True)
class Target:
    """The relation a write changes: its names in the statement, its catalog entry, and the others joined to it."""

    names: frozenset[str]
    relation: Relation | None = None
    twins: frozenset[str] = frozenset()
    """Aliases under which the same relation is joined to itself."""
    joined: bool = False
    """Other relations are joined to it: a bare name may be a column of theirs."""


def restricts(where: object, target: Target) -> bool:
    """Say whether `where` (a node or None) restricts the rows of `target`."""
    return _holds(where, target, negated=False, depth=0) and not always(where, target.relation)


def most_rows(where: object, target: Target, catalog: Catalog) -> int | None:
    """Return how many rows of `target` can meet `where` at most, by its unique keys; None: these do not tell.

    Counts what is compared with constants and parameters: anything else could differ from row to row.
    """
    relation = target.relation
    if kind_of(where)[0] == "CurrentOfExpr":
        return 1
    if relation is None or not relation.keys or relation.name in catalog.temporary or _has_own_equality(catalog):
        return None
    if relation.kind not in {"r", "p"} or (relation.children and relation.kind != "p"):
        return None
    choices = _choices(where, target, relation)
    counts = [
        prod(choices[number] for number in key) for key in relation.keys if key and all(n in choices for n in key)
    ]
    return min(counts, default=None)


def _choices(where: object, target: Target, relation: Relation) -> dict[int, int]:
    """Return how many values each column may have, where all of `where` must hold and a part of it says so."""
    numbers = {column.name: column.number for column in relation.columns}
    found: dict[int, int] = {}
    stack = [where]
    while stack:
        kind, fields = kind_of(stack.pop())
        if kind == "BoolExpr" and fields.get("boolop") == "AND_EXPR":
            stack.extend(items(fields.get("args")))
        if kind != "A_Expr" or strings(fields.get("name")) != ("=",):
            continue
        left, right = fields.get("lexpr"), fields.get("rexpr")
        if fields.get("kind") == "AEXPR_OP":
            sides = [(left, (right,)), (right, (left,))]
        elif fields.get("kind") == "AEXPR_IN":
            sides = [(left, tuple(items(kind_of(right)[1].get("items"))))]
        else:
            continue
        for column, values in sides:
            name = _column_of(column, target)
            if name in numbers and values and all(_is_constant(value) for value in values):
                number = numbers[name]
                found[number] = min(found.get(number, len(values)), len(values))
    return found


def _column_of(node: object, target: Target) -> str:
    """Return the name of a column that can be nobody's but the target's; else nothing."""
    kind, fields = kind_of(node)
    names = strings(fields.get("fields")) if kind == "ColumnRef" else ()
    if not names or len(names) != len(items(fields.get("fields"))):
        return ""
    if len(names) == 1:
        return names[0] if not target.joined else ""
    return names[-1] if len(names) == 2 and names[0] in target.names else ""


def _is_constant(node: object) -> bool:
    kind, fields = kind_of(node)
    while kind == "TypeCast":
        kind, fields = kind_of(fields.get("arg"))
    return kind in {"A_Const", "ParamRef"}


def _has_own_equality(catalog: Catalog) -> bool:
    """Say whether somebody made an operator `=`, which need not be equality."""
    return any(name == "=" and not extension for (_, name), extension in catalog.operators.items())


def _holds(node: object, target: Target, *, negated: bool, depth: int) -> bool:
    kind, fields = kind_of(node)
    if not kind or depth > _DEPTH:
        return False
    if kind == "BoolExpr":
        return _boolean(fields, target, negated=negated, depth=depth)
    if kind == "CurrentOfExpr":
        return not negated
    if kind == "SubLink":
        return _sublink(fields, target)
    if kind == "NullTest":
        return _null_test(fields, target, negated=negated)
    if kind == "BooleanTest":
        if "UNKNOWN" in str(fields.get("booltesttype")):
            return False
        opposite = str(fields.get("booltesttype")) in {"IS_FALSE", "IS_NOT_TRUE"}
        return _holds(fields.get("arg"), target, negated=negated != opposite, depth=depth + 1)
    if kind in {"CoalesceExpr", "MinMaxExpr"}:
        return all(_holds(arg, target, negated=negated, depth=depth + 1) for arg in items(fields.get("args")))
    if kind == "CaseExpr":
        results = [kind_of(arm)[1].get("result") for arm in items(fields.get("args"))]
        results += [fields["defresult"]] if "defresult" in fields else []
        return all(_holds(arm, target, negated=negated, depth=depth + 1) for arm in results)
    if kind == "TypeCast":
        return _holds(fields.get("arg"), target, negated=negated, depth=depth + 1)
    if kind == "A_Expr":
        return _comparison(fields, target)
    return _mentions(kind, fields, target)


def _boolean(fields: Node, target: Target, *, negated: bool, depth: int) -> bool:
    arms = items(fields.get("args"))
    operator = fields.get("boolop")
    if operator == "NOT_EXPR":
        return all(_holds(arm, target, negated=not negated, depth=depth + 1) for arm in arms)
    held = (_holds(arm, target, negated=negated, depth=depth + 1) for arm in arms)
    either = (operator == "OR_EXPR") != negated
    return all(held) if either else any(held)


def _null_test(fields: Node, target: Target, *, negated: bool) -> bool:
    kind, column = kind_of(fields.get("arg"))
    if kind != "ColumnRef" or not _mentions(kind, column, target):
        return False
    wants_value = (fields.get("nulltesttype") == "IS_NOT_NULL") != negated
    if not wants_value or target.relation is None:
        return True
    name = string(items(column.get("fields"))[-1])
    return not any(known.name == name and known.not_null for known in target.relation.columns)


def _comparison(fields: Node, target: Target) -> bool:
    left, right = fields.get("lexpr"), fields.get("rexpr")
    if not _mentions("A_Expr", fields, target):
        return False
    kind = fields.get("kind")
    text = _plain(left, target)
    others = _compared(right)
    if left is not None and any(_plain(other, target) == text for other in others):
        return False
    if kind in {"AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_SIMILAR"} or _operator(fields) in {"~", "~*", "~~", "~~*"}:
        return not _matches_all(right)
    if kind == "AEXPR_OP" and any(_drifts(left, other, target) or _drifts(other, left, target) for other in others):
        return False
    return not (_operator(fields) in {"=", "<=", ">="} and _same_in_twin(left, right, target))


def _compared(right: object) -> Sequence[object]:
    """Return what stands on the right of a comparison: each of `IN (…)` and `= ANY (ARRAY[…])`."""
    kind, fields = kind_of(right)
    while kind == "TypeCast":
        kind, fields = kind_of(fields.get("arg"))
    listed = {"List": "items", "A_ArrayExpr": "elements"}.get(kind)
    return items(fields.get(listed)) if listed is not None else (right,)


def _matches_all(pattern: object) -> bool:
    text = constant_text(pattern)
    return text is not None and text.strip("%^$.*") == ""


def _drifts(column: object, other: object, target: Target) -> bool:
    """`id` beside `id + 0`: the same column, moved by constants only."""
    if kind_of(column)[0] != "ColumnRef":
        return False
    name = _plain(column, target)
    seen = False
    for kind, fields in below(*kind_of(other)):
        if kind == "ColumnRef":
            if _plain({kind: fields}, target) != name:
                return False
            seen = True
        elif kind not in {"A_Expr", "A_Const", "String", "TypeCast", "TypeName", "Integer"}:
            return False
    return seen


def _same_in_twin(left: object, right: object, target: Target) -> bool:
    """`t.id = u.id` where `u` is the same relation once more."""
    if not target.twins or kind_of(left)[0] != "ColumnRef" or kind_of(right)[0] != "ColumnRef":
        return False
    one, two = (strings(kind_of(side)[1].get("fields")) for side in (left, right))
    qualifiers = {name for names in (one, two) for name in names[:-1]}
    return bool(one and two) and one[-1] == two[-1] and bool(qualifiers & target.twins)


def _sublink(fields: Node, target: Target) -> bool:
    kind, select = child(fields, "subselect")
    if kind != "SelectStmt":
        return False
    if fields.get("subLinkType") == "EXISTS_SUBLINK":
        where = select.get("whereClause")
        return where is not None and _correlated(where, target)
    test = fields.get("testexpr")
    if test is None or not _mentions(*kind_of(test), target):
        return False
    outputs = [kind_of(kind_of(item)[1].get("val")) for item in items(select.get("targetList"))]
    bare = not any(select.get(part) for part in ("whereClause", "limitCount", "limitOffset", "havingClause", "larg"))
    if not bare:
        return True
    # id IN (SELECT id FROM the same relation): true of every row
    sources = [kind_of(source)[1].get("relname") for source in items(select.get("fromClause"))]
    same = target.relation is None or target.relation.name in sources
    named = strings(kind_of(test)[1].get("fields"))[-1:]
    return not (same and all(kind == "ColumnRef" and strings(ref.get("fields"))[-1:] == named for kind, ref in outputs))


def _correlated(where: object, target: Target) -> bool:
    for kind, fields in below(*kind_of(where)):
        if kind == "ColumnRef":
            names = strings(fields.get("fields"))
            if len(names) == 1 or set(names[:-1]) & target.names:
                return True
    return False


def _mentions(kind: str, fields: Node, target: Target) -> bool:
    """A column that may be the target's stands below."""
    return any(
        here == "ColumnRef" and _of_target(strings(found.get("fields")), target) for here, found in below(kind, fields)
    )


def _of_target(names: Sequence[str], target: Target) -> bool:
    if not names:
        return False
    if len(names) > 1:
        return bool(set(names[:-1]) & target.names)
    known = target.relation
    return known is None or not known.columns or any(column.name == names[0] for column in known.columns)


def _operator(fields: Node) -> str:
    names = strings(fields.get("name"))
    return names[-1] if names else ""


def _plain(node: object, target: Target) -> str:
    """The node's text without places and casts: what makes two sides the same."""
    kind, fields = kind_of(node)
    while kind == "TypeCast":
        kind, fields = kind_of(fields.get("arg"))
    if kind == "ColumnRef":
        names = strings(fields.get("fields"))
        own = len(names) < 2 or bool(set(names[:-1]) & target.names)
        return "column " + (names[-1] if own and names else ".".join(names))
    return json.dumps([kind, _stripped(fields)], sort_keys=True)


def _stripped(value: object) -> object:
    if isinstance(value, dict):
        return {name: _stripped(inner) for name, inner in value.items() if not name.endswith("location")}
    if isinstance(value, list):
        return [_stripped(inner) for inner in value]
    return value
