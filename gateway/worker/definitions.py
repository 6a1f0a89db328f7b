"""What an operation's names resolve to, for its hash: object ids, and a digest of each relation's definition.

A view stands beside everything that it reads, down to the tables; names alone could be given to something else while a
person looks at the card. Pure. Bodies of functions are not in the catalog's snapshot: a function is its object ids.
"""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from gateway.approval.operation_hash import Definition
from gateway.policy.catalog import Catalog, Relation
from gateway.policy.statement import Facts

_SYSTEM = frozenset({"pg_catalog", "information_schema"})


def behind(found: Facts) -> tuple[Definition, ...]:
    """Return the definitions behind the relations and functions that a string names."""
    catalog = found.catalog
    if catalog is None:
        return ()
    named = (_relation(name, catalog) for name in found.relations)
    relations = [_definition(each) for each in _reached((each for each in named if each is not None), catalog)]
    functions = [
        Definition(each.oid, name)
        for name in sorted({name for statement in found.statements for name in statement.functions})
        for each in catalog.functions.get(_parts(name), ())
    ]
    return (*relations, *functions)


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
    digest = blake3(repr((relation.definition, columns, flags)).encode("utf-8", "surrogatepass")).digest()
    return Definition(relation.oid, f"{relation.schema}.{relation.name}", digest)


def _relation(name: str, catalog: Catalog) -> Relation | None:
    return catalog.by_name.get(_parts(name))


def _parts(name: str) -> tuple[str, str]:
    schema, _, bare = name.rpartition(".")
    return schema, bare
