"""Is a WHERE true of every row? It is tried on sample values: what holds for all of them restricts nothing.

A further vote beside `restricts`, which reads the text: `id > 0 OR id <= 0`, `id = coalesce(id, 1)`, `abs(id) >= 0`. It
answers "always" only where it could evaluate the condition for each of its samples, and where some sample made it true;
a value that it cannot compute makes it silent. Pure; bounded by the number of samples and nodes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from gateway.policy.catalog import Relation
from gateway.policy.tree import Node, below, child, constant_text, items, kind_of, strings

_MOST_NODES: Final = 300
_MOST_SAMPLES: Final = 400
_NUMBERS: Final = (0, 1, -1, 2, 7, -2_000_000_000, 1_000_000_007)
_MOST_VALUES: Final = 40
_LONGEST: Final = 10_000
"""Characters of a text that is made because a length is compared."""
_TEXTS: Final = ("", "a", "Zz", "x%_", "m n")
_TEXT_TYPES: Final = frozenset({19, 25, 1042, 1043})
_BOOLEAN: Final = 16


class _Opaque(Exception):
    """A value that cannot be computed here."""


Row = Mapping[str, Any]


def always(where: object, relation: Relation | None) -> bool:
    """Say whether `where` holds for whatever values; False also where that cannot be told."""
    kind, fields = kind_of(where)
    nodes = list(itertools.islice(below(kind, fields), _MOST_NODES + 1))
    if not kind or len(nodes) > _MOST_NODES:
        return False
    names = list(dict.fromkeys(_column(node) for here, node in nodes if here == "ColumnRef"))
    seen = False
    try:
        constants = [_constant(node, {}) for here, node in nodes if here == "A_Const"]
        for row in _samples(names, constants, relation):
            found = _value(where, row)
            if found is False or found not in {True, None}:
                return False
            seen = seen or found is True
    except (_Opaque, TypeError, ValueError, ArithmeticError, RecursionError, re.error):
        return False
    return seen


def _samples(names: Sequence[str], constants: Sequence[Any], relation: Relation | None) -> Iterator[Row]:
    """Yield rows: every combination of values where there are few columns, else a walk through them.

    Beside values of all kinds a column takes those that it is compared with, and their neighbours.
    """
    numbers = list(dict.fromkeys((*_NUMBERS, *_near(constants))))[:_MOST_VALUES]
    written = (each for each in constants if isinstance(each, str))
    longer = ("q" * (each + 1) for each in constants if type(each) is int and 0 < each <= _LONGEST)
    texts = list(dict.fromkeys((*_TEXTS, *written, *longer)))[:_MOST_VALUES]
    known = {column.name: column for column in relation.columns} if relation is not None else {}
    domains = []
    for name in names:
        column = known.get(name.rpartition(".")[2])
        values: Sequence[Any] = numbers
        if column is not None and column.type_oid in _TEXT_TYPES:
            values = texts
        elif column is not None and column.type_oid == _BOOLEAN:
            values = (True, False)
        domains.append(values if column is not None and column.not_null else (*values, None))
    total = 1
    for values in domains:
        total *= len(values)
    if total <= _MOST_SAMPLES:
        for chosen in itertools.product(*domains):
            yield dict(zip(names, chosen, strict=True))
        return
    for number in range(_MOST_SAMPLES):
        yield {name: values[(number * (2 * at + 1) + at) % len(values)] for at, (name, values) in
               enumerate(zip(names, domains, strict=True))}  # fmt: skip


def _near(constants: Sequence[Any]) -> Iterator[float]:
    for each in constants:
        number = float(each) if isinstance(each, str) and re.fullmatch(r"-?\d{1,15}(\.\d+)?", each) else each
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            yield from (number, number - 1, number + 1, -number, number // 2)


def _column(node: Node) -> str:
    """A column by its own name: those of one name in several tables are told apart by their qualifier."""
    return ".".join(strings(node.get("fields")))


def _value(node: object, row: Row) -> Any:
    kind, fields = kind_of(node)
    handler = _HANDLERS.get(kind)
    if handler is None:
        raise _Opaque
    return handler(fields, row)


def _constant(fields: Node, _row: Row) -> Any:
    if fields.get("isnull"):
        return None
    text = constant_text({"A_Const": fields})
    if text is None:
        raise _Opaque
    if "ival" in fields:
        return int(text)
    if "fval" in fields:
        return float(text)
    return text == "true" if "boolval" in fields else text


def _reference(fields: Node, row: Row) -> Any:
    return row[_column(fields)]


def _boolean(fields: Node, row: Row) -> Any:
    operator, found = fields.get("boolop"), []
    for argument in items(fields.get("args")):
        try:
            found.append(_value(argument, row))
        except _Opaque:
            found.append(_Opaque)
    if operator == "NOT_EXPR":
        if found[0] is _Opaque:
            raise _Opaque
        return None if found[0] is None else not found[0]
    decisive = operator == "OR_EXPR"
    if decisive in found:
        return decisive
    if _Opaque in found:
        raise _Opaque
    return None if None in found else not decisive


def _null_test(fields: Node, row: Row) -> Any:
    return (_value(fields.get("arg"), row) is None) == (fields.get("nulltesttype") == "IS_NULL")


def _boolean_test(fields: Node, row: Row) -> Any:
    value, test = _value(fields.get("arg"), row), str(fields.get("booltesttype")).removeprefix("IS_")
    wanted = {"TRUE": True, "FALSE": False, "UNKNOWN": None}[test.removeprefix("NOT_")]
    return (value is wanted) != test.startswith("NOT_")


def _coalesce(fields: Node, row: Row) -> Any:
    return next((v for v in (_value(a, row) for a in items(fields.get("args"))) if v is not None), None)


def _extreme(fields: Node, row: Row) -> Any:
    values = [v for v in (_value(a, row) for a in items(fields.get("args"))) if v is not None]
    return (max if fields.get("op") == "IS_GREATEST" else min)(values) if values else None


def _case(fields: Node, row: Row) -> Any:
    subject = _value(fields["arg"], row) if "arg" in fields else True
    for item in items(fields.get("args")):
        _, arm = kind_of(item)
        tested = _value(arm.get("expr"), row)
        if tested is not None and subject is not None and tested == subject:
            return _value(arm.get("result"), row)
    return _value(fields["defresult"], row) if "defresult" in fields else None


def _cast(fields: Node, row: Row) -> Any:
    value = _value(fields.get("arg"), row)
    name = (*strings(child(fields, "typeName")[1].get("names")), "")[-2]
    if value is None or isinstance(value, list):
        return value
    if name in {"text", "varchar", "bpchar", "name"} and not isinstance(value, bool):
        return str(value)
    if name in {"int4", "int8", "numeric", "float8", "int2"}:
        return float(value) if name == "float8" else int(value)
    if name == "bool" and isinstance(value, (bool, int)):
        return bool(value)
    raise _Opaque


def _list(fields: Node, row: Row) -> Any:
    return [_value(item, row) for item in items(fields.get("items") or fields.get("elements") or fields.get("args"))]


def _sublink(fields: Node, row: Row) -> Any:
    """A subquery without FROM is its expression, if its WHERE holds."""
    kind, select = child(fields, "subselect")
    targets = items(select.get("targetList"))
    if kind != "SelectStmt" or set(select) - {"targetList", "whereClause", "limitOption", "op"} or len(targets) > 1:
        raise _Opaque
    holds = _value(select["whereClause"], row) is True if "whereClause" in select else True
    link = fields.get("subLinkType")
    if link == "EXISTS_SUBLINK":
        return holds
    found = _value(kind_of(targets[0])[1].get("val"), row) if holds else None
    if link == "EXPR_SUBLINK":
        return found
    if link == "ANY_SUBLINK" and "operName" not in fields:
        return _compare("=", _value(fields.get("testexpr"), row), found) if holds else False
    raise _Opaque


def _call(fields: Node, row: Row) -> Any:
    function = _FUNCTIONS.get(strings(fields.get("funcname"))[-1])
    if function is None or set(fields) - {"funcname", "args", "funcformat", "location"}:
        raise _Opaque
    values = [_value(argument, row) for argument in items(fields.get("args"))]
    return None if None in values else function(*values)


def _expression(fields: Node, row: Row) -> Any:
    kind, operator = fields.get("kind"), (*strings(fields.get("name")), "")[-2]
    left = _value(fields["lexpr"], row) if "lexpr" in fields else 0
    right = _value(fields.get("rexpr"), row)
    if kind in {"AEXPR_OP_ANY", "AEXPR_OP_ALL", "AEXPR_IN"}:
        every = kind == "AEXPR_OP_ALL" or (kind == "AEXPR_IN" and operator == "<>")
        found = [_compare(operator, left, each) for each in right]
        return (not every) if (not every) in found else (None if None in found else every)
    if kind in {"AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT"}:
        return (left == right) == (kind == "AEXPR_NOT_DISTINCT")
    if kind == "AEXPR_NULLIF":
        return None if left is not None and left == right else left
    if kind in {"AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN"}:
        low, high = _compare(">=", left, right[0]), _compare("<=", left, right[1])
        inside = False if False in (low, high) else (None if None in (low, high) else True)
        return inside if inside is None or kind == "AEXPR_BETWEEN" else not inside
    if kind in {"AEXPR_LIKE", "AEXPR_ILIKE"}:
        return _like(operator, left, right)
    if kind != "AEXPR_OP":
        raise _Opaque
    return _compare(operator, left, right)


def _like(operator: str, value: Any, pattern: Any) -> Any:
    if value is None or pattern is None:
        return None
    form = "".join({"%": ".*", "_": "."}.get(each, re.escape(each)) for each in pattern)
    found = re.fullmatch(form, value, re.DOTALL | (re.IGNORECASE if "*" in operator else re.NOFLAG)) is not None
    return found != operator.startswith("!")


def _compare(operator: str, left: Any, right: Any) -> Any:
    function = _OPERATORS.get(operator)
    if function is None:
        raise _Opaque
    if left is None or right is None:
        return None
    if isinstance(left, list) and isinstance(right, list) and None in (*left, *right):
        return None
    if isinstance(left, str) != isinstance(right, str):
        left, right = _alike(left, right)
    return function(left, right)


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """A literal in quotes takes the other side's type."""
    if isinstance(left, str):
        return type(right)(left), right
    return left, type(left)(right)


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "=": lambda a, b: a == b,
        "<>": lambda a, b: a != b,
        "!=": lambda a, b: a != b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "||": lambda a, b: str(a) + str(b),
        "~": lambda a, b: re.search(b, a) is not None if re.fullmatch(r"[\w.*^$]*", b) else _unknown(),
    }
)
_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "abs": abs, "length": len, "char_length": len, "lower": str.lower, "upper": str.upper, "btrim": str.strip,
        "position": lambda text, part: text.find(part) + 1, "strpos": lambda text, part: text.find(part) + 1,
        "starts_with": lambda text, part: text.startswith(part), "reverse": lambda text: text[::-1],
        "concat": lambda *parts: "".join(map(str, parts)), "sign": lambda n: (n > 0) - (n < 0),
    }
)  # fmt: skip
_HANDLERS: Mapping[str, Callable[[Node, Row], Any]] = MappingProxyType(
    {
        "A_Const": _constant,
        "ColumnRef": _reference,
        "BoolExpr": _boolean,
        "NullTest": _null_test,
        "BooleanTest": _boolean_test,
        "CoalesceExpr": _coalesce,
        "MinMaxExpr": _extreme,
        "CaseExpr": _case,
        "TypeCast": _cast,
        "List": _list,
        "A_ArrayExpr": _list,
        "RowExpr": _list,
        "SubLink": _sublink,
        "FuncCall": _call,
        "A_Expr": _expression,
    }
)


def _unknown() -> Any:
    raise _Opaque
