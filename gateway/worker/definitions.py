"""What an operation's names resolve to, for its hash: object ids, and a digest of each definition.

A view stands beside everything that it reads, down to the tables; a relation beside its rules, triggers, defaults,
constraints and policies, and the functions that those call; a function by its body. Names alone could be given to
something else while a person looks at the card, and so could what they stand for. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from blake3 import blake3

from gateway.approval.operation_hash import Definition
from gateway.policy.catalog import Catalog, Function, Relation
from gateway.policy.statement import Facts

_SYSTEM = frozenset({"pg_catalog", "information_schema"})


def behind(found: Facts) -> tuple[Definition, ...]:
    """Return the definitions behind the relations and functions that a string names."""
    catalog = found.catalog
    if catalog is None:
        return ()
    named = [relation for name in found.relations for relation in _relations(name, catalog)]
    reached = _reached(named, catalog)
    called = {oid for relation in reached for oid in relation.calls}
    by_name = {each for statement in found.statements for name in statement.calls for each in _functions(name, catalog)}
    by_oid = (each for same in catalog.functions.values() for each in same if each.oid in called)
    functions = sorted({*by_name, *by_oid}, key=lambda each: each.oid)
    return (
        *(_definition(each) for each in reached),
        *(Definition(each.oid, f"{each.schema}.{each.name}", each.digest.encode()) for each in functions),
    )


def _reached(named: Iterable[Relation], catalog: Catalog) -> list[Relation]:
    seen: dict[int, Relation] = {}
    stack = list(named)
    while stack:
        relation = stack.pop()
        if relation.oid in seen:
            continue
        seen[relation.oid] = relation
        if relation.schema not in _SYSTEM:
            stack += [catalog.relations[oid] for oid in relation.reads | relation.children if oid in catalog.relations]
    return list(seen.values())


def _definition(relation: Relation) -> Definition:
    columns = [(each.name, each.number, each.type_oid, each.type_modifier, each.not_null) for each in relation.columns]
    flags = (relation.kind, relation.has_rules, relation.has_triggers, sorted(relation.reads), sorted(relation.parents))
    digest = blake3(repr((relation.definition, columns, flags, relation.belongings)).encode("utf-8", "surrogatepass"))
    return Definition(relation.oid, f"{relation.schema}.{relation.name}", digest.digest())


def _relations(name: str, catalog: Catalog) -> Iterator[Relation]:
    """What a full name means, and temporary relations in reach that could hide it."""
    yield from catalog.find(name)
    bare = name.rpartition(".")[2]
    if bare in catalog.temporary:
        yield from (
            relation
            for (schema, other), relation in catalog.by_name.items()
            if other == bare and schema.startswith("pg_temp_")
        )


def _functions(name: str, catalog: Catalog) -> Iterator[Function]:
    """Every function that a name may mean; one without schema may be in any."""
    schema, _, bare = name.rpartition(".")
    if schema:
        yield from catalog.functions.get((schema, bare), ())
        return
    for (_, other), same in catalog.functions.items():
        if other == bare:
            yield from same
