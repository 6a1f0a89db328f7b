"""What belongs to relations beside their columns, out of result sets of `catalog.sql`: rules, triggers, defaults, keys.

Pure. A digest stands for each definition, so that a change of any is seen; the words say what a write sets off.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gateway.policy.catalog import Function, Relation
from gateway.target.query import Row

_ALWAYS = frozenset({"pg_rewrite", "pg_trigger"})
"""Catalogs of what runs with a write whatever it calls; of the others only what calls a user's function is told."""


def with_belongings(
    relations: Mapping[int, Relation],
    functions: Iterable[Function],
    belongings: Sequence[Row],
    keys: Sequence[Row],
) -> dict[int, Relation]:
    """Return `relations` with what belongs to each."""
    names = {each.oid: f"{each.schema}.{each.name}" for each in functions}
    rows: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    calls: dict[int, set[int]] = defaultdict(set)
    told: dict[int, list[str]] = defaultdict(list)
    for relid, catalog, words, digest, called in belongings:
        relation = int(relid or 0)
        found = frozenset(json.loads(called)) if called else frozenset[int]()
        rows[relation].append((catalog or "", digest or ""))
        calls[relation] |= found
        if words and (catalog in _ALWAYS or words.startswith("foreign key ") or found):
            by_name = ", ".join(sorted(names.get(oid, str(oid)) for oid in found))
            told[relation].append(f"{words} calls {by_name}" if by_name else words)
    unique = {
        int(relid or 0): tuple(frozenset(columns) for columns in json.loads(found or "[]")) for relid, found in keys
    }
    return {
        oid: replace(
            relation,
            sets_off=tuple(sorted(told[oid])) if oid in told else (),
            belongings=tuple(" ".join(row) for row in rows[oid]) if oid in rows else (),
            calls=frozenset(calls[oid]) if oid in calls else frozenset(),
            keys=unique.get(oid, ()),
        )
        if oid in rows or oid in unique
        else relation
        for oid, relation in relations.items()
    }
