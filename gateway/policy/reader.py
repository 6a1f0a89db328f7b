"""One statement of a string: its acts, effects and transaction, and where marked columns flow.

Queries go to `survey` and `lineage`, wrappers to `wrappers`, statements about the session to `session`, definitions to
`ddl`. Raises NotUnderstoodError for what it does not know; judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.masking.carried import Carried
from gateway.masking.copy_out import CopyOut
from gateway.masking.flow import Output
from gateway.masking.lineage import outputs
from gateway.masking.moves import carried
from gateway.masking.second import joined
from gateway.masking.touch import Touch, predicates, set_columns
from gateway.masking.written import CopyInto, Written, written
from gateway.policy import session, wrappers
from gateway.policy.builtins import EFFECTFUL, PRINTING
from gateway.policy.catalog import Catalog
from gateway.policy.ddl import acts_of
from gateway.policy.lexing import Lexed
from gateway.policy.literals import Literals, all_of, beside_marks, connecting, is_secret, together
from gateway.policy.named import is_temporary, relations_of
from gateway.policy.parse import NotUnderstoodError, RawStatement, Tree
from gateway.policy.set_off import set_off
from gateway.policy.statement import (
    ANY,
    SessionState,
    StateEffect,
    StatementFacts,
    Transaction,
)
from gateway.policy.survey import QUERIES, Place, Survey
from gateway.policy.system import classify_relation
from gateway.policy.tree import Node, below, child, items, kind_of, strings

_DEFINING = frozenset({"create", "alter", "create-as", "drop", "drop-database"})
_SHAPING = frozenset({"CreateStmt", "AlterTableStmt", "RenameStmt", "AlterObjectSchemaStmt"})
"""Definitions that may make or fill columns without reading any relation."""
_ALTERING = frozenset({"create", "alter", "maintenance"})
"""Definitions that look at rows: their errors may print one."""
_OPAQUE = frozenset({"call", "do", "create-function", "create-trigger", "create-rule", "load", "rewrite-rule"})
"""Acts that run code which is not in the statement."""


@dataclass(slots=True)
class Reader:
    """Reads one statement; a new one for each."""

    catalog: Catalog
    state: SessionState
    trees: Mapping[bytes, Tree]
    lexed: Lexed
    depth: int = 0
    survey: Survey = field(init=False)
    operation: str = ""
    effects: list[StateEffect] = field(default_factory=list)
    transaction: Transaction = Transaction.NONE
    passes_failed: bool = False
    depends_on_state: bool = False
    columns: tuple[Output, ...] | None = ()
    opaque_output: bool = False
    alarm: str = ""
    analyses: bool = False
    copy_out: CopyOut | None = None
    copy_into: CopyInto | None = None
    _raw: RawStatement | None = None
    _roots: list[tuple[str, Node]] = field(default_factory=list)
    """Every statement that was read on the way, those behind names included."""

    def __post_init__(self) -> None:
        self.survey = Survey(self.catalog)

    @property
    def text(self) -> bytes:
        """The string that the statement stands in."""
        return self.lexed.text

    def read(self, raw: RawStatement) -> StatementFacts:
        """Return the facts of a statement."""
        self._raw = raw
        kind, fields = kind_of(raw.node)
        self.statement(kind, fields, Place())
        self.survey.finish()
        touched = self._flows(kind, fields)
        found = self.survey
        reach = self.reach
        writes, carries = self._moves()
        marked = self.catalog.has_marks
        unsure = marked and (found.unknown or any(act.what in _OPAQUE for act in found.acts))
        return StatementFacts(
            operation=self.operation,
            acts=tuple(found.acts),
            start=raw.start,
            end=raw.end,
            transaction=self.transaction,
            effects=tuple(self.effects),
            relations_read=tuple(sorted(found.read)),
            relations_written=tuple(sorted(found.written)),
            functions=tuple(sorted(found.functions)),
            calls=tuple(sorted(found.functions | found.calls)),
            columns=self._watched(),
            marks_in_reach=tuple(sorted(reach)),
            touches_marks=bool(reach) or unsure or (marked and self._defines_marks()),
            predicate_touch=tuple(sorted(touched)),
            outputs=self.columns,
            depends_on_state=self.depends_on_state,
            analyses=self.analyses,
            sets_off=set_off(found.written.values(), self.catalog),
            ddl=any(act.what in _DEFINING or act.what in _OPAQUE for act in found.acts),
            copy_out=self.copy_out,
            copy_into=self.copy_into,
            writes=writes,
            carries=carries,
            literals=self._literals(kind, fields, raw, reaches=bool(reach) or unsure, compares=bool(touched)),
            passes_failed=self.passes_failed,
            alarm=self.alarm,
        )

    def _literals(self, kind: str, fields: Node, raw: RawStatement, *, reaches: bool, compares: bool) -> Literals:
        found = self.survey
        acts, calls = {act.what for act in found.acts}, found.functions | found.calls
        inner = {root for root, _ in self._roots}
        tables = [name.rpartition(".") for name in found.written]
        secret = any(classify_relation(schema or None, name) == "password-table" for schema, _, name in tables)
        named = {name for act in found.acts for name in act.relations} if kind not in QUERIES else set()
        defined = Touch(self.catalog, [one for name in sorted(named) for one in self.catalog.find(name)])
        if secret or (defined and not reaches) or any(is_secret(root, acts, calls) for root in {kind, *inner}):
            return all_of(self.lexed, raw.start, raw.end)
        spans = connecting(self.lexed, raw.start, raw.end)
        if not reaches:
            return Literals(spans)
        written = Touch(self.catalog, found.written.values())
        touches = (Touch(self.catalog, [*found.read.values(), *found.written.values()]), written)
        compares = compares or "marked-write" in acts
        meets = beside_marks(
            self.lexed, (raw.start, raw.end), (kind, fields), touches, tuple(found.written.values()), compares=compares
        )
        return replace(together([Literals(spans), meets]), data=kind == "CopyStmt" and "marked-write" in acts)

    def statement(self, kind: str, fields: Node, place: Place) -> None:
        """Note what a statement does, within the wrappers of `place`."""
        self._roots.append((kind, fields))
        word = QUERIES.get(kind)
        outermost = not place.within
        if outermost and not self.operation:
            self.operation = word or kind.removesuffix("Stmt").lower()
        if word is not None:
            before = len(self.survey.acts)
            self.survey.walk(kind, fields, place)
            if word == "select" and not any(
                act.what in {word, "catalog-read"} for act in list(self.survey.acts)[before:]
            ):
                self.survey.act(word, "", place)
            return
        handler = session.HANDLERS.get(kind) or wrappers.HANDLERS.get(kind)
        if handler is not None:
            handler(self, fields, place)
        else:
            self._defining(kind, fields, place)

    def _defining(self, kind: str, fields: Node, place: Place) -> None:
        found = acts_of(kind, fields)
        if not found:
            self.survey.act("not-listed", kind.removesuffix("Stmt"), place)
            return
        relations = relations_of(kind, fields, self.catalog)
        for what, target in found:
            self.survey.act(what, target, place, relations=relations)
        if not place.within:
            self.operation = found[0][0]
        relation = fields.get("relation")
        made = relation if kind == "CreateStmt" else fields.get("sequence") if kind == "CreateSeqStmt" else None
        if isinstance(made, dict) and is_temporary(made):
            self.survey.temporary(str(made.get("relname", "")), place)
        if kind == "CreateSchemaStmt":
            for inner in items(fields.get("schemaElts")):
                self.statement(*kind_of(inner), place.inside("create schema"))
        elif found[0][0] in {"create", "alter"}:
            self._parts(kind, fields, place)

    def _parts(self, kind: str, fields: Node, place: Place) -> None:
        """Functions, operators and types in defaults, checks, indexes: what they would run later."""
        for here, node in below(kind, fields):
            if here in {"FuncCall", "A_Expr", "TypeName", "SelectStmt", "A_Indirection"}:
                self.survey.walk(here, node, place.inside(kind.removesuffix("Stmt").lower()))

    def result(self, kind: str, fields: Node) -> None:
        """Find the outputs of the query that gives the statement's result."""
        self.columns = outputs(kind, fields, self.catalog) if self.may_reach else ()

    def vote(self, query: bytes | None) -> None:
        """Have the second reader say what it thinks of the outputs; `query` is their own text, None where unknown."""
        if self.columns is not None and query is not None:
            self.columns, alarm = joined(self.columns, query.decode("utf-8", "replace"), self.catalog, self.reach)
            self.alarm = self.alarm or alarm

    def _flows(self, kind: str, fields: Node) -> frozenset[str]:
        if kind in QUERIES and not self.opaque_output:
            self.result(kind, fields)
            self.vote(self.slice())
        relations = (*self.survey.read.values(), *self.survey.written.values())
        touch = Touch(self.catalog, relations)
        self._marked_writes(touch)
        found: set[str] = set()
        if touch:
            for root in self._queries() or [(kind, fields)]:
                for here, node in predicates(*root):
                    found |= touch.mentioned(here, node)
        return frozenset(found)

    def _queries(self) -> list[tuple[str, Node]]:
        """Return every query and write that the statement runs, those behind names included."""
        return [(kind, fields) for kind, fields in self._roots if kind in QUERIES]

    def _moves(self) -> tuple[tuple[Written, ...], tuple[Carried, ...]]:
        """Return what it puts into marked columns, and which columns it fills from them; PREPARE runs nothing yet."""
        defines = any(kind in _SHAPING for kind, _ in self._roots)
        if not (self.may_reach or (defines and self.catalog.has_marks)):
            return (), ()
        writes: dict[Written, None] = {}
        carries: dict[Carried, None] = {}
        arguments: Sequence[object] = ()
        for kind, fields in self._roots:
            if kind == "ExecuteStmt":
                arguments = items(fields.get("params"))
            writes.update(dict.fromkeys(written(kind, fields, self.catalog, arguments)))
            carries.update(dict.fromkeys(carried(kind, fields, self.catalog)))
        return tuple(writes), tuple(carries) if self.operation != "prepare" else ()

    def _watched(self) -> tuple[str, ...]:
        """Return the columns that rules name and this statement mentions, in what it runs behind names too."""
        if not self.catalog.watched:
            return ()
        relations = [*self.survey.read.values(), *self.survey.written.values()]
        named = {name for act in self.survey.acts for name in act.relations}
        relations += [found for name in named for found in self.catalog.find(name)]
        touch = Touch(self.catalog, relations, self.catalog.watched)
        if not touch:
            return ()
        return tuple(sorted({mark for kind, fields in self._roots for mark in touch.anywhere(kind, fields)}))

    def _marked_writes(self, touch: Touch) -> None:
        found: set[str] = set()
        everything = [pair for kind, fields in self._roots for pair in below(kind, fields)] if touch else []
        lasting = any(name.rpartition(".")[2] in EFFECTFUL for name in self.survey.functions)
        if lasting and any(_leaves_trace(here, node) for here, node in everything):
            found |= touch.everything()
        if not self.survey.written:
            self._note_marked(found)
            return
        for here, node in everything:
            if here in {"InsertStmt", "UpdateStmt", "MergeStmt", "CopyStmt"} and "query" not in node:
                target = Touch(self.catalog, [self.survey.relation(node.get("relation", {}))[1]])
                for part, inner in ((here, node), *_arms(here, node)):
                    names = set_columns(part, inner)
                    found |= target.everything() if names is None else target.named(names)
        for kind, fields in self._queries():
            body = {name: value for name, value in fields.items() if name != "returningList"}
            found |= touch.mentioned(kind, body)
        unresolved = {name for name, relation in self.survey.read.items() if relation is None}
        unresolved = {name for name in unresolved if not name.startswith("pg_catalog.")}
        if self.catalog.has_marks and unresolved - set(self.survey.written):
            found.add("what cannot be decided")
        self._note_marked(found)

    def _note_marked(self, found: set[str]) -> None:
        for mark in sorted(found):
            self.survey.act("marked-write", mark, Place())

    @property
    def may_reach(self) -> bool:
        """Whether a marked column may be in reach."""
        return bool(self.reach) or (self.catalog.has_marks and self.survey.unknown)

    @property
    def reach(self) -> frozenset[str]:
        """Marked columns that the relations read and written can lead to."""
        relations = (*self.survey.read.values(), *self.survey.written.values())
        reached = (self.catalog.reach.get(relation.oid, frozenset()) for relation in relations if relation is not None)
        found = {mark for marks in reached for mark in marks}
        if self.catalog.definitions_print:
            called = self.survey.functions | self.survey.calls
            found |= {name for name in called if name.rpartition(".")[2] in PRINTING}
        return frozenset(found)

    def _defines_marks(self) -> bool:
        """Say whether a definition may meet rows with marked values: what fails there prints them.

        It may be of a relation that it does not name: a domain's new check and VACUUM look at every table.
        """
        for act in self.survey.acts:
            if act.what not in _ALTERING:
                continue
            named = [relation for name in act.relations for relation in self.catalog.find(name)]
            if act.what != "create" and (not named or ANY in act.relations):
                return True
            if any(relation.kind == "c" or self.catalog.reach.get(relation.oid) for relation in named):
                return True
        return False

    def leaks(self) -> str:
        """Name the marked columns that the result would hand out; empty where there are none."""
        if not self.may_reach:
            return ""
        if self.columns is None:
            return "what cannot be decided"
        marks = {mark for output in self.columns if not output.flow.clean for mark in output.flow.sources or ("?",)}
        return ", ".join(sorted(marks))

    @property
    def alone(self) -> bool:
        """Whether the string holds no other statement."""
        raw = self._raw
        return (
            raw is not None
            and not self.lexed.text[: raw.start].strip()
            and not self.lexed.text[raw.end :].strip(b"; \t\r\n")
        )

    def slice(self) -> bytes:
        """Return the statement's own text."""
        if self._raw is None:
            raise NotUnderstoodError("a statement without a place")
        return self.lexed.text[self._raw.start : self._raw.end].strip()


def _leaves_trace(kind: str, node: Node) -> bool:
    """Say whether a call leaves an argument that is no constant where it can be seen later."""
    if kind != "FuncCall" or strings(node.get("funcname"))[-1:] == () or strings(node["funcname"])[-1] not in EFFECTFUL:
        return False
    arguments = {"items": node.get("args")}
    return any(here in {"ColumnRef", "SubLink"} for here, _ in below("List", arguments))


def _arms(kind: str, node: Node) -> list[tuple[str, Node]]:
    if kind == "MergeStmt":
        return [kind_of(arm) for arm in items(node.get("mergeWhenClauses"))]
    return [child(node, "onConflictClause")] if "onConflictClause" in node else []
