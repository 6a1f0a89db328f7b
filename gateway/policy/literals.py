"""Which literals and parameters of a statement must not be recorded in clear: those that meet marks, and secrets.

Fails closed: in a statement that reaches marks, a literal is kept only where the tree proves that the expression around
it mentions no marked column and gives its value to none; what the tree does not show is withheld. So are all literals
of statements about passwords and connections to elsewhere, and of what is not understood. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.masking.touch import Touch, set_columns
from gateway.policy.catalog import Relation
from gateway.policy.lexing import Lexed, Literal, literals
from gateway.policy.tree import LEAVES, Node, below, child, children, items, kind_of
from gateway.policy.words import words


@dataclass(frozen=True, slots=True)
class Literals:
    """What is to be withheld of one string: byte ranges, and parameters.

    `spans` None: nothing is known of the text, so each literal that it holds. `kept` are the parameters, from 1, that
    may be recorded; None: all of them.
    """

    spans: tuple[tuple[int, int], ...] | None = ()
    kept: frozenset[int] | None = None
    data: bool = False
    """COPY data from the agent holds a marked column."""

    @property
    def any(self) -> bool:
        """Whether something may have to be withheld."""
        return self.spans != () or self.kept is not None or self.data


NONE = Literals()
ALL = Literals(None, frozenset(), data=True)

_HARMLESS = words(
    """FetchStmt ClosePortalStmt DeallocateStmt DiscardStmt TransactionStmt ListenStmt UnlistenStmt LockStmt VacuumStmt
    TruncateStmt DropStmt ReindexStmt ClusterStmt RefreshMatViewStmt CheckPointStmt VariableShowStmt
    ConstraintsSetStmt"""
)
"""Statements whose literals are numbers and options, never values of a column."""
_SECRET = words(
    """CreateRoleStmt AlterRoleStmt AlterRoleSetStmt AlterSystemStmt AlterDatabaseSetStmt CreateUserMappingStmt
    AlterUserMappingStmt CreateForeignServerStmt AlterForeignServerStmt CreateFdwStmt AlterFdwStmt
    CreateForeignTableStmt CreateSubscriptionStmt AlterSubscriptionStmt ImportForeignSchemaStmt"""
)
"""Statements that set passwords or say how to connect elsewhere."""
_SECRET_ACTS = frozenset({"password-table", "role", "foreign", "replication", "other-server", "server-program"})
_SECRET_CALL = re.compile(r"dblink|crypt|pgp_|^hmac$|^digest$|^(en|de)crypt|password|postgres_fdw", re.ASCII)
_CONNECTS = re.compile(
    r"[a-z][a-z0-9+.-]*://[^\s/@:]*:[^\s/@]+@|\b(password|passwd|pwd|sslpassword|passfile|secret|token|api_?key)\s*[=:]",
    re.IGNORECASE | re.ASCII,
)
"""A value that says how to connect somewhere, whatever statement it stands in."""
_HINT = re.compile(rb"://|passw|pwd|secret|token|api_?key", re.IGNORECASE)
_RENAMING = words("RangeVar RangeSubselect RangeFunction RangeTableFunc JsonTable CommonTableExpr")
"""What gives columns names of its own: a relation where its alias lists some."""
_TARGETS = {"UpdateStmt", "OnConflictClause", "MergeWhenClause"}


def unread(text: bytes) -> tuple[Literal, ...]:
    """Return every literal of a text that nobody understood; one that is no text is a literal as a whole."""
    try:
        readable = b"\0" not in text and text.decode() is not None
    except UnicodeDecodeError:
        readable = False
    return tuple(literals(text)) if readable else (Literal(0, len(text), text.decode("utf-8", "replace")),)


def connecting(lexed: Lexed, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges of the literals between two offsets that say how to connect somewhere."""
    if _HINT.search(lexed.text, start, end) is None:
        return ()
    return tuple((one.start, one.end) for one in lexed.within(start, end) if _CONNECTS.search(one.value))


def is_secret(kind: str, acts: Iterable[str], calls: Iterable[str]) -> bool:
    """Say whether a statement is about passwords or connections: its kind, its acts, the functions that it calls."""
    return (
        kind in _SECRET
        or not _SECRET_ACTS.isdisjoint(acts)
        or any(_SECRET_CALL.search(call.rpartition(".")[2]) for call in calls)
    )


def all_of(lexed: Lexed, start: int, end: int) -> Literals:
    """Return that every literal between two offsets is to be withheld, and every parameter."""
    return Literals(tuple((one.start, one.end) for one in lexed.within(start, end)), frozenset())


def beside_marks(
    lexed: Lexed,
    bounds: tuple[int, int],
    root: tuple[str, Node],
    touches: tuple[Touch, Touch],
    writes: Sequence[Relation | None],
    *,
    compares: bool,
) -> Literals:
    """Return what is to be withheld of a statement that reaches marks, which stands between the offsets `bounds`.

    `touches` look for marked columns of all its relations, and of those that it writes, `writes`. `compares`: a marked
    column is compared, joined, ordered by or written somewhere, so that a value of an inner query may be meant for it.
    """
    kind, fields = root
    touch, target = touches
    if kind in _HARMLESS:
        return NONE
    if not touch or _renames(root, touch):
        return all_of(lexed, *bounds)
    walk = _Walk(touch, target, tuple(writes), inner_flows=compares or _merges(root, touch))
    walk.statement(kind, fields)
    kept = walk.locations
    spans = [(one.start, one.end) for one in lexed.within(*bounds) if not _stands(lexed.text, one.start, kept)]
    return Literals(tuple(spans), frozenset(walk.parameters - walk.withheld))


def together(found: Iterable[Literals]) -> Literals:
    """Return what is to be withheld of a string of several statements; parameters belong to a string of one."""
    spans: set[tuple[int, int]] = set()
    kept: frozenset[int] | None = None
    data = False
    for one in found:
        if one.spans is None:
            return ALL
        spans.update(one.spans)
        data = data or one.data
        if one.kept is not None:
            kept = one.kept if kept is None else kept & one.kept
    return Literals(tuple(sorted(spans)), kept, data) if spans or data or kept is not None else NONE


def _stands(text: bytes, start: int, locations: set[int]) -> bool:
    """Say whether a literal is one whose place the tree told: a sign before a number is part of it there."""
    if start in locations:
        return True
    sign = start
    while sign > 0 and text[sign - 1 : sign] in (b" ", b"\t", b"\n", b"-", b"+"):
        sign -= 1
        if text[sign : sign + 1] in (b"-", b"+"):
            return sign in locations
    return False


def _renames(root: tuple[str, Node], touch: Touch) -> bool:
    """Say whether a marked column may bear a name that only the statement knows: a table expression's, an alias's."""
    for kind, node in below(*root):
        if kind == "JoinExpr" and ("alias" in node or "join_using_alias" in node):
            return True
        if kind in _RENAMING and touch.mentioned(kind, node):
            return True
    return False


def _merges(root: tuple[str, Node], touch: Touch) -> bool:
    """Say whether a set operation compares rows that hold marked columns with others."""
    stack = [root]
    while stack:
        kind, node = stack.pop()
        if kind == "SelectStmt" and "larg" in node:
            # what stands in a set operation within it stands in it: each is looked at once
            if touch.mentioned(kind, node):
                return True
        elif kind not in LEAVES:
            stack += children(node)
    return False


@dataclass(slots=True)
class _Walk:
    """Collects the places of the literals, and the parameters, that may be kept."""

    touch: Touch
    target: Touch
    writes: tuple[Relation | None, ...]
    inner_flows: bool
    locations: set[int] = field(default_factory=set)
    parameters: set[int] = field(default_factory=set)
    withheld: set[int] = field(default_factory=set)

    def statement(self, kind: str, fields: Node) -> None:
        """Walk a statement, and the queries inside it, outermost first."""
        stack: list[tuple[str, Node, bool]] = [(kind, fields, False)]
        while stack:
            here, node, inner = stack.pop()
            match here:
                case "SelectStmt":
                    stack += self._select(node, inner=inner)
                case "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt":
                    stack += self._write(here, node)
                case (
                    "ExplainStmt" | "PrepareStmt" | "DeclareCursorStmt" | "CopyStmt" | "CreateTableAsStmt" | "ViewStmt"
                ):
                    found, query = child(node, "query")
                    if found:
                        stack.append((found, query, inner or here in {"CreateTableAsStmt", "ViewStmt"}))
                case _:
                    self._withhold((here, node))

    def _select(self, node: Node, *, inner: bool) -> list[tuple[str, Node, bool]]:
        if "larg" in node or "rarg" in node:
            self._units(node, "sortClause", "limitCount", "limitOffset")
            arms = [child(node, name) for name in ("larg", "rarg")]
            return [(kind, arm, True) for kind, arm in arms if kind] + self._with(node)
        outputs = [kind_of(item) for item in items(node.get("targetList"))]
        cells = [
            kind_of(cell) for row in items(node.get("valuesLists")) for cell in items(kind_of(row)[1].get("items"))
        ]
        for unit in (*outputs, *cells):
            self._unit(unit, flows=inner)
        self._units(node, "whereClause", "havingClause", "groupClause", "sortClause", "distinctClause", "windowClause",
                    "limitCount", "limitOffset")  # fmt: skip
        return self._from(node.get("fromClause")) + self._with(node)

    def _write(self, kind: str, node: Node) -> list[tuple[str, Node, bool]]:
        steps = self._with(node)
        names = set_columns(kind, node)
        if kind == "InsertStmt":
            found, query = child(node, "selectStmt")
            if found and "valuesLists" in query:
                self._rows(query, names)
                steps += self._with(query)
            elif found and (names is None or self.target.named(names)):
                self._withhold((found, query))
            elif found:
                steps.append((found, query, True))
        self._sets(kind, node)
        conflict, clause = child(node, "onConflictClause")
        if conflict:
            self._sets(conflict, clause)
            self._units(clause, "whereClause", "infer")
        for arm in map(kind_of, items(node.get("mergeWhenClauses"))):
            self._sets(*arm)
            self._units(arm[1], "condition")
        self._units(node, "whereClause", "joinCondition", "returningList")
        source = [node["sourceRelation"]] if "sourceRelation" in node else []
        return steps + self._from([*items(node.get("fromClause")), *items(node.get("usingClause")), *source])

    def _rows(self, query: Node, names: tuple[str, ...] | None) -> None:
        """The rows of INSERT … VALUES: each cell goes to the column in its place."""
        if names is None:
            columns = [column for one in self.writes if one is not None for column in one.columns]
            ordered = sorted(columns, key=lambda column: column.number) if len(self.writes) == 1 else []
            names = tuple(column.name for column in ordered)
        marked = [bool(self.target.named([name])) for name in names]
        for row in items(query.get("valuesLists")):
            for place, cell in enumerate(map(kind_of, items(kind_of(row)[1].get("items")))):
                if place >= len(marked) or marked[place]:
                    self._withhold(cell)
                else:
                    self._unit(cell)
        self._units(query, "sortClause", "limitCount", "limitOffset")

    def _sets(self, kind: str, node: Node) -> None:
        """The SET list of UPDATE, ON CONFLICT and MERGE, and the values that an arm of MERGE inserts."""
        if kind not in _TARGETS:
            return
        names = set_columns(kind, node)
        several = names is None or any(kind_of(kind_of(one)[1].get("val"))[0] == "MultiAssignRef"
                                       for one in items(node.get("targetList")))  # fmt: skip
        whole = several and (names is None or bool(self.target.named(names)))
        values = [kind_of(value) for value in items(node.get("values"))]
        for unit in [kind_of(item) for item in items(node.get("targetList"))]:
            if whole or self.target.named([str(unit[1].get("name", ""))]):
                self._withhold(unit)
            else:
                self._unit(unit)
        for unit in values:
            if names is None or self.target.named(names):
                self._withhold(unit)
            else:
                self._unit(unit)

    def _from(self, clause: object) -> list[tuple[str, Node, bool]]:
        """What stands in FROM: inner queries, functions, and the conditions of joins."""
        steps: list[tuple[str, Node, bool]] = []
        stack = [kind_of(item) for item in items(clause)]
        while stack:
            kind, node = stack.pop()
            match kind:
                case "JoinExpr":
                    stack += [child(node, "larg"), child(node, "rarg")]
                    self._units(node, "quals")
                case "RangeSubselect":
                    found, query = child(node, "subquery")
                    steps.append((found, query, True))
                case "RangeVar":
                    pass
                case "RangeTableSample":
                    stack.append(child(node, "relation"))
                    self._units(node, "args", "repeatable")
                case _:
                    self._unit((kind, node), flows=True)
        return steps

    def _with(self, node: Node) -> list[tuple[str, Node, bool]]:
        _, clause = child(node, "withClause")
        queries = [child(kind_of(item)[1], "ctequery") for item in items(clause.get("ctes"))]
        return [(kind, query, True) for kind, query in queries if kind]

    def _units(self, node: Node, *names: str) -> None:
        """Judge each condition or expression of these clauses by itself; what AND, OR and NOT join falls apart."""
        stack = [found for name in names for found in _parts(node, name)]
        while stack:
            kind, inner = stack.pop()
            if kind == "BoolExpr":
                stack += _parts(inner, "args")
            else:
                self._unit((kind, inner))

    def _unit(self, unit: tuple[str, Node], *, flows: bool = False) -> None:
        """Keep the literals of an expression that mentions no marked column; `flows`: its value may go to one."""
        if (flows and self.inner_flows) or self.touch.mentioned(*unit):
            self._withhold(unit)
            return
        for kind, node in below(*unit):
            if kind == "A_Const" and "location" in node:
                self.locations.add(int(node["location"]))
            elif kind == "A_Const":
                self.locations.add(0)  # the parser leaves out what is nought
            elif kind == "ParamRef":
                self.parameters.add(int(node.get("number", 0)))

    def _withhold(self, unit: tuple[str, Node]) -> None:
        self.withheld.update(int(node.get("number", 0)) for kind, node in below(*unit) if kind == "ParamRef")


def _parts(node: Node, name: str) -> list[tuple[str, Node]]:
    found = child(node, name)
    return [found] if found[0] else [one for one in map(kind_of, items(node.get(name))) if one[0]]
