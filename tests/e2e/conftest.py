"""A gateway in front of a real PostgreSQL, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running import RunningGateway, connection_table, running

from gateway.demo.postgres import PostgresServer

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL, balance numeric(12, 2));
INSERT INTO users SELECT i, 'name ' || i, 'person' || i || '@secret.example', i * 1.5 FROM generate_series(1, 50) i;
CREATE TABLE items (id serial PRIMARY KEY, label text, price numeric, made timestamptz DEFAULT now());
INSERT INTO items (label, price) SELECT 'item ' || i, i FROM generate_series(1, 1000) i;
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
    connections = [
        connection_table("orders", postgres, orders, mask=["public.users.email"]),
        connection_table("plain", postgres, orders),
        connection_table("observed", postgres, orders, policy="observe"),
        connection_table("closed", postgres, orders, agents=["group:nobody"]),
    ]
    with running(tmp_path_factory.mktemp("gateway"), postgres, connections) as found:
        yield found


@pytest.fixture(scope="session")
def token(gateway: RunningGateway) -> str:
    return gateway.token()
