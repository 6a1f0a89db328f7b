"""Others change definitions while an agent has statements, portals and cursors open: nothing marked leaks by them.

Measured on PostgreSQL 15: a view replaced or a column renamed by another session changes what an already prepared
statement returns, and no new RowDescription tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import RunningGateway, start, write_home
from wire_client import (
    Wire,
    bind,
    direct,
    error,
    errors,
    eventually,
    prepare,
    rows,
    run,
    secure,
    shown,
    status,
    through,
)

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import SYNC, execute, query

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text, email text);
INSERT INTO users SELECT i, 'name ' || i, 'person' || i || '@secret.example' FROM generate_series(1, 9) i;
CREATE TABLE items (id int PRIMARY KEY, label text);
INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 9) i;
CREATE VIEW people AS SELECT id, name AS shown FROM users;
CREATE VIEW labels AS SELECT id, label AS shown FROM items;
CREATE FUNCTION bonus(n int) RETURNS int LANGUAGE sql AS 'SELECT n + 1';
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT CREATE, USAGE ON SCHEMA public TO app;
"""
SECRET = "@secret.example"


class House:
    """A gateway whose target logs in as `app`, a database of its own, and the administrator's session with that."""

    def __init__(self, gateway: RunningGateway, admin: Wire, server: PostgresServer) -> None:
        self.gateway, self.admin, self.server = gateway, admin, server
        self.agents: list[Wire] = []

    def agent(self) -> Wire:
        self.agents.append(through(self.gateway, "shop", self.gateway.token()))
        return self.agents[-1]

    def catalog(self) -> dict[str, Any]:
        found = json.loads(self.gateway.command("status", "-c", str(self.gateway.config), "--json").stdout)
        (shown,) = found["catalogs"]
        assert isinstance(shown, dict)
        return shown

    @contextmanager
    def seen(self) -> Iterator[None]:
        """Change something within; returns once the gateway knows."""
        before = self.catalog()["epoch"]
        yield
        eventually(lambda: self.catalog()["epoch"] > before)

    def lock_out(self) -> None:
        """From now on the gateway cannot watch; sessions of agents go on."""
        self.admin.rows("ALTER ROLE app NOLOGIN")
        self.admin.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hoop-gateway'"
        )
        eventually(lambda: not self.catalog()["watched"])

    def cut(self) -> None:
        """End the gateway's own sessions with the target."""
        self.admin.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'hoop-gateway' AND datname = current_database()"
        )

    def let_in(self) -> None:
        self.admin.rows("ALTER ROLE app LOGIN")
        eventually(lambda: self.catalog()["watched"])


@pytest.fixture
def open_house(postgres: PostgresServer, database: str, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Start a gateway in `tmp_path` in front of `database`: again, it finds what the one before kept."""
    postgres.execute("DROP ROLE IF EXISTS app; CREATE ROLE app LOGIN PASSWORD 'app'")
    postgres.execute(SCHEMA, database)
    home = tmp_path / "home"
    table = f"""
[[connection]]
name = "shop"
target = "postgresql://127.0.0.1:{postgres.port}/{database}"
username = "app"
password = "file:password"
agents = ["any"]
mask = ["public.users.email"]
"""
    write_home(home, "app", [table])
    admin = direct(postgres, database, application_name="admin")
    houses: list[House] = []

    def begin() -> House:
        houses.append(House(start(home), admin, postgres))
        return houses[-1]

    try:
        yield begin
        for house in houses:
            assert house.gateway.stop() == 0, house.gateway.log
            assert "Traceback" not in house.gateway.log
    finally:
        for house in houses:
            for agent in house.agents:
                agent.stream.close()
            each = house.gateway
            if each.process.poll() is None:
                each.process.kill()
                each.process.wait()
            assert each.process.stdout is not None
            each.process.stdout.close()
        admin.leave()
        postgres.execute("DROP OWNED BY app CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public", database)
        postgres.execute("DROP ROLE app")


@pytest.mark.parametrize("change", ["view", "rename"])
def test_a_prepared_statement_is_judged_anew_after_others_changed_what_it_reads(
    open_house: Callable[..., House], change: str
) -> None:
    house = open_house()
    agent = house.agent()
    sql = "SELECT shown FROM labels WHERE id = 1" if change == "view" else "SELECT name FROM users WHERE id = 1"
    agent.send(prepare(sql, "p") + SYNC).until()
    found = agent.send(bind(statement="p") + execute(b"") + SYNC).until()
    assert rows(found) == [("item 1",)] if change == "view" else [("name 1",)]
    with house.seen():
        if change == "view":
            house.admin.rows("CREATE OR REPLACE VIEW labels AS SELECT id, email AS shown FROM users")
            house.admin.rows("GRANT SELECT ON labels TO app")
        else:
            house.admin.rows(
                "BEGIN; ALTER TABLE users RENAME name TO old; ALTER TABLE users RENAME email TO name; COMMIT"
            )
    found = agent.send(bind(statement="p") + execute(b"") + SYNC).until()
    assert rows(found) == [("***",)], shown(found)
    assert rows(agent.query(sql)) == [("***",)]
    agent.query(f"PREPARE q AS {sql}")
    assert rows(agent.query("EXECUTE q")) == [("***",)]


def test_a_portal_that_is_fetched_in_parts_is_judged_anew(open_house: Callable[..., House]) -> None:
    house = open_house()
    agent = house.agent()
    agent.query("BEGIN")
    sql = "SELECT label FROM items ORDER BY id"
    found = agent.send(prepare(sql) + bind(portal="p") + execute(b"p", 1) + SYNC).until()
    assert rows(found) == [("item 1",)]
    with house.seen():
        house.admin.rows("CREATE TABLE later (id int)")
    assert rows(agent.send(execute(b"p", 1) + SYNC).until()) == [("item 2",)]  # still clean, in the new epoch
    found = agent.send(prepare("SELECT email FROM users") + bind(portal="e") + execute(b"e", 1) + SYNC).until()
    assert rows(found) == [("***",)]
    with house.seen():
        house.admin.rows("CREATE TABLE later_still (id int)")
    assert rows(agent.send(execute(b"e", 0) + SYNC).until()) == [("***",)] * 8


def test_a_held_cursor_keeps_its_mask_when_its_view_turned_harmless(open_house: Callable[..., House]) -> None:
    house = open_house()
    agent = house.agent()
    house.admin.rows("CREATE VIEW wavers AS SELECT id, email AS shown FROM users; GRANT SELECT ON wavers TO app")
    eventually(
        lambda: not errors(agent.query("SELECT id FROM wavers")) and rows(agent.query("TABLE wavers"))[0][1] == "***"
    )
    agent.query("DECLARE c CURSOR WITH HOLD FOR SELECT shown FROM wavers")
    assert rows(agent.query("FETCH 1 FROM c")) == [("***",)]
    with house.seen():
        house.admin.rows("CREATE OR REPLACE VIEW wavers AS SELECT id, label AS shown FROM items")
    found = agent.query("FETCH 2 FROM c")
    assert rows(found) == [("***",)] * 2, shown(found)


def test_while_nobody_watches_what_may_reach_marks_is_refused(open_house: Callable[..., House]) -> None:
    house = open_house()
    agent = house.agent()
    assert rows(agent.query("SELECT email FROM users WHERE id = 1")) == [("***",)]
    agent.send(prepare("SELECT email FROM users", "p") + SYNC).until()
    house.lock_out()
    for sql in ("SELECT email FROM users", "SELECT id FROM users", "SELECT * FROM labels", "TABLE people"):
        sqlstate, words = error(agent.query(sql))
        assert (sqlstate, words.split(":")[:2]) == ("42501", ["hoop", " denied"])
        assert "not watched" in words
    assert errors(agent.send(bind(statement="p") + execute(b"") + SYNC).until())
    assert rows(agent.query("SELECT label FROM items WHERE id = 1")) == [("item 1",)]
    assert status(agent.query("BEGIN")) == "T"
    assert status(agent.query("COMMIT")) == "I"
    house.let_in()
    assert rows(agent.query("SELECT email FROM users WHERE id = 1")) == [("***",)]
    assert rows(agent.send(bind(statement="p") + execute(b"", 1) + SYNC).until()) == [("***",)]
    alarms = [each["detail"] for each in house.gateway.query("SELECT detail FROM alarms WHERE alarm = 'catalog-watch'")]
    assert len(alarms) == 2, alarms
    assert "cannot be watched" in alarms[0]
    assert "again" in alarms[1]


def test_a_watch_that_was_cut_comes_back_without_anybody_noticing(open_house: Callable[..., House]) -> None:
    house = open_house()
    agent = house.agent()
    agent.query("SELECT 1")
    house.cut()
    with house.seen():
        house.admin.rows("CREATE OR REPLACE VIEW labels AS SELECT id, email AS shown FROM users")
        house.admin.rows("GRANT SELECT ON labels TO app")
    assert rows(agent.query("SELECT shown FROM labels WHERE id = 1")) == [("***",)]


def test_a_mark_follows_its_column_over_a_restart(open_house: Callable[..., House]) -> None:
    house = open_house()
    house.agent().query("SELECT 1")
    assert house.gateway.stop() == 0
    house.admin.rows("ALTER TABLE users RENAME TO members; ALTER TABLE members RENAME email TO contact")
    house.admin.rows("CREATE TABLE users (id int, email text); INSERT INTO users VALUES (1, 'new@secret.example')")
    house.admin.rows("GRANT ALL ON users, members TO app")
    house = open_house()
    agent = house.agent()
    assert rows(agent.query("SELECT contact FROM members WHERE id = 1")) == [("***",)]
    assert rows(agent.query("SELECT email FROM users")) == [("***",)]
    assert rows(agent.query("SELECT name FROM members WHERE id = 1")) == [("name 1",)]


def test_a_mark_that_matches_nothing_closes_the_connection_until_it_is_put_right(
    open_house: Callable[..., House],
) -> None:
    house = open_house()
    agent = house.agent()
    with house.seen():
        house.admin.rows("ALTER TABLE users DROP COLUMN email")
    for sql in ("SELECT label FROM items", "INSERT INTO items VALUES (99, 'x')"):
        sqlstate, words = error(agent.query(sql))
        assert (sqlstate, words[:12]) == ("42501", "hoop: denied")
        assert "matches no column" in words
    assert rows(agent.query("SELECT 1")) == [("1",)]
    assert house.catalog()["marks_unmatched"] == ["public.users.email"]
    with closing(secure(house.gateway)) as stranger, pytest.raises(AssertionError, match="08001"):
        Wire(stranger).log_in({"user": "agent", "database": "shop"}, house.gateway.token())
    with house.seen():
        house.admin.rows("ALTER TABLE users ADD COLUMN email text")
    assert rows(agent.query("SELECT label FROM items WHERE id = 1")) == [("item 1",)]
    house.agent()
    (alarm,) = house.gateway.query("SELECT detail FROM alarms WHERE alarm = 'mark-unmatched'")
    assert "public.users.email" in alarm["detail"]


def test_a_large_statement_is_read_once_an_epoch(open_house: Callable[..., House]) -> None:
    """Parse and each Bind judge it; a parser process for each would cost a tenth of a second every time."""
    house = open_house()
    agent = house.agent()
    sql = f"SELECT label FROM items WHERE id IN (1, {', '.join(map(str, range(1000, 8000)))})"
    assert len(sql) > 16 << 10
    agent.send(prepare(sql, "p") + SYNC).until()
    assert rows(agent.send(run(sql) + SYNC).until()) == [("item 1",)]
    assert rows(agent.send(query(sql.encode())).until()) == [("item 1",)]
    with house.seen():
        house.admin.rows("ALTER TABLE items RENAME label TO id_text; ALTER TABLE users RENAME email TO label")
        house.admin.rows("ALTER TABLE items RENAME TO goods; ALTER TABLE users RENAME TO items")
    found = agent.send(bind(statement="p") + execute(b"") + SYNC).until()
    assert SECRET not in shown(found)
    assert rows(found) == [("***",)]
