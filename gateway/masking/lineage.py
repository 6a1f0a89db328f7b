"""Which marked columns flow into each column of a result: own lineage over PostgreSQL's syntax tree.

Knows SELECT lists, stars, aliases, joins with USING and NATURAL, subqueries, LATERAL, table expressions (also
recursive), set operations, VALUES, functions in FROM, whole rows and RETURNING. What it does not know is unknown, and
so masked; what it cannot count is open. Views were traced when the catalog was bound (`marks`). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.masking.assigned import assigned
from gateway.masking.expression import expression, row_star, star
from gateway.masking.flow import CLEAN, UNKNOWN, Flow, Output, join
from gateway.masking.naming import output_name
from gateway.masking.related import Related, computed, conditions, counts, generates, repeats, telling
from gateway.masking.scope import (
    Columns,
    Scope,
    Source,
    both_tables,
    is_open,
    merged,
    natural,
    open_source,
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
_STEPS_OF_QUERY = 25
"""A query costs more than a node of an expression."""
_OPEN: Columns = (Output("", UNKNOWN, many=True),)

SCALAR = frozenset(
    {
        "generate_series", "generate_subscripts", "unnest", "regexp_split_to_table", "string_to_table",
        "regexp_matches",
        "json_object_keys", "jsonb_object_keys", "jsonb_path_query", "pg_sleep", "now", "random", "current_setting",
        "set_config", "version",
    }
)  # fmt: skip
"""Functions that give one column, named by the alias or the function (unnest: one for each argument)."""


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
        return _OPEN

    # --- SELECT

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
        self.spend(_STEPS_OF_QUERY)
        if "valuesLists" in fields:
            return self._values(fields, scope)
        inner, columns, rows = self._settled(fields, scope)
        windows = [self._flow(item, inner) for item in items(fields.get("windowClause"))]
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
        sources = self._from(fields.get("fromClause"), scope)
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
            return _OPEN
        flows = [join(self._flow(row[place], scope) for row in rows) for place in range(width)]
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
                flow = self._flow(target.get("val"), scope)
                if not rows.clean and counts(target.get("val")):
                    flow = join((flow, rows)).derived()
                more = flow if not flow.clean and repeats(target.get("val")) else CLEAN
                found.append(Output(output_name(target), flow, rows=more))
            if len(found) > _MOST_COLUMNS:
                raise TooWideError
        return tuple(found)

    def _flow(self, node: object, scope: Scope) -> Flow:
        kind, fields = kind_of(node)
        if not kind:
            return UNKNOWN
        return expression(kind, fields, scope, self)

    # --- table expressions

    def _expressions(self, fields: Node, scope: Scope) -> Scope:
        _, clause = child(fields, "withClause")
        listed = [kind_of(item)[1] for item in items(clause.get("ctes"))]
        if not listed:
            return scope
        known = dict(scope.expressions)
        recursive = bool(clause.get("recursive"))
        if recursive:
            # a name of the clause hides a relation even before it is traced
            known.update({str(item.get("ctename")): _OPEN for item in listed})
        named = [str(item.get("ctename")) for item in listed]
        for name, item in zip(named, listed, strict=True):
            around = replace(scope, expressions=dict(known))
            columns = self._recursive(item, name, around) if recursive else self._common(item, around)
            # a name twice is an error, unless the target's encoding cuts long names elsewhere than we do
            known[name] = columns if named.count(name) == 1 else _OPEN
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
        return _OPEN

    def _search_columns(self, item: Node) -> list[str]:
        found = []
        for clause, keys in (("search_clause", ("search_seq_column",)),
                             ("cycle_clause", ("cycle_mark_column", "cycle_path_column"))):  # fmt: skip
            _, node = child(item, clause)
            found += [str(node[key]) for key in keys if key in node]
        return found

    # --- FROM

    def _from(self, clause: object, scope: Scope) -> tuple[Source, ...]:
        sources: tuple[Source, ...] = ()
        for item in items(clause):
            sources = (*sources, self._source(*kind_of(item), Scope(sources, scope, scope.expressions)))
        return sources

    def _source(self, kind: str, fields: Node, beside: Scope) -> Source:
        """Return an item of FROM; `beside` holds the items to its left, which only LATERAL sees."""
        self.spend(_STEPS_OF_QUERY)
        if kind == "RangeVar":
            return self._relation(fields, beside)
        if kind == "RangeSubselect":
            around = beside if fields.get("lateral") else self._outer(beside)
            columns = self.query(*child(fields, "subquery"), around)
            return self._aliased(columns, fields, "")
        if kind == "JoinExpr":
            return self._join(fields, beside)
        if kind == "RangeFunction":
            return self._functions(fields, beside)
        if kind == "RangeTableSample":
            return self._source(*child(fields, "relation"), beside)
        if kind in {"RangeTableFunc", "JsonTable"}:
            flow = expression(kind, {k: v for k, v in fields.items() if k != "alias"}, beside, self)
            return open_source(flow, str(fields.get("alias", {}).get("aliasname", "")))
        return open_source(UNKNOWN, str(fields.get("alias", {}).get("aliasname", "")))

    def _outer(self, beside: Scope) -> Scope:
        return replace(beside.outer or Scope(), expressions=beside.expressions)

    def _relation(self, fields: Node, scope: Scope) -> Source:
        name = str(fields.get("relname", ""))
        schema = fields.get("schemaname")
        if schema is None and name in scope.expressions:
            return self._aliased(scope.expressions[name], fields, name)
        return self._aliased(self._columns_of(fields), fields, name)

    def _columns_of(self, fields: Node) -> Columns:
        name, schema = str(fields.get("relname", "")), fields.get("schemaname")
        relation = self.catalog.resolve(schema, name)
        if relation is None or (schema is None and name in self.catalog.temporary):
            return _OPEN
        flows = self.catalog.flows.get(relation.oid, {})
        return tuple(Output(column.name, flows.get(column.number, CLEAN)) for column in relation.columns)

    def _aliased(self, columns: Columns, fields: Node, name: str) -> Source:
        alias = fields.get("alias") or {}
        shown = str(alias.get("aliasname") or name)
        columns = renamed(columns, strings(alias.get("colnames")))
        return Source(columns, {shown: columns} if shown else {})

    def _join(self, fields: Node, beside: Scope) -> Source:
        """Joins nest to the left, so the chain is unrolled without recursion."""
        chain = []
        node: Node = fields
        while True:
            chain.append(node)
            kind, inner = kind_of(node.get("larg"))
            if kind != "JoinExpr":
                break
            node = inner
        source = self._source(*kind_of(chain[-1].get("larg")), beside)
        for join_node in reversed(chain):
            seen = Scope((*beside.sources, source), beside.outer, beside.expressions)
            right = self._source(*kind_of(join_node.get("rarg")), seen)
            source = self._joined(join_node, source, right)
        return source

    def _joined(self, fields: Node, left: Source, right: Source) -> Source:
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
        return self._aliased(source.columns, fields, "") if alias else source

    def _functions(self, fields: Node, beside: Scope) -> Source:
        alias = fields.get("alias") or {}
        found: list[Output] = []
        calls = [items(kind_of(item)[1].get("items")) for item in items(fields.get("functions"))]
        for call in calls:
            if not call:
                return open_source(UNKNOWN, str(alias.get("aliasname", "")))
            defined = fields.get("coldeflist") or (call[1:2] and kind_of(call[1])[1].get("items"))
            found.extend(
                self._function(call[0], defined, str(alias.get("aliasname", "")), beside, alone=len(calls) == 1)
            )
        if fields.get("ordinality"):
            found.append(Output("ordinality"))
        name = str(alias.get("aliasname") or (found[0].name if found else ""))
        return self._aliased(tuple(found), fields, name)

    def _function(self, node: object, defined: object, alias: str, beside: Scope, *, alone: bool) -> Columns:
        flow = self._flow(node, beside).derived()
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

    # --- RETURNING

    def _returning(self, kind: str, fields: Node, outer: Scope) -> Columns:
        if not fields.get("returningList"):
            return ()
        scope = self._expressions(fields, outer)
        relation = fields.get("relation", {})
        plain = self._aliased(self._columns_of(relation), relation, str(relation.get("relname", "")))
        others: tuple[Source, ...] = ()
        beside = Scope((plain,), scope, scope.expressions)
        if kind in {"UpdateStmt", "DeleteStmt"}:
            for item in items(fields.get("fromClause") or fields.get("usingClause")):
                seen = replace(beside, sources=(plain, *others))
                others = (*others, self._source(*kind_of(item), seen))
        elif kind == "MergeStmt":
            others = (self._source(*kind_of(fields.get("sourceRelation")), replace(beside, sources=())),)
        inner = replace(beside, sources=(plain, *others))
        columns = assigned(kind, fields, self._columns_of(relation), self._written(relation), inner, self)
        target = self._aliased(columns, relation, str(relation.get("relname", "")))
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


def leaks(columns: Columns | None) -> bool:
    """Say whether some column is not clean."""
    return columns is None or is_open(columns) or any(not column.flow.clean for column in columns)
