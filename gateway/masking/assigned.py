"""What a write assigns: which columns it sets, from which expressions, and what flows into them.

For INSERT, UPDATE, MERGE, ON CONFLICT, and the writes in a WITH clause. Whatever cannot be told counts as every column,
and as what cannot be decided. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.masking.expression import called
from gateway.masking.flow import UNKNOWN, Flow, Output, join
from gateway.masking.lineage import outputs
from gateway.masking.touch import Touch
from gateway.policy.catalog import Catalog, Relation
from gateway.policy.tree import Node, below, child, items, kind_of

_WRITES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


@dataclass(frozen=True, slots=True)
class Assigned:
    """One column that a write sets (empty: not known which): from which expressions, and what flows into it.

    `expressions` is None where the values come from a query whose expressions cannot be told one by one.
    """

    relation: Relation | None
    target: Node
    column: str
    flow: Flow
    expressions: tuple[Any, ...] | None = None


def assigned(kind: str, fields: Node, catalog: Catalog) -> Iterator[Assigned]:
    """Yield what the statement (kind, fields) and the writes in its WITH clause set."""
    _, clause = child(fields, "withClause")
    listed = items(clause.get("ctes"))
    for place, item in enumerate(listed):
        inner, query = child(kind_of(item)[1], "ctequery")
        if inner in _WRITES and "withClause" not in query:
            around = {**clause, "ctes": list(listed[:place])}
            yield from _write(inner, {**query, "withClause": around} if place else query, catalog)
        elif inner in _WRITES:
            yield from _write(inner, query, catalog)
    if kind in _WRITES:
        yield from _write(kind, fields, catalog)


def _write(kind: str, fields: Node, catalog: Catalog) -> Iterator[Assigned]:
    target = fields.get("relation", {})
    relation = catalog.resolve(target.get("schemaname"), str(target.get("relname", "")))
    if kind == "InsertStmt":
        yield from _insert(fields, relation, target, catalog)
    elif kind == "UpdateStmt":
        yield from _set(kind, fields, fields.get("targetList"), relation, target, catalog)
    elif kind == "MergeStmt":
        for arm in items(fields.get("mergeWhenClauses")):
            _, clause = kind_of(arm)
            targets = items(clause.get("targetList"))
            if clause.get("commandType") == "CMD_INSERT":
                values = items(clause.get("values"))
                named = [str(kind_of(item)[1].get("name", "")) for item in targets] or _names(relation)
                pairs = [(named[at] if at < len(named) else "", value) for at, value in enumerate(values)]
                targets = [{"ResTarget": {"name": name, "val": value}} for name, value in pairs]
            yield from _set(kind, fields, targets, relation, target, catalog)


def _set(
    kind: str, fields: Node, targets: object, relation: Relation | None, target: Node, catalog: Catalog
) -> Iterator[Assigned]:
    """Each `column = expression`: what flows into it is what RETURNING that expression would give."""
    found = [kind_of(item)[1] for item in items(targets)]
    returning = [{"ResTarget": {"val": item.get("val")}} for item in found]
    columns = outputs(kind, {**fields, "returningList": returning}, catalog) if returning else ()
    known = columns is not None and len(columns) == len(found)
    for place, item in enumerate(found):
        flow = columns[place].flow if known and columns is not None else UNKNOWN
        yield Assigned(relation, target, str(item.get("name", "")), flow, (item.get("val"),))


def _insert(fields: Node, relation: Relation | None, target: Node, catalog: Catalog) -> Iterator[Assigned]:
    if "selectStmt" not in fields:
        return
    names = [str(kind_of(item)[1].get("name", "")) for item in items(fields.get("cols"))] or _names(relation)
    _, select = kind_of(fields["selectStmt"])
    by_place = list(_by_place(select))
    columns = _constants(select, by_place, catalog)
    if columns is None:
        columns = _columns(fields["selectStmt"], fields.get("withClause"), catalog)
    if columns is None or any(column.many for column in columns):
        flow = UNKNOWN if columns is None else join(column.flow for column in columns)
        yield Assigned(relation, target, "", flow)
        columns = ()
    for place, column in enumerate(columns):
        name = names[place] if place < len(names) else ""
        expressions = by_place[place] if place < len(by_place) else None
        yield Assigned(relation, target, name, column.flow, expressions)
    conflict = child(fields, "onConflictClause")[1]
    inserted = join(column.flow for column in columns)
    for item in items(conflict.get("targetList")):
        _, wanted = kind_of(item)
        # EXCLUDED is what was to be inserted; everything else is a row of the relation itself
        own = Touch(catalog, [relation]).mentioned(*kind_of(wanted.get("val")))
        deep = any(here == "SubLink" for here, _ in below(*kind_of(wanted.get("val"))))
        flow = Flow(UNKNOWN.level, inserted.sources | own) if own or deep else inserted
        yield Assigned(relation, target, str(wanted.get("name", "")), flow, (wanted.get("val"),))


def _constants(select: Node, by_place: Sequence[tuple[Any, ...] | None], catalog: Catalog) -> tuple[Output, ...] | None:
    """Return the columns of VALUES that reads nothing, however many rows it has; None for whatever reads."""
    if "valuesLists" not in select:
        return None
    flows = []
    for expressions in by_place:
        nodes = [node for value in expressions or () for node in below(*kind_of(value))]
        if any(here in {"ColumnRef", "SubLink"} or here.startswith("?") for here, _ in nodes):
            return None
        flows.append(join(called(here, node, catalog) for here, node in nodes))
    return tuple(Output("", flow) for flow in flows)


def _columns(query: object, clause: object, catalog: Catalog) -> tuple[Output, ...] | None:
    """Return the columns of a query within the table expressions around it."""
    star: dict[str, Any] = {"ResTarget": {"val": {"ColumnRef": {"fields": [{"A_Star": {}}]}}}}
    inner = {"RangeSubselect": {"subquery": query, "alias": {"aliasname": "moved"}}}
    around: dict[str, Any] = {"targetList": [star], "fromClause": [inner]}
    if clause:
        around["withClause"] = clause
    return outputs("SelectStmt", around, catalog)


def _by_place(select: Node) -> Iterator[tuple[Any, ...] | None]:
    """Yield the expressions of each column of VALUES, or of each branch's select list; None where there is a star."""
    branches: list[Sequence[Any]] = []
    stack = [select]
    while stack:
        node = stack.pop()
        if "larg" in node or "rarg" in node:
            stack += [child(node, "larg")[1], child(node, "rarg")[1]]
        elif "valuesLists" in node:
            branches += [items(kind_of(row)[1].get("items")) for row in items(node.get("valuesLists"))]
        else:
            values = [kind_of(item)[1].get("val") for item in items(node.get("targetList"))]
            if any(here == "A_Star" for value in values for here, _ in below(*kind_of(value))):
                return
            branches.append(values)
    for place in range(max(map(len, branches), default=0)):
        yield tuple(values[place] for values in branches if place < len(values))


def _names(relation: Relation | None) -> list[str]:
    return [column.name for column in relation.columns] if relation is not None else []
