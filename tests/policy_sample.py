"""A small catalog with marks, and short ways to judge a statement in it: shared by the tests of policy and masking."""

# ruff: noqa: E501  tables of cases
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.masking.marks import bind
from gateway.model import Connection, Mark, MaskStyle, TargetAddress, Verdict
from gateway.policy.catalog import Catalog, Column, Function, Relation
from gateway.policy.decide import Context, decide
from gateway.policy.facts import Facts, SessionState, facts
from gateway.policy.returned import returned
from gateway.policy.rules import compile_rules

INT, TEXT = 23, 25


def relation(oid: int, name: str, columns: str, kind: str = "r", **more: object) -> Relation:
    """Build a relation; a column `id!` is not null. `name` may carry its schema."""
    schema, _, bare = name.rpartition(".")
    described = tuple(
        Column(column.rstrip("!"), number, INT if column.startswith("id") else TEXT, -1, column.endswith("!"))
        for number, column in enumerate(columns.split(), 1)
    )
    more.setdefault("printed", frozenset())
    return Relation(oid, schema or "public", bare, kind, described, **more)  # type: ignore[arg-type]


RELATIONS = (
    relation(1, "users", "id! name email city"),
    relation(2, "orders", "id! user_id total note"),
    relation(3, "payments", "id card amount", children=frozenset({4})),
    relation(4, "payments_old", "id card amount archived", parents=frozenset({3})),
    relation(5, "crm.contacts", "id phone city"),
    relation(6, "mails", "id mail name", "v", reads=frozenset({1}),
             definition="SELECT users.id, users.email AS mail, users.name FROM public.users"),
    relation(7, "shouted", "id loud", "v", reads=frozenset({6}),
             definition="SELECT mails.id, upper(mails.mail) AS loud FROM public.mails"),
    relation(8, "names", "id name", "v", reads=frozenset({1}),
             definition="SELECT users.id, users.name FROM public.users"),
    relation(9, "snapshot", "id mail", "m", reads=frozenset({6}),
             definition="SELECT mails.id, mails.mail FROM public.mails"),
    relation(10, "secrets", "id hash", "v", reads=frozenset({102}),
             definition="SELECT pg_authid.oid, pg_authid.rolpassword FROM pg_authid"),
    relation(11, "odd", "id what", "v", reads=frozenset({2}),
             definition="SELECT orders.id, public.leak(orders.id) AS what FROM public.orders"),
    relation(12, "audited", "id what", has_rules=True),
    relation(100, "pg_catalog.pg_class", "oid relname relkind relpartbound"),
    relation(101, "pg_catalog.pg_attribute", "attrelid attname attmissingval"),
    relation(102, "pg_catalog.pg_authid", "oid rolname rolpassword"),
    relation(103, "pg_catalog.pg_stats", "schemaname tablename attname most_common_vals histogram_bounds", "v"),
    relation(104, "pg_catalog.pg_stat_activity", "pid usename query", "v"),
    relation(105, "pg_catalog.pg_settings", "name setting", "v"),
    relation(106, "pg_catalog.pg_am", "oid amname"),
    relation(107, "pg_catalog.pg_constraint", "oid conname conbin"),
    relation(110, "information_schema.columns", "table_name column_name column_default", "v"),
)  # fmt: skip

MARKS = (
    Mark("public", "users", "email"),
    Mark("public", "payments", "card", MaskStyle.NULL),
    Mark("crm", "contacts", "phone"),
)


def functions(*names: str) -> Mapping[tuple[str, str], tuple[Function, ...]]:
    """Build the map of functions outside pg_catalog."""
    return {("public", name): (Function(9000 + place, "public", name),) for place, name in enumerate(names)}


CATALOG = Catalog(
    epoch=1,
    search_path=("public",),
    relations={found.oid: found for found in RELATIONS},
    by_name={(found.schema, found.name): found for found in RELATIONS},
    functions=functions("leak", "net_price", "lower", "purge"),
    extension_functions={("public", "similarity"): "pg_trgm", ("public", "dblink_x"): "dblink", ("public", "hs"): "hstore"},
    operators={("public", "<->"): "vector", ("public", "===>"): ""},
    types={("public", "mood"): "e", ("public", "posint"): "d", ("public", "vector"): "extension:vector",
           ("public", "blob"): "b"},
    builtins=frozenset({"pg_read_file", "pg_switch_wal", "lower", "count", "int4send"}),
)  # fmt: skip


def connection(**changes: object) -> Connection:
    """Build the connection of the sample: three marks, one listed function."""
    base = Connection(
        name="orders",
        target=TargetAddress("db.example", 5432, "orders"),
        username="app",
        password=None,
        agents=("any",),
        marks=MARKS,
        functions=("public.net_price",),
        settings=("app.tenant",),
        reviewers=("group:oncall",),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def catalog(**changes: object) -> Catalog:
    """Return the sample catalog bound to `connection(**changes)`."""
    return bind(CATALOG, connection(**changes)).catalog


BOUND = catalog()
UNMARKED = catalog(marks=())


def understand(sql: str | bytes, state: SessionState | None = None, known: Catalog = BOUND) -> Facts:
    """Return the facts of `sql`."""
    text = sql.encode() if isinstance(sql, str) else sql
    return facts(text, state or SessionState(), known)


def judge(sql: str | bytes, state: SessionState | None = None, **changes: object) -> Verdict:
    """Return the verdict on `sql` on `connection(**changes)`."""
    known = catalog(**changes) if changes else BOUND
    return decide(
        returned(understand(sql, state, known), (), None), compile_rules(connection(**changes)), Context("agent")
    )


def flows(sql: str, known: Catalog = BOUND) -> str:
    """Return the lineage of a statement's columns as one letter each: c, d, D (direct), u; `*` after an open one."""
    (statement,) = understand(sql, known=known).statements
    if not statement.touches_marks:
        return "clean"
    if statement.outputs is None:
        return "?"
    letters = {"CLEAN": "c", "DERIVED": "d", "DIRECT": "D", "UNKNOWN": "u"}
    return "".join(letters[out.flow.level.name] + ("*" if out.many else "") for out in statement.outputs)
