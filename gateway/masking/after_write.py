"""What a write puts into the columns that its RETURNING then shows: marked values that it moved are marked there too.

A column holds what it held before, and whatever the write may assign to it. Where it cannot be told which column gets
a marked value, or something else may move it on (a trigger, a rule), every column does. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gateway.masking.expression import Tracer, expression
from gateway.masking.flow import CLEAN, UNKNOWN, Flow, join
from gateway.masking.scope import Columns, Scope, is_open
from gateway.masking.touch import set_columns
from gateway.policy.catalog import Relation
from gateway.policy.tree import Node, child, items, kind_of


def after_write(
    kind: str, fields: Node, columns: Columns, relation: Relation | None, scope: Scope, tracer: Tracer
) -> Columns:
    """Return the target's `columns` after the write (kind, fields); `scope` is what its expressions see."""
    flows: dict[str | None, Flow] = {}
    for name, flow in _assignments(kind, fields, relation, scope, tracer):
        if not flow.clean:
            flows[name] = join((flows.get(name, CLEAN), flow)).derived()
    if not flows:
        return columns
    if None in flows or relation is None or relation.has_triggers or relation.has_rules:
        everything = join(flows.values())
        return tuple(replace(column, flow=join((column.flow, everything))) for column in columns)
    numbers = {column.number: flows[column.name] for column in relation.columns if column.name in flows}
    for column in relation.columns:
        made_of = tracer.catalog.computed.get((relation.oid, column.number), frozenset())
        held = [flow for number, flow in numbers.items() if made_of is None or number in made_of]
        if held:
            flows[column.name] = join((flows.get(column.name, CLEAN), *held)).derived()
    return tuple(replace(column, flow=join((column.flow, flows.get(column.name, CLEAN)))) for column in columns)


def _assignments(
    kind: str, fields: Node, relation: Relation | None, scope: Scope, tracer: Tracer
) -> Iterator[tuple[str | None, Flow]]:
    """Yield column and flow of everything that the write assigns; None: whichever column."""
    if kind == "InsertStmt":
        yield from _inserted(fields, relation, scope, tracer)
        _, conflict = child(fields, "onConflictClause")
        yield from _set(conflict, scope, tracer)
    elif kind == "UpdateStmt":
        yield from _set(fields, scope, tracer)
    elif kind == "MergeStmt":
        for arm in items(fields.get("mergeWhenClauses")):
            _, node = kind_of(arm)
            yield from _set(node, scope, tracer)
            for value in items(node.get("values")):
                yield None, expression(*kind_of(value), scope, tracer)


def _inserted(
    fields: Node, relation: Relation | None, scope: Scope, tracer: Tracer
) -> Iterator[tuple[str | None, Flow]]:
    kind, query = child(fields, "selectStmt")
    if not kind:
        return
    outer = replace(scope.outer or Scope(), expressions=scope.expressions)
    rows = tracer.query(kind, query, outer)
    names: tuple[str, ...] | None = set_columns("InsertStmt", fields)
    if names is None and relation is not None:
        names = tuple(column.name for column in relation.columns)
    if names is None or is_open(rows) or len(rows) > len(names):
        yield None, join(row.flow for row in rows)
        return
    for name, row in zip(names, rows, strict=False):
        yield name, row.flow


def _set(fields: Node, scope: Scope, tracer: Tracer) -> Iterator[tuple[str | None, Flow]]:
    for item in items(fields.get("targetList")):
        _, target = kind_of(item)
        value = child(target, "val")
        if value[0] == "MultiAssignRef":
            value = child(value[1], "source")
        yield target.get("name"), expression(*value, scope, tracer) if value[0] else UNKNOWN
