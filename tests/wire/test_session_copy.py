"""The session machine and COPY: what is recorded before it is forwarded, and what is swallowed."""

from __future__ import annotations

from driving import Drive, kinds
from phrases import BOUND, PARSED, READY, answers, bind, complete, parse

from gateway.pgwire.actions import Limits
from gateway.pgwire.backend import (
    error_response,
)
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import SYNC, execute, query
from gateway.pgwire.notes import CopyChunk

COPY_IN = message(b"G", b"\0\0\0")


def test_copy_data_is_recorded_before_it_is_forwarded() -> None:
    drive = Drive().client(query(b"copy t from stdin"), message(b"d", b"1\n"), message(b"d", b"2\n"))
    assert drive.to_target == query(b"copy t from stdin")
    drive.order.clear()
    drive.target(COPY_IN)
    assert drive.order == ["Record CopyChunk", "SendToTarget", "SendToClient"]
    drive.client(message(b"c"), query(b"select 1"))
    assert kinds(drive.sent_to_target()) == "Qddc"
    drive.target(complete(b"COPY 2"), READY)
    assert kinds(drive.sent_to_target()) == "Q"
    assert answers(drive)[0].rows == 2


def test_large_copy_data_is_cut_into_recorded_chunks() -> None:
    drive = Drive(limits=Limits(copy_chunk=4)).client(query(b"copy t from stdin")).target(COPY_IN)
    drive.sent_to_target()
    drive.client(message(b"d", b"abcdefghij"))
    assert [each.data for each in drive.notes if isinstance(each, CopyChunk)] == [b"abcd", b"efgh", b"ij"]
    assert b"".join(each.body for each in drive.sent_to_target()) == b"abcdefghij"


def test_what_is_left_of_a_failed_copy_is_swallowed() -> None:
    drive = Drive().client(query(b"copy t from stdin")).target(COPY_IN)
    drive.target(error_response("22P04", "bad data"), READY)
    drive.sent_to_target()
    drive.client(message(b"d", b"x"), message(b"d", b"y"), message(b"c"), query(b"select 1"))
    assert kinds(drive.sent_to_target()) == "Q"


def test_a_sync_inside_copy_is_ignored_as_postgresql_does() -> None:
    drive = Drive().client(parse(b"copy t from stdin"), bind(), execute(b""), SYNC, message(b"d", b"1"), message(b"c"))
    assert kinds(drive.sent_to_target()) == "PBE"
    drive.target(PARSED, BOUND, COPY_IN)
    assert kinds(drive.sent_to_target()) == "dc"
    drive.client(SYNC)
    assert kinds(drive.sent_to_target()) == "S"
    drive.target(complete(b"COPY 1"), READY)
    assert kinds(drive.sent_to_client()) == "12GCZ"


def test_copy_out_passes() -> None:
    drive = Drive().client(query(b"copy t to stdout"))
    out = message(b"H", b"\0\0\0") + message(b"d", b"1\n") + message(b"c") + complete(b"COPY 1") + READY
    drive.target(out)
    assert drive.to_client == out
    assert answers(drive)[0].text == "1\nCOPY 1\n"


def test_copy_that_nobody_announced_ends_the_session() -> None:
    drive = Drive().client(query(b"select 1")).target(COPY_IN)
    assert drive.closed is not None
