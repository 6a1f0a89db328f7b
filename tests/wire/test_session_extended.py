"""The session machine and the extended protocol: pipelines, portals, and statements that wait for a person."""

from __future__ import annotations

import pytest
from driving import Drive, allow, error_of, kinds
from phrases import BOUND, PARSED, READY, ROW, answers, bind, complete, parse

from gateway.model import Outcome
from gateway.pgwire.actions import CancelTarget, Refused, Source
from gateway.pgwire.backend import (
    encode_data_row,
    error_response,
    ready_for_query,
    report,
)
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import FLUSH, SYNC, TERMINATE, describe, execute, query
from gateway.pgwire.notes import Cancellation, Execution, Request


def test_every_step_of_the_extended_protocol_is_recorded_before_it_is_forwarded() -> None:
    drive = Drive().client(parse(b"select $1"), bind(b"", b"", b"7"), execute(b""), SYNC)
    assert drive.order == [
        "Analyse",
        "Record Preparation",
        "Analyse",
        "SendToTarget",  # Parse
        "Record Request",
        "Record Execution",
        "SendToTarget",  # Bind, Execute, Sync
    ]
    (request,) = [note for note in drive.notes if isinstance(note, Request)]
    assert request.statement.sql == b"select $1"
    assert [bound.value for bound in request.statement.parameters] == [b"7"]
    (execution,) = [note for note in drive.notes if isinstance(note, Execution)]
    assert execution.of == request.n
    drive.target(PARSED, BOUND, encode_data_row([b"7"]), complete(b"SELECT 1"), READY)
    assert kinds(drive.sent_to_client()) == "12DCZ"
    assert answers(drive)[0].of == request.n


def test_a_denied_parse_skips_to_sync_and_tells_the_target_nothing() -> None:
    drive = Drive().client(parse(b"drop table t"), bind(), execute(b""), parse(b"select 1"), bind(), execute(b""))
    assert kinds(drive.sent_to_client()) == "E"
    drive.client(SYNC)
    assert kinds(drive.sent_to_client()) == "Z"
    assert not drive.to_target
    drive.client(query(b"select 1"))
    assert drive.to_target == query(b"select 1")


def test_a_denial_in_a_pipeline_waits_for_what_came_before_and_fails_its_transaction() -> None:
    drive = Drive().client(parse(b"insert"), bind(), execute(b""), parse(b"drop table t"), SYNC)
    assert kinds(drive.sent_to_target()) == "PBEH"
    assert not drive.to_client
    drive.target(PARSED, BOUND, complete(b"INSERT 0 1"))
    assert kinds(drive.sent_to_client()) == "12C"
    assert kinds(drive.sent_to_target()) == "E"
    drive.target(error_response("34000", "no portal"))
    assert kinds(drive.sent_to_client()) == "E"
    assert kinds(drive.sent_to_target()) == "S"
    drive.target(READY)
    assert kinds(drive.sent_to_client()) == "Z"


def test_after_a_failure_in_the_pipeline_a_denied_statement_is_never_considered() -> None:
    drive = Drive().client(parse(b"select broken"), bind(), execute(b""), parse(b"drop table t"), SYNC)
    drive.target(error_response("42601", "syntax error"))
    told = drive.sent_to_client()
    assert kinds(told) == "E"
    assert error_of(told).sqlstate == "42601"
    drive.target(READY)
    assert kinds(drive.sent_to_client()) == "Z"
    outcomes = [note.outcome for note in answers(drive)]
    assert outcomes == [Outcome.ERROR, Outcome.CANCELLED]


def test_what_is_judged_while_the_target_refuses_its_parse_is_not_forwarded() -> None:
    drive = Drive(quick=False)

    def judge(_: object) -> object:
        if len(drive.asked) == 2:  # the Bind's
            drive.do(drive.session.feed(Source.TARGET, report("ERROR", "42883", "no such function").encode(b"E")))
        return allow()

    drive.judge = judge  # type: ignore[assignment]
    drive.client(parse(b"update t set a = f() where b > 1"), bind(), describe(b"P", b""), execute(b""), SYNC)
    assert kinds(drive.sent_to_target()) == "PS"
    drive.target(READY)
    assert kinds(drive.sent_to_client()) == "EZ"
    assert drive.closed is None


def test_a_name_stands_for_its_text_only_after_parse_complete() -> None:
    drive = Drive().client(parse(b"delete from t", b"s"), SYNC).target(PARSED, READY)
    drive.client(parse(b"select 1", b"s"), SYNC)
    drive.target(error_response("42P05", "already exists"), READY)
    drive.client(bind(b"", b"s"))
    assert drive.holds[-1].statement.sql == b"delete from t"


def test_bind_of_an_unknown_statement_is_postgresqls_own_error() -> None:
    drive = Drive().client(bind(b"", b"nobody"), SYNC)
    told = drive.sent_to_client()
    assert kinds(told) == "EZ"
    assert error_of(told).sqlstate == "26000"
    assert not drive.to_target


def test_execute_of_an_unknown_portal_is_postgresqls_own_error() -> None:
    drive = Drive().client(execute(b"nobody"), SYNC)
    assert error_of(drive.sent_to_client()).sqlstate == "34000"
    assert not drive.to_target


def test_a_portal_run_in_parts_is_one_operation() -> None:
    drive = Drive().client(parse(b"select"), bind(), execute(b"", 1), SYNC)
    drive.target(PARSED, BOUND, encode_data_row([b"1"]), message(b"s"), ready_for_query(b"T"))
    assert not answers(drive)
    drive.client(execute(b"", 1), SYNC).target(encode_data_row([b"2"]), complete(b"SELECT 1"), ready_for_query(b"T"))
    (note,) = answers(drive)
    assert note.rows == 2
    assert len([each for each in drive.notes if isinstance(each, Execution)]) == 2


def test_a_portal_that_was_never_executed_ends_with_its_transaction() -> None:
    drive = Drive().client(parse(b"select"), bind(), SYNC).target(PARSED, BOUND, READY)
    (note,) = answers(drive)
    assert (note.outcome, note.rows) == (Outcome.OK, 0)


def test_a_failing_commit_at_sync_becomes_the_error_of_the_last_operation() -> None:
    drive = Drive().client(parse(b"insert"), bind(), execute(b""), SYNC)
    drive.target(PARSED, BOUND, complete(b"INSERT 0 1"), error_response("23503", "deferred"), READY)
    first, second = answers(drive)
    assert (first.of, first.outcome) == (second.of, Outcome.OK)
    assert (second.outcome, second.sqlstate) == (Outcome.ERROR, "23503")


def test_flush_and_describe_pass() -> None:
    drive = Drive().client(parse(b"select"), describe(b"S", b""), FLUSH)
    assert kinds(drive.sent_to_target()) == "PDH"
    drive.target(PARSED, message(b"t", b"\0\0"), ROW)
    assert kinds(drive.sent_to_client()) == "1tT"


def test_a_held_query_waits_and_nothing_overtakes_it() -> None:
    drive = Drive().client(query(b"delete from t"), query(b"select 1"))
    assert not drive.to_target
    assert not drive.to_client
    drive.approve()
    assert drive.to_target == query(b"delete from t")
    drive.target(complete(b"DELETE 3"), READY)
    assert drive.to_target == query(b"delete from t") + query(b"select 1")
    assert answers(drive)[0].rows == 3


def test_hold_asks_only_once_the_pipeline_before_it_is_answered() -> None:
    drive = Drive().client(parse(b"delete from t"), bind(), execute(b""), SYNC)
    assert kinds(drive.sent_to_target()) == "PH"
    assert not drive.holds
    drive.target(PARSED)
    assert len(drive.holds) == 1
    drive.approve()
    assert kinds(drive.sent_to_target()) == "BES"


def test_a_refused_hold_is_an_error_and_skips_to_sync() -> None:
    drive = Drive().client(parse(b"delete from t"), bind(), execute(b""), SYNC).target(PARSED)
    drive.sent_to_target()
    drive.refuse(Refused(Outcome.REFUSED, report("ERROR", "42501", "hoop: refused", detail="not today")))
    assert kinds(drive.sent_to_target()) == "E"
    drive.target(error_response("34000", "no portal"))
    told = drive.sent_to_client()
    assert kinds(told) == "1E"
    assert error_of(told).get("D") == "not today"
    assert kinds(drive.sent_to_target()) == "S"


def test_cancel_ends_a_hold_without_telling_the_target() -> None:
    drive = Drive().client(query(b"delete from t"))
    drive.do(drive.session.cancel())
    assert [each.gone for each in drive.ended] == [False]
    assert not any(isinstance(each, CancelTarget) for each in drive.other)
    (note,) = [each for each in drive.notes if isinstance(each, Cancellation)]
    assert not note.forwarded


@pytest.mark.parametrize("leave", [TERMINATE, None])
def test_a_client_that_leaves_ends_its_hold_and_nothing_runs(leave: bytes | None) -> None:
    drive = Drive().client(query(b"delete from t"))
    if leave is None:
        drive.do(drive.session.lost(Source.CLIENT))
    else:
        drive.client(leave)
    assert [each.gone for each in drive.ended] == [True]
    assert drive.closed == "client"
    drive.approve()
    assert not drive.to_target
    assert answers(drive)[-1].outcome is Outcome.CANCELLED
