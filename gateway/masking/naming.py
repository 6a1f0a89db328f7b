"""The names PostgreSQL gives to output columns, as far as they can be told from the text; `""` where they cannot.

A wrong name here could resolve a reference to the wrong column, so only the sure cases are named.
Source: PostgreSQL, parse_target.c, FigureColname.
"""

from __future__ import annotations

from gateway.policy.tree import Node, child, items, kind_of, string, strings

_FIXED = {
    "CoalesceExpr": "coalesce",
    "A_ArrayExpr": "array",
    "RowExpr": "row",
    "GroupingFunc": "grouping",
    "MergeSupportFunc": "merge_action",
    "XmlSerialize": "xmlserialize",
}
_DEPTH = 100


def output_name(target: Node) -> str:
    """Return the name of a select-list item."""
    if "name" in target:
        return str(target["name"])
    return _name(*child(target, "val"))[0]


def _name(kind: str, fields: Node) -> tuple[str, bool]:
    """Return a node's name and whether a cast around it keeps it."""
    for _ in range(_DEPTH):
        if kind == "CollateClause":
            kind, fields = child(fields, "arg")
            continue
        if kind == "A_Indirection":
            names = [name for name in map(string, items(fields.get("indirection"))) if name is not None]
            if names:
                return names[-1], True
            kind, fields = child(fields, "arg")
            continue
        break
    if kind == "ColumnRef":
        names_of = strings(fields.get("fields"))
        return (names_of[-1], True) if names_of else ("", False)
    if kind == "FuncCall":
        called = strings(fields.get("funcname"))
        return (called[-1], True) if called else ("", False)
    if kind == "TypeCast":
        return _cast(fields)
    if kind == "SubLink":
        return _sublink(fields)
    if kind == "CaseExpr":
        inner = _name(*child(fields, "defresult")) if "defresult" in fields else ("", False)
        return inner if inner[1] else ("case", False)
    if kind == "MinMaxExpr":
        return ("greatest" if fields.get("op") == "IS_GREATEST" else "least"), True
    if kind == "SQLValueFunction":
        return str(fields.get("op", "")).removeprefix("SVFOP_").removesuffix("_N").lower(), True
    if kind in _FIXED:
        return _FIXED[kind], True
    if kind in {"A_Const", "A_Expr", "BoolExpr", "NullTest", "BooleanTest", "ParamRef"}:
        return "?column?", False
    return "", True


def _cast(fields: Node) -> tuple[str, bool]:
    name, keeps = _name(*child(fields, "arg"))
    if keeps:
        return name, True
    names = strings(child(fields, "typeName")[1].get("names"))
    return (names[-1], False) if names else (name, keeps)


def _sublink(fields: Node) -> tuple[str, bool]:
    kind = fields.get("subLinkType")
    if kind == "EXISTS_SUBLINK":
        return "exists", True
    if kind == "ARRAY_SUBLINK":
        return "array", True
    if kind == "EXPR_SUBLINK":
        _, select = child(fields, "subselect")
        targets = items(select.get("targetList"))
        if targets and "larg" not in select:
            return output_name(kind_of(targets[0])[1]), True
        return "", True
    return "?column?", False
