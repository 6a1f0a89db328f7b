"""Large things pass, larger things are refused, and nobody makes the gateway's memory grow without bound."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from hashlib import sha256

import pytest
from running import RunningGateway
from wire_client import (
    COPY_DONE,
    Wire,
    bind,
    copy_data,
    error,
    errors,
    eventually,
    flood,
    kinds,
    memory,
    prepare,
    run,
    shown,
    status,
)

from gateway.pgwire.backend import decode_data_row
from gateway.pgwire.frontend import SYNC, execute, query

MEGABYTE = 1 << 20
VALUE = 64 * MEGABYTE
"""What INTERFACE promises to carry; [limits] message leaves a kilobyte for the rest of its message."""


def test_a_value_of_64_megabytes_both_ways(gateway: RunningGateway, agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    value = sha256(b"seed").digest() * (VALUE // 32)
    wire.stream.settimeout(60)
    insert = prepare("INSERT INTO scratch (id, data) VALUES (1, $1)")
    found = wire.send(insert, bind(value, formats=(1,)), execute(b""), SYNC).until()
    assert kinds(found) == "12CZ", shown(found)
    assert scratch.rows("SELECT length(data), encode(sha256(data), 'hex') FROM scratch") == [
        (str(VALUE), sha256(value).hexdigest())
    ]
    select = prepare("SELECT data FROM scratch WHERE id = 1")
    found = wire.send(select, bind(results=1), execute(b""), SYNC).until()
    assert kinds(found) == "12DCZ"
    (got,) = decode_data_row(found[2].body)
    assert got == value
    wire.received.clear()
    assert wire.rows("SELECT 1") == [("1",)]


def test_a_large_value_beside_a_masked_one(agent: Callable[..., Wire]) -> None:
    wire = agent("orders")
    (row,) = wire.rows(f"SELECT repeat('x', {8 * MEGABYTE}), email FROM users WHERE id = 1")
    assert (len(row[0] or ""), row[1]) == (8 * MEGABYTE, "***")


def test_what_must_be_looked_at_whole_is_bounded(gateway: RunningGateway, agent: Callable[..., Wire]) -> None:
    """A row with a masked column cannot stream through; where it passes the limit, the session ends."""
    wire = agent("orders")
    before = memory(gateway)
    big = f"repeat('x', {40 * MEGABYTE})"
    found = wire.send(query(f"SELECT {big} AS a, {big} AS b, email FROM users WHERE id = 1".encode())).rest()
    assert errors(found)[-1].severity == "FATAL"
    assert memory(gateway) - before < 64 * MEGABYTE


@pytest.mark.parametrize("extended", [False, True])
def test_a_statement_over_the_limit(agent: Callable[..., Wire], scratch: Wire, *, extended: bool) -> None:
    wire = agent()
    wire.rows("BEGIN")
    sql = "SELECT 1 -- " + "x" * MEGABYTE
    found = wire.send(run(sql) + SYNC if extended else query(sql.encode())).until()
    assert kinds(found) == "EZ", kinds(found)
    (said,) = errors(found)
    assert (said.sqlstate, said.get("D")) == ("42501", "Rule: limits/statement")
    assert status(found) == "E"
    wire.rows("ROLLBACK")
    just = "SELECT 1 -- "
    assert wire.rows(just + "x" * (MEGABYTE - len(just))) == [("1",)]


@pytest.mark.parametrize("kind", [b"Q", b"P", b"B", b"d", b"X"])
def test_a_message_over_the_limit_ends_the_session(
    gateway: RunningGateway, agent: Callable[..., Wire], kind: bytes
) -> None:
    wire = agent()
    before = memory(gateway)
    found = wire.send(kind + struct.pack("!I", 4 + VALUE + 1025) + b"x" * 1000).rest()
    assert [(said.severity, said.sqlstate) for said in errors(found)] == [("FATAL", "54000")]
    assert memory(gateway) - before < 16 * MEGABYTE


@pytest.mark.parametrize("size", [1, 1000, 300_000, 3_000_000])
def test_copy_in_chunks_of_any_size(agent: Callable[..., Wire], scratch: Wire, size: int) -> None:
    wire = agent()
    text = b"".join(b"%d\tnote %d\n" % (number, number) for number in range(4000 if size > 1 else 50))
    chunks = [copy_data(text[start : start + size]) for start in range(0, len(text), size)]
    wire.send(query(b"COPY scratch (id, note) FROM STDIN"), *chunks, COPY_DONE)
    found = wire.until()
    assert kinds(found) == "GCZ", shown(found)
    count = text.count(b"\n")
    assert scratch.rows("SELECT count(*), sum(id) FROM scratch") == [(str(count), str(count * (count - 1) // 2))]


def test_copy_of_64_megabytes_both_ways(gateway: RunningGateway, agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    wire.stream.settimeout(60)
    line = b"%d\t" + b"n" * (MEGABYTE - 20) + b"\n"
    before = memory(gateway)
    wire.send(query(b"COPY scratch (id, note) FROM STDIN")).until("G")
    for number in range(64):
        wire.send(copy_data(line % number))
    assert kinds(wire.send(COPY_DONE).until()) == "CZ"
    found = wire.query("COPY (SELECT id, note FROM scratch ORDER BY id) TO STDOUT")
    assert kinds(found) == "H" + "d" * 64 + "cCZ"
    assert b"".join(each.body for each in found if each.kind == b"d") == b"".join(line % n for n in range(64))
    wire.received.clear()
    assert memory(gateway) - before < 64 * MEGABYTE


def test_a_client_that_does_not_read_costs_little(
    gateway: RunningGateway, agent: Callable[..., Wire], admin: Wire
) -> None:
    """400 MB wait at the target, not in the gateway; another session is served meanwhile."""
    wire, other = agent("plain", application_name="deaf"), agent()
    before = memory(gateway)
    wire.send(query(b"SELECT repeat('x', 4000) FROM generate_series(1, 100000)"))
    waiting = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'deaf' AND wait_event = 'ClientWrite'"
    eventually(lambda: admin.rows(waiting))
    began = time.monotonic()
    for _ in range(50):
        assert other.rows("SELECT 1") == [("1",)]
    assert time.monotonic() - began < 5
    assert admin.rows(waiting)
    assert memory(gateway) - before < 32 * MEGABYTE
    found = wire.until()
    assert kinds(found) == "T" + "D" * 100_000 + "CZ"
    wire.received.clear()


def test_a_client_that_leaves_in_the_middle_of_a_result(
    gateway: RunningGateway, agent: Callable[..., Wire], admin: Wire
) -> None:
    wire = agent("plain", application_name="gone")
    wire.send(query(b"SELECT repeat('x', 4000) FROM generate_series(1, 100000)"))
    wire.expect("T")
    wire.stream.close()
    eventually(lambda: not admin.rows("SELECT 1 FROM pg_stat_activity WHERE application_name = 'gone'"))


def test_a_client_that_only_sends_is_not_read(gateway: RunningGateway, agent: Callable[..., Wire]) -> None:
    """A pipeline whose answers nobody reads fills the sockets, not the gateway."""
    wire = agent()
    before = memory(gateway)
    taken = flood(wire, run("SELECT repeat('x', 10000)") * 20, 256 * MEGABYTE)
    assert taken < 128 * MEGABYTE
    assert memory(gateway) - before < 64 * MEGABYTE


def test_a_pipeline_of_thousands(agent: Callable[..., Wire], scratch: Wire) -> None:
    wire = agent()
    wire.send(prepare("INSERT INTO scratch (id) VALUES ($1::int)", "i"), SYNC).until()
    messages = [bind(str(number).encode(), statement="i") + execute(b"") for number in range(3000)]
    found = wire.send(*messages, SYNC).until()
    assert kinds(found) == "2C" * 3000 + "Z"
    assert scratch.rows("SELECT count(*) FROM scratch") == [("3000",)]


def test_many_columns_and_parameters(agent: Callable[..., Wire]) -> None:
    wire = agent()
    columns = 1600
    found = wire.query("SELECT " + ", ".join(f"{number} AS c{number}" for number in range(columns)))
    assert len(decode_data_row(found[1].body)) == columns
    count = 10_000
    sql = "SELECT count(*) FROM (VALUES " + ", ".join(f"(${number}::int)" for number in range(1, count + 1)) + ") v"
    found = wire.send(prepare(sql), bind(*[b"1"] * count), execute(b""), SYNC).until()
    assert kinds(found) in ("12DCZ", "EZ"), shown(found)
    if kinds(found) == "EZ":
        assert error(found)[0] in ("42501", "54001", "54023")
