"""How some rows that a write changes are read, before and after it: by SQL of the gateway's own beside it. Pure.

Promises that the write itself is never rewritten, that a column which is marked, or not provably clean, is not even
selected, and that a condition is taken over only where the parser reads it in its new place as it did in the old one.
What is no plain INSERT, UPDATE or DELETE of one table with a key gets no sample, and a reason. Source of the rows:
those that match the write's own condition, by key, as others still see them and as its transaction sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.policy.catalog import Catalog, Column, Relation
from gateway.policy.lexing import tokens
from gateway.policy.parse import INLINE_LIMIT, NotUnderstoodError, SyntaxFaultError, parse
from gateway.policy.statement import Facts
from gateway.policy.tree import Node, below, child, items, kind_of

COLUMNS: Final = 12
"""Columns shown of a row."""
TEXT: Final = 120
"""Characters shown of a value."""
PAGES: Final = 64
"""Newest pages of a table in which inserted rows are looked for."""
_FIRST_USER_OID: Final = 16384
_RUNS_CODE = frozenset({"user-function", "user-type", "rewrite-rule", "sequence", "nextval", "call"})
_BEYOND = ("withClause", "fromClause", "usingClause", "onConflictClause")


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """The table whose rows are read, and by what. A row that was read has key, `xmin`, and the shown columns."""

    kind: str
    """insert, update or delete."""
    relation: str
    oid: int
    columns: tuple[str, ...]
    shown: tuple[bool, ...]
    """One for each column; what is not shown is not selected."""
    keys: tuple[str, ...]
    source: str
    """The table as SQL, with its alias."""
    alias: str
    where: str
    """The write's condition, its parameters numbered anew."""
    parameters: tuple[int, ...] = ()
    """Which of the write's parameters those are, from 1."""
    numbers: tuple[tuple[str, int], ...] = ()
    """Name and number of each column that is read: under another number the name is another column by now."""

    @property
    def selected(self) -> tuple[str, ...]:
        """The columns that are read beside the key."""
        return tuple(name for name, shown in zip(self.columns, self.shown, strict=True) if shown)


def plan_sample(found: Facts) -> SamplePlan | str:
    """Return how the rows of the only write of a string are read, or why they cannot be."""
    if len(found.statements) != 1 or len(found.text) > INLINE_LIMIT:
        return "several statements, or a long one"
    statement, catalog = found.statements[0], found.catalog
    if any(act.what in _RUNS_CODE for act in statement.acts) or any("advisory" in name for name in statement.calls):
        return "it runs code that reading it again would run again"
    if statement.carries or catalog is None or found.depends_on_state:
        return "what it writes would be marked only once it is let through" if statement.carries else "it names no text"
    try:
        (raw,) = parse(found.text).statements
        kind, fields = kind_of(raw.node)
        return _plan(kind, fields, found.text[raw.start : raw.end], catalog)
    except (NotUnderstoodError, SyntaxFaultError, ValueError, RecursionError):
        return "its condition cannot be read apart from it"


def _plan(kind: str, fields: Node, text: bytes, catalog: Catalog) -> SamplePlan | str:
    verb = {"InsertStmt": "insert", "UpdateStmt": "update", "DeleteStmt": "delete"}.get(kind)
    if verb is None or any(fields.get(name) for name in _BEYOND):
        return "only a plain INSERT, UPDATE or DELETE of one table is sampled"
    _, named = child(fields, "relation")
    relation = catalog.resolve(named.get("schemaname"), str(named.get("relname", "")))
    if relation is None or relation.kind != "r" or relation.children or relation.has_rules or named.get("catalogname"):
        return "only an ordinary table is sampled"
    if relation.name in catalog.temporary:
        return "a temporary table is another one in each session"
    clean = _clean(relation, catalog)
    keys = _key(relation, clean)
    if not keys and verb != "insert":
        return "the table has no key, or a marked one"
    written = tuple(_targets(fields)) if verb == "update" else ()
    if set(written) & set(keys):
        return "it changes the key by which its rows are found"
    columns = _order(relation, keys, written)
    alias = str(child(named, "alias")[1].get("aliasname", ""))
    table = f"{_quoted(relation.schema)}.{_quoted(relation.name)}"
    source = f"{table} AS {_quoted(alias)}" if alias else table
    where, parameters = ("", ()) if verb == "insert" else _condition(fields, text, source)
    return SamplePlan(
        kind=verb,
        relation=f"{relation.schema}.{relation.name}",
        oid=relation.oid,
        columns=columns,
        shown=tuple(name in clean for name in columns),
        keys=keys,
        source=source,
        alias=_quoted(alias or relation.name),
        where=where,
        parameters=parameters,
        numbers=tuple(
            (column.name, column.number)
            for column in relation.columns
            if column.name in {*keys, *(name for name in columns if name in clean)}
        ),
    )


def before_sql(plan: SamplePlan, most: int) -> bytes:
    """Return what reads rows as they were, on a session that does not see the write; parameters as in the plan."""
    where = f"({plan.where}\n) AND " if plan.where else ""  # a comment in the condition ends with its line
    return _select(plan, f"{where}{_same(plan)} LIMIT {int(most)}")


def after_sql(plan: SamplePlan, rows: int) -> bytes:
    """Return what reads `rows` rows by their keys, all of the first, then all of the second, as parameters."""
    count = len(plan.keys)
    each = (
        " AND ".join(f"{plan.alias}.{_quoted(key)} = ${row * count + place}" for place, key in enumerate(plan.keys, 1))
        for row in range(rows)
    )
    return _select(plan, f"({' OR '.join(f'({one})' for one in each)}) AND {_same(plan)}")


def inserted_sql(plan: SamplePlan, pages: int, most: int) -> bytes:
    """Return what reads rows that this transaction inserted, among the newest of `pages` pages."""
    first = max(0, int(pages) - PAGES)
    return _select(
        plan,
        f"{plan.alias}.ctid OPERATOR(pg_catalog.>=) '({first},0)'::pg_catalog.tid"
        f" AND {plan.alias}.xmin OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.xid"
        f" AND {_same(plan)} LIMIT {int(most)}",
    )


def _select(plan: SamplePlan, rest: str) -> bytes:
    keys = (f"{plan.alias}.{_quoted(name)}::pg_catalog.text" for name in plan.keys)
    shown = (f"pg_catalog.left({plan.alias}.{_quoted(name)}::pg_catalog.text, {TEXT + 1})" for name in plan.selected)
    columns = ", ".join((*keys, f"{plan.alias}.xmin::pg_catalog.text", *shown))
    return f"SELECT {columns} FROM {plan.source} WHERE {rest}".encode()  # noqa: S608  names quoted, a parsed condition


def _same(plan: SamplePlan) -> str:
    """A condition under which the names stand for what they stood for when the write was judged."""
    named = " OR ".join(f"(c.attname = {_literal(name)} AND c.attnum = {number})" for name, number in plan.numbers)
    return (
        f"{plan.alias}.tableoid = {plan.oid} AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute c"  # noqa: S608
        f" WHERE c.attrelid = {plan.oid} AND ({named})) = {len(plan.numbers)}"
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _clean(relation: Relation, catalog: Catalog) -> frozenset[str]:
    """The columns that no mark reaches, of types whose text is PostgreSQL's own to make."""
    flows = catalog.flows.get(relation.oid, {})
    return frozenset(
        column.name
        for column in relation.columns
        if (column.number not in flows or flows[column.number].clean) and _is_plain(column, catalog)
    )


def _is_plain(column: Column, catalog: Catalog) -> bool:
    shape = catalog.shapes.get(column.type_oid)
    if shape is None:
        return column.type_oid < _FIRST_USER_OID
    return shape.kind == "e" or (shape.kind == "d" and 0 < shape.base < _FIRST_USER_OID)


def _key(relation: Relation, clean: frozenset[str]) -> tuple[str, ...]:
    """The shortest unique key without NULLs of clean columns."""
    by_number = {column.number: column for column in relation.columns}
    usable = [
        tuple(by_number[number].name for number in sorted(key))
        for key in relation.keys
        if key and all(n in by_number and by_number[n].not_null and by_number[n].name in clean for n in key)
    ]
    return min(usable, key=lambda names: (len(names), names), default=())


def _order(relation: Relation, keys: Sequence[str], written: Sequence[str]) -> tuple[str, ...]:
    """The key, what the write sets, then the rest, as far as there is room."""
    known = [column.name for column in relation.columns]
    return tuple(dict.fromkeys(name for name in (*keys, *written, *known) if name in known))[:COLUMNS]


def _targets(fields: Node) -> Iterator[str]:
    for node in items(fields.get("targetList")):
        kind, target = kind_of(node)
        if kind == "ResTarget":
            yield str(target.get("name", ""))


def _condition(fields: Node, text: bytes, source: str) -> tuple[str, tuple[int, ...]]:
    """Return the WHERE of a write as text, and its parameters. Raises ValueError where it reads otherwise elsewhere."""
    if "whereClause" not in fields:
        return "", ()
    if any(kind == "CurrentOfExpr" for kind, _ in below(*kind_of(fields["whereClause"]))):
        raise ValueError("a cursor's place")
    start, end = _span(text)
    numbers: dict[int, int] = {}
    pieces: list[bytes] = []
    position = start
    for kind, at, stop, _ in tokens(text):
        if kind == "parameter" and start <= at < end:
            place = numbers.setdefault(int(text[at + 1 : stop]), len(numbers) + 1)
            pieces += [text[position:at], b"$%d" % place]
            position = stop
    where = b"".join([*pieces, text[position:end]]).decode()
    (again,) = parse(f"SELECT 1 FROM {source} WHERE {where}\n".encode()).statements  # noqa: S608  parsed only
    kind, select = kind_of(again.node)
    if kind != "SelectStmt" or set(select) - _PLAIN_SELECT:
        raise ValueError("more than a condition")
    if _bare(select.get("whereClause"), {}) != _bare(fields["whereClause"], numbers):
        raise ValueError("another condition")
    return where, tuple(numbers)


_PLAIN_SELECT = frozenset({"targetList", "fromClause", "whereClause", "limitOption", "op"})


def _span(text: bytes) -> tuple[int, int]:
    """Return where the condition stands: from the outermost WHERE to RETURNING, or the end."""
    start = -1
    for kind, at, stop, depth in tokens(text):
        if kind != "word" or depth or text[:at].rstrip().endswith(b"."):  # `t.where` is a column
            continue
        word = text[at:stop].upper()
        if word == b"WHERE" and start < 0:
            start = stop
        elif word == b"RETURNING" and start >= 0:
            return start, at
    if start < 0:
        raise ValueError("no condition")
    return start, len(text)


def _bare(node: object, numbers: Mapping[int, int]) -> object:
    """Return a tree without places, its parameters renumbered."""
    if isinstance(node, dict):
        if set(node) == {"ParamRef"}:
            number = int(node["ParamRef"].get("number", 0))
            return {"ParamRef": numbers.get(number, number)}
        return {name: _bare(value, numbers) for name, value in node.items() if not name.endswith("location")}
    return [_bare(value, numbers) for value in node] if isinstance(node, list) else node


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
