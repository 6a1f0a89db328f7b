"""One agent sends more than its share: pipelines without an end, names without number, everything at once."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest
from driving import Drive, allow, error_of, hold, kinds

from gateway.model import Deallocated, Declared, Prepared
from gateway.pgwire.actions import Analyse, Limits, Source
from gateway.pgwire.backend import ready_for_query
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import FLUSH, SYNC, Parse, execute, query
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.renewal import recognise
from gateway.pgwire.session import Session

IDLE, BLOCK = ready_for_query(b"I"), ready_for_query(b"T")
PARSED, BOUND, CLOSED = message(b"1"), message(b"2"), message(b"3")


def parse(sql: bytes, name: bytes = b"") -> bytes:
    return Parse(name, sql, ()).encode()


def bind(portal: bytes = b"", value: bytes = b"") -> bytes:
    body = cstring(portal) + cstring(b"") + struct.pack("!hh", 0, 1) + struct.pack("!i", len(value)) + value
    return message(b"B", body + struct.pack("!h", 0))


def close(kind: bytes, name: bytes) -> bytes:
    return message(b"C", kind + cstring(name))


def complete(tag: bytes) -> bytes:
    return message(b"C", cstring(tag))


def test_a_pipeline_without_an_end_is_answered_in_parts() -> None:
    """What the target owes is bounded, and is asked for where the client never sends a Sync."""
    drive = Drive(limits=Limits(flight=10)).client(*[parse(b"select 1")] * 25)
    sent = drive.to_target
    assert sent.count(b"select 1") == 10
    assert sent.endswith(FLUSH)
    drive.target(*[PARSED] * 10)
    assert sent.count(b"select 1") == 20
    drive.target(*[PARSED] * 10)
    drive.target(*[PARSED] * 5).client(SYNC).target(IDLE)
    assert kinds(drive.sent_to_client()) == "1" * 25 + "Z"


def test_a_part_that_fails_stops_the_rest_as_ever() -> None:
    drive = Drive(limits=Limits(flight=3)).client(*[parse(b"select 1")] * 9, SYNC)
    drive.target(PARSED, message(b"E", b"SERROR\0C42601\0Mno\0\0"))
    assert drive.to_target.count(b"select 1") == 3
    assert drive.to_target.endswith(SYNC)
    drive.target(IDLE)
    assert kinds(drive.sent_to_client()) == "1EZ"


def test_a_client_that_sends_everything_at_once_is_taken_in_turns() -> None:
    session = Session(Limits(turn=5), Drive().session._x.entropy, lambda: 0, {})
    session.feed(Source.CLIENT, SYNC * 12)
    assert session.buffered == 7 * len(SYNC)
    assert session.rests
    assert not session.awaits_message
    session.go_on()
    assert session.buffered == 2 * len(SYNC)
    session.go_on()
    assert not session.rests
    assert session.awaits_message


def test_what_is_resting_goes_on_whoever_wakes_it() -> None:
    """An answer of the target, and not the client, is what ends the wait before the messages that rest."""
    session = Session(Limits(turn=1), Drive().session._x.entropy, lambda: 0, {})
    session.feed(Source.CLIENT, SYNC * 3)
    session.feed(Source.TARGET, IDLE)
    assert session.rests
    session.go_on()
    session.feed(Source.TARGET, IDLE)
    session.go_on()
    assert session.buffered == 0


@pytest.mark.parametrize("limits", [Limits(names=3), Limits(names_size=30)])
def test_prepared_statements_are_bounded_and_closing_some_helps(limits: Limits) -> None:
    drive = Drive(limits=limits)
    for name in (b"a", b"b", b"c"):
        drive.client(parse(b"select 10.", name), SYNC).target(PARSED, IDLE)
    drive.sent_to_client()
    drive.sent_to_target()
    drive.client(parse(b"select 10.", b"d"), SYNC)
    found = drive.sent_to_client()
    assert kinds(found) == "EZ"
    assert error_of(found).get("D") == "Rule: limits/names"
    assert drive.sent_to_target() == []
    drive.client(parse(b"select 10."), SYNC).target(PARSED, IDLE)
    assert kinds(drive.sent_to_client()) == "1Z"
    drive.client(close(b"S", b"a"), close(b"S", b"b"), SYNC).target(CLOSED, CLOSED, IDLE)
    drive.client(parse(b"select 10.", b"d"), SYNC).target(PARSED, IDLE)
    assert kinds(drive.sent_to_client()) == "33Z1Z"


def test_portals_and_what_they_keep_are_bounded() -> None:
    drive = Drive(limits=Limits(names_size=1000))
    drive.client(query(b"begin")).target(complete(b"BEGIN"), BLOCK)
    drive.client(parse(b"select $1"), bind(b"p", b"x" * 1000), SYNC).target(PARSED, BOUND, BLOCK)
    drive.sent_to_client()
    drive.client(bind(b"q"), execute(b"q"), SYNC)
    drive.target(message(b"E", b"SERROR\0C34000\0Mno\0\0")).target(ready_for_query(b"E"))
    assert error_of(drive.sent_to_client()).get("D") == "Rule: limits/names"


@pytest.mark.parametrize("effect", [Prepared("s", b"select 1"), Declared("c", b"select 1")])
@pytest.mark.parametrize("judged", [allow, hold])
def test_names_made_in_sql_are_bounded_too(effect: Prepared | Declared, judged: Any) -> None:
    drive = Drive(limits=Limits(names=1)).client(parse(b"select 1", b"x"), SYNC).target(PARSED, IDLE)
    drive.sent_to_client()
    drive.judge = lambda _: judged(effects=((0, effect),))
    drive.client(query(b"prepare"))
    assert error_of(drive.sent_to_client()).get("D") == "Rule: limits/names"
    assert drive.holds == []


def test_what_names_keep_is_counted_through_every_way_they_go() -> None:
    drive = Drive(by_effects)
    drive.client(query(b"begin")).target(complete(b"BEGIN"), BLOCK)
    drive.client(query(b"prepare s")).target(complete(b"PREPARE"), BLOCK)
    drive.client(query(b"declare c")).target(complete(b"DECLARE CURSOR"), BLOCK)
    drive.client(parse(b"select $1", b"n"), parse(b"select $1"), bind(b"p", b"xyz"), SYNC)
    drive.target(PARSED, PARSED, BOUND, BLOCK)
    kept = drive.session._x.names
    assert kept.count == 5
    assert kept.size > len(b"select $1") * 3
    drive.client(query(b"deallocate all")).target(complete(b"DEALLOCATE ALL"), BLOCK)
    drive.client(query(b"commit")).target(complete(b"COMMIT"), IDLE)
    assert (kept.count, kept.size) == (0, 0)


def by_effects(action: Analyse) -> Judgement:
    sql = action.statement.sql
    effects = {
        b"prepare s": Prepared("s", b"select 1"),
        b"declare c": Declared("c", b"declare c"),
        b"deallocate all": Deallocated(None),
    }
    return allow(effects=((0, effects[sql]),)) if sql in effects else allow()


@pytest.mark.parametrize("tail", [b"", b";", b" as x", b";;"])
def test_a_renewal_of_blanks_is_read_in_no_time(tail: bytes) -> None:
    """One text that is read in quadratic time stops everybody: these would take hours."""

    blanks = b" " * 400_000
    begun = time.perf_counter()
    assert recognise(b"SELECT hoop.renew('x')" + blanks + tail + blanks + b"?") is True
    assert time.perf_counter() - begun < 2


def test_a_renewal_longer_than_any_token_is_refused() -> None:
    assert recognise(b"SELECT hoop.renew('" + b"x" * 70_000 + b"')") is True


def test_renewals_without_number_are_not_kept() -> None:
    drive = Drive().client(*[parse(b"SELECT hoop.renew($1)", b"r%d" % place) for place in range(20)], SYNC)
    assert kinds(drive.sent_to_client()) == "1" * 16 + "EZ"
    end = cstring(b"r0") + struct.pack("!hhi", 0, 1, 1) + b"t" + struct.pack("!h", 0)
    drive.client(*[message(b"B", cstring(b"p%d" % place) + end) for place in range(20)], SYNC)
    assert kinds(drive.sent_to_client()) == "2" * 16 + "EZ"
