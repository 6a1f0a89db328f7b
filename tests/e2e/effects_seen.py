"""What tests of `approve-effect` share: tables and rules, a gateway before them, and reading up to a hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from operating import ask
from running import RunningGateway, connection_table, running
from wire_client import Wire, kinds, notices, shown

from gateway.demo.postgres import PostgresServer

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, email text, state text NOT NULL, at timestamptz);
CREATE TABLE items (id int PRIMARY KEY, "order" int REFERENCES orders ON DELETE CASCADE, what text);
CREATE TABLE log (id serial PRIMARY KEY, words text);
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO public.log (words) VALUES (TG_OP); RETURN NULL; END';
CREATE TRIGGER tell AFTER UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION told();
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE wide (id int PRIMARY KEY, words text);
INSERT INTO wide SELECT i, repeat('w', 1000) FROM generate_series(1, 20000) i;
ANALYZE;
"""
FILL = """
TRUNCATE orders, items, log, parents, children CASCADE;
INSERT INTO orders SELECT i, 'customer ' || i, 'mail' || i || '@example.test', 'open', '2026-01-01 10:00Z'
  FROM generate_series(1, 20) i;
INSERT INTO items SELECT i, i % 20 + 1, 'thing' FROM generate_series(1, 60) i;
INSERT INTO parents VALUES (1);
"""
RULES = """
[[connection.rule]]
name = "deletes"
replaces = "standard/delete"
action = "approve-effect"

[[connection.rule]]
name = "writes"
operation = ["update", "insert"]
relation = ["public.orders", "public.children", "public.wide"]
action = "approve-effect"

[[connection.rule]]
name = "marked"
replaces = "standard/marked-write"
action = "approve-effect"

[[connection.rule]]
name = "copies"
operation = "copy-in"
relation = "public.orders"
action = "approve-effect"
"""
DELETE = "DELETE FROM orders WHERE id = {}"
NOTICE = re.compile(r"hoop: held for approval: (ap-[0-9a-f]+) until (\S+Z)$")


@contextmanager
def gateway_before(postgres: PostgresServer, home: Path, database: str) -> Iterator[RunningGateway]:
    """A gateway before a database of that name, made with it."""
    postgres.create_database(database)
    postgres.execute(SCHEMA, database)
    tables = [
        connection_table("effects", postgres, database, mask=["public.orders.email"]) + RULES,
        connection_table("sending", postgres, database, hold="refuse") + RULES,
    ]
    with running(home, postgres, tables) as found:
        yield found
    assert "Traceback" not in found.log, found.log


def held(wire: Wire) -> str:
    """Read to the notice of a hold, before which nothing came; return the approval's id."""
    found = wire.until("N")
    assert kinds(found).strip("123") == "N", shown(found)
    (said,) = notices(found)
    words = NOTICE.match(said.get("M") or "")
    assert words, said
    return words[1]


def card(gateway: RunningGateway, approval: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(gateway, "approvals.get", id=approval)
    return found


def states(admin: Wire) -> set[str | None]:
    return {row[0] for row in admin.rows("SELECT state FROM orders")}


def count(admin: Wire, table: str = "orders") -> int:
    return int(admin.rows(f"SELECT count(*) FROM {table}")[0][0] or 0)
