"""Marks that move with the values: the columns that a statement fills from marked ones.

By writes, and by what makes a table of other tables (CREATE TABLE AS, SELECT INTO, LIKE, ALTER TYPE … USING) or gives
it another name. Whatever cannot be told counts as every column. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gateway.masking.assigned import Assigned, assigned
from gateway.masking.carried import Carried
from gateway.masking.flow import UNKNOWN, Flow, join
from gateway.masking.lineage import outputs
from gateway.masking.touch import Touch
from gateway.policy.catalog import Catalog, Relation
from gateway.policy.tree import Node, child, items, kind_of, strings


def carried(kind: str, fields: Node, catalog: Catalog) -> Iterator[Carried]:
    """Yield the columns, not marked yet, that the statement fills from marked ones."""
    for each in assigned(kind, fields, catalog):
        if not each.flow.clean:
            yield from _receivers(each, catalog)
    if kind == "CreateTableAsStmt" and fields.get("objtype") != "OBJECT_MATVIEW":
        _, into = child(fields, "into")
        yield from _made(into, fields.get("query"), catalog)
    elif kind == "SelectStmt":
        first = fields
        while "larg" in first:
            first = child(first, "larg")[1]
        if "intoClause" in first:
            yield from _made(child(first, "intoClause")[1], {"SelectStmt": fields}, catalog)
    elif kind == "CreateStmt":
        yield from _alike(fields, catalog)
    elif kind == "AlterTableStmt":
        yield from _retyped(fields, catalog)
    elif kind in {"RenameStmt", "AlterObjectSchemaStmt"}:
        yield from _renamed(fields, catalog)


def _receivers(each: Assigned, catalog: Catalog) -> Iterator[Carried]:
    relation, flow = each.relation, each.flow
    if relation is None:
        schema, name = _created(each.target, catalog)
        yield Carried(schema, name, sources=flow.sources, style=flow.style)
        return
    for found in _tables(relation, catalog):
        marked = catalog.flows.get(found.oid, {})
        exact = [column for column in found.columns if column.name == each.column]
        for column in exact or found.columns:
            if column.number not in marked or marked[column.number].clean:
                yield Carried(
                    found.schema, found.name, column.name, column.number, flow.sources, flow.style, oid=found.oid
                )


def _tables(relation: Relation, catalog: Catalog) -> Iterator[Relation]:
    """Yield the relation, or the tables behind a view."""
    seen: set[int] = set()
    stack = [relation]
    while stack:
        here = stack.pop()
        if here.oid in seen:
            continue
        seen.add(here.oid)
        if here.kind == "v":
            stack += [catalog.relations[oid] for oid in here.reads if oid in catalog.relations]
        elif here.schema not in {"pg_catalog", "information_schema"}:
            yield here


def _made(into: Node, query: object, catalog: Catalog) -> Iterator[Carried]:
    _, relation = child(into, "rel")
    if relation.get("relpersistence") == "t":
        return
    schema, name = _created(relation, catalog)
    columns = outputs(*kind_of(query), catalog)
    if columns is None or any(column.many for column in columns):
        flow = UNKNOWN if columns is None else join(column.flow for column in columns)
        if not flow.clean:
            yield Carried(schema, name, sources=flow.sources, style=flow.style)
        return
    names = strings(into.get("colNames"))
    for place, column in enumerate(columns):
        flow = column.flow
        if not flow.clean:
            label = names[place] if place < len(names) else column.name
            yield Carried(schema, name, label, place + 1, flow.sources, flow.style, plain=flow.plain)


def _alike(fields: Node, catalog: Catalog) -> Iterator[Carried]:
    """CREATE TABLE … (LIKE other): its columns are made for the same values."""
    relation = fields.get("relation", {})
    schema, name = _created(relation, catalog)
    for item in items(fields.get("tableElts")):
        kind, clause = kind_of(item)
        if kind != "TableLikeClause" or relation.get("relpersistence") == "t":
            continue
        other = clause.get("relation", {})
        model = catalog.resolve(other.get("schemaname"), str(other.get("relname", "")))
        if model is None:
            yield Carried(schema, name)
            continue
        marked = catalog.flows.get(model.oid, {})
        for column in model.columns:
            flow = marked.get(column.number)
            if flow is not None and not flow.clean:
                yield Carried(schema, name, column.name, 0, flow.sources, flow.style, plain=flow.plain)


def _retyped(fields: Node, catalog: Catalog) -> Iterator[Carried]:
    """ALTER COLUMN … TYPE … USING an expression over marked columns of the same table."""
    target = fields.get("relation", {})
    relation = catalog.resolve(target.get("schemaname"), str(target.get("relname", "")))
    for item in items(fields.get("cmds")):
        _, command = kind_of(item)
        kind, definition = child(command, "def")
        if kind != "ColumnDef" or command.get("subtype") != "AT_AlterColumnType" or "raw_default" not in definition:
            continue
        touched = Touch(catalog, [relation]).mentioned(*kind_of(definition["raw_default"]))
        if relation is None or touched:
            flow = Flow(UNKNOWN.level, touched)
            yield from _receivers(Assigned(relation, target, str(command.get("name", "")), flow), catalog)


def _renamed(fields: Node, catalog: Catalog) -> Iterator[Carried]:
    """A table that the catalog does not show yet gets another name: what is promised to it goes along.

    Where nothing is promised nobody knows what it holds: it may have been filled in the same string or transaction.
    """
    what = fields.get("renameType") or fields.get("objectType")
    target = fields.get("relation") or {}
    if what not in {"OBJECT_TABLE", "OBJECT_COLUMN"} or "relname" not in target:
        return
    if catalog.resolve(target.get("schemaname"), str(target["relname"])) is not None:
        return
    schema, name = _created(target, catalog)
    promised = [each for each in catalog.carried if not each.oid and (each.schema, each.relation) == (schema, name)]
    if what == "OBJECT_COLUMN":
        old, new = str(fields.get("subname", "")), str(fields.get("newname", ""))
        yield from (replace(each, column=new) for each in promised if each.column == old)
        if not promised:
            yield Carried(schema, name)
        return
    place = str(fields.get("newschema") or schema), str(fields.get("newname") or name)
    for each in promised or [Carried(schema, name)]:
        yield replace(each, schema=place[0], relation=place[1])


def _created(relation: Node, catalog: Catalog) -> tuple[str, str]:
    """Return schema and name of what is made: without schema it goes to the first of the search path."""
    schema = relation.get("schemaname") or next(iter(catalog.search_path), "")
    return str(schema), str(relation.get("relname", ""))
