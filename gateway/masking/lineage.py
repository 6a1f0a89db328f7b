"""Which marked columns flow into each column of a result: own lineage over PostgreSQL's syntax tree.

Knows SELECT lists, stars, aliases, joins with USING and NATURAL, subqueries, LATERAL, table expressions (also
recursive), set operations, VALUES, functions in FROM, whole rows and RETURNING. What it does not know is unknown, and
so masked; what it cannot count is open. Views were traced when the catalog was bound (`marks`). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.masking.after_write import after_write
from gateway.masking.expression import flow_of, row_star, star
from gateway.masking.flow import CLEAN, Flow, Output, join
from gateway.masking.from_clause import STEPS_OF_QUERY, aliased, columns_of, source_of, sources_of
from gateway.masking.naming import output_name
from gateway.masking.related import Related, computed, conditions, counts, generates, repeats, telling
from gateway.masking.scope import (
    OPEN,
    Columns,
    Scope,
    Source,
    renamed,
    united,
    whole,
)
from gateway.policy.catalog import Catalog, Relation
from gateway.policy.tree import Node, child, items, kind_of, strings

_MOST_COLUMNS = 1664
"""PostgreSQL's own limit of a target list; beyond it the target answers with an error."""
_MOST_ROUNDS = 12
_MOST_STEPS = 20_000


class TooWideError(Exception):
    """A list of columns grew beyond what PostgreSQL accepts, or the work beyond all measure."""


def outputs(kind: str, fields: Node, catalog: Catalog) -> Columns | None:
    """Return the result columns of a query or data-changing statement; None where they cannot be told at all."""
    try:
        return Lineage(catalog, fields).query(kind, fields, Scope())
    except (RecursionError, TooWideError):
        return None


@dataclass(slots=True)
class Lineage:
    """Traces the columns of one statement in a catalog; `steps` counts the work, which nesting could multiply."""

    catalog: Catalog
    root: Node
    steps: int = 0
    _related: list[Related] = field(default_factory=list)
    """What the query that is being traced compares with marked columns, in it and in what is nested in it."""
    _makes_rows: bool | None = None

    def spend(self, steps: int = 1) -> None:
        """Count steps of work; raise TooWideError where there were too many."""
        self.steps += steps
        if self.steps > _MOST_STEPS:
            raise TooWideError

    def query(self, kind: str, fields: Node, outer: Scope) -> Columns:
        """Return the columns of a query within `outer`."""
        if kind == "SelectStmt":
            return self._select(fields, outer)
        if kind in {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}:
            return self._returning(kind, fields, outer)
        return OPEN

    def _select(self, fields: Node, outer: Scope) -> Columns:
        """A set operation is left-deep, so its branches are collected without recursion."""
        branches: list[Columns] = []
        stack = [(fields, outer)]
        while stack:
            node, scope = stack.pop()
            scope = self._expressions(node, scope)
            if "larg" in node or "rarg" in node:
                stack.append((child(node, "rarg")[1], scope))
                stack.append((child(node, "larg")[1], scope))
            else:
                branches.append(self._branch(node, scope))
        return united(branches)

    def _branch(self, fields: Node, scope: Scope) -> Columns:
        self.spend(STEPS_OF_QUERY)
        if "valuesLists" in fields:
            return self._values(fields, scope)
        inner, columns, rows = self._settled(fields, scope)
        windows = [flow_of(item, inner, self) for item in items(fields.get("windowClause"))]
        if any(not flow.clean for flow in windows):
            # a function may name its window; what orders the window then flows into it
            columns = tuple(replace(column, flow=join((column.flow, *windows))) for column in columns)
        cut = computed(fields, inner, self)
        if not cut.clean:
            columns = tuple(replace(column, flow=join((column.flow, cut)).derived()) for column in columns)
        rows = join((rows, cut, *(column.rows for column in columns)))
        return columns if rows.clean else tuple(replace(column, rows=rows) for column in columns)

    def _settled(self, fields: Node, scope: Scope) -> tuple[Scope, Columns, Flow]:
        """Return a SELECT's scope, its columns, and what decides on the number of its rows.

        Its conditions may say that a clean column equals a marked one; what is known of it then may say so of others.
        """
        around, self._related = self._related, []
        sources = sources_of(fields.get("fromClause"), scope, self)
        beside = self._related
        rows = join(column.rows for source in sources for column in source.columns)
        for _ in range(_MOST_ROUNDS):
            self._related = list(beside)
            inner = Scope(sources, scope, scope.expressions)
            found = conditions(fields, inner, self, grouped=self.makes_rows)
            self._related = [*self._related, *found]  # what is nested in them has put its own there
            columns = self._targets(fields.get("targetList"), inner, rows)
            own = [each for each in self._related if each.among(sources)]
            told = tuple(telling(source, own) for source in sources) if own else sources
            if told == sources:
                break
            sources = told
            rows = join((rows, *(each.flow for each in own))) if self.makes_rows else rows
        self._related = around + [each for each in self._related if not each.surely(sources)]
        return inner, columns, rows

    @property
    def makes_rows(self) -> bool:
        """Whether the statement makes rows up, so that the number of those that are left tells a value."""
        if self._makes_rows is None:
            self._makes_rows = generates(self.root)
        return self._makes_rows

    def _values(self, fields: Node, scope: Scope) -> Columns:
        rows = [items(kind_of(row)[1].get("items")) for row in items(fields.get("valuesLists"))]
        width = max((len(row) for row in rows), default=0)
        if any(len(row) != width for row in rows):
            return OPEN
        flows = [join(flow_of(row[place], scope, self) for row in rows) for place in range(width)]
        return tuple(Output(f"column{place + 1}", flow) for place, flow in enumerate(flows))

    def _targets(self, targets: object, scope: Scope, rows: Flow = CLEAN) -> Columns:
        found: list[Output] = []
        for item in items(targets):
            _, target = kind_of(item)
            kind, value = child(target, "val")
            expanded = star(value, scope) if kind == "ColumnRef" else None
            if expanded is None:
                expanded = row_star(kind, value, scope, self)
            if expanded is not None:
                found.extend(expanded)
            else:
                flow = flow_of(target.get("val"), scope, self)
                if not rows.clean and counts(target.get("val")):
                    flow = join((flow, rows)).derived()
                more = flow if not flow.clean and repeats(target.get("val")) else CLEAN
                found.append(Output(output_name(target), flow, rows=more))
            if len(found) > _MOST_COLUMNS:
                raise TooWideError
        return tuple(found)

    def _expressions(self, fields: Node, scope: Scope) -> Scope:
        _, clause = child(fields, "withClause")
        listed = [kind_of(item)[1] for item in items(clause.get("ctes"))]
        if not listed:
            return scope
        known = dict(scope.expressions)
        recursive = bool(clause.get("recursive"))
        if recursive:
            # a name of the clause hides a relation even before it is traced
            known.update({str(item.get("ctename")): OPEN for item in listed})
        named = [str(item.get("ctename")) for item in listed]
        for name, item in zip(named, listed, strict=True):
            around = replace(scope, expressions=dict(known))
            columns = self._recursive(item, name, around) if recursive else self._common(item, around)
            # a name twice is an error, unless the target's encoding cuts long names elsewhere than we do
            known[name] = columns if named.count(name) == 1 else OPEN
        return replace(scope, expressions=known)

    def _common(self, item: Node, scope: Scope) -> Columns:
        columns = self.query(*child(item, "ctequery"), scope)
        columns = renamed(columns, strings(item.get("aliascolnames")))
        extra = self._search_columns(item)
        return columns + tuple(Output(name, whole(columns)) for name in extra)

    def _recursive(self, item: Node, name: str, scope: Scope) -> Columns:
        """Join rounds of the whole query, beginning with its first branch, until nothing changes."""
        kind, query = child(item, "ctequery")
        if kind != "SelectStmt" or "larg" not in query:
            return self._common(item, scope)
        names = strings(item.get("aliascolnames"))
        inner = self._expressions(query, scope)
        start = renamed(self.query(*child(query, "larg"), inner), names)
        for _ in range(_MOST_ROUNDS):
            around = replace(scope, expressions={**scope.expressions, name: start})
            columns = united((start, self._common(item, around)[: len(start)]))
            if columns == start:
                return self._common(item, around) if self._search_columns(item) else columns
            start = columns
        return OPEN

    def _search_columns(self, item: Node) -> list[str]:
        found = []
        for clause, keys in (("search_clause", ("search_seq_column",)),
                             ("cycle_clause", ("cycle_mark_column", "cycle_path_column"))):  # fmt: skip
            _, node = child(item, clause)
            found += [str(node[key]) for key in keys if key in node]
        return found

    def _returning(self, kind: str, fields: Node, outer: Scope) -> Columns:
        if not fields.get("returningList"):
            return ()
        scope = self._expressions(fields, outer)
        relation = fields.get("relation", {})
        plain = aliased(columns_of(relation, self.catalog), relation, str(relation.get("relname", "")))
        others: tuple[Source, ...] = ()
        beside = Scope((plain,), scope, scope.expressions)
        if kind in {"UpdateStmt", "DeleteStmt"}:
            for item in items(fields.get("fromClause") or fields.get("usingClause")):
                seen = replace(beside, sources=(plain, *others))
                others = (*others, source_of(*kind_of(item), seen, self))
        elif kind == "MergeStmt":
            others = (source_of(*kind_of(fields.get("sourceRelation")), replace(beside, sources=()), self),)
        inner = replace(beside, sources=(plain, *others))
        columns = after_write(kind, fields, columns_of(relation, self.catalog), self._written(relation), inner, self)
        target = aliased(columns, relation, str(relation.get("relname", "")))
        # what PostgreSQL 18 calls the row before and after, unless something else bears the name
        images = {"old": plain.columns, "new": target.columns}
        target = replace(target, tables={**images, **target.tables})
        sources = (*others, target) if kind == "MergeStmt" else (target, *others)
        columns = self._targets(fields.get("returningList"), Scope(sources, scope, scope.expressions))
        if kind == "DeleteStmt":
            return columns
        # the agent may have chosen what it gets back: a pseudonym of it would begin a dictionary
        return tuple(replace(column, flow=column.flow.blurred()) for column in columns)

    def _written(self, fields: Node) -> Relation | None:
        return self.catalog.resolve(fields.get("schemaname"), str(fields.get("relname", "")))
