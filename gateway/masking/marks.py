"""Binding a connection's marks to a catalog snapshot: which columns of which relations hold marked values.

A mark is a name in the configuration and, from first sight on, a (relation oid, column number) that it keeps through
renames. Marks spread to inheritance children and partitions, to the parents that read them, by lineage to the columns
of views, and to what the catalog prints of sampled values. Pure; called whenever a snapshot is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from gateway.masking.carried import Carried
from gateway.masking.flow import UNKNOWN, Flow, Level, join
from gateway.masking.lineage import outputs
from gateway.masking.plan import spread
from gateway.model import Connection, Mark
from gateway.policy.catalog import Catalog, Relation
from gateway.policy.parse import INLINE_LIMIT, NotUnderstoodError, SyntaxFaultError, parse
from gateway.policy.startup import observes_freely
from gateway.policy.system import ALWAYS_PRIVATE, DEFINITIONS, STATISTICS
from gateway.policy.tree import kind_of

_SYSTEM = frozenset({"pg_catalog", "information_schema"})


@dataclass(frozen=True, slots=True)
class Binding:
    """A catalog that knows its marks, and the marks that match nothing: such a connection is closed to agents."""

    catalog: Catalog
    unmatched: tuple[Mark, ...]


def bind(catalog: Catalog, connection: Connection, previous: Catalog | None = None) -> Binding:
    """Bind `connection.marks` to `catalog`; `previous` is the catalog bound before, whose marks are kept by number."""
    flows, bound, unmatched = _bound(catalog, connection.marks, previous.bound if previous is not None else ())
    known = replace(catalog, bound=frozenset(bound), has_marks=bool(connection.marks),
                    listed=frozenset(connection.functions), database=connection.target.database,
                    temporary=frozenset(n for schema, n in catalog.by_name if schema.startswith("pg_temp_")),
                    function_names=frozenset(n for _, n in (*catalog.functions, *catalog.extension_functions)),
                    )  # fmt: skip
    known = replace(known, carried=_carry(known, previous.carried if previous is not None else (), flows))
    kept = _descended(known, connection.marks, previous.descended if previous is not None else (), flows)
    kept |= _inherit(known, flows)
    known = replace(known, descended=frozenset(kept), definitions_print=_printed(catalog, (*bound, *kept)))
    _compute(known, flows)
    if not observes_freely(connection):
        _private(known, flows)
    known = replace(known, flows=flows)
    if connection.marks:
        _views(known, flows)
    known = replace(known, flows=flows, reach=_reach(known, flows))
    if connection.rules:
        known = _watch(known, connection, previous)
    return Binding(known, tuple(unmatched))


def unmatched(catalog: Catalog, connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield the columns and relations that rules name (rule, name) and the catalog does not have."""
    for rule in connection.rules:
        for column in rule.columns:
            if not _places(catalog, column, ()):
                yield rule.name, str(column)
        for pattern in rule.relations:
            if pattern.name is not None and (pattern.schema, pattern.name) not in catalog.by_name:
                yield rule.name, str(pattern)


def _watch(catalog: Catalog, connection: Connection, previous: Catalog | None) -> Catalog:
    """Follow what the connection's rules name: columns into views and children, relations through renames."""
    columns = tuple(dict.fromkeys(column for rule in connection.rules for column in rule.columns))
    watched, places, _ = _bound(catalog, columns, previous.watched_at if previous is not None else ())
    if columns:
        following = replace(catalog, flows=watched, has_marks=True)
        _inherit(following, watched)
        _compute(following, watched)
        _views(following, watched)
    known_as = {oid: names for oid, names in (previous.known_as if previous is not None else {}).items()
                if oid in catalog.relations}  # fmt: skip
    for pattern in {pattern for rule in connection.rules for pattern in rule.relations}:
        relation = catalog.by_name.get((pattern.schema, pattern.name)) if pattern.name is not None else None
        if relation is not None:
            known_as[relation.oid] = known_as.get(relation.oid, frozenset()) | {str(pattern)}
    return replace(catalog, watched=watched, watched_at=frozenset(places), known_as=known_as)


def _bound(
    catalog: Catalog, marks: Iterable[Mark], previous: Iterable[tuple[int, int, str]]
) -> tuple[dict[int, dict[int, Flow]], set[tuple[int, int, str]], list[Mark]]:
    """Return what flows from each mark where it stands, the places, and the marks that stand nowhere."""
    flows: dict[int, dict[int, Flow]] = {}
    bound: set[tuple[int, int, str]] = set()
    unmatched = []
    held = tuple(previous)
    for mark in marks:
        found = _places(catalog, mark, held)
        if not found:
            unmatched.append(mark)
        for oid, number in found:
            bound.add((oid, number, str(mark)))
            _add(flows, oid, number, Flow(Level.DIRECT, frozenset({str(mark)}), mark.style, plain=True))
    return flows, bound, unmatched


def _places(catalog: Catalog, mark: Mark, previous: Iterable[tuple[int, int, str]]) -> set[tuple[int, int]]:
    """Return where `mark` stands: by name now, and wherever it stood before and still exists."""
    found = set()
    relation = catalog.by_name.get((mark.schema, mark.relation))
    if relation is not None:
        found |= {(relation.oid, column.number) for column in relation.columns if column.name == mark.column}
    for oid, number, name in previous:
        held = catalog.relations.get(oid)
        if name == str(mark) and held is not None and any(column.number == number for column in held.columns):
            found.add((oid, number))
    return found


def _add(flows: dict[int, dict[int, Flow]], oid: int, number: int, flow: Flow) -> None:
    columns = flows.setdefault(oid, {})
    columns[number] = join((flow, columns[number])) if number in columns else flow


def _printed(catalog: Catalog, bound: Iterable[tuple[int, int, str]]) -> bool:
    """Say whether the catalog may print constants beside a marked column: checks, defaults, partial indexes, bounds."""
    for oid, number, _ in bound:
        printed = catalog.relations[oid].printed
        if printed is None or number in printed:
            return True
    return False


def _carry(catalog: Catalog, carried: Iterable[Carried], flows: dict[int, dict[int, Flow]]) -> tuple[Carried, ...]:
    """Mark what was filled from marked columns, where it stands now. What is gone is forgotten."""
    kept: dict[tuple[int, str, str, str, int], Carried] = {}
    for each in carried:
        found = catalog.relations.get(each.oid) if each.oid else catalog.by_name.get((each.schema, each.relation))
        if found is None:
            if not each.oid:  # it may be made by a transaction that is not committed yet
                kept[each.place] = each
            continue
        exact = [column for column in found.columns if column.number == each.number]
        named = exact or [column for column in found.columns if column.name == each.column and not each.oid]
        whole = not (each.column or each.number)
        for column in found.columns if whole else named:
            _add(flows, found.oid, column.number, Flow(Level.DIRECT, each.sources, each.style, each.plain))
        if whole or named:
            name, number = ("", 0) if whole else (named[0].name, named[0].number)
            placed = replace(each, schema=found.schema, relation=found.name, oid=found.oid, column=name, number=number)
            kept[placed.place] = placed
    return tuple(kept.values())


def _inherit(catalog: Catalog, flows: dict[int, dict[int, Flow]]) -> set[tuple[int, int, str]]:
    """Children hold what their parents mark; reading a parent reads its children.

    Return the places in children: they stay marked when a child is detached.
    """
    held = set()
    marked = [(oid, number, flow) for oid, columns in flows.items() for number, flow in columns.items()]
    for oid, number, flow in marked:
        relation = catalog.relations[oid]
        name = next(column.name for column in relation.columns if column.number == number)
        downward = [oid, *_relatives(catalog, oid, down=True)]
        upward = [found for below in downward for found in _relatives(catalog, below, down=False)]
        for other in dict.fromkeys((*downward[1:], *upward)):
            for column in catalog.relations[other].columns:
                if column.name == name:
                    _add(flows, other, column.number, flow)
                    if other in downward:
                        held |= {(other, column.number, source) for source in flow.sources}
    return held


def _descended(
    catalog: Catalog, marks: Iterable[Mark], held: Iterable[tuple[int, int, str]], flows: dict[int, dict[int, Flow]]
) -> set[tuple[int, int, str]]:
    """Mark what was a child of marked columns when it was last seen, wherever it belongs now."""
    kept = set()
    styles = {str(mark): mark.style for mark in marks}
    for oid, number, name in held:
        relation = catalog.relations.get(oid)
        if name in styles and relation is not None and any(column.number == number for column in relation.columns):
            _add(flows, oid, number, Flow(Level.DIRECT, frozenset({name}), styles[name]))
            kept.add((oid, number, name))
    return kept


def _compute(catalog: Catalog, flows: dict[int, dict[int, Flow]]) -> None:
    """A generated column holds what it is computed from."""
    for (oid, number), numbers in catalog.computed.items():
        marked = flows.get(oid, {})
        found = [flow for other, flow in marked.items() if other != number and (numbers is None or other in numbers)]
        if found:
            _add(flows, oid, number, join(found).derived())


def _relatives(catalog: Catalog, oid: int, *, down: bool) -> list[int]:
    seen = {oid}
    stack = [oid]
    while stack:
        relation = catalog.relations.get(stack.pop())
        if relation is None:
            continue
        for other in relation.children if down else relation.parents:
            if other not in seen and other in catalog.relations:
                seen.add(other)
                stack.append(other)
    return [found for found in seen if found != oid]


def _private(catalog: Catalog, flows: dict[int, dict[int, Flow]]) -> None:
    """Mark what the catalog itself prints: others' statements always, sampled values and constants where marks are."""
    tables: list[Mapping[str, frozenset[str]]] = [ALWAYS_PRIVATE]
    if catalog.has_marks:
        tables.append(STATISTICS)
    if catalog.definitions_print:
        tables.append(DEFINITIONS)
    for relation in catalog.relations.values():
        if relation.schema not in _SYSTEM and relation.name not in ALWAYS_PRIVATE:
            continue
        for names in (table.get(relation.name, frozenset()) for table in tables):
            for column in relation.columns:
                if column.name in names:
                    source = f"{relation.schema}.{relation.name}.{column.name}"
                    _add(flows, relation.oid, column.number, Flow(Level.DIRECT, frozenset({source})))


def _views(catalog: Catalog, flows: dict[int, dict[int, Flow]]) -> None:
    """Trace the columns of every view that is not PostgreSQL's own, what it reads first; `flows` grows in place."""
    done: set[int] = set()
    traced: set[int] = set()
    for oid in catalog.relations:
        stack = [(oid, False)]
        while stack:
            here, ready = stack.pop()
            relation = catalog.relations.get(here)
            if relation is None or (here in done and not ready) or not _is_view(relation):
                continue
            if ready:
                _trace(catalog, relation, flows, traced)
                traced.add(here)
                continue
            done.add(here)
            stack.append((here, True))
            stack.extend((read, False) for read in relation.reads)


def _trace(catalog: Catalog, view: Relation, flows: dict[int, dict[int, Flow]], traced: set[int]) -> None:
    read = (catalog.relations.get(oid) for oid in view.reads)
    waiting = [other for other in read if other is not None and _is_view(other) and other.oid not in traced]
    found = None if waiting else _definition_flows(catalog, view)
    for place, column in enumerate(view.columns):
        flow = UNKNOWN if found is None else found[place]
        if flow.level is Level.UNKNOWN and not flow.sources:
            flow = Flow(Level.UNKNOWN, frozenset({f"{view.schema}.{view.name}.{column.name}"}))
        if not flow.clean:
            _add(flows, view.oid, column.number, flow)


def _is_view(relation: Relation) -> bool:
    return relation.kind in {"v", "m"} and relation.schema not in _SYSTEM


def _definition_flows(catalog: Catalog, view: Relation) -> tuple[Flow, ...] | None:
    text = (view.definition or "").encode()
    if not text or len(text) > INLINE_LIMIT:
        return None
    try:
        tree = parse(text)
    except (NotUnderstoodError, SyntaxFaultError):
        return None
    if len(tree.statements) != 1:
        return None
    return spread(outputs(*kind_of(tree.statements[0].node), catalog), len(view.columns))


def _reach(catalog: Catalog, flows: Mapping[int, Mapping[int, Flow]]) -> dict[int, frozenset[str]]:
    """Return for each relation the marked columns that reading it can lead to, through views and inheritance."""
    own = {oid: frozenset(source for flow in columns.values() for source in flow.sources)
           for oid, columns in flows.items()}  # fmt: skip
    reach = dict(own)
    readers: dict[int, set[int]] = {}
    for relation in catalog.relations.values():
        if relation.schema not in _SYSTEM:
            for read in (*relation.reads, *relation.children):
                readers.setdefault(read, set()).add(relation.oid)
    stack = [oid for oid, sources in own.items() if sources]
    while stack:
        oid = stack.pop()
        for reader in readers.get(oid, ()):
            wider = reach.get(reader, frozenset()) | reach[oid]
            if wider != reach.get(reader):
                reach[reader] = wider
                stack.append(reader)
    return reach
