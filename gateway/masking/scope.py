"""Names in a query's FROM: which columns a name can mean, and what flows into them.

A source has columns in the order in which `*` expands them, and tables that a qualified name can mean. A source whose
columns are not all known is open: every name that is found nowhere else may be its own. Pure values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.masking.flow import CLEAN, UNKNOWN, Flow, Output, join

SYSTEM_COLUMNS = frozenset({"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"})

Columns = tuple[Output, ...]
OPEN: Columns = (Output("", UNKNOWN, many=True),)
"""Columns of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Source:
    """One item of FROM."""

    columns: Columns
    tables: Mapping[str, Columns] = field(default_factory=dict)
    named: Mapping[str, Flow] = field(init=False, repr=False, compare=False)
    """Column name -> what flows into all columns of that name."""
    unnamed: tuple[Flow, ...] = field(init=False, repr=False, compare=False)
    """What a name may mean that no column is known to have."""

    def __post_init__(self) -> None:
        named: dict[str, Flow] = {}
        for column in self.columns:
            known = named.get(column.name)
            named[column.name] = column.flow if known is None else join((known, column.flow))
        object.__setattr__(self, "named", named)
        object.__setattr__(self, "unnamed", tuple(unnamed(self.columns)))


@dataclass(frozen=True, slots=True)
class Scope:
    """The sources a name is looked up in, the scope around it, and the table expressions in reach."""

    sources: tuple[Source, ...] = ()
    outer: Scope | None = None
    expressions: Mapping[str, Columns] = field(default_factory=dict)

    def chain(self) -> Iterable[Scope]:
        """Yield this scope and those around it, innermost first."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def column(self, name: str) -> Flow:
        """Return what an unqualified name holds: a column of the nearest scope that has it, else a whole row."""
        open_flows: list[Flow] = []
        for scope in self.chain():
            exact = [source.named[name] for source in scope.sources if name in source.named]
            if exact:
                return join((*open_flows, *exact))
            open_flows += [flow for source in scope.sources for flow in source.unnamed]
        for scope in self.chain():
            rows = [source.tables[name] for source in scope.sources if name in source.tables]
            if rows:
                return join((*open_flows, *(whole(columns) for columns in rows)))
        if name in SYSTEM_COLUMNS or open_flows:
            return join(open_flows)
        return UNKNOWN

    def table(self, name: str) -> Columns | None:
        """Return the columns of the table `name`, nearest scope first; None where there is none."""
        for scope in self.chain():
            found = [source.tables[name] for source in scope.sources if name in source.tables]
            if found:
                return tuple(column for columns in found for column in columns)
        return None

    def qualified(self, table: str, name: str) -> Flow:
        """Return what `table.name` holds; UNKNOWN for no column, which PostgreSQL reads as a function's call."""
        columns = self.table(table)
        if columns is None:
            return UNKNOWN
        exact = [column.flow for column in columns if column.name == name]
        if exact:
            return join(exact)
        others = unnamed(columns)
        if others:
            return join(others)
        return CLEAN if name in SYSTEM_COLUMNS else UNKNOWN

    def star(self) -> Columns:
        """Return what `*` expands to."""
        return tuple(column for source in self.sources for column in source.columns)


def unnamed(columns: Iterable[Output]) -> list[Flow]:
    """Return the flows a name may mean that no column is known to have."""
    return [column.flow if column.many else UNKNOWN for column in columns if column.many or not column.name]


def whole(columns: Iterable[Output]) -> Flow:
    """Return what a whole row holds: derived from all its columns."""
    return join(column.flow for column in columns).derived()


def renamed(columns: Columns, names: Sequence[str]) -> Columns:
    """Rename the first columns (`AS t (a, b)`); an open list stays open under any name."""
    if not names:
        return columns
    if any(column.many for column in columns):
        flow, rows = join(column.flow for column in columns), join(column.rows for column in columns)
        return (*(Output(name, flow, rows=rows) for name in names), Output("", flow, many=True, rows=rows))
    head = tuple(replace(column, name=name) for column, name in zip(columns, names, strict=False))
    return head + columns[len(head) :]


def open_source(flow: Flow, name: str) -> Source:
    """Return a source of which only this is known: whatever it has, `flow` flows into it."""
    columns = (Output("", flow, many=True),)
    return Source(columns, {name: columns} if name else {})


def merged(left: Source, right: Source, using: Sequence[str], alias: str, *, full: bool) -> Source:
    """Join two sources: the columns of USING once and first, then the rest of the left, then of the right."""
    both = []
    for name in using:
        flows = [c.flow for side in (left, right) for c in side.columns if c.name == name]
        flows += [flow for side in (left, right) for flow in unnamed(side.columns)]
        flow, rows = join(flows), join(c.rows for side in (left, right) for c in side.columns if c.name == name)
        both.append(Output(name, flow.derived() if full else flow, rows=rows))
    rest = [column for side in (left, right) for column in side.columns if column.name not in using or column.many]
    tables = both_tables(left, right)
    if alias:
        tables[alias] = tuple(both)
    return Source((*both, *rest), tables)


def both_tables(left: Source, right: Source) -> dict[str, Columns]:
    """Return the tables of two joined sources; a name that both have (of two schemas) may mean either."""
    tables = dict(left.tables)
    for name, columns in right.tables.items():
        tables[name] = tables.get(name, ()) + columns
    return tables


def natural(left: Source, right: Source) -> list[str] | None:
    """Return the names a NATURAL join merges; None where a side's columns are not all known."""
    if any(column.many or not column.name for side in (left, right) for column in side.columns):
        return None
    there = {column.name for column in right.columns}
    return list(dict.fromkeys(column.name for column in left.columns if column.name in there))


def united(branches: Sequence[Columns]) -> Columns:
    """Return the columns of a set operation: by place, named by the first; open where a place cannot be told."""
    first = branches[0]
    if len(branches) == 1:
        return first
    if any(len(columns) != len(first) or any(c.many for c in columns) for columns in branches):
        everything = [column for columns in branches for column in columns]
        return (Output("", join(c.flow for c in everything), many=True, rows=join(c.rows for c in everything)),)
    rows = join(column.rows for columns in branches for column in columns)
    return tuple(
        Output(column.name, join(columns[place].flow for columns in branches), rows=rows)
        for place, column in enumerate(first)
    )


def is_open(columns: Iterable[Output]) -> bool:
    """Say whether the number of columns is unknown."""
    return any(column.many for column in columns)
