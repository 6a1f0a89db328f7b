"""What a query or data-changing statement reads, writes and calls: one walk over its tree, without recursion.

Collects acts, relations and functions with the names of common table expressions in scope. A node that is not on the
list here makes the whole statement not understood. Judges nothing and knows no rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.policy.catalog import Catalog, Relation
from gateway.policy.functions import Call, classify, field_call, operator_call, type_call
from gateway.policy.known_forms import compares_access_method, is_parameter, is_settings_list
from gateway.policy.named import created_name, is_temporary
from gateway.policy.parse import NotUnderstoodError
from gateway.policy.restricts import Target, most_rows, restricts
from gateway.policy.statement import Act
from gateway.policy.system import classify_relation
from gateway.policy.tree import LEAVES, Node, child, children, constant_text, items, kind_of, string, strings
from gateway.policy.words import words

_MOST_NODES = 100_000
_SEQUENCE_FUNCTION = "nextval"
"""Allowed, and still a write: PostgreSQL refuses it in a read-only transaction."""

QUERIES: Mapping[str, str] = MappingProxyType(
    {
        "SelectStmt": "select",
        "InsertStmt": "insert",
        "UpdateStmt": "update",
        "DeleteStmt": "delete",
        "MergeStmt": "merge",
    }
)
"""Statement kind -> the policy's word for it."""

PLAIN = words(
    """
    A_ArrayExpr A_Const A_Indices A_Star Alias BitString BoolExpr Boolean BooleanTest CTECycleClause
    CTESearchClause CaseExpr CaseWhen CoalesceExpr CollateClause ColumnDef Constraint CurrentOfExpr DefElem
    Float FunctionParameter GroupingFunc GroupingSet IndexElem InferClause Integer JoinExpr JsonAggConstructor
    JsonArgument JsonArrayAgg JsonArrayConstructor JsonArrayQueryConstructor JsonBehavior JsonFormat
    JsonFuncExpr JsonIsPredicate JsonKeyValue JsonObjectAgg JsonObjectConstructor JsonOutput JsonParseExpr
    JsonReturning JsonScalarExpr JsonSerializeExpr JsonTable JsonTableColumn JsonTablePathSpec JsonValueExpr
    List LockingClause MergeSupportFunc MergeWhenClause MinMaxExpr MultiAssignRef NamedArgExpr NullTest
    OnConflictClause ParamRef
    PartitionBoundSpec PartitionElem PartitionSpec RangeFunction RangeSubselect RangeTableFunc RangeTableFuncCol
    ResTarget RoleSpec RowExpr SQLValueFunction SetToDefault StatsElem String TableLikeClause TypeCast WindowDef
    XmlExpr XmlSerialize
    """
)
"""Nodes that do nothing by themselves: only what is below them counts."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a statement the walk stands: table expressions in scope, and the wrappers around."""

    ctes: frozenset[str] = frozenset()
    within: tuple[str, ...] = ()

    def inside(self, wrapper: str) -> Place:
        """Return the place within one more wrapper."""
        return Place(self.ctes, (*self.within, wrapper))


Step = tuple[str, Node, Place]


@dataclass(slots=True)
class Survey:
    """Collects what a statement does; `walk` may be called several times."""

    catalog: Catalog
    acts: dict[Act, None] = field(default_factory=dict)
    read: dict[str, Relation | None] = field(default_factory=dict)
    written: dict[str, Relation | None] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    unknown: bool = False
    """A user's function that is not listed, or a relation that is not in the catalog: it may reach anything."""
    only_settings: bool = False
    """The whole statement is one SELECT from pg_settings and nothing else."""
    calls: set[str] = field(default_factory=set)
    """Names that rules may match beside `functions`: procedures, settings' functions, field selections."""
    _fields: dict[str, Place] = field(default_factory=dict)
    _nodes: int = 0

    def walk(self, kind: str, fields: Node, place: Place) -> None:
        """Collect everything at and below a node; raise NotUnderstoodError for a node that is not known."""
        stack: list[Step] = [(kind, fields, place)]
        while stack:
            here, content, where = stack.pop()
            self._nodes += 1
            if self._nodes > _MOST_NODES:
                raise NotUnderstoodError("the statement has too many parts")
            handler = _HANDLERS.get(here)
            if handler is not None:
                stack.extend(handler(self, content, where))
            elif here not in PLAIN:
                raise NotUnderstoodError(f"it holds {here.lstrip('?')}, which is not known")
            elif here not in LEAVES:
                stack.extend((*found, where) for found in children(content))

    def finish(self) -> None:
        """Judge field selections, now that every relation is known: `(x).f` may be a call of f."""
        for name, place in self._fields.items():
            if self._is_column(name):
                continue
            self.calls.update(call.name for call in classify((name,), self.catalog))
            call = field_call(name, self.catalog)
            if call is not None:
                self.call(call, place)
            elif name == _SEQUENCE_FUNCTION:
                self.act(_SEQUENCE_FUNCTION, f"pg_catalog.{name}", place)

    def act(
        self,
        what: str,
        target: str,
        place: Place,
        value: str | None = None,
        relations: tuple[str, ...] = (),
        most: int | None = None,
    ) -> None:
        """Note an act, once."""
        self.acts.setdefault(Act(what, target, place.within, value, relations, most))

    def call(self, call: Call, place: Place) -> None:
        """Note the call of a function."""
        self.functions.add(call.name)
        if call.what == "function":
            if call.name == f"pg_catalog.{_SEQUENCE_FUNCTION}":
                self.act(_SEQUENCE_FUNCTION, call.name, place)
            return
        if not (call.what == "user-function" and call.name in self.catalog.listed):
            self.unknown = self.unknown or call.what in {"user-function", "user-type"}
        self.act(call.what, call.name, place)

    def relation(self, fields: Node) -> tuple[str, Relation | None]:
        """Resolve a RangeVar; return its full name (as written where it is not in the catalog) and its entry."""
        schema, name = fields.get("schemaname"), str(fields.get("relname", ""))
        if fields.get("catalogname", self.catalog.database) != self.catalog.database:
            raise NotUnderstoodError("it names a relation in another database")
        found = self.catalog.resolve(schema, name)
        if found is None and schema in {None, "pg_catalog"} and classify_relation(schema, name) is not None:
            return f"pg_catalog.{name}", None
        if found is None:
            self.unknown = True
            return (f"{schema}.{name}" if schema else name), None
        if schema is None and name in self.catalog.temporary:
            self.unknown = True
        return f"{found.schema}.{found.name}", found

    def reads(self, fields: Node, place: Place, *, what: str = "select") -> None:
        """Note that a relation is read."""
        name, found = self.relation(fields)
        self.read[name] = found
        schema, _, bare = name.rpartition(".")
        system = classify_relation(schema or None, bare)
        self.act(system or what, name, place, relations=(name,))
        if found is not None and system is None:
            for reached in self._behind(found):
                if classify_relation(reached.schema, reached.name) == "password-table":
                    self.act("password-table", f"{reached.schema}.{reached.name}", place.inside(f"view {name}"))

    def writes(self, what: str, fields: Node, place: Place, most: int | None = None) -> tuple[str, Relation | None]:
        """Note that a relation is written by `what`, `most` rows of it; return its name and entry."""
        name, found = self.relation(fields)
        self.written[name] = found
        schema, _, bare = name.rpartition(".")
        if classify_relation(schema or None, bare) is not None:
            self.act("catalog-write", name, place, relations=(name,))
        self.act(what, name, place, relations=(name,), most=most)
        if found is not None and found.has_rules:
            self.act("rewrite-rule", name, place, relations=(name,))
        return name, found

    def _behind(self, relation: Relation) -> Iterator[Relation]:
        seen = {relation.oid}
        stack = list(relation.reads)
        while stack:
            oid = stack.pop()
            found = self.catalog.relations.get(oid)
            if oid in seen or found is None:
                continue
            seen.add(oid)
            yield found
            if found.schema not in {"pg_catalog", "information_schema"}:
                stack.extend(found.reads)

    def _is_column(self, name: str) -> bool:
        relations = (*self.read.values(), *self.written.values())
        return any(found is not None and any(c.name == name for c in found.columns) for found in relations)

    def _lists_settings(self, node: object) -> bool:
        """`current_setting(name)` over pg_settings alone, as psql's dconfig has it, shows no more than that view."""
        kind, reference = kind_of(node)
        return self.only_settings and kind == "ColumnRef" and strings(reference.get("fields"))[-1:] == ("name",)

    # --- handlers: each notes what its node does and returns the steps below it

    def select(self, fields: Node, place: Place) -> list[Step]:
        """SELECT, VALUES, TABLE: its table expressions first, then all below."""
        self.only_settings = not self.acts and is_settings_list(fields)
        inner, steps = self._with(fields, place)
        into, clause = child(fields, "intoClause")
        if into:
            self.into(clause, inner)
        if "lockingClause" in fields:
            self.act("for-update", "", place)
        skip = {"withClause", "intoClause"}
        return steps + [(*found, inner) for found in children({k: v for k, v in fields.items() if k not in skip})]

    def into(self, clause: Node, place: Place) -> None:
        """SELECT INTO and CREATE TABLE AS: the relation that is made."""
        _, relation = child(clause, "rel")
        schema = relation.get("schemaname")
        name = ".".join(part for part in (schema, str(relation.get("relname", ""))) if part)
        self.written.setdefault(name, None)
        self.act("create-as", name, place, relations=(created_name(relation, self.catalog),))
        if is_temporary(relation):
            self.temporary(str(relation.get("relname", "")), place)

    def temporary(self, name: str, place: Place) -> None:
        """Note a temporary object whose name would hide another: pg_temp is searched first."""
        if self.catalog.resolve(None, name) is not None or classify_relation(None, name) is not None:
            self.act("temporary-name", name, place)

    def insert(self, fields: Node, place: Place) -> list[Step]:
        """INSERT, and ON CONFLICT DO UPDATE, which is an UPDATE that its key restricts."""
        inner, steps = self._with(fields, place)
        name, _ = self.writes("insert", fields.get("relation", {}), inner)
        _, conflict = child(fields, "onConflictClause")
        if conflict.get("action") == "ONCONFLICT_UPDATE":
            self.act("update", name, inner.inside("on conflict"), relations=(name,), most=0)
        return steps + self._rest(fields, inner, "relation", "withClause")

    def update(self, fields: Node, place: Place) -> list[Step]:
        """UPDATE, by whether its WHERE restricts."""
        return self._restricted("update", fields, place, "fromClause")

    def delete(self, fields: Node, place: Place) -> list[Step]:
        """DELETE, by whether its WHERE restricts."""
        return self._restricted("delete", fields, place, "usingClause")

    def merge(self, fields: Node, place: Place) -> list[Step]:
        """MERGE: each of its arms, and whether its condition restricts what they change."""
        inner, steps = self._with(fields, place)
        target = self._target(fields, [fields.get("sourceRelation")])
        arms = [kind_of(arm)[1] for arm in items(fields.get("mergeWhenClauses"))]
        changing = [arm for arm in arms if arm.get("commandType") in {"CMD_UPDATE", "CMD_DELETE"}]
        joined = restricts(fields.get("joinCondition"), target)
        alone = [arm for arm in changing if arm.get("matchKind") == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE"]
        narrow = all(restricts(arm.get("condition"), target) for arm in alone)
        restricted = not changing or (narrow and (joined or len(alone) == len(changing)))
        name, _ = self.writes("merge" if restricted else "merge-all", fields.get("relation", {}), inner)
        self.read.setdefault(name, self.written[name])
        for arm in arms:
            what = str(arm.get("commandType", "")).removeprefix("CMD_").lower()
            if what in {"insert", "update", "delete"}:
                self.act(f"merge-{what}", name, inner, relations=(name,))
        return steps + self._rest(fields, inner, "relation", "withClause")

    def function(self, fields: Node, place: Place) -> list[Step]:
        """A function call; settings it reads or changes by name are acts of their own."""
        for call in classify(strings(fields.get("funcname")), self.catalog):
            if call.what in {"set", "show"}:
                self.calls.add(call.name)
                self._setting(call.what, items(fields.get("args")), place)
            else:
                self.call(call, place)
        return [(*found, place) for found in children({k: v for k, v in fields.items() if k != "funcname"})]

    def operator(self, fields: Node, place: Place) -> list[Step]:
        """An operator: PostgreSQL's own, a trusted extension's, or a user's function."""
        for key in ("name", "operName", "useOp"):
            names = strings(fields.get(key))
            call = operator_call(names, self.catalog) if names else None
            if call is not None:
                self.call(call, place)
        if compares_access_method(fields, self.catalog):
            return []
        skip = {"name", "operName", "useOp"}
        return [(*found, place) for found in children({k: v for k, v in fields.items() if k not in skip})]

    def type_name(self, fields: Node, place: Place) -> list[Step]:
        """A type: a user's base type brings an input function of its own."""
        names = strings(fields.get("names"))
        call = type_call(names, self.catalog) if names else None
        if call is not None:
            self.call(call, place)
        return [(*found, place) for found in children({"typmods": fields.get("typmods")})]

    def column(self, fields: Node, place: Place) -> list[Step]:
        """A column reference; its last part may be a function in disguise."""
        names = strings(fields.get("fields"))
        if len(names) > 1:
            self._fields.setdefault(names[-1], place)
        return []

    def indirection(self, fields: Node, place: Place) -> list[Step]:
        """A field selection; each may be a function in disguise."""
        for step in items(fields.get("indirection")):
            name = string(step)
            if name is not None:
                self._fields.setdefault(name, place)
        return [(*found, place) for found in children(fields)]

    def range_variable(self, fields: Node, place: Place) -> list[Step]:
        """A relation in FROM, unless its name is a table expression's."""
        if "schemaname" in fields or "catalogname" in fields or fields.get("relname") not in place.ctes:
            self.reads(fields, place)
        return []

    def sample(self, fields: Node, place: Place) -> list[Step]:
        """TABLESAMPLE: its method is a function."""
        method = strings(fields.get("method"))
        if method[-1:] not in {("system",), ("bernoulli",)} or method[:-1] not in {(), ("pg_catalog",)}:
            self.call(Call("user-function", ".".join(method)), place)
        return [(*found, place) for found in children({k: v for k, v in fields.items() if k != "method"})]

    def nothing(self, fields: Node, place: Place) -> list[Step]:  # noqa: ARG002  a handler's shape
        """A node whose parts were handled with its parent."""
        return []

    # --- parts of handlers

    def _with(self, fields: Node, place: Place) -> tuple[Place, list[Step]]:
        _, clause = child(fields, "withClause")
        expressions = [kind_of(item)[1] for item in items(clause.get("ctes"))]
        names = [str(expression.get("ctename", "")) for expression in expressions]
        steps: list[Step] = []
        seen = place.ctes | (frozenset(names) if clause.get("recursive") else frozenset())
        for name, expression in zip(names, expressions, strict=True):
            for kind, query in children({k: v for k, v in expression.items() if k != "aliascolnames"}):
                inner = Place(seen, place.within)
                steps.append((kind, query, inner if kind == "SelectStmt" else inner.inside("cte")))
            seen |= {name}
        return Place(place.ctes | frozenset(names), place.within), steps

    def _rest(self, fields: Node, place: Place, *skip: str) -> list[Step]:
        return [(*found, place) for found in children({k: v for k, v in fields.items() if k not in skip})]

    def _target(self, fields: Node, others: object) -> Target:
        relation = fields.get("relation", {})
        name, found = self.relation(relation)
        alias = relation.get("alias", {}).get("aliasname")
        names = frozenset({alias} if alias else {str(relation.get("relname", "")), name})
        twins = set()
        for kind, other in ((kind_of(item)) for item in items(others)):
            if kind == "RangeVar" and other.get("relname") == relation.get("relname"):
                twins.add(str(other.get("alias", {}).get("aliasname") or other.get("relname")))
        return Target(names, found, frozenset(twins), joined=bool(items(others)))

    def _restricted(self, what: str, fields: Node, place: Place, joined: str) -> list[Step]:
        inner, steps = self._with(fields, place)
        where, target = fields.get("whereClause"), self._target(fields, fields.get(joined))
        narrow = restricts(where, target)
        most = most_rows(where, target, self.catalog) if narrow else None
        name, found = self.writes(what if narrow else f"{what}-all", fields.get("relation", {}), inner, most)
        self.read.setdefault(name, found)
        return steps + self._rest(fields, inner, "relation", "withClause")

    def _setting(self, what: str, arguments: object, place: Place) -> None:
        given = items(arguments)
        name = constant_text(given[0]) if given else None
        if what == "show" and name is None and given and self._lists_settings(given[0]):
            return
        value = constant_text(given[1]) if what == "set" and len(given) > 1 else None
        if what == "set" and value is None and len(given) > 1 and not is_parameter(given[1]):
            # a value computed from rows would come back by SHOW, or as a ParameterStatus message
            what = "set-computed"
        self.act(what, (name or "a setting whose name is no constant").lower(), place, value)


_HANDLERS: Mapping[str, Callable[[Survey, Node, Place], list[Step]]] = MappingProxyType(
    {
        "SelectStmt": Survey.select,
        "InsertStmt": Survey.insert,
        "UpdateStmt": Survey.update,
        "DeleteStmt": Survey.delete,
        "MergeStmt": Survey.merge,
        "FuncCall": Survey.function,
        "A_Expr": Survey.operator,
        "SubLink": Survey.operator,
        "SortBy": Survey.operator,
        "TypeName": Survey.type_name,
        "ColumnRef": Survey.column,
        "A_Indirection": Survey.indirection,
        "RangeVar": Survey.range_variable,
        "RangeTableSample": Survey.sample,
        "WithClause": Survey.nothing,
        "IntoClause": Survey.nothing,
        "LockingClause": Survey.nothing,
    }
)
