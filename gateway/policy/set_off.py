"""What a write sets off that its text does not say: triggers, rules, foreign keys' actions, defaults that call.

Pure. Reaches down to partitions, children, and the tables below a view that is written through.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.policy.catalog import Catalog, Relation

_MOST = 20
"""Words told of one statement; a person would not read more."""


def set_off(written: Iterable[Relation | None], catalog: Catalog) -> tuple[str, ...]:
    """Return what writes to these relations set off, in words, sorted; only that much is told, with how much more."""
    stack = [relation for relation in written if relation is not None]
    seen = {relation.oid for relation in stack}
    words: set[str] = set()
    while stack:
        relation = stack.pop()
        words |= {f"{each} on {relation.schema}.{relation.name}" for each in relation.sets_off}
        below = relation.children | (relation.reads if relation.kind == "v" else frozenset())
        for found in (catalog.relations.get(oid) for oid in below):
            if found is not None and found.oid not in seen:
                seen.add(found.oid)
                stack.append(found)
    told = sorted(words)
    more = len(told) - _MOST
    return (*told[:_MOST], f"{more} more") if more > 0 else tuple(told)
