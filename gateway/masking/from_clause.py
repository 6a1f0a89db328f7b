"""FROM: what each item of it is a source of, and which columns that has.

Knows relations, subqueries, LATERAL, joins with USING and NATURAL, and functions. What it does not know is open: every
name may be its own, with whatever flows into it. Pure.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.masking.expression import Tracer, expression, flow_of
from gateway.masking.flow import CLEAN, UNKNOWN, Output, join
from gateway.masking.scope import (
    OPEN,
    Columns,
    Scope,
    Source,
    both_tables,
    merged,
    natural,
    open_source,
    renamed,
)
from gateway.policy.catalog import Catalog
from gateway.policy.tree import Node, child, items, kind_of, strings

STEPS_OF_QUERY = 25
"""A query costs more than a node of an expression."""

SCALAR = frozenset(
    {
        "generate_series", "generate_subscripts", "unnest", "regexp_split_to_table", "string_to_table",
        "regexp_matches",
        "json_object_keys", "jsonb_object_keys", "jsonb_path_query", "pg_sleep", "now", "random", "current_setting",
        "set_config", "version",
    }
)  # fmt: skip
"""Functions that give one column, named by the alias or the function (unnest: one for each argument)."""


def sources_of(clause: object, scope: Scope, tracer: Tracer) -> tuple[Source, ...]:
    """Return the items of a FROM clause within `scope`, from left to right."""
    sources: tuple[Source, ...] = ()
    for item in items(clause):
        sources = (*sources, source_of(*kind_of(item), Scope(sources, scope, scope.expressions), tracer))
    return sources


def source_of(kind: str, fields: Node, beside: Scope, tracer: Tracer) -> Source:
    """Return an item of FROM; `beside` holds the items to its left, which only LATERAL sees."""
    tracer.spend(STEPS_OF_QUERY)
    if kind == "RangeVar":
        return _relation(fields, beside, tracer.catalog)
    if kind == "RangeSubselect":
        around = beside if fields.get("lateral") else _outer(beside)
        columns = tracer.query(*child(fields, "subquery"), around)
        return aliased(columns, fields, "")
    if kind == "JoinExpr":
        return _join(fields, beside, tracer)
    if kind == "RangeFunction":
        return _functions(fields, beside, tracer)
    if kind == "RangeTableSample":
        return source_of(*child(fields, "relation"), beside, tracer)
    if kind in {"RangeTableFunc", "JsonTable"}:
        flow = expression(kind, {k: v for k, v in fields.items() if k != "alias"}, beside, tracer)
        return open_source(flow, str(fields.get("alias", {}).get("aliasname", "")))
    return open_source(UNKNOWN, str(fields.get("alias", {}).get("aliasname", "")))


def _outer(beside: Scope) -> Scope:
    return replace(beside.outer or Scope(), expressions=beside.expressions)


def _relation(fields: Node, scope: Scope, catalog: Catalog) -> Source:
    name = str(fields.get("relname", ""))
    schema = fields.get("schemaname")
    if schema is None and name in scope.expressions:
        return aliased(scope.expressions[name], fields, name)
    return aliased(columns_of(fields, catalog), fields, name)


def columns_of(fields: Node, catalog: Catalog) -> Columns:
    """Return the columns of a relation that is named; open where the catalog does not show it."""
    name, schema = str(fields.get("relname", "")), fields.get("schemaname")
    relation = catalog.resolve(schema, name)
    if relation is None or (schema is None and name in catalog.temporary):
        return OPEN
    flows = catalog.flows.get(relation.oid, {})
    return tuple(Output(column.name, flows.get(column.number, CLEAN)) for column in relation.columns)


def aliased(columns: Columns, fields: Node, name: str) -> Source:
    """Return `columns` as the source that the item `fields` makes of them: under its alias, or else `name`."""
    alias = fields.get("alias") or {}
    shown = str(alias.get("aliasname") or name)
    columns = renamed(columns, strings(alias.get("colnames")))
    return Source(columns, {shown: columns} if shown else {})


def _join(fields: Node, beside: Scope, tracer: Tracer) -> Source:
    """Joins nest to the left, so the chain is unrolled without recursion."""
    chain = []
    node: Node = fields
    while True:
        chain.append(node)
        kind, inner = kind_of(node.get("larg"))
        if kind != "JoinExpr":
            break
        node = inner
    source = source_of(*kind_of(chain[-1].get("larg")), beside, tracer)
    for join_node in reversed(chain):
        seen = Scope((*beside.sources, source), beside.outer, beside.expressions)
        right = source_of(*kind_of(join_node.get("rarg")), seen, tracer)
        source = _joined(join_node, source, right)
    return source


def _joined(fields: Node, left: Source, right: Source) -> Source:
    using: list[str] | None = list(strings(fields.get("usingClause")))
    if fields.get("isNatural"):
        using = natural(left, right)
    alias = fields.get("alias") or {}
    if using is None:
        flow = join(column.flow for side in (left, right) for column in side.columns)
        source = Source((Output("", flow, many=True),), both_tables(left, right))
    else:
        merged_name = str((fields.get("join_using_alias") or {}).get("aliasname", ""))
        source = merged(left, right, using, merged_name, full=fields.get("jointype") == "JOIN_FULL")
    return aliased(source.columns, fields, "") if alias else source


def _functions(fields: Node, beside: Scope, tracer: Tracer) -> Source:
    alias = fields.get("alias") or {}
    found: list[Output] = []
    calls = [items(kind_of(item)[1].get("items")) for item in items(fields.get("functions"))]
    for call in calls:
        if not call:
            return open_source(UNKNOWN, str(alias.get("aliasname", "")))
        defined = fields.get("coldeflist") or (call[1:2] and kind_of(call[1])[1].get("items"))
        found.extend(
            _function(call[0], defined, str(alias.get("aliasname", "")), beside, tracer, alone=len(calls) == 1)
        )
    if fields.get("ordinality"):
        found.append(Output("ordinality"))
    name = str(alias.get("aliasname") or (found[0].name if found else ""))
    return aliased(tuple(found), fields, name)


def _function(node: object, defined: object, alias: str, beside: Scope, tracer: Tracer, *, alone: bool) -> Columns:
    flow = flow_of(node, beside, tracer).derived()
    rows = flow if flow.sources else CLEAN
    names = [str(kind_of(column)[1].get("colname", "")) for column in items(defined)]
    if names:
        return tuple(Output(name, flow, rows=rows) for name in names)
    kind, call = kind_of(node)
    called = strings(call.get("funcname"))[-1:] if kind == "FuncCall" else ()
    if called and called[0] in SCALAR:
        count = len(items(call.get("args"))) if called[0] == "unnest" else 1
        label = alias if alone and alias and count == 1 else called[0]
        return tuple(Output(label, flow, rows=rows) for _ in range(max(count, 1)))
    return (Output("", flow, many=True, rows=rows),)
