"""What flows into an expression: the join of everything it mentions, derived unless it is one bare column.

Walks without recursion, but for subqueries. A function that is not listed, a user's operator or type, an unresolved
name: unknown. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from gateway.masking.flow import CLEAN, UNKNOWN, Flow, Level, Output, join
from gateway.masking.scope import Columns, Scope, whole
from gateway.policy.builtins import PRINTING
from gateway.policy.catalog import Catalog
from gateway.policy.functions import classify, field_call, operator_call, type_call
from gateway.policy.tree import LEAVES, Node, child, children, items, kind_of, string, strings


class Tracer(Protocol):
    """What an expression needs of its query: the catalog, its subqueries' columns, and a bound on the work."""

    @property
    def catalog(self) -> Catalog:
        """The catalog that names are resolved in."""

    def query(self, kind: str, fields: Node, outer: Scope) -> Columns:
        """Return a subquery's columns within a scope."""

    def spend(self, steps: int = 1) -> None:
        """Count steps of work; raise where there were too many."""


_QUIET = frozenset({"function", "set", "show", "sequence", "notify"})


def flow_of(node: object, scope: Scope, tracer: Tracer) -> Flow:
    """Return what flows into an expression as a node; into none: nobody knows."""
    kind, fields = kind_of(node)
    return expression(kind, fields, scope, tracer) if kind else UNKNOWN


def expression(kind: str, fields: Node, scope: Scope, tracer: Tracer) -> Flow:
    """Return what flows into the expression (kind, fields)."""
    if kind == "ColumnRef":
        return reference(fields, scope)
    if kind == "SubLink" and fields.get("subLinkType") == "EXPR_SUBLINK":
        return join(column.flow for column in tracer.query(*child(fields, "subselect"), scope))
    if kind == "A_Indirection":
        found = _field(fields, scope, tracer.catalog)
        if found is not None:
            return found
    flows: list[Flow] = []
    others = False
    stack = [(kind, fields)]
    while stack:
        here, node = stack.pop()
        tracer.spend()
        if here == "ColumnRef":
            flow = reference(node, scope)
            flows.append(flow)
            others = others or flow.clean
        elif here == "SubLink":
            columns = tracer.query(*child(node, "subselect"), scope)
            flows += [column.flow for column in columns]
            if node.get("subLinkType") == "ARRAY_SUBLINK":  # it has as many elements as there are rows
                flows += [column.rows for column in columns]
            flows.append(_existence(node, scope, tracer))
            stack.extend(pair for pair in children(node) if pair[0] != "SelectStmt")
        elif here.startswith("?"):
            flows.append(UNKNOWN)
        elif here not in LEAVES:
            flows.append(called(here, node, tracer.catalog))
            stack.extend(children(node))
    found = join(flows).derived()
    return replace(found, mixed=True) if others and not found.clean else found


def reference(fields: Node, scope: Scope) -> Flow:
    """Return what a column reference holds; a star counts as the whole row."""
    parts = items(fields.get("fields"))
    names = strings(parts)
    if parts and kind_of(parts[-1])[0] == "A_Star":
        if not names:
            return whole(scope.star())
        columns = scope.table(names[-1])
        return UNKNOWN if columns is None else whole(columns)
    if not names or len(names) != len(parts):
        return UNKNOWN
    if len(names) == 1:
        return scope.column(names[0])
    return scope.qualified(names[-2], names[-1])


def star(fields: Node, scope: Scope) -> Columns | None:
    """Return what `*` or `t.*` expands to; None for what is no star."""
    parts = items(fields.get("fields"))
    if not parts or kind_of(parts[-1])[0] != "A_Star":
        return None
    names = strings(parts)
    if not names:
        return scope.star()
    columns = scope.table(names[-1])
    return (Output("", UNKNOWN, many=True),) if columns is None else columns


def row_star(kind: str, fields: Node, scope: Scope, tracer: Tracer) -> Columns | None:
    """Return what `(x).*` expands to; None for what is no row's star."""
    steps = items(fields.get("indirection")) if kind == "A_Indirection" else ()
    if not steps or kind_of(steps[-1])[0] != "A_Star":
        return None
    inner, reference_fields = child(fields, "arg")
    if len(steps) == 1 and inner == "ColumnRef":
        names = strings(reference_fields.get("fields"))
        columns = scope.table(names[-1]) if len(names) == 1 else None
        if columns is not None:
            return columns
    flow = expression(inner, reference_fields, scope, tracer).derived()
    return (Output("", flow, many=True),)


def _field(fields: Node, scope: Scope, catalog: Catalog) -> Flow | None:
    """`(t).column` of a table in scope is that column; any other selection is derived from what it selects from."""
    inner, node = child(fields, "arg")
    steps = items(fields.get("indirection"))
    if any((name := string(step)) is not None and field_call(name, catalog) is not None for step in steps):
        return UNKNOWN
    names = strings(node.get("fields")) if inner == "ColumnRef" else ()
    field = string(steps[0]) if len(steps) == 1 else None
    if field is None or len(names) != 1 or scope.table(names[0]) is None:
        return None
    plain = scope.column(names[0])
    return join((scope.qualified(names[0], field), CLEAN if plain.level is not Level.UNKNOWN else plain))


def called(kind: str, node: Node, catalog: Catalog) -> Flow:
    """Return what a node itself may reveal, whatever it is given."""
    if kind == "FuncCall":
        return _function(strings(node.get("funcname")), catalog)
    if kind in {"A_Expr", "SortBy"}:
        names = strings(node.get("name") or node.get("useOp"))
        return UNKNOWN if names and operator_call(names, catalog) is not None else CLEAN
    if kind == "TypeName":
        names = strings(node.get("names"))
        return UNKNOWN if names and type_call(names, catalog) is not None else CLEAN
    if kind == "A_Indirection":
        names = strings(node.get("indirection"))
        called = any(field_call(name, catalog) is not None for name in names)
        return join((UNKNOWN if called else CLEAN, *(_printed(name, catalog) for name in names)))
    return CLEAN


def _function(names: tuple[str, ...], catalog: Catalog) -> Flow:
    if not names:
        return UNKNOWN
    for call in classify(names, catalog):
        if call.what == "user-function" and call.name in catalog.listed:
            continue
        if call.what not in _QUIET:
            return UNKNOWN
    return _printed(names[-1], catalog)


def _printed(name: str, catalog: Catalog) -> Flow:
    """Return what a function prints of the catalog, also where it is called as a field: `(oid).pg_get_indexdef`."""
    if catalog.definitions_print and name in PRINTING:
        return Flow(Level.DERIVED, frozenset({f"pg_catalog.{name}"}))
    return CLEAN


def _existence(node: Node, scope: Scope, tracer: Tracer) -> Flow:
    """EXISTS and ANY tell by their rows: what the subquery's conditions compare flows into the answer."""
    flows = []
    stack = [child(node, "subselect")]
    while stack:
        kind, select = stack.pop()
        if kind != "SelectStmt":
            continue
        if "larg" in select or "rarg" in select:
            around = {name: select[name] for name in ("withClause",) if name in select}
            stack += [("SelectStmt", {**around, **child(select, side)[1]}) for side in ("larg", "rarg")]
            continue
        stack += _nested(select)
        conditions = [select[name] for name in ("whereClause", "havingClause") if name in select]
        conditions += _joins(select.get("fromClause"))
        if conditions:
            probe = {**select, "targetList": [{"ResTarget": {"val": condition}} for condition in conditions]}
            for part in ("groupClause", "havingClause", "distinctClause", "sortClause", "op"):
                probe.pop(part, None)
            flows += [column.flow for column in tracer.query("SelectStmt", probe, scope)]
    return join(flows)


def _nested(select: Node) -> list[tuple[str, Node]]:
    """Return the queries that a SELECT reads from, each within the table expressions around it."""
    around = {name: select[name] for name in ("withClause",) if name in select}
    expressions = items(child(select, "withClause")[1].get("ctes"))
    found = [child(kind_of(expression)[1], "ctequery") for expression in expressions]
    sources = list(items(select.get("fromClause")))
    while sources:
        kind, node = kind_of(sources.pop())
        if kind == "JoinExpr":
            sources += [node.get("larg"), node.get("rarg")]
        elif kind == "RangeSubselect":
            found.append(child(node, "subquery"))
    return [(kind, {**around, **query}) for kind, query in found if kind == "SelectStmt"]


def _joins(clause: object) -> list[object]:
    """Return the conditions of the joins in a FROM, those in its subqueries left out."""
    found: list[object] = []
    stack = list(items(clause))
    while stack:
        kind, node = kind_of(stack.pop())
        if kind == "JoinExpr":
            stack += [node.get("larg"), node.get("rarg")]
            found += [node["quals"]] if "quals" in node else []
    return found
