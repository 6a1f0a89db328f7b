"""Binding a connection's marks to a catalog snapshot: which columns of which relations hold marked values.

A mark is a name in the configuration and, from first sight on, a (relation oid, column number) that it keeps through
renames. Marks spread to inheritance children and partitions, to the parents that read them, and by lineage to the columns
of views. Pure; called whenever a snapshot is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.masking.flow import Flow, Level, join
from gateway.model import Connection, Mark
from gateway.policy.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Binding:
    """A catalog that knows its marks, and the marks that match nothing: such a connection is closed to agents."""

    catalog: Catalog
    unmatched: tuple[Mark, ...]


def bind(catalog: Catalog, connection: Connection, previous: Catalog | None = None) -> Binding:
    """Bind `connection.marks` to `catalog`; `previous` is the catalog bound before, whose marks are kept by number."""
    flows: dict[int, dict[int, Flow]] = {}
    bound: set[tuple[int, int, str]] = set()
    unmatched = []
    for mark in connection.marks:
        found = _places(catalog, mark, previous)
        if not found:
            unmatched.append(mark)
        for oid, number in found:
            bound.add((oid, number, str(mark)))
            flow = Flow(Level.DIRECT, frozenset({str(mark)}), mark.style)
            flows.setdefault(oid, {})[number] = join((flow, flows.get(oid, {}).get(number, Flow())))
    known = replace(
        catalog, flows=flows, bound=frozenset(bound), has_marks=bool(connection.marks),
        reach={oid: frozenset(source for flow in columns.values() for source in flow.sources)
               for oid, columns in flows.items()},
    )  # fmt: skip
    return Binding(known, tuple(unmatched))


def _places(catalog: Catalog, mark: Mark, previous: Catalog | None) -> set[tuple[int, int]]:
    """Return where `mark` stands: by name now, and wherever it stood before and still exists."""
    found = set()
    relation = catalog.by_name.get((mark.schema, mark.relation))
    if relation is not None:
        found |= {(relation.oid, column.number) for column in relation.columns if column.name == mark.column}
    for oid, number, name in previous.bound if previous is not None else ():
        held = catalog.relations.get(oid)
        if name == str(mark) and held is not None and any(column.number == number for column in held.columns):
            found.add((oid, number))
    return found
