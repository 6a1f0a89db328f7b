"""Reading PostgreSQL's syntax tree as pgparse gives it: nested objects, each node `{"Kind": {fields}}`.

Small total functions without recursion: a hostile statement nests deeper than Python's stack. Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

Node: TypeAlias = Mapping[str, Any]
"""A node with its kind (`{"ColumnRef": {…}}`), or a node's fields."""


_NOTHING: tuple[str, Node] = ("", MappingProxyType({}))


def kind_of(node: object) -> tuple[str, Node]:
    """Return a node's kind and fields; `("", {})` for what is no node."""
    if type(node) is dict and len(node) == 1:
        for kind, fields in node.items():
            if type(fields) is dict and "A" <= kind < "[":
                return kind, fields
    return _NOTHING


def string(node: object) -> str | None:
    """Return the text of a String node, else None."""
    kind, fields = kind_of(node)
    return str(fields.get("sval", "")) if kind == "String" else None


def strings(nodes: object) -> tuple[str, ...]:
    """Return the texts of a list's String nodes; others are left out."""
    if not isinstance(nodes, list):
        return ()
    return tuple(text for text in map(string, nodes) if text is not None)


def items(nodes: object) -> Sequence[Any]:
    """Return a list field, empty where it is absent."""
    return nodes if isinstance(nodes, list) else ()


def constant_text(node: object) -> str | None:
    """Return a constant's value as text (`'a'`, `1`, `1.5`, `true`, also `-1` and a cast constant), else None."""
    kind, fields = kind_of(node)
    if kind == "TypeCast":
        return constant_text(fields.get("arg"))
    if kind == "A_Const":
        for name, plain in (("sval", ""), ("ival", "0"), ("fval", "0"), ("boolval", "false"), ("bsval", "")):
            if name in fields:
                value = fields[name]
                inner = str(value.get(name, plain) if isinstance(value, dict) else plain)
                return inner.lower() if name == "boolval" else inner
        return None
    return None


def flag(options: object, name: str) -> bool | None:
    """Return a boolean DefElem's value as PostgreSQL reads it (absent argument: true); None where it is not given."""
    for option in items(options):
        _, fields = kind_of(option)
        if fields.get("defname") == name:
            kind, value = kind_of(fields.get("arg"))
            if not kind:
                return True
            if kind == "Integer":
                return bool(value.get("ival", 0))
            if kind == "Boolean":
                return bool(value.get("boolval", False))
            text = str(value.get("sval", "")).lower()
            return text not in {"false", "off", "0"}
    return None


_BARE_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "relation": "RangeVar",
        "rel": "RangeVar",
        "view": "RangeVar",
        "sequence": "RangeVar",
        "pktable": "RangeVar",
        "typevar": "RangeVar",
        "identitySequence": "RangeVar",
        "typeName": "TypeName",
        "argType": "TypeName",
        "ofTypename": "TypeName",
        "over": "WindowDef",
        "larg": "SelectStmt",
        "rarg": "SelectStmt",
        "withClause": "WithClause",
        "intoClause": "IntoClause",
        "into": "IntoClause",
        "onConflictClause": "OnConflictClause",
        "infer": "InferClause",
        "alias": "Alias",
        "arg": "JsonValueExpr",
        "join_using_alias": "Alias",
        "collClause": "CollateClause",
        "funccall": "FuncCall",
        "search_clause": "CTESearchClause",
        "cycle_clause": "CTECycleClause",
        "context_item": "JsonValueExpr",
        "pathspec": "JsonTablePathSpec",
        "output": "JsonOutput",
        "on_empty": "JsonBehavior",
        "on_error": "JsonBehavior",
        "format": "JsonFormat",
        "returning": "JsonReturning",
        "constructor": "JsonAggConstructor",
        "value": "JsonValueExpr",
        "val": "JsonValueExpr",
        "expr": "JsonValueExpr",
        "partbound": "PartitionBoundSpec",
        "bound": "PartitionBoundSpec",
        "partspec": "PartitionSpec",
        "newowner": "RoleSpec",
        "authrole": "RoleSpec",
        "owner": "RoleSpec",
        "viewQuery": "SelectStmt",
    }
)
"""Fields whose value is a node without its kind around it, as the protocol of libpg_query has them."""


def child(fields: Node, name: str) -> tuple[str, Node]:
    """Return the node in the field `name` with its kind, wrapped or bare; `("", {})` where there is none."""
    value = fields.get(name)
    kind, inner = kind_of(value)
    if kind or not isinstance(value, dict):
        return kind, inner
    return _BARE_KINDS.get(name, f"?{name}"), value


def children(fields: Node) -> list[tuple[str, Node]]:
    """Return the nodes directly below `fields`, in order; the kind of an unknown bare node starts with `?`."""
    found: list[tuple[str, Node]] = []
    for name, value in fields.items():
        shape = type(value)
        if shape is list:
            for item in value:
                pair = kind_of(item)
                if pair[0]:
                    found.append(pair)
                elif item and type(item) is dict:
                    found.append((f"?{name}", item))
        elif shape is dict:
            pair = kind_of(value)
            found.append(pair if pair[0] else (_BARE_KINDS.get(name, f"?{name}"), value))
    return found


LEAVES = frozenset({"A_Const"})
"""Nodes whose fields are values, not nodes."""


def below(kind: str, fields: Node) -> Iterator[tuple[str, Node]]:
    """Yield the node (kind, fields) and every node below it, in the order of the text."""
    stack = [(kind, fields)]
    while stack:
        here = stack.pop()
        yield here
        if here[0] not in LEAVES:
            stack.extend(reversed(children(here[1])))
