"""A refusal leaves the target where an error of its own would: nothing of its pipeline or transaction is committed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wire_client import (
    COPY_DONE,
    Wire,
    bind,
    copy_data,
    error,
    errors,
    kinds,
    prepare,
    rows,
    run,
    shown,
    status,
)

from gateway.pgwire.framing import message
from gateway.pgwire.frontend import SYNC, describe, execute, query

DENIED = "DROP TABLE items"
DENIALS = {
    "simple": query(DENIED.encode()),
    "parse": run(DENIED) + SYNC,
    "function call": message(b"F", b"\0\0\0\0" + b"\0\0" + b"\0\0" + b"\0\0"),
}
INSERT = "INSERT INTO scratch (id) VALUES ({})"


def ids(admin: Wire) -> list[int]:
    return [int(row[0] or 0) for row in admin.rows("SELECT id FROM scratch ORDER BY id")]


@pytest.mark.parametrize("how", DENIALS)
def test_a_refusal_outside_a_transaction(agent: Callable[..., Wire], how: str) -> None:
    wire = agent()
    found = wire.send(DENIALS[how]).until()
    assert kinds(found) == "EZ"
    assert status(found) == "I"
    (said,) = errors(found)
    assert (said.severity, said.sqlstate) == ("ERROR", "42501")
    assert (said.get("M") or "").startswith("hoop: denied")
    assert "standard/" in (said.get("D") or "")
    assert said.get("H")
    assert wire.rows("SELECT 1") == [("1",)]


@pytest.mark.parametrize("how", DENIALS)
def test_a_refusal_aborts_the_transaction(agent: Callable[..., Wire], scratch: Wire, how: str) -> None:
    wire = agent()
    wire.rows("BEGIN")
    wire.rows(INSERT.format(1))
    found = wire.send(DENIALS[how]).until()
    assert kinds(found) == "EZ"
    assert status(found) == "E"
    found = wire.query("SELECT 1")
    assert error(found)[0] == "25P02"
    found = wire.query("COMMIT")
    assert [each.body for each in found if each.kind == b"C"] == [b"ROLLBACK\0"]
    assert ids(scratch) == []


@pytest.mark.parametrize("how", DENIALS)
def test_in_a_failed_transaction_postgresql_answers(agent: Callable[..., Wire], how: str) -> None:
    wire = agent()
    wire.rows("BEGIN")
    wire.query("SELECT 1/0")
    found = wire.send(DENIALS[how]).until()
    assert status(found) == "E"
    assert error(found)[0] in ("25P02", "42501")
    assert wire.query("ROLLBACK")[-1].body == b"I"
    assert wire.rows("SELECT count(*) FROM items") == [("1000",)]


@pytest.mark.parametrize("how", ["simple", "parse"])
def test_savepoints_stay_usable(agent: Callable[..., Wire], scratch: Wire, how: str) -> None:
    wire = agent()
    for sql in ("BEGIN", INSERT.format(1), "SAVEPOINT s", INSERT.format(2)):
        wire.rows(sql)
    assert status(wire.send(DENIALS[how]).until()) == "E"
    assert status(wire.query("ROLLBACK TO s")) == "T"
    wire.rows(INSERT.format(3))
    wire.rows("COMMIT")
    assert ids(scratch) == [1, 3]


def test_after_rollback_statements_are_judged_again(agent: Callable[..., Wire]) -> None:
    wire = agent()
    wire.rows("BEGIN")
    wire.query("SELECT 1/0")
    found = wire.query(f"ROLLBACK; {DENIED}")
    assert error(found)[0] == "42501"
    found = wire.send(run("ROLLBACK") + run(DENIED) + SYNC).until()
    assert error(found)[0] == "42501"
    found = wire.send(query(b"ROLLBACK") + query(DENIED.encode())).until("Z", 2)
    assert [said.sqlstate for said in errors(found)][-1] == "42501"
    assert wire.rows("SELECT count(*) FROM items") == [("1000",)]


def test_a_denial_in_a_pipeline_commits_nothing_before_it(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    found = wire.send(run(INSERT.format(1)), run(DENIED), run(INSERT.format(2)), SYNC).until()
    assert kinds(found) == "12CEZ", shown(found)
    assert status(found) == "I"
    assert ids(scratch) == []
    assert wire.rows("SELECT 1") == [("1",)]


def test_a_denial_in_one_segment_leaves_the_others(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    pipeline = [run(INSERT.format(1)), SYNC, run(INSERT.format(2)), run(DENIED), run(INSERT.format(3)), SYNC]
    found = wire.send(*pipeline, run(INSERT.format(4)), SYNC, SYNC).until("Z", 4)
    assert kinds(found) == "12CZ12CEZ12CZZ", shown(found)
    assert ids(scratch) == [1, 4]


def test_a_denial_after_a_begin_in_the_same_pipeline(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    found = wire.send(run("BEGIN"), run(INSERT.format(1)), run(DENIED), SYNC, run("COMMIT"), SYNC).until("Z", 2)
    assert status(found) == "I"
    assert errors(found)[0].sqlstate == "42501"
    assert ids(scratch) == []


def test_a_denial_first_in_the_pipeline_tells_the_target_nothing(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    found = wire.send(run(DENIED), run(INSERT.format(1)), SYNC, run(INSERT.format(2)), SYNC).until("Z", 2)
    assert kinds(found) == "EZ12CZ", shown(found)
    assert ids(scratch) == [2]


def test_an_error_of_the_target_before_a_denial_is_the_one_told(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    found = wire.send(run(INSERT.format(1)), run("SELECT 1/0"), run(DENIED), SYNC).until()
    assert error(found)[0] == "22012"
    assert ids(scratch) == []


def test_a_denied_query_behind_an_unfinished_pipeline(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    found = wire.send(run(INSERT.format(1)), query(DENIED.encode())).until()
    assert kinds(found) == "12CEZ", shown(found)
    assert status(found) == "I"
    assert ids(scratch) == []


def test_a_string_with_one_denied_statement_runs_none(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    found = wire.query(f"{INSERT.format(1)}; {DENIED}; {INSERT.format(2)}")
    assert kinds(found) == "EZ"
    assert ids(scratch) == []


def test_a_refused_copy_swallows_its_data(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent("orders")
    refused = query(b"COPY scratch FROM PROGRAM 'cat'")
    found = wire.send(refused, copy_data(b"1\n"), COPY_DONE, query(b"SELECT 5")).until("Z", 2)
    assert kinds(found) == "EZTDCZ", shown(found)
    refused = run("COPY scratch FROM PROGRAM 'cat'")
    found = wire.send(run(INSERT.format(1)), refused, copy_data(b"2\n"), COPY_DONE, SYNC).until()
    assert kinds(found) == "12CEZ", shown(found)
    assert ids(scratch) == []
    found = wire.query("COPY users TO STDOUT")
    assert not errors(found)
    assert b"secret.example" not in wire.received


def test_a_copy_that_fails_behind_a_pipeline_swallows_its_data(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    found = wire.send(run(INSERT.format(1)), run("COPY scratch (id) FROM STDIN"), copy_data(b"x\n")).until("E")
    assert kinds(found) == "12C12GE"
    found = wire.send(*[copy_data(b"2\n")] * 50, COPY_DONE, SYNC, query(b"SELECT 1")).until("Z", 2)
    assert kinds(found) == "ZTDCZ", shown(found)
    assert ids(scratch) == []


# --- names that a pipeline leaves in doubt ---------------------------------------------------------------------------


HELD = "DELETE FROM scratch WHERE id = 1"


@pytest.mark.parametrize("name", ["", "s"])
def test_a_parse_that_fails_lends_its_text_to_nothing(agent: Callable[..., Wire], scratch: Wire, name: str) -> None:
    """The former statement of that name needs approval; the new text, which never takes its place, does not."""
    wire = agent("plain", options="-c hoop.hold=refuse")
    scratch.rows("INSERT INTO scratch VALUES (1)")
    wire.send(prepare(HELD, name), SYNC).until()
    pipeline = [prepare("SELECT 1/0/missing", "other"), prepare("SELECT 1", name), SYNC]
    if name:
        pipeline = [prepare("SELECT 1", name), SYNC]  # fails: the name is taken
    found = wire.send(*pipeline, bind(statement=name), execute(b""), SYNC).until("Z", 2)
    said = errors(found)
    assert len(said) == 2, shown(found)
    assert (said[1].sqlstate, said[1].get("M")) == ("42501", "hoop: approval needed")
    assert ids(scratch) == [1]


def test_a_bind_that_fails_lends_its_plan_to_nothing(agent: Callable[..., Wire]) -> None:
    wire = agent("orders")
    wire.rows("BEGIN")
    marked = prepare("SELECT email || 'x' FROM users ORDER BY id LIMIT 2", "marked")
    wire.send(marked, bind(statement="marked", portal="p"), SYNC).until()
    wire.rows("SAVEPOINT s")
    clean = prepare("SELECT 'clean' || 'x'", "clean") + bind(statement="clean", portal="p")
    found = wire.send(clean, SYNC, run("ROLLBACK TO s"), SYNC, execute(b"p"), SYNC).until("Z", 3)
    assert rows(found) == [("***",), ("***",)], shown(found)
    assert b"secret.example" not in wire.received


@pytest.mark.parametrize("waits", [True, False])
def test_a_cursor_under_a_closed_portals_name_is_masked(agent: Callable[..., Wire], *, waits: bool) -> None:
    wire = agent("orders")
    wire.rows("BEGIN")
    wire.send(run("SELECT 'clean' || id FROM items ORDER BY id", portal="p", max_rows=1), SYNC).until()
    swap = [query(b"CLOSE p"), query(b"DECLARE p CURSOR FOR SELECT email || 'x' FROM users ORDER BY id")]
    use = [describe(b"P", b"p"), execute(b"p", 2), SYNC]
    if waits:
        for each in swap:
            wire.send(each).until()
        found = wire.send(*use).until()
    else:
        found = wire.send(*swap, *use).until("Z", 3)
    assert rows(found) == [("***",), ("***",)], shown(found)
    assert b"secret.example" not in wire.received


def test_a_statement_prepared_anew_under_a_name_is_judged_anew(agent: Callable[..., Wire]) -> None:
    wire = agent("orders")
    wire.send(prepare("SELECT 'clean' || 'x'", "n"), SYNC).until()
    swap = query(b"DEALLOCATE n; PREPARE n AS SELECT email || 'x' FROM users ORDER BY id LIMIT 1")
    found = wire.send(swap, bind(statement="n"), execute(b""), SYNC).until("Z", 2)
    assert b"secret.example" not in wire.received
    assert not rows(found) or rows(found) == [("***",)], shown(found)


SWAPS = {
    "prepared statements": (
        [prepare("SELECT 'clean' || 'x'", "n"), prepare("DEALLOCATE n", "d1")],
        prepare("PREPARE n AS SELECT email || 'x' FROM users ORDER BY id LIMIT 2", "d2"),
        bind(statement="n") + execute(b""),
    ),
    "cursors": (
        [prepare("CLOSE c", "d1"), prepare("DECLARE c CURSOR FOR SELECT 'clean' || 'x'", "d0")],
        prepare("DECLARE c CURSOR FOR SELECT email || 'x' FROM users ORDER BY id LIMIT 2", "d2"),
        execute(b"c"),
    ),
}


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("what", SWAPS)
def test_what_execute_does_to_names_is_known(agent: Callable[..., Wire], what: str, *, waits: bool) -> None:
    """DEALLOCATE, PREPARE, CLOSE and DECLARE can themselves be prepared, and EXECUTE runs them."""
    wire = agent("orders")
    first, last, use = SWAPS[what]
    wire.rows("BEGIN")
    wire.send(*first, last, SYNC).until()
    queries = [query(b"EXECUTE d0")] if what == "cursors" else []
    queries += [query(b"EXECUTE d1"), query(b"EXECUTE d2")]
    found = []
    if waits:
        for each in queries:
            wire.send(each).until()
        found = wire.send(use, SYNC).until()
    else:
        found = wire.send(*queries, use, SYNC).until("Z", len(queries) + 1)
    assert b"secret.example" not in wire.received
    assert set(rows(found)) <= {("***",), ("cleanx",)}, shown(found)
