"""Statements that contain others: EXPLAIN, PREPARE, EXECUTE, DECLARE, FETCH, COPY, CREATE … AS and CREATE VIEW.

Each is what it contains, within a wrapper that is named. A name (EXECUTE, FETCH) is what its text says, read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.masking.copy_out import CopyOut
from gateway.masking.flow import Output
from gateway.masking.written import CopyInto, receivers
from gateway.model import Declared, Prepared
from gateway.pgwire.backend import ColumnDescription
from gateway.policy.catalog import Catalog, Relation
from gateway.policy.copies import inner_query, layout_of, named_query
from gateway.policy.named import created_name, is_temporary
from gateway.policy.parse import INLINE_LIMIT, NotUnderstoodError, parse
from gateway.policy.survey import QUERIES, Place
from gateway.policy.tree import Node, child, flag, items, kind_of, strings

if TYPE_CHECKING:
    from gateway.policy.reader import Reader

DEEPEST = 4
"""How often a name may stand for a statement that names another."""
_CURSOR_HOLD = 0x20


class WantsTreeError(NotUnderstoodError):
    """A text that the statement names is too large to be parsed here; `text` is to be parsed elsewhere."""

    def __init__(self, text: bytes) -> None:
        super().__init__("a statement that it names is too large")
        self.text = text


def explain(reader: Reader, fields: Node, place: Place) -> None:
    """EXPLAIN: what it contains; its own result is a plan."""
    reader.operation = "explain"
    reader.survey.act("explain", "", place)
    # of several options of one name PostgreSQL takes the last: any that switches it on counts
    analyses = any(flag([option], "analyze") for option in items(fields.get("options")))
    reader.analyses = reader.analyses or analyses
    reader.statement(*child(fields, "query"), place.inside("explain"))
    # a plan shows the statement's own constants and estimates; code that nobody knows may fold values into it
    reader.columns = (Output("QUERY PLAN"),) if not reader.survey.unknown else None
    reader.opaque_output = True


def prepare(reader: Reader, fields: Node, place: Place) -> None:
    """PREPARE: judged by what it contains, and so is EXECUTE later."""
    reader.operation = "prepare"
    name = str(fields.get("name", ""))
    reader.survey.act("prepare", name, place)
    reader.statement(*child(fields, "query"), place.inside("prepare"))
    for kind, node in map(kind_of, items(fields.get("argtypes"))):
        reader.survey.walk(kind, node, place)
    reader.effects.append(Prepared(name, reader.slice()))
    reader.opaque_output = True


def execute(reader: Reader, fields: Node, place: Place) -> None:
    """EXECUTE: what the name stands for, and its arguments."""
    if not place.within:
        reader.operation = "execute"
    name = str(fields.get("name", ""))
    reader.survey.act("execute", name, place)
    for kind, node in map(kind_of, items(fields.get("params"))):
        reader.survey.walk(kind, node, place)
    _run_named(reader, reader.state.prepared, name, place.inside("execute"), "unknown-statement",
                    f'prepared statement "{name}" does not exist')  # fmt: skip


def declare(reader: Reader, fields: Node, place: Place) -> None:
    """DECLARE: judged by what it contains."""
    reader.operation = "declare"
    name = str(fields.get("portalname", ""))
    reader.survey.act("declare", name, place)
    reader.statement(*child(fields, "query"), place.inside("declare"))
    hold = bool(int(fields.get("options", 0)) & _CURSOR_HOLD)
    reader.effects.append(Declared(name, reader.slice(), hold))
    reader.opaque_output = True


def fetch(reader: Reader, fields: Node, place: Place) -> None:
    """FETCH and MOVE: rows of what the cursor stands for."""
    word = "move" if fields.get("ismove") else "fetch"
    reader.operation = word
    name = str(fields.get("portalname", ""))
    reader.survey.act(word, name, place)
    _run_named(reader, reader.state.cursors, name, place.inside("cursor"), "unknown-cursor",
                    f'cursor "{name}" does not exist')  # fmt: skip


def _run_named(reader: Reader, names: Mapping[str, bytes], name: str, place: Place, missing: str, words: str) -> None:
    """Judge what a name stands for: the text that made it, unwrapped."""
    reader.depends_on_state = True
    reader.opaque_output = True
    if name not in names:
        reader.survey.act(missing, words, place)
        return
    if reader.depth >= DEEPEST:
        raise NotUnderstoodError("it names a statement that names a statement, too often")
    text = names[name]
    tree = reader.trees.get(text)
    if tree is None and len(text) > INLINE_LIMIT:
        raise WantsTreeError(text)
    tree = tree or parse(text)
    if len(tree.statements) != 1:
        raise NotUnderstoodError(f"{name} stands for several statements")
    kind, fields = kind_of(tree.statements[0].node)
    wrapped = kind in {"PrepareStmt", "DeclareCursorStmt"}
    if wrapped:
        kind, fields = child(fields, "query")
    reader.depth += 1
    reader.statement(kind, fields, place)
    reader.depth -= 1
    if kind in QUERIES:
        reader.result(kind, fields)
        if reader.may_reach:
            reader.vote(named_query(text, (kind, fields)) if wrapped else text)


def copy_(reader: Reader, fields: Node, place: Place) -> None:
    """COPY, in both directions."""
    reads = not fields.get("is_from")
    reader.operation = word = "copy-out" if reads else "copy-in"
    if fields.get("is_program"):
        reader.survey.act("server-program", str(fields.get("filename", "")), place)
    elif "filename" in fields:
        reader.survey.act("server-file", str(fields["filename"]), place)
    reader.opaque_output = True
    if not reads:
        _, relation = reader.survey.writes(word, fields.get("relation", {}), place)
        reader.copy_into = _copy_into(relation, fields, reader.catalog)
        if "whereClause" in fields:
            reader.survey.walk(*child(fields, "whereClause"), place)
        return
    if "relation" in fields:
        reader.survey.reads(fields["relation"], place, what=word)
        query = ("SelectStmt", _table_query(reader, fields))
    else:
        reader.survey.act(word, "the rows of a query", place)
        query = child(fields, "query")
        reader.statement(*query, place.inside("copy"))
    if query[0] in QUERIES:
        reader.result(*query)
    if not reader.catalog.has_marks:
        return
    reader.copy_out = _copy_out(reader, fields, query)
    if reader.copy_out is None and reader.may_reach:
        reader.survey.act("copy-out-marked", reader.leaks() or ", ".join(sorted(reader.reach)), place)


def _copy_out(reader: Reader, copy: Node, query: tuple[str, Node]) -> CopyOut | None:
    """Return what is known of a COPY's data; None where it could not be masked."""
    layout = layout_of(copy)
    if layout is None:
        return None
    if "relation" in copy:
        return CopyOut(layout, _copied_columns(reader, copy))
    found = inner_query(reader.text, query) if reader.alone else None
    reader.vote(found[0] if found is not None else None)
    return CopyOut(layout) if found is None else CopyOut(layout, (), *found)


def _copy_into(relation: Relation | None, copy: Node, catalog: Catalog) -> CopyInto | None:
    """Return which columns of COPY … FROM are marked; None where none is, or the data cannot be read."""
    layout = layout_of(copy)
    if relation is None or layout is None:
        return None
    names = strings(copy.get("attlist")) or tuple(column.name for column in relation.columns if not column.generated)
    found = receivers(relation, names, catalog)
    return CopyInto(layout, found) if any(found) else None


def _copied_columns(reader: Reader, copy: Node) -> tuple[ColumnDescription, ...]:
    """Describe the columns of COPY t (a, b) TO as a result of a query would be; none where the catalog has no say."""
    name, relation = reader.survey.relation(copy["relation"])
    if relation is None or name.rpartition(".")[2] in reader.catalog.temporary:
        return ()
    known = {column.name: column for column in relation.columns}
    names = strings(copy.get("attlist")) or tuple(column.name for column in relation.columns if not column.generated)
    columns = [known[name] for name in names if name in known]
    return tuple(
        ColumnDescription(each.name, relation.oid, each.number, each.type_oid, -1, each.type_modifier, 0)
        for each in columns
    )


def create_as(reader: Reader, fields: Node, place: Place) -> None:
    """CREATE TABLE AS and CREATE MATERIALIZED VIEW."""
    reader.operation = "create-as"
    _, clause = child(fields, "into")
    reader.survey.into(clause, place)
    reader.statement(*child(fields, "query"), place.inside("create as"))
    reader.opaque_output = True


def view(reader: Reader, fields: Node, place: Place) -> None:
    """CREATE VIEW."""
    reader.operation = "create-view"
    view = fields.get("view", {})
    name = ".".join(p for p in (view.get("schemaname"), view.get("relname")) if p)
    reader.survey.act("create", name, place, relations=(created_name(view, reader.catalog),))
    if is_temporary(view):
        reader.survey.temporary(str(view.get("relname", "")), place)
    reader.statement(*child(fields, "query"), place.inside("view"))
    reader.opaque_output = True


def _table_query(reader: Reader, copy: Node) -> Node:
    """COPY t (a, b) TO reads as SELECT a, b FROM ONLY t; without columns, those that are not generated."""
    names = strings(copy.get("attlist")) or tuple(column.name for column in _copied_columns(reader, copy))
    fields = [[{"String": {"sval": name}}] for name in names] or [[{"A_Star": {}}]]
    targets = [{"ResTarget": {"val": {"ColumnRef": {"fields": parts}}}} for parts in fields]
    return {"targetList": targets, "fromClause": [{"RangeVar": copy.get("relation", {})}]}


HANDLERS: Mapping[str, Callable[[Reader, Node, Place], None]] = MappingProxyType(
    {
        "ExplainStmt": explain,
        "PrepareStmt": prepare,
        "ExecuteStmt": execute,
        "DeclareCursorStmt": declare,
        "FetchStmt": fetch,
        "CopyStmt": copy_,
        "CreateTableAsStmt": create_as,
        "ViewStmt": view,
    }
)
"""Statement kind -> what reads it."""
