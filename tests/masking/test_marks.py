"""Binding marks to a catalog: names, numbers, inheritance, views, and what the catalog itself prints."""

from __future__ import annotations

from dataclasses import replace

import pytest
from policy_sample import BOUND, CATALOG, MARKS, connection, flows, relation

from gateway.masking.flow import Level
from gateway.masking.marks import bind
from gateway.model import Mark
from gateway.policy.catalog import Catalog, Column, Relation


def changed(*relations: Relation, base: Catalog = CATALOG) -> Catalog:
    known = {**base.relations, **{found.oid: found for found in relations}}
    return replace(base, relations=known, by_name={(found.schema, found.name): found for found in known.values()})


def test_views_carry_the_level_of_their_columns() -> None:
    assert BOUND.flows[6][2].level is Level.DIRECT
    assert BOUND.flows[7][2].level is Level.DERIVED
    assert BOUND.flows[9][2].sources == {"public.users.email"}
    assert BOUND.flows[11][2].level is Level.UNKNOWN
    assert 8 not in BOUND.flows


def test_a_mark_that_matches_nothing_is_reported() -> None:
    lost = Mark("public", "users", "e-mail")
    assert bind(CATALOG, connection(marks=(*MARKS, lost))).unmatched == (lost,)


def test_a_mark_follows_its_column_through_renames_and_a_new_table_of_the_old_name() -> None:
    moved = relation(1, "people", "id! name address city")
    newer = relation(50, "users", "id email")
    after = bind(changed(moved, newer), connection(), previous=BOUND)
    assert not after.unmatched
    assert after.catalog.flows[1][3].sources == {"public.users.email"}
    assert after.catalog.flows[50][2].sources == {"public.users.email"}
    assert flows("SELECT address FROM people", after.catalog) == "D"
    later = bind(changed(moved, newer), connection(), previous=after.catalog)
    assert later.catalog.bound == after.catalog.bound


def test_inheritance_spreads_down_and_up() -> None:
    child = Relation(60, "public", "vip", "r", (Column("email", 1, 25), Column("id", 2, 23)), parents=frozenset({1}))
    parent = replace(CATALOG.relations[1], children=frozenset({60}))
    known = bind(changed(child, parent), connection()).catalog
    assert set(known.flows[60]) == {1}
    only_child = bind(changed(child, parent), connection(marks=(Mark("public", "vip", "email"),))).catalog
    assert only_child.flows[1][3].sources == {"public.vip.email"}


def test_a_child_keeps_its_marks_when_it_is_detached() -> None:
    alone = replace(CATALOG.relations[4], parents=frozenset())
    parent = replace(CATALOG.relations[3], children=frozenset())
    after = bind(changed(alone, parent), connection(), previous=BOUND).catalog
    assert after.flows[4][2].sources == {"public.payments.card"}
    assert (
        flows("SELECT card FROM payments_old", bind(changed(alone, parent), connection(), previous=after).catalog)
        == "D"
    )
    gone = {oid: found for oid, found in after.relations.items() if oid != 3}
    lost = replace(after, relations=gone, by_name={(found.schema, found.name): found for found in gone.values()})
    assert bind(lost, connection(), previous=after).unmatched == (MARKS[1],)


def test_a_column_generated_from_a_marked_one_is_marked() -> None:
    users = replace(CATALOG.relations[1], columns=(*CATALOG.relations[1].columns, Column("mail_key", 5, 25)))
    known = bind(replace(changed(users), computed={(1, 5): frozenset({3})}), connection()).catalog
    assert flows("SELECT mail_key, id FROM users", known) == "dc"
    assert flows("UPDATE users SET name = 'x' WHERE id = 1 RETURNING mail_key, name", known) == "dc"


def test_a_view_that_reads_itself_or_lies_is_unknown() -> None:
    loop = relation(
        70, "loop", "id x", "v", reads=frozenset({70}), definition="SELECT loop.id, loop.x FROM public.loop"
    )
    broken = relation(71, "broken", "id", "v", reads=frozenset({1}), definition="SELEC")
    narrow = relation(
        72, "narrow", "id x y", "v", reads=frozenset({1}), definition="SELECT id, email FROM public.users"
    )
    bare = relation(73, "bare", "id", "v", reads=frozenset({1}))
    known = bind(changed(loop, broken, narrow, bare), connection()).catalog
    for name in ("broken", "narrow", "bare", "loop"):
        assert set(flows(f"SELECT * FROM {name}", known)) == {"u"}, name


@pytest.mark.parametrize(
    ("printed", "shown"), [(frozenset(), "clean"), (frozenset({3}), "c"), (None, "c"), (frozenset({1}), "clean")]
)
def test_definitions_are_masked_where_they_print_marked_values(printed: frozenset[int] | None, shown: str) -> None:
    known = bind(changed(replace(CATALOG.relations[1], printed=printed)), connection()).catalog
    assert flows("SELECT conname FROM pg_constraint", known) == shown
    secret = "clean" if shown == "clean" else "D"
    assert flows("SELECT conbin FROM pg_constraint", known) == secret
    derived = "clean" if shown == "clean" else "d"
    assert flows("SELECT pg_get_constraintdef(1)", known) == derived
    assert flows("SELECT column_default FROM information_schema.columns", known) == secret
