"""Rules of a connection, from the file to the wire and the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from running import RunningGateway, connection_table, running
from wire_client import Wire, direct, error, errors, run, through

from gateway.demo.postgres import PostgresServer
from gateway.pgwire.frontend import SYNC

RULES = """
[[connection.rule]]
name = "notes-are-not-for-bots"
column = "public.diary.note"
subject = "bot"
action = "deny"

[[connection.rule]]
name = "scratch-is-free"
replaces = "standard/drop"
relation = "scratch.*"
action = "allow"
accept_risk = "nothing there is kept"

[[connection.rule]]
name = "reports-ask"
operation = "select"
relation = "public.diary"
group = "reporting"
action = "approve"
"""
SCHEMA = """
CREATE TABLE diary (id int PRIMARY KEY, note text);
INSERT INTO diary VALUES (1, 'dear'), (2, 'diary');
CREATE VIEW words AS SELECT id, note AS word FROM diary;
CREATE SCHEMA scratch;
CREATE TABLE scratch.notes (id int);
"""


@pytest.fixture(scope="module")
def ruled(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """Connections `ruled` (own rules), `reader` (read-only), `movers` (migrations) on a database of their own."""
    postgres.create_database("ruled")
    postgres.execute(SCHEMA, "ruled")
    tables = [
        connection_table("ruled", postgres, "ruled", hold="refuse") + RULES,
        connection_table("reader", postgres, "ruled", policy="read-only"),
        connection_table("movers", postgres, "ruled", policy="migrations", hold="refuse"),
    ]
    home: Path = tmp_path_factory.mktemp("ruled")
    with running(home, postgres, tables) as gateway:
        yield gateway


@pytest.fixture
def session(ruled: RunningGateway) -> Iterator[Callable[..., Wire]]:
    """Open raw sessions: `session("ruled", "bot", "reporting")`."""
    with ExitStack() as stack:

        def connect(connection: str, subject: str = "agent-1", groups: str = "") -> Wire:
            return stack.enter_context(through(ruled, connection, ruled.token(subject, groups)))

        yield connect


def denied(wire: Wire, sql: str) -> str:
    """The rule that refuses `sql`, by either protocol."""
    found = wire.query(sql)
    (said,) = errors(found)
    assert (said.get("M") or "").startswith("hoop: denied"), said
    rule = (said.get("D") or "").removeprefix("Rule: ")
    (again,) = errors(wire.send(run(sql) + SYNC).until())
    assert again.get("D") == said.get("D")
    return rule


def test_rules_are_about_who_asks(ruled: RunningGateway, session: Callable[..., Wire]) -> None:
    bot, agent = session("ruled", "bot"), session("ruled")
    sql = "SELECT word FROM words ORDER BY id"
    assert agent.rows(sql) == [("dear",), ("diary",)]
    assert denied(bot, sql) == "notes-are-not-for-bots"
    assert bot.rows("SELECT id FROM words ORDER BY id") == [("1",), ("2",)]
    assert agent.rows(sql) == [("dear",), ("diary",)]
    report = session("ruled", "agent-2", "reporting")
    code, message = error(report.query("SELECT id FROM diary"))[:2]
    assert (code, message) == ("42501", "hoop: approval needed")
    bot.query("COMMIT")
    kept = ruled.query(
        "SELECT verdict, rule, reason FROM statements WHERE subject = 'bot' AND verdict = 'deny' LIMIT 1"
    )
    assert [(each["verdict"], each["rule"]) for each in kept] == [("deny", "notes-are-not-for-bots")]
    assert kept[0]["reason"] == "It reads public.words, it mentions public.diary.note and the subject is bot."
    policies = ruled.query("SELECT rules FROM policies WHERE connection = 'ruled'")
    assert "scratch-is-free" in str(policies[0]["rules"])


def test_a_line_is_relaxed_as_far_as_the_rule_says(session: Callable[..., Wire], postgres: PostgresServer) -> None:
    agent = session("ruled")
    assert denied(agent, "DROP TABLE scratch.notes, diary") == "standard/drop"
    assert denied(agent, "DROP TABLE diary") == "standard/drop"
    agent.rows("DROP TABLE scratch.notes")
    with direct(postgres, "ruled") as admin:
        assert admin.rows("SELECT to_regclass('scratch.notes'), to_regclass('public.diary')") == [(None, "diary")]


def test_presets_hold_on_the_wire(session: Callable[..., Wire]) -> None:
    reader = session("reader")
    assert reader.rows("SELECT count(*) FROM diary") == [("2",)]
    assert denied(reader, "INSERT INTO diary VALUES (3)") == "read-only/insert"
    assert denied(reader, "SELECT * FROM diary FOR UPDATE") == "read-only/for-update"
    mover = session("movers")
    for sql in ("DROP TABLE diary", "CREATE TABLE more (id int)"):
        assert error(mover.query(sql))[:2] == ("42501", "hoop: approval needed")
    assert denied(mover, "TRUNCATE diary") == "standard/truncate"


def test_the_dry_run_says_what_the_wire_says(ruled: RunningGateway) -> None:
    ask = ("policy", "test", "-c", str(ruled.config), "--connection", "ruled", "--json")
    told = ruled.command(*ask, "SELECT word FROM words", "--subject", "bot").stdout
    assert '"rule": "notes-are-not-for-bots"' in told
    assert '"where": "gateway.toml: connection.0.rule.0"' in told
