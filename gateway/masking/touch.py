"""Which marked columns a piece of a statement mentions, by name: wide rather than exact, and without scopes.

A column counts as mentioned if its name, a star, its whole row, a USING or NATURAL join over its relation or a renaming
alias stands in the piece. Used for writes and predicates, where a false "yes" asks a person and a false "no" leaks; the
columns of a result are the business of `lineage`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gateway.masking.flow import Flow
from gateway.policy.catalog import Catalog, Relation
from gateway.policy.tree import Node, below, child, items, kind_of, string, strings

Columns = Mapping[int, Mapping[int, Flow]]
"""Relation oid -> column number -> what flows into it."""

_WHOLE_ROWS = frozenset({"DropStmt", "TruncateStmt", "RuleStmt", "CreateTrigStmt", "CreatePolicyStmt"})
_DEFINITIONS = frozenset({"AlterTableCmd", "RenameStmt", "IndexElem", "StatsElem"})
_NAMES = ("name", "subname")


class Touch:
    """Looks for marked columns of `relations` (those a statement reads and writes)."""

    def __init__(self, catalog: Catalog, relations: Iterable[Relation | None], marked: Columns | None = None) -> None:
        """Look for what `marked` says flows into the relations' columns; None: the marks that `catalog` knows."""
        known = catalog.flows if marked is None else marked
        self._columns: dict[str, set[str]] = {}
        self._relations: dict[str, set[str]] = {}
        for relation in relations:
            flows = known.get(relation.oid, {}) if relation is not None else {}
            if relation is None or not flows:
                continue
            for column in relation.columns:
                flow = flows.get(column.number)
                if flow is not None and not flow.clean:
                    self._columns.setdefault(column.name, set()).update(_sources(flow))
            self._relations.setdefault(relation.name, set()).update(*(_sources(flow) for flow in flows.values()))

    def __bool__(self) -> bool:
        return bool(self._columns)

    def mentioned(self, root: str, fields: Node) -> frozenset[str]:
        """Return the marked columns that the node (root, fields) may mention."""
        if not self:
            return frozenset()
        found: set[str] = set()
        rows = dict(self._relations)
        for kind, node in below(root, fields):
            if kind == "RangeVar" and node.get("relname") in self._relations:
                alias = node.get("alias", {})
                behind = self._relations[str(node["relname"])]
                rows[str(alias.get("aliasname") or node["relname"])] = behind
                if alias.get("colnames"):
                    found |= behind
        for kind, node in below(root, fields):
            if kind == "ColumnRef":
                found |= self._column(node, rows)
            elif kind == "JoinExpr":
                # an alias renames the columns of what is joined, and its name is the whole row
                found |= self.everything() if node.get("alias") else self._join(node)
            elif kind == "A_Indirection":
                for name in strings(node.get("indirection")):
                    found |= self._columns.get(name, set())
        return frozenset(found)

    def named(self, names: Iterable[str]) -> frozenset[str]:
        """Return the marked columns with these names."""
        return frozenset(source for name in names for source in self._columns.get(name, ()))

    def anywhere(self, root: str, fields: Node) -> frozenset[str]:
        """Return what the statement (root, fields) mentions, sets, copies or defines anew."""
        found = set(self.mentioned(root, fields))
        for kind, node in below(root, fields):
            if kind in {"InsertStmt", "UpdateStmt", "MergeWhenClause", "OnConflictClause", "CopyStmt"}:
                names = () if kind == "CopyStmt" and "query" in node else set_columns(kind, node)
                found |= self.everything() if names is None else self.named(names)
            elif kind in _WHOLE_ROWS:
                found |= self.everything()
            elif kind in _DEFINITIONS:
                found |= self.named(str(node[key]) for key in _NAMES if isinstance(node.get(key), str))
        return frozenset(found)

    def everything(self) -> frozenset[str]:
        """Return all marked columns of the relations."""
        return frozenset(source for sources in self._columns.values() for source in sources)

    def _column(self, node: Node, rows: Mapping[str, set[str]]) -> set[str]:
        parts = items(node.get("fields"))
        if parts and kind_of(parts[-1])[0] == "A_Star":
            return set(self.everything())
        names = strings(parts)
        found: set[str] = set()
        for name in names:
            found |= self._columns.get(name, set())
        if names and names[-1] in rows:
            found |= rows[names[-1]]
        return found

    def _join(self, node: Node) -> set[str]:
        if node.get("isNatural"):
            return set(self.everything())
        return set(self.named(strings(node.get("usingClause"))))


def predicates(root: str, fields: Node) -> Iterator[tuple[str, Node]]:
    """Yield the nodes that compare, join, group or order: their columns' values may be inferred from a result."""
    for kind, node in below(root, fields):
        if kind == "SelectStmt":
            yield from _parts(node, "whereClause", "havingClause", "groupClause", "sortClause", "distinctClause",
                              "windowClause", "limitCount", "limitOffset")  # fmt: skip
            yield from _ordered_outputs(node)
        elif kind in {"UpdateStmt", "DeleteStmt", "OnConflictClause", "InferClause", "CopyStmt"}:
            yield from _parts(node, "whereClause")
        elif kind == "MergeStmt":
            yield from _parts(node, "joinCondition")
        elif kind == "MergeWhenClause":
            yield from _parts(node, "condition")
        elif kind == "JoinExpr":
            yield from _parts(node, "quals")
            yield "JoinExpr", {name: node[name] for name in ("isNatural", "usingClause") if name in node}
        elif kind == "RangeFunction":
            # how many rows it gives
            yield "List", {"items": node.get("functions")}
        elif kind == "FuncCall":
            yield from _parts(node, "agg_filter", "agg_order", "over")
        elif kind == "SubLink":
            yield from _parts(node, "testexpr")


def _parts(node: Node, *names: str) -> Iterator[tuple[str, Node]]:
    for name in names:
        kind, inner = child(node, name)
        if kind:
            yield kind, inner
        for item in items(node.get(name)):
            found = kind_of(item)
            if found[0]:
                yield found


def _ordered_outputs(select: Node) -> Iterator[tuple[str, Node]]:
    """`ORDER BY 2` and `ORDER BY alias`: what orders is the output expression."""
    outputs = [kind_of(item)[1] for item in items(select.get("targetList"))]
    for clause in ("sortClause", "groupClause", "distinctClause"):
        for item in items(select.get(clause)):
            kind, node = kind_of(item)
            kind, node = child(node, "node") if kind == "SortBy" else (kind, node)
            if kind == "A_Const":
                place = node.get("ival", {}).get("ival", 0) if "ival" in node else 0
                if 0 < place <= len(outputs):
                    yield child(outputs[place - 1], "val")
            elif kind == "ColumnRef":
                names = strings(node.get("fields"))
                yield from (child(output, "val") for output in outputs if names == (output.get("name"),))


def set_columns(kind: str, fields: Node) -> tuple[str, ...] | None:
    """Return the columns that an INSERT, UPDATE, MERGE arm or ON CONFLICT sets; None: whichever come first, or all."""
    if kind == "InsertStmt":
        if "selectStmt" not in fields:
            return ()
        return _names(fields.get("cols")) if fields.get("cols") else None
    if kind == "MergeWhenClause" and fields.get("commandType") == "CMD_INSERT":
        if not fields.get("targetList"):
            return None if fields.get("values") else ()
        return _names(fields.get("targetList"))
    if kind in {"UpdateStmt", "OnConflictClause", "MergeWhenClause"}:
        return _names(fields.get("targetList"))
    if kind == "CopyStmt":
        names = tuple(name for name in map(string, items(fields.get("attlist"))) if name is not None)
        return names or None
    return ()


def _names(targets: object) -> tuple[str, ...]:
    return tuple(str(kind_of(item)[1].get("name", "")) for item in items(targets))


def _sources(flow: Flow) -> frozenset[str]:
    return flow.sources or frozenset({"what cannot be decided"})
