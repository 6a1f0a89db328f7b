"""Lineage over sqlglot's tree, for the second reader: names are looked up in FROM, and what is found is clean or not.

Only what it is sure of counts as marked; a name that it cannot place counts as nothing, and a shape that it does not
know makes the statement unread. Views come from the catalog as they were traced when marks were bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.masking.scope import SYSTEM_COLUMNS
from gateway.policy.catalog import Catalog

Columns = list[tuple[str, bool]]

_MOST_STEPS = 20_000
_MOST_COLUMNS = 1664


class Unread(Exception):
    """The statement has a shape that this reader does not know, or it is too much work."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item of FROM: its columns, or None where they are not known and only `dirty` is."""

    name: str
    columns: Columns | None
    dirty: bool

    def column(self, name: str) -> bool | None:
        """Return whether the column is marked; None where there is none of that name."""
        found = [dirty for known, dirty in self.columns or () if known == name]
        return any(found) if found else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where names are looked up: the items of FROM, the queries around, and the table expressions in reach."""

    items: tuple[Item, ...] = ()
    outer: Place | None = None
    expressions: Mapping[str, Columns] = field(default_factory=dict)

    def resolve(self, table: str, name: str) -> bool:
        """Return whether a column reference, or a whole row, is marked."""
        if table and name in SYSTEM_COLUMNS:
            return False
        here: Place | None = self
        while here is not None:
            if table:
                for item in (item for item in here.items if item.name == table):
                    found = item.column(name)
                    return item.dirty if found is None else found
            else:
                known = [found for item in here.items if (found := item.column(name)) is not None]
                rows = [item.dirty for item in here.items if item.name == name]
                hidden = [item.dirty for item in here.items if item.columns is None]
                if known or rows or hidden:
                    return any(known or rows or hidden)
            here = here.outer
        return False


class Walk:
    """Walks one statement; counts its steps."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog, self._steps = catalog, 0

    def statement(self, node: Any) -> Columns:
        """Return the result columns of a query or of a write with RETURNING."""
        if node.key in {"insert", "update", "delete", "merge"}:
            return self._written(node)
        return self.query(node, Place())

    def query(self, node: Any, outer: Place) -> Columns:
        """Return a query's columns."""
        self._spend()
        outer = self._with(node, outer)
        if node.key in {"subquery", "paren"}:
            return self.query(node.this, outer)
        if node.key in {"union", "intersect", "except"}:
            return self._united(node, outer)
        if node.key == "values":
            rows = [self._cells(row, outer) for row in node.expressions]
            return [(f"column{at + 1}", any(cells)) for at, cells in enumerate(zip(*rows, strict=True))]
        if node.key != "select":
            raise Unread
        return self._targets(node.expressions, self._from(node, outer))

    def _cells(self, row: Any, place: Place) -> list[bool]:
        return [self.flow(cell, place) for cell in (row.expressions if row.key == "tuple" else [row])]

    def _united(self, node: Any, outer: Place) -> Columns:
        branches = []
        stack = [node]
        while stack:
            here = stack.pop()
            if here.key in {"union", "intersect", "except"} and (here is node or not here.args.get("with_")):
                stack += [here.args["expression"], here.this]
            else:
                branches.append(self.query(here, outer))
        if any(len(columns) != len(branches[0]) for columns in branches):
            raise Unread
        return [(name, any(columns[at][1] for columns in branches)) for at, (name, _) in enumerate(branches[0])]

    def _with(self, node: Any, outer: Place) -> Place:
        clause = node.args.get("with_")
        if clause is None:
            return outer
        known = dict(outer.expressions)
        for item in clause.expressions:
            name, renamed = _alias(item)
            around = Place(outer.items, outer.outer, dict(known))
            if clause.args.get("recursive"):
                known[name] = self._recursive(item, name, renamed, around)
            else:
                known[name] = _named(self.statement_in(item.this, around), renamed)
        return Place(outer.items, outer.outer, known)

    def statement_in(self, node: Any, around: Place) -> Columns:
        """Return the columns of a table expression: a query, or a write with RETURNING."""
        if node.key in {"insert", "update", "delete", "merge"}:
            return self._written(node, around)
        return self.query(node, around)

    def _recursive(self, item: Any, name: str, renamed: list[str], around: Place) -> Columns:
        """Go round until nothing changes; columns only become marked, so that it ends."""
        query = item.this
        first = query.this if query.key == "union" else query
        columns = _named(self.query(first, around), renamed)
        while True:
            self._spend()
            inner = Place(around.items, around.outer, {**around.expressions, name: columns})
            again = _named(self.query(query, inner), renamed)
            if len(again) != len(columns) or again == columns:
                return again
            columns = again

    def _targets(self, targets: Iterable[Any], place: Place) -> Columns:
        found: Columns = []
        for target in targets:
            if target.key == "star":
                found += self._star(place.items)
            elif target.key == "column" and target.this.key == "star":
                found += self._star([item for item in place.items if item.name == _name(target.args["table"])])
            elif target.key == "dot" and target.expression.key == "star":
                raise Unread
            else:
                found.append((_output(target), self.flow(target, place)))
            if len(found) > _MOST_COLUMNS:
                raise Unread
        return found

    def _star(self, items: Iterable[Item]) -> Columns:
        found: Columns = []
        for item in items:
            if item.columns is None:
                raise Unread
            found += item.columns
        if not found:
            raise Unread
        return found

    def _from(self, node: Any, outer: Place) -> Place:
        items: tuple[Item, ...] = ()
        clause = node.args.get("from_")
        sources = [] if clause is None else [clause.this]
        merged = False
        for join in node.args.get("joins") or ():
            merged = merged or bool(join.args.get("using")) or join.args.get("method") == "NATURAL"
            sources.append(join.this)
        sources += node.args.get("laterals") or []
        for source in sources:
            items = (*items, *self._sources(source, Place(items, outer, outer.expressions)))
        if merged and any(target.key in {"star", "column"} and _stars(target) for target in node.expressions):
            raise Unread  # the merged columns come first, once
        return Place(items, outer, outer.expressions)

    def _sources(self, node: Any, beside: Place) -> tuple[Item, ...]:
        """Return what an item of FROM adds, `node` and the joins within it."""
        self._spend()
        inner = [join.this for join in node.args.get("joins") or ()]
        found: tuple[Item, ...] = (self._source(node, beside),)
        if not inner:
            return found
        for each in inner:
            found = (*found, *self._sources(each, Place((*beside.items, *found), beside.outer, beside.expressions)))
        return tuple(Item(item.name, None, item.dirty) for item in found)

    def _source(self, node: Any, beside: Place) -> Item:
        name, renamed = _alias(node)
        if node.key == "table":
            return self._table(node, name, renamed, beside)
        if node.key == "subquery" and node.this.key == "table":
            parts = self._sources(node.this, beside)
            return Item(name, None, any(part.dirty for part in parts))
        if node.key == "lateral" and node.this.key == "subquery":
            columns = _named(self.query(node.this, beside), renamed)
            return Item(name, columns, any(dirty for _, dirty in columns))
        if node.key in {"subquery", "values"}:
            around = Place((), beside.outer, beside.expressions)
            columns = _named(self.query(node, around), renamed)
            return Item(name, columns, any(dirty for _, dirty in columns))
        return self._function(node, name, renamed, self.flow(node, beside))

    def _function(self, node: Any, name: str, renamed: list[str], dirty: bool) -> Item:
        """A function in FROM: all its columns alike, but for the number that WITH ORDINALITY adds."""
        number = node.args.get("offset") or None
        if node.args.get("ordinality") or (number is not None and not renamed):
            raise Unread
        if number is None:
            return Item(name, None, dirty)
        return Item(name, [*((column, dirty) for column in renamed), (_name(number), False)], dirty)

    def _table(self, node: Any, name: str, renamed: list[str], beside: Place) -> Item:
        if node.this.key != "identifier":
            return self._function(node, name or str(node.this.name).lower(), renamed, self.flow(node.this, beside))
        own = _name(node.this)
        schema = _name(node.args.get("db"))
        if not schema and own in beside.expressions:
            columns = _named(beside.expressions[own], renamed)
            return Item(name or own, columns, any(dirty for _, dirty in columns))
        relation = self._catalog.resolve(schema or None, own)
        if relation is None or (not schema and own in self._catalog.temporary):
            raise Unread
        flows = self._catalog.flows.get(relation.oid, {})
        marked = {number for number, flow in flows.items() if not flow.clean}
        columns = _named([(column.name, column.number in marked) for column in relation.columns], renamed)
        return Item(name or own, columns, bool(marked))

    def _written(self, node: Any, around: Place | None = None) -> Columns:
        returning = node.args.get("returning")
        if returning is None:
            return []
        outer = self._with(node, around or Place())
        target = node.this.this if node.this.key == "schema" else node.this
        if node.key == "merge" or target.key != "table":
            raise Unread
        items = self._sources(target, outer)
        clause = node.args.get("from_")
        for source in (*([clause.this] if clause else ()), *(node.args.get("using") or ())):
            items = (*items, *self._sources(source, Place(items, outer, outer.expressions)))
        return self._targets(returning.expressions, Place(items, outer, outer.expressions))

    def flow(self, node: Any, place: Place) -> bool:
        """Return whether something marked stands in an expression."""
        stack = [node]
        while stack:
            here = stack.pop()
            self._spend()
            if here.key == "column":
                table = _name(here.args.get("table"))
                if here.this.key == "star":
                    if any(item.dirty for item in place.items if item.name == table):
                        return True
                elif place.resolve(table, _name(here.this)):
                    return True
            elif here.key in {"select", "union", "intersect", "except", "values"}:
                if any(dirty for _, dirty in self.query(here, place)):
                    return True
            elif here.key == "dot" and (found := self._field(here, place)) is not None:
                if found:
                    return True
            elif here.key != "exists":
                stack += here.iter_expressions()
        return False

    def _field(self, node: Any, place: Place) -> bool | None:
        """`(t).column` of a table in scope; None: it is something else."""
        inner = node.this.unnest()
        if inner.key != "column" or inner.args.get("table") or node.expression.key != "identifier":
            return None
        rows = [item for item in place.items if item.name == _name(inner.this)]
        found = [dirty for item in rows if (dirty := item.column(_name(node.expression))) is not None]
        return any(found) if found else None

    def _spend(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise Unread


def _stars(target: Any) -> bool:
    return bool(target.key == "star" or target.this.key == "star")


def _name(node: Any) -> str:
    """Return an identifier as PostgreSQL folds it."""
    if node is None:
        return ""
    text = str(node.this)
    return text if node.args.get("quoted") else text.lower()


def _alias(node: Any) -> tuple[str, list[str]]:
    """Return an item's alias and the names that it gives to columns."""
    alias = node.args.get("alias")
    if alias is None:
        return "", []
    if alias.key != "tablealias":
        return _name(alias), []
    return _name(alias.args.get("this")), [_name(column) for column in alias.args.get("columns") or ()]


def _named(columns: Columns, names: list[str]) -> Columns:
    return [(names[at] if at < len(names) else name, dirty) for at, (name, dirty) in enumerate(columns)]


def _output(target: Any) -> str:
    """Return an output's name where it is sure: an alias, or a column's own."""
    if target.key == "alias":
        return _name(target.args["alias"])
    return _name(target.this) if target.key == "column" else ""
