"""A gateway in front of a real PostgreSQL, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from keeping import Kept, keeping
from running import RunningGateway, connection_table, running
from wire_client import Wire, direct, through

from gateway.demo.postgres import PostgresServer

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL, balance numeric(12, 2));
INSERT INTO users SELECT i, 'name ' || i, 'person' || i || '@secret.example', i * 1.5 FROM generate_series(1, 50) i;
CREATE TABLE items (id serial PRIMARY KEY, label text, price numeric, made timestamptz DEFAULT now());
INSERT INTO items (label, price) SELECT 'item ' || i, i FROM generate_series(1, 1000) i;
CREATE TABLE scratch (id int PRIMARY KEY, note text, data bytea);
CREATE TABLE parents (id int PRIMARY KEY, name varchar(20) NOT NULL UNIQUE CHECK (name <> ''));
CREATE TABLE children (
    id int PRIMARY KEY, parent int NOT NULL REFERENCES parents DEFERRABLE INITIALLY DEFERRED, amount numeric(8, 3)
);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE point3 AS (x int, y int, z text);
CREATE DOMAIN short AS varchar(5) CHECK (value <> 'never');
CREATE TABLE kinds (
    id int PRIMARY KEY, small smallint, big bigint, real4 real, real8 double precision, amount numeric(10, 4),
    yes boolean, words text, cut varchar(7), padded char(5), raw bytea, day date, at time, at_tz timetz,
    stamp timestamp(3), stamp_tz timestamptz, gap interval, uid uuid, doc json, docb jsonb, list int[], texts text[],
    feeling mood, place point3, tiny short, span int4range, net inet, spot point, bits bit(3)
);
INSERT INTO kinds VALUES (
    1, -2, 9223372036854775807, 1.5, -2.25, 12.3456, true, E'tab\\t nul \\\\ ü', 'seven', 'pad', '\\x00ff10',
    '2024-02-29', '12:34:56.789', '12:34:56+02', '2024-02-29 01:02:03.456', '2024-02-29 01:02:03.456789+00',
    '1 mon 2 days 03:04:05', '00000000-0000-4000-8000-000000000001', '{"a": [1, 2]}', '{"b": null}', '{1,NULL,3}',
    '{"a b",NULL,"c\\"d"}', 'happy', '(1,2,"x y")', 'abc', '[1,5)', '10.0.0.0/8', '(1.5,2)', B'101'
), (2, NULL, NULL, 'NaN', 'Infinity', 'NaN', false, '', '', '', '', 'infinity', '24:00', '00:00-15', '-infinity',
    'infinity', '-1 year', NULL, 'null', '"x"', '{}', '{}', 'sad', '(,,)', NULL, 'empty', '::1', NULL, NULL);
CREATE FUNCTION shouts(words text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE NOTICE 'heard %', words USING DETAIL = 'a detail', HINT = 'a hint'; RETURN upper(words); END $$;
CREATE FUNCTION fails(words text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE EXCEPTION 'no %', words USING ERRCODE = 'AB123', DETAIL = 'why', TABLE = 'items'; END $$;
"""


@pytest.fixture(scope="session")
def orders(postgres: PostgresServer) -> str:
    """A database with a marked column (`public.users.email`) and unmarked tables."""
    postgres.create_database("orders")
    postgres.execute(SCHEMA, "orders")
    return "orders"


@pytest.fixture(scope="session")
def gateway(
    postgres: PostgresServer, orders: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """Connections: `orders` (standard, marked email), `plain` (standard, no marks), `observed` (observe, no marks)."""
    functions = ["public.shouts", "public.fails"]
    connections = [
        connection_table("orders", postgres, orders, mask=["public.users.email"], functions=functions),
        connection_table("plain", postgres, orders, functions=functions),
        connection_table("observed", postgres, orders, policy="observe"),
        connection_table("closed", postgres, orders, agents=["group:nobody"]),
    ]
    with running(tmp_path_factory.mktemp("gateway"), postgres, connections) as found:
        yield found
    done = found.command("evidence", "verify", str(found.evidence), check=False)
    assert done.returncode == 0, f"after all tests, the evidence does not hold: {done.stdout}{done.stderr}"
    assert "Traceback" not in found.log, found.log


@pytest.fixture(scope="session")
def kept(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A gateway with a marked table `payments` that keeps originals for two auditors."""
    make = tmp_path_factory.mktemp
    with keeping(postgres, make("auditors"), make("kept")) as found:
        yield found


@pytest.fixture(scope="session")
def token(gateway: RunningGateway) -> str:
    return gateway.token()


@pytest.fixture(scope="session")
def admin(postgres: PostgresServer, orders: str) -> Iterator[Wire]:
    """A session with the server itself, as superuser, for preparing and checking."""
    with direct(postgres, orders, application_name="admin") as wire:
        yield wire


@pytest.fixture
def scratch(admin: Wire) -> Wire:
    """The table `scratch`, emptied; returns `admin` to look into it."""
    admin.rows("TRUNCATE scratch, children, parents")
    return admin


@pytest.fixture
def three(scratch: Wire) -> Wire:
    """`scratch` with rows 1 to 3."""
    scratch.rows("INSERT INTO scratch SELECT generate_series(1, 3)")
    return scratch


@pytest.fixture
def agent(gateway: RunningGateway, token: str) -> Iterator[Callable[..., Wire]]:
    """Open raw sessions through the gateway: `agent("plain", protocol=…, application_name=…)`."""
    opened: list[Wire] = []

    def connect(connection: str = "plain", secret: str = token, **more: object) -> Wire:
        opened.append(through(gateway, connection, secret, **more))  # type: ignore[arg-type]
        return opened[-1]

    yield connect
    for wire in opened:
        with closing(wire.stream):
            pass
