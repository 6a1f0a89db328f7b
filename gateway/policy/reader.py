"""One statement of a string: its acts, effects and transaction, and where marked columns flow.

Queries go to `survey` and `lineage`; the rest is decided here by kind. Wrappers (EXPLAIN, PREPARE, EXECUTE, DECLARE, COPY)
are what they contain. Raises NotUnderstoodError for what it does not know; judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.masking.flow import Output
from gateway.masking.lineage import outputs
from gateway.masking.touch import Touch, predicates, set_columns
from gateway.policy.builtins import PRINTING
from gateway.policy.catalog import Catalog
from gateway.policy.ddl import acts_of
from gateway.policy.parameters import join_search_path
from gateway.policy.parse import INLINE_LIMIT, NotUnderstoodError, RawStatement, Tree, parse
from gateway.policy.statement import (
    Closed,
    Deallocated,
    Declared,
    Discarded,
    Prepared,
    SessionState,
    StateEffect,
    StatementFacts,
    Transaction,
)
from gateway.policy.survey import Place, Survey
from gateway.policy.tree import Node, below, child, children, constant_text, items, kind_of, string, strings

_QUERIES: Mapping[str, str] = MappingProxyType(
    {
        "SelectStmt": "select",
        "InsertStmt": "insert",
        "UpdateStmt": "update",
        "DeleteStmt": "delete",
        "MergeStmt": "merge",
    }
)
_DEFINING = frozenset({"create", "alter", "create-as", "drop"})
_OPAQUE = frozenset({"call", "do", "create-function", "create-trigger", "create-rule", "load", "rewrite-rule"})
"""Acts that run code which is not in the statement."""
_DEEPEST = 4
_CURSOR_HOLD = 0x20


class WantsTreeError(NotUnderstoodError):
    """A text that the statement names is too large to be parsed here; `text` is to be parsed elsewhere."""

    def __init__(self, text: bytes) -> None:
        super().__init__("a statement that it names is too large")
        self.text = text


@dataclass(slots=True)
class Reader:
    """Reads one statement; a new one for each."""

    catalog: Catalog
    state: SessionState
    text: bytes
    trees: Mapping[bytes, Tree]
    depth: int = 0
    survey: Survey = field(init=False)
    operation: str = ""
    effects: list[StateEffect] = field(default_factory=list)
    transaction: Transaction = Transaction.NONE
    passes_failed: bool = False
    depends_on_state: bool = False
    columns: tuple[Output, ...] | None = ()
    opaque_output: bool = False
    _raw: RawStatement | None = None

    def __post_init__(self) -> None:
        self.survey = Survey(self.catalog)

    def read(self, raw: RawStatement) -> StatementFacts:
        """Return the facts of a statement."""
        self._raw = raw
        kind, fields = kind_of(raw.node)
        self.statement(kind, fields, Place())
        self.survey.finish()
        touched = self._flows(kind, fields)
        found = self.survey
        reach = self._reach()
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
            marks_in_reach=tuple(sorted(reach)),
            touches_marks=bool(reach) or unsure,
            predicate_touch=tuple(sorted(touched)),
            outputs=self.columns,
            depends_on_state=self.depends_on_state,
            ddl=any(act.what in _DEFINING or act.what in _OPAQUE for act in found.acts),
            passes_failed=self.passes_failed,
        )

    def statement(self, kind: str, fields: Node, place: Place) -> None:
        """Note what a statement does, within the wrappers of `place`."""
        word = _QUERIES.get(kind)
        outermost = not place.within
        if outermost and not self.operation:
            self.operation = word or kind.removesuffix("Stmt").lower()
        if word is not None:
            before = len(self.survey.acts)
            self.survey.walk(kind, fields, place)
            if len(self.survey.acts) == before:
                self.survey.act(word, "", place)
            return
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, fields, place)
        else:
            self._defining(kind, fields, place)

    # --- wrappers

    def _explain(self, fields: Node, place: Place) -> None:
        self.operation = "explain"
        self.survey.act("explain", "", place)
        self.statement(*child(fields, "query"), place.inside("explain"))
        self.columns = () if not self.survey.unknown else None
        self.opaque_output = True

    def _prepare(self, fields: Node, place: Place) -> None:
        self.operation = "prepare"
        name = str(fields.get("name", ""))
        self.survey.act("prepare", name, place)
        self.statement(*child(fields, "query"), place.inside("prepare"))
        for kind, node in map(kind_of, items(fields.get("argtypes"))):
            self.survey.walk(kind, node, place)
        self.effects.append(Prepared(name, self._slice()))
        self.opaque_output = True

    def _execute(self, fields: Node, place: Place) -> None:
        if not place.within:
            self.operation = "execute"
        name = str(fields.get("name", ""))
        self.survey.act("execute", name, place)
        for kind, node in map(kind_of, items(fields.get("params"))):
            self.survey.walk(kind, node, place)
        self._run_named(self.state.prepared, name, place.inside("execute"), "unknown-statement",
                        f'prepared statement "{name}" does not exist')  # fmt: skip

    def _declare(self, fields: Node, place: Place) -> None:
        self.operation = "declare"
        name = str(fields.get("portalname", ""))
        self.survey.act("declare", name, place)
        self.statement(*child(fields, "query"), place.inside("declare"))
        hold = bool(int(fields.get("options", 0)) & _CURSOR_HOLD)
        self.effects.append(Declared(name, self._slice(), hold))
        self.opaque_output = True

    def _fetch(self, fields: Node, place: Place) -> None:
        word = "move" if fields.get("ismove") else "fetch"
        self.operation = word
        name = str(fields.get("portalname", ""))
        self.survey.act(word, name, place)
        self._run_named(self.state.cursors, name, place.inside("cursor"), "unknown-cursor",
                        f'cursor "{name}" does not exist')  # fmt: skip

    def _run_named(self, names: Mapping[str, bytes], name: str, place: Place, missing: str, words: str) -> None:
        """Judge what a name stands for: the text that made it, unwrapped."""
        self.depends_on_state = True
        self.opaque_output = True
        if name not in names:
            self.survey.act(missing, words, place)
            return
        if self.depth >= _DEEPEST:
            raise NotUnderstoodError("it names a statement that names a statement, too often")
        text = names[name]
        tree = self.trees.get(text)
        if tree is None and len(text) > INLINE_LIMIT:
            raise WantsTreeError(text)
        tree = tree or parse(text)
        if len(tree.statements) != 1:
            raise NotUnderstoodError(f"{name} stands for several statements")
        kind, fields = kind_of(tree.statements[0].node)
        if kind in {"PrepareStmt", "DeclareCursorStmt"}:
            kind, fields = child(fields, "query")
        self.depth += 1
        self.statement(kind, fields, place)
        self.depth -= 1
        if kind in _QUERIES:
            self._result(kind, fields)

    def _copy(self, fields: Node, place: Place) -> None:
        reads = not fields.get("is_from")
        self.operation = word = "copy-out" if reads else "copy-in"
        if fields.get("is_program"):
            self.survey.act("server-program", str(fields.get("filename", "")), place)
        elif "filename" in fields:
            self.survey.act("server-file", str(fields["filename"]), place)
        self.opaque_output = True
        if not reads:
            self.survey.writes(word, fields.get("relation", {}), place)
            for kind, node in children({"where": [fields["whereClause"]]} if "whereClause" in fields else {}):
                self.survey.walk(kind, node, place)
            return
        if "relation" in fields:
            self.survey.reads(fields["relation"], place, what=word)
            query = ("SelectStmt", _table_query(fields))
        else:
            self.survey.act(word, "the rows of a query", place)
            query = child(fields, "query")
            self.statement(*query, place.inside("copy"))
        if query[0] in _QUERIES:
            self._result(*query)
        leaks = self._leaks()
        if leaks:
            self.survey.act("copy-out-marked", leaks, place)
        self.columns = ()

    # --- session

    def _transaction(self, fields: Node, place: Place) -> None:
        kind = str(fields.get("kind", "")).removeprefix("TRANS_STMT_")
        self.transaction = _TRANSACTIONS.get(kind, Transaction.TWO_PHASE)
        self.operation = self.transaction.value
        self.passes_failed = kind in {"COMMIT", "ROLLBACK", "ROLLBACK_TO", "PREPARE"}
        known = self.transaction is not Transaction.TWO_PHASE
        self.survey.act("transaction" if known else "two-phase", self.operation, place)
        if kind in {"BEGIN", "START", "COMMIT", "ROLLBACK"}:
            self._modes(fields.get("options"), "", place)

    def _modes(self, options: object, prefix: str, place: Place) -> None:
        for option in items(options):
            _, fields = kind_of(option)
            self.survey.act("set", prefix + str(fields.get("defname", "")), place, constant_text(fields.get("arg")))

    def _set(self, fields: Node, place: Place) -> None:
        self.operation = "set"
        kind = str(fields.get("kind"))
        name = str(fields.get("name", "")).lower()
        if kind == "VAR_SET_MULTI":
            if name == "transaction snapshot":
                self.survey.act("set", "transaction_snapshot", place)
            else:
                self._modes(fields.get("args"), "default_" if name.startswith("session") else "", place)
        elif kind == "VAR_SET_VALUE":
            values = [constant_text(item) for item in items(fields.get("args"))]
            known = [value for value in values if value is not None]
            whole = len(known) == len(values) > 0
            joined = join_search_path(known) if name == "search_path" else ", ".join(known)
            self.survey.act("set", name, place, joined if whole else None)
        else:
            self.operation = "reset"
            self.survey.act("reset", name or "all", place)

    def _show(self, fields: Node, place: Place) -> None:
        self.operation = "show"
        self.survey.act("show", str(fields.get("name", "")).lower(), place)

    def _deallocate(self, fields: Node, place: Place) -> None:
        self.operation = "deallocate"
        name = fields.get("name")
        self.survey.act("deallocate", str(name or "all"), place)
        self.effects.append(Deallocated(str(name) if name is not None else None))

    def _close(self, fields: Node, place: Place) -> None:
        self.operation = "close"
        name = fields.get("portalname")
        self.survey.act("close", str(name or "all"), place)
        self.effects.append(Closed(str(name) if name is not None else None))

    def _discard(self, fields: Node, place: Place) -> None:
        self.operation = "discard"
        what = str(fields.get("target", "")).removeprefix("DISCARD_").lower()
        self.survey.act("discard", what, place)
        if what == "all":
            self.effects.append(Discarded())

    def _call(self, fields: Node, place: Place) -> None:
        self.operation = "call"
        _, call = child(fields, "funccall")
        names = strings(call.get("funcname"))
        self.survey.act("call", ".".join(names), place)
        for kind, node in map(kind_of, items(call.get("args"))):
            self.survey.walk(kind, node, place)
        self.columns = None
        self.opaque_output = True

    # --- definitions

    def _create_as(self, fields: Node, place: Place) -> None:
        self.operation = "create-as"
        _, clause = child(fields, "into")
        self.survey.into(clause, place)
        self.statement(*child(fields, "query"), place.inside("create as"))
        self.opaque_output = True

    def _view(self, fields: Node, place: Place) -> None:
        self.operation = "create-view"
        view = fields.get("view", {})
        self.survey.act("create", ".".join(p for p in (view.get("schemaname"), view.get("relname")) if p), place)
        if view.get("relpersistence") == "t":
            self.survey.temporary(str(view.get("relname", "")), place)
        self.statement(*child(fields, "query"), place.inside("view"))
        self.opaque_output = True

    def _defining(self, kind: str, fields: Node, place: Place) -> None:
        found = acts_of(kind, fields)
        if not found:
            self.survey.act("not-listed", kind.removesuffix("Stmt"), place)
            return
        for what, target in found:
            self.survey.act(what, target, place)
        if not place.within:
            self.operation = found[0][0]
        relation = fields.get("relation")
        if isinstance(relation, dict) and relation.get("relpersistence") == "t" and kind == "CreateStmt":
            self.survey.temporary(str(relation.get("relname", "")), place)
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

    # --- flows

    def _result(self, kind: str, fields: Node) -> None:
        """Find the outputs of the query that gives the statement's result."""
        self.columns = outputs(kind, fields, self.catalog) if self._may_reach() else ()

    def _flows(self, kind: str, fields: Node) -> frozenset[str]:
        if kind in _QUERIES and not self.opaque_output:
            self._result(kind, fields)
        relations = (*self.survey.read.values(), *self.survey.written.values())
        touch = Touch(self.catalog, relations)
        self._marked_writes(kind, fields, touch)
        found: set[str] = set()
        if touch:
            for here, node in predicates(kind, fields):
                found |= touch.mentioned(here, node)
        return frozenset(found)

    def _marked_writes(self, kind: str, fields: Node, touch: Touch) -> None:
        if not self.survey.written:
            return
        found: set[str] = set()
        for here, node in below(kind, fields):
            if here in {"InsertStmt", "UpdateStmt", "MergeStmt", "CopyStmt"} and touch:
                target = Touch(self.catalog, [self.survey.relation(node.get("relation", {}), Place())[1]])
                for part, inner in ((here, node), *_arms(here, node)):
                    names = set_columns(part, inner)
                    found |= target.everything() if names is None else target.named(names)
        if kind not in {"CopyStmt", "ViewStmt"}:
            body = {name: value for name, value in fields.items() if name != "returningList"}
            found |= touch.mentioned(kind, body)
        unresolved = {name for name, relation in self.survey.read.items() if relation is None}
        unresolved = {name for name in unresolved if not name.startswith("pg_catalog.")}
        if self.catalog.has_marks and unresolved - set(self.survey.written):
            found.add("what cannot be decided")
        for mark in sorted(found):
            self.survey.act("marked-write", mark, Place())

    def _may_reach(self) -> bool:
        return bool(self._reach()) or (self.catalog.has_marks and self.survey.unknown)

    def _reach(self) -> frozenset[str]:
        relations = (*self.survey.read.values(), *self.survey.written.values())
        reached = (self.catalog.reach.get(relation.oid, frozenset()) for relation in relations if relation is not None)
        found = {mark for marks in reached for mark in marks}
        if self.catalog.definitions_print:
            found |= {name for name in self.survey.functions if name.rpartition(".")[2] in PRINTING}
        return frozenset(found)

    def _leaks(self) -> str:
        if not self._may_reach():
            return ""
        if self.columns is None:
            return "what cannot be decided"
        marks = {mark for output in self.columns if not output.flow.clean for mark in output.flow.sources or ("?",)}
        return ", ".join(sorted(marks))

    def _slice(self) -> bytes:
        if self._raw is None:
            raise NotUnderstoodError("a statement without a place")
        return self.text[self._raw.start : self._raw.end].strip()


def _table_query(copy: Node) -> Node:
    """COPY t (a, b) TO reads as SELECT a, b FROM ONLY t."""
    names = [string(item) for item in items(copy.get("attlist"))]
    fields = [[{"String": {"sval": name}}] for name in names] or [[{"A_Star": {}}]]
    targets = [{"ResTarget": {"val": {"ColumnRef": {"fields": parts}}}} for parts in fields]
    return {"targetList": targets, "fromClause": [{"RangeVar": copy.get("relation", {})}]}


def _arms(kind: str, node: Node) -> list[tuple[str, Node]]:
    if kind == "MergeStmt":
        return [kind_of(arm) for arm in items(node.get("mergeWhenClauses"))]
    return [child(node, "onConflictClause")] if "onConflictClause" in node else []


def _listen(reader: Reader, fields: Node, place: Place) -> None:
    reader.operation = "listen"
    reader.survey.act("listen", str(fields.get("conditionname", "")), place)


def _unlisten(reader: Reader, fields: Node, place: Place) -> None:
    reader.operation = "unlisten"
    reader.survey.act("unlisten", str(fields.get("conditionname", "")), place)


def _notify(reader: Reader, fields: Node, place: Place) -> None:
    reader.operation = "notify"
    reader.survey.act("notify", str(fields.get("conditionname", "")), place)


def _constraints(reader: Reader, fields: Node, place: Place) -> None:  # noqa: ARG001  a handler's shape
    reader.operation = "set"
    reader.survey.act("transaction", "constraints", place)


_TRANSACTIONS: Mapping[str, Transaction] = MappingProxyType(
    {
        "BEGIN": Transaction.BEGIN,
        "START": Transaction.BEGIN,
        "COMMIT": Transaction.COMMIT,
        "ROLLBACK": Transaction.ROLLBACK,
        "ROLLBACK_TO": Transaction.ROLLBACK_TO,
        "SAVEPOINT": Transaction.SAVEPOINT,
        "RELEASE": Transaction.RELEASE,
    }
)

_HANDLERS: Mapping[str, Callable[[Reader, Node, Place], None]] = MappingProxyType(
    {
        "ExplainStmt": Reader._explain,
        "PrepareStmt": Reader._prepare,
        "ExecuteStmt": Reader._execute,
        "DeclareCursorStmt": Reader._declare,
        "FetchStmt": Reader._fetch,
        "CopyStmt": Reader._copy,
        "TransactionStmt": Reader._transaction,
        "VariableSetStmt": Reader._set,
        "VariableShowStmt": Reader._show,
        "DeallocateStmt": Reader._deallocate,
        "ClosePortalStmt": Reader._close,
        "DiscardStmt": Reader._discard,
        "CallStmt": Reader._call,
        "CreateTableAsStmt": Reader._create_as,
        "ViewStmt": Reader._view,
        "ListenStmt": _listen,
        "UnlistenStmt": _unlisten,
        "NotifyStmt": _notify,
        "ConstraintsSetStmt": _constraints,
    }
)
