"""Forms of ordinary clients that are recognised as a whole, since their parts alone would be refused. Pure."""

from __future__ import annotations

from gateway.policy.catalog import Catalog
from gateway.policy.tree import Node, child, items, kind_of, strings

_CURRENT_SETTING = {("current_setting",), ("pg_catalog", "current_setting")}
_TEXTS = {("text",), ("varchar",), ("pg_catalog", "varchar")}


def is_parameter(node: object) -> bool:
    """Say whether a value is a parameter, perhaps cast, or NULL."""
    kind, fields = kind_of(node)
    while kind == "TypeCast":
        kind, fields = kind_of(fields.get("arg"))
    return kind == "ParamRef" or (kind == "A_Const" and bool(fields.get("isnull")))


def compares_access_method(fields: Node, catalog: Catalog) -> bool:
    """`amname <> current_setting($1)`, as SQLAlchemy reflects tables: equality with a name tells nothing.

    Exactly this: nothing below it is walked, so that a second argument, a FILTER or a cast could hide a call.
    """
    if strings(fields.get("name")) not in {("=",), ("<>",)} or fields.get("kind") != "AEXPR_OP":
        return False
    column, (kind, call) = kind_of(fields.get("lexpr")), kind_of(fields.get("rexpr"))
    if column[0] != "ColumnRef" or strings(column[1].get("fields"))[-1:] != ("amname",) or kind != "FuncCall":
        return False
    arguments = items(call.get("args"))
    own = any(name == "current_setting" for _, name in catalog.functions)
    if own or len(arguments) != 1 or set(call) - {"funcname", "args", "funcformat", "location"}:
        return False
    argument, node = kind_of(arguments[0])
    if argument == "TypeCast":
        _, type_name = child(node, "typeName")
        if type_name.get("typmods") or strings(type_name.get("names")) not in _TEXTS:
            return False
        argument = kind_of(node.get("arg"))[0]
    return strings(call.get("funcname")) in _CURRENT_SETTING and argument == "ParamRef"


def is_settings_list(select: Node) -> bool:
    """Say whether a SELECT reads pg_settings and nothing else."""
    sources = [kind_of(item) for item in items(select.get("fromClause"))]
    if "withClause" in select or "larg" in select or len(sources) != 1 or sources[0][0] != "RangeVar":
        return False
    source = sources[0][1]
    return source.get("relname") == "pg_settings" and source.get("schemaname") == "pg_catalog"
