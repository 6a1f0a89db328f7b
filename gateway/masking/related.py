"""What conditions give away: a column that one compares with a marked column holds its value in the rows that are left.

`FROM generate_series(1, 9999999) g WHERE g = salary` prints a salary, though nothing of it flows into `g`; a recursive
query with `email LIKE s || c || '%'` spells an address. So a clean column that stands in one comparison with a marked
one counts as computed from it. Comparisons are taken apart at AND, OR and NOT; one with constants only tells its one
bit, which no masking stops. Names, resolved by scope: wide where a scope is open. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.masking.expression import Tracer, reference
from gateway.masking.flow import Flow, Level, Output, join
from gateway.masking.scope import Columns, Scope, Source
from gateway.policy.tree import LEAVES, Node, below, child, children, items, kind_of, strings
from gateway.policy.words import words

_SYSTEM = ("pg_catalog.", "information_schema.")

AGGREGATES = words(
    """
    any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp every json_agg
    json_agg_strict json_object_agg json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict
    jsonb_agg jsonb_agg_strict jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique
    jsonb_object_agg_unique_strict max min mode percentile_cont percentile_disc range_agg range_intersect_agg
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop
    stddev_samp string_agg sum var_pop var_samp variance xmlagg
    """
)
"""PostgreSQL's own aggregates: their results tell of how many rows there are."""

_GENERATING = words(
    """
    generate_series generate_subscripts unnest string_to_table regexp_split_to_table regexp_matches
    jsonb_array_elements jsonb_array_elements_text json_array_elements json_array_elements_text jsonb_path_query
    json_each json_each_text jsonb_each jsonb_each_text json_object_keys jsonb_object_keys
    """
)
"""PostgreSQL's own functions that give rows."""


@dataclass(frozen=True, slots=True)
class Related:
    """A clean column reference that is compared with something marked; `name` empty: a whole row."""

    table: str
    name: str
    flow: Flow

    def among(self, sources: Sequence[Source]) -> bool:
        """Say whether the reference means one of `sources`, or may."""
        if self.table:
            return any(self.table in source.tables for source in sources)
        return any(self.name in source.named or self.name in source.tables or source.unnamed for source in sources)

    def surely(self, sources: Sequence[Source]) -> bool:
        """Say whether the reference means one of `sources` and nothing around them."""
        if self.table:
            return self.among(sources)
        return any(self.name in source.named or self.name in source.tables for source in sources)


def generates(root: Node) -> bool:
    """Say whether a statement makes rows up: a series, a list, a recursion, numbers of rows.

    Only then do the rows that a comparison leaves, their number and which of several there are, spell a whole value.
    """
    for kind, node in below("", root):
        if kind in {"RangeFunction", "WindowDef", "JsonTable", "RangeTableFunc"} or node.get("recursive"):
            return True
        if "valuesLists" in node or (kind == "FuncCall" and _multiplies(node)):
            return True
        if any("larg" not in side and "fromClause" not in side for side in _sides(node)):
            return True
    return False


def _sides(node: Node) -> list[Node]:
    return [child(node, name)[1] for name in ("larg", "rarg")] if "larg" in node and "op" in node else []


def _multiplies(call: Node) -> bool:
    names = strings(call.get("funcname"))
    return names[-1:] == () or names[-1] in _GENERATING


def repeats(target: object) -> bool:
    """Say whether an output gives several rows for one: a set-returning function in it."""
    return any(kind == "FuncCall" and _multiplies(node) for kind, node in below(*kind_of(target)))


def conditions(fields: Node, scope: Scope, tracer: Tracer, *, grouped: bool) -> list[Related]:
    """Return what the conditions, joins and orders of a SELECT relate to marked columns; its subqueries are traced.

    `grouped`: what stands side by side in one branch of an OR counts as one comparison.
    """
    found: list[Related] = []
    for node in _comparisons(fields, grouped=grouped):
        found += _compared(node, scope, tracer, grouped=grouped)
    for using, left, right in _merges(fields):
        found += _merged(using, (left, right), scope)
    return found


def computed(fields: Node, scope: Scope, tracer: Tracer) -> Flow:
    """Return what decides on how many rows a SELECT gives, beside its conditions: LIMIT and OFFSET."""
    flows = [_flow(fields[name], scope, tracer) for name in ("limitCount", "limitOffset") if name in fields]
    return join(flows).derived()


def counts(target: object) -> bool:
    """Say whether an output tells of the number of rows: an aggregate or a window function in it."""
    stack = [kind_of(target)]
    while stack:
        kind, node = stack.pop()
        if kind in {"JsonArrayAgg", "JsonObjectAgg"}:
            return True
        if kind == "FuncCall":
            names = strings(node.get("funcname"))
            if "over" in node or node.get("agg_star") or names[-1:] == () or names[-1] in AGGREGATES:
                return True
        if kind not in LEAVES and kind != "SubLink":
            stack += children(node)
    return False


def telling(source: Source, related: Iterable[Related]) -> Source:
    """Return the source with what is now known of its columns."""
    columns, tables = source.columns, dict(source.tables)
    for each in related:
        if each.table:
            if each.table not in tables:
                continue
            tables[each.table] = _told(tables[each.table], each.name, each.flow)
        elif each.name in source.named or each.name not in tables:
            tables = {name: _told(found, each.name, each.flow) for name, found in tables.items()}
        else:
            tables[each.name] = _told(tables[each.name], "", each.flow)
            columns = _told(columns, "", each.flow)
            continue
        columns = _told(columns, each.name, each.flow)
    return source if columns == source.columns and tables == source.tables else Source(columns, tables)


def _told(columns: Columns, name: str, flow: Flow) -> Columns:
    exact = any(column.name == name for column in columns)

    def meant(column: Output) -> bool:
        return not name or (column.name == name if exact else column.many or not column.name)

    return tuple(
        replace(column, flow=join((column.flow, flow)).derived()) if meant(column) else column for column in columns
    )


def _comparisons(fields: Node, *, grouped: bool) -> Iterator[object]:
    roots = [(fields[name], False) for name in ("whereClause", "havingClause") if name in fields]
    joins = list(items(fields.get("fromClause")))
    while joins:
        kind, node = kind_of(joins.pop())
        if kind == "JoinExpr":
            joins += [node.get("larg"), node.get("rarg")]
            roots += [(node["quals"], False)] if "quals" in node else []
    while roots:
        root, alternative = roots.pop()
        kind, node = kind_of(root)
        together = grouped and alternative and node.get("boolop") == "AND_EXPR"
        if kind != "BoolExpr" or together:
            yield root
            continue
        alternative = alternative or node.get("boolop") == "OR_EXPR"
        roots += [(each, alternative) for each in items(node.get("args"))]
    for name in ("sortClause", "distinctClause", "groupClause"):
        for item in items(fields.get(name)):
            yield _ordering(item, fields)


def _ordering(item: object, fields: Node) -> object:
    """`ORDER BY 2` and `ORDER BY alias`: what orders is the output expression."""
    kind, node = kind_of(item)
    if kind == "SortBy":
        item = node.get("node")
        kind, node = kind_of(item)
    targets = [kind_of(each)[1] for each in items(fields.get("targetList"))]
    if kind == "A_Const" and isinstance(node.get("ival"), dict):
        place = int(node["ival"].get("ival", 0))
        return targets[place - 1].get("val") if 0 < place <= len(targets) else item
    names = strings(node.get("fields")) if kind == "ColumnRef" else ()
    aliased = [each.get("val") for each in targets if len(names) == 1 and each.get("name") == names[0]]
    return aliased[0] if aliased else item


def _compared(root: object, scope: Scope, tracer: Tracer, *, grouped: bool) -> list[Related]:
    flows: list[Flow] = []
    clean: list[tuple[str, str]] = []
    mixed: list[tuple[str, str]] = []
    stack = [kind_of(root)]
    while stack:
        kind, node = stack.pop()
        tracer.spend()
        if kind == "ColumnRef":
            flow = reference(node, scope)
            flows.append(flow)
            names = strings(node.get("fields"))
            if flow.mixed and grouped and names:
                mixed += _holders(names, scope)
            if flow.clean and names:
                whole = len(names) < len(items(node.get("fields")))
                clean.append((names[-1], "") if whole else ("".join(names[-2:-1]), names[-1]))
        elif kind == "SubLink":
            columns = tracer.query(*child(node, "subselect"), scope)
            if node.get("subLinkType") != "EXISTS_SUBLINK":
                flows += [column.flow for column in columns]
            stack += [pair for pair in children(node) if pair[0] != "SelectStmt"]
        elif kind not in LEAVES:
            stack += children(node)
    flow = join(each for each in flows if _counts_as_marked(each, grouped=grouped)).derived()
    return [] if flow.clean else [Related(table, name, flow) for table, name in (*clean, *mixed)]


def _holders(names: Sequence[str], scope: Scope) -> list[tuple[str, str]]:
    """Return the tables whose rows a column of a mixed flow says something of."""
    if len(names) > 1:
        return [(names[-2], "")]
    for each in scope.chain():
        found = [source for source in each.sources if names[0] in source.named]
        if found:
            tables = [(table, columns) for source in found for table, columns in source.tables.items()]
            return [(table, "") for table, columns in tables if any(column.name == names[0] for column in columns)]
    return []


def _counts_as_marked(flow: Flow, *, grouped: bool) -> bool:
    """What is merely unknown, or printed by the catalog beside its own columns, makes nothing else so."""
    if flow.level is Level.UNKNOWN and not flow.sources:
        return False
    return grouped or not flow.sources or not all(source.startswith(_SYSTEM) for source in flow.sources)


def _flow(node: object, scope: Scope, tracer: Tracer) -> Flow:
    flows: list[Flow] = []
    stack = [kind_of(node)]
    while stack:
        kind, fields = stack.pop()
        tracer.spend()
        if kind == "ColumnRef":
            flows.append(reference(fields, scope))
        elif kind == "SubLink":
            flows += [join((column.flow, column.rows)) for column in tracer.query(*child(fields, "subselect"), scope)]
        elif kind not in LEAVES:
            stack += children(fields)
    return join(flows)


def _merges(fields: Node) -> Iterator[tuple[tuple[str, ...], object, object]]:
    joins = list(items(fields.get("fromClause")))
    while joins:
        kind, node = kind_of(joins.pop())
        if kind == "JoinExpr":
            joins += [node.get("larg"), node.get("rarg")]
            if node.get("usingClause"):
                yield strings(node["usingClause"]), node.get("larg"), node.get("rarg")


def _merged(using: Sequence[str], sides: Iterable[object], scope: Scope) -> Iterator[Related]:
    """USING compares the columns of both sides, which stay in reach by their tables' names."""
    tables = [name for side in sides for name in _tables(side)]
    for name in using:
        flows = {table: scope.qualified(table, name) for table in tables}
        flow = join(each for each in flows.values() if each.sources).derived()
        if not flow.clean:
            yield from (Related(table, name, flow) for table, each in flows.items() if each.clean)


def _tables(side: object) -> Iterator[str]:
    stack = [kind_of(side)]
    while stack:
        kind, node = stack.pop()
        if kind == "JoinExpr":
            stack += [kind_of(node.get("larg")), kind_of(node.get("rarg"))]
        name = node.get("alias", {}).get("aliasname") or node.get("relname")
        if name:
            yield str(name)
