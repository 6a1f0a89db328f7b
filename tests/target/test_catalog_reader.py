"""The catalog of a real PostgreSQL, read as policy needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from gateway.demo.postgres import PostgresServer
from gateway.errors import ConfigurationFault, TargetFault
from gateway.model import Connection, TargetAddress
from gateway.policy.catalog import Catalog, Column, Relation
from gateway.target.catalog import CatalogReader

SCHEMA = """
CREATE SCHEMA crm;
CREATE TYPE crm.mood AS ENUM ('ok');
CREATE DOMAIN crm.mail AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE crm.pair AS (a int, b int);
CREATE TABLE public.users (
    id int PRIMARY KEY, email text, gone int, name varchar(20) DEFAULT 'nobody', age int CHECK (age > 0), note text
);
ALTER TABLE public.users DROP COLUMN gone;
CREATE INDEX ON public.users (substr(note, 2));
CREATE INDEX ON public.users (lower(email));
CREATE TABLE public.orders (id int PRIMARY KEY, buyer int REFERENCES public.users, total numeric(10, 2));
CREATE TABLE public.whole (a int, b int, CHECK (whole IS NOT NULL AND 1 = 1));
CREATE TABLE public.ruled (a int, b text, c text, d int);
CREATE POLICY few ON public.ruled USING (b = 'us');
CREATE FUNCTION public.stamp_ruled() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER when_c BEFORE UPDATE ON public.ruled FOR EACH ROW WHEN (NEW.c = 'x')
    EXECUTE FUNCTION public.stamp_ruled();
CREATE TABLE public.late (a int CHECK (a IS NOT NULL));
INSERT INTO public.late VALUES (1);
ALTER TABLE public.late ADD COLUMN b text DEFAULT 'filled in';
ALTER TABLE public.late ALTER COLUMN b DROP DEFAULT;
CREATE TABLE crm."Contact List" ("E-Mail" text NOT NULL, mood crm.mood, pairs crm.pair[]);
CREATE VIEW public.inner_view AS SELECT id, email FROM public.users;
CREATE VIEW public.outer_view AS SELECT v.*, o.total FROM public.inner_view v JOIN public.orders o ON o.buyer = v.id;
CREATE VIEW public.spy AS SELECT rolname, rolpassword FROM pg_authid;
CREATE VIEW public.nested AS SELECT (SELECT max(total) FROM public.orders) FROM crm."Contact List";
CREATE MATERIALIZED VIEW public.stored AS SELECT email FROM public.users;
CREATE TABLE public.events (day date, who text, what text) PARTITION BY RANGE (day);
CREATE TABLE public.events_2026 (what text, who text, day date);
ALTER TABLE public.events ATTACH PARTITION public.events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE public.by_name (day date, who text) PARTITION BY LIST (lower(who));
CREATE TABLE public.child () INHERITS (public.orders);
CREATE RULE also AS ON INSERT TO public.orders DO ALSO DELETE FROM public.users;
CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER stamped BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.stamp();
CREATE FUNCTION public.net_price(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION public.net_price(int) RETURNS numeric LANGUAGE sql AS 'SELECT 1.0';
CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE SEQUENCE public.counter;
"""


def of(postgres: PostgresServer, database: str) -> Connection:
    return Connection(
        "orders", TargetAddress("127.0.0.1", postgres.port, database, "disable"), postgres.user, "env:EDGE_PASSWORD", ()
    )


@pytest.fixture
async def reader(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CatalogReader]:
    monkeypatch.setenv("EDGE_PASSWORD", postgres.password)
    postgres.execute(SCHEMA, database)
    opened = CatalogReader(of(postgres, database))
    yield opened
    await opened.aclose()


def read_by(catalog: Catalog, schema: str, name: str) -> set[str]:
    return {catalog.relations[oid].name for oid in catalog.by_name[schema, name].reads}


def printed(relation: Relation) -> set[str] | None:
    if relation.printed is None:
        return None
    return {column.name for column in relation.columns if column.number in relation.printed}


async def test_relations_and_columns(reader: CatalogReader) -> None:
    catalog = await reader.load()
    users = catalog.by_name["public", "users"]
    assert [(column.name, column.number) for column in users.columns] == [
        ("id", 1), ("email", 2), ("name", 4), ("age", 5), ("note", 6)
    ]  # fmt: skip
    assert users.columns[0] == Column("id", 1, 23, -1, not_null=True)
    assert users.columns[2] == Column("name", 4, 1043, 24)
    assert users.has_triggers
    assert catalog.relations[users.oid] is users
    assert catalog.resolve(None, "users") is users
    assert catalog.by_name["crm", "Contact List"].columns[0].name == "E-Mail"
    kinds = {
        name: catalog.by_name["public", name].kind for name in ("orders", "outer_view", "stored", "events", "counter")
    }
    assert kinds == {"orders": "r", "outer_view": "v", "stored": "m", "events": "p", "counter": "S"}
    assert not catalog.by_name["public", "orders"].has_triggers  # those of a foreign key are PostgreSQL's own
    assert catalog.by_name["public", "orders"].has_rules
    assert not catalog.by_name["public", "outer_view"].has_rules


async def test_views_say_what_they_read_also_of_the_system(reader: CatalogReader) -> None:
    catalog = await reader.load()
    assert read_by(catalog, "public", "outer_view") == {"inner_view", "orders"}
    assert read_by(catalog, "public", "inner_view") == {"users"}
    assert read_by(catalog, "public", "stored") == {"users"}
    assert read_by(catalog, "public", "nested") == {"orders", "Contact List"}
    assert read_by(catalog, "public", "spy") == {"pg_authid"}
    assert "pg_statistic" in read_by(catalog, "pg_catalog", "pg_stats")
    assert "pg_attribute" in read_by(catalog, "information_schema", "columns")
    definition = catalog.by_name["public", "inner_view"].definition
    assert definition is not None
    assert "FROM public.users" in definition  # qualified, whatever the search path


async def test_inheritance_and_partitions(reader: CatalogReader) -> None:
    catalog = await reader.load()
    orders, child = catalog.by_name["public", "orders"], catalog.by_name["public", "child"]
    assert (orders.children, child.parents) == ({child.oid}, {orders.oid})
    events, partition = catalog.by_name["public", "events"], catalog.by_name["public", "events_2026"]
    assert (events.children, partition.parents) == ({partition.oid}, {events.oid})


async def test_columns_whose_values_the_catalog_prints(reader: CatalogReader) -> None:
    catalog = await reader.load()
    shown = {
        name: printed(catalog.by_name["public", name])
        for name in ("users", "orders", "whole", "late", "ruled", "events", "by_name")
    }
    assert shown == {
        "users": {"name", "age", "note"},
        "orders": set(),
        "whole": None,
        "late": {"b"},
        "ruled": {"b", "c"},
        "events": {"day"},
        "by_name": {"who"},
    }
    # the bounds of a partition are its parent's key, by name: its columns stand in another order
    assert printed(catalog.by_name["public", "events_2026"]) == {"day"}


async def test_functions_operators_types(reader: CatalogReader) -> None:
    catalog = await reader.load()
    assert [function.name for function in catalog.functions["public", "net_price"]] == ["net_price"] * 2
    assert catalog.operators["public", "==="] == ""
    assert catalog.types == {("crm", "mood"): "e", ("crm", "mail"): "d", ("crm", "pair"): "c"}
    assert {"lower", "count", "pg_read_file"} <= catalog.builtins
    assert not {"net_price", "stamp"} & catalog.builtins
    assert catalog.extensions == {"plpgsql"}


async def test_an_overload_does_not_pass_for_the_extensions(
    reader: CatalogReader, postgres: PostgresServer, database: str
) -> None:
    available = postgres.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'")
    extension = "citext" if available == "1" else pytest.skip("the server comes without citext")
    postgres.execute(f"CREATE EXTENSION {extension}", database)
    before = await reader.load()
    assert before.extension_functions["public", "citext_eq"] == "citext"
    assert before.extension_functions["public", "split_part"] == "citext"
    assert before.types["public", "citext"] == "extension:citext"
    assert before.operators["public", "~~"] == "citext"
    postgres.execute(
        "CREATE FUNCTION public.citext_eq(int, int) RETURNS bool LANGUAGE sql AS 'SELECT true';"
        "CREATE OPERATOR public.~~ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
        database,
    )
    after = await reader.load()
    assert ("public", "citext_eq") not in after.extension_functions
    assert len(after.functions["public", "citext_eq"]) == 2
    assert after.operators["public", "~~"] == ""
    assert after.extension_functions["public", "split_part"] == "citext"


async def test_a_function_smuggled_into_pg_catalog_is_no_builtin(
    reader: CatalogReader, postgres: PostgresServer, database: str
) -> None:
    postgres.execute("CREATE FUNCTION pg_catalog.lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'", database)
    catalog = await reader.load()
    assert "lower" not in catalog.builtins
    assert ("pg_catalog", "lower") in catalog.functions


async def test_the_epoch_grows_with_every_difference(
    reader: CatalogReader, postgres: PostgresServer, database: str
) -> None:
    first = await reader.load()
    assert await reader.load() is first
    postgres.execute("CREATE OR REPLACE VIEW public.inner_view AS SELECT id, note AS email FROM public.users", database)
    second = await reader.load()
    assert second.epoch == first.epoch + 1
    assert await reader.load() is second


async def test_a_lost_session_is_renewed(reader: CatalogReader, postgres: PostgresServer, database: str) -> None:
    first = await reader.load()
    ended = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'hoop-gateway' AND datname = current_database()"""  # not those of other tests
    assert postgres.execute(ended, database) == "1"
    assert await reader.load() is first


async def test_a_role_that_may_read_nothing_sees_the_catalog_all_the_same(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_PASSWORD", "x")
    postgres.execute(SCHEMA + "DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN PASSWORD 'x'", database)
    wanted = of(postgres, database)
    reader = CatalogReader(Connection("orders", wanted.target, "poor", wanted.password, ()))
    catalog = await reader.load()
    assert read_by(catalog, "public", "spy") == {"pg_authid"}
    await reader.aclose()
    postgres.execute("DROP ROLE poor")


async def test_trouble_has_a_name(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_PASSWORD", "wrong")
    with pytest.raises(TargetFault, match="28P01"):
        await CatalogReader(of(postgres, "postgres")).load()
    monkeypatch.delenv("EDGE_PASSWORD")
    with pytest.raises(ConfigurationFault, match="EDGE_PASSWORD"):
        await CatalogReader(of(postgres, "postgres")).load()


async def test_time_runs_out(postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session's lock on the catalog holds the reader up."""
    monkeypatch.setenv("EDGE_PASSWORD", postgres.password)
    reader = CatalogReader(of(postgres, database), timeout=0.3)
    with psycopg.connect(postgres.dsn(database)) as blocker:
        blocker.execute("LOCK TABLE pg_inherits IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TargetFault, match=r"took longer than 0\.3 s"):
            await reader.load()
    patient = CatalogReader(of(postgres, database))
    assert (await patient.load()).epoch == 1
    await patient.aclose()
    await reader.aclose()
