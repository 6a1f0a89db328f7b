"""The session machine, driven with plain lists: what reaches whom, in which order, and what is recorded."""

from __future__ import annotations

import pytest
from driving import CountingEntropy, Drive, allow, deny, error_of, hold, kinds
from phrases import PARSED, READY, ROW, answers, complete, parse

from gateway.model import Closed, Deallocated, Declared, Outcome, Prepared
from gateway.pgwire.actions import CancelTarget, Limits
from gateway.pgwire.backend import (
    encode_data_row,
    error_response,
    parameter_status,
    ready_for_query,
)
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import query
from gateway.pgwire.notes import Alarm, Cancellation, Preparation, Request


def test_a_query_is_recorded_then_forwarded_and_its_answer_passes_unchanged() -> None:
    drive = Drive().client(query(b"select 1"))
    assert drive.order == ["Analyse", "Record Request", "SendToTarget"]
    assert drive.to_target == query(b"select 1")
    answer = ROW + encode_data_row([b"1"]) + encode_data_row([None]) + complete(b"SELECT 2") + READY
    drive.target(answer)
    assert drive.to_client == answer
    (note,) = answers(drive)
    assert (note.outcome, note.rows, note.sqlstate) == (Outcome.OK, 2, None)
    assert note.text == "n\n1\n\\N\nSELECT 2\n"
    assert note.size == len(answer) - len(READY)


def test_the_answer_is_recorded_before_ready_for_query_leaves() -> None:
    drive = Drive().client(query(b"select 1"))
    drive.order.clear()
    drive.target(ROW + complete(b"SELECT 0") + READY)
    assert drive.order[-2:] == ["Record Answer", "SendToClient"]


def test_a_denied_query_is_an_error_and_the_session_goes_on() -> None:
    drive = Drive().client(query(b"drop table t"))
    assert drive.order[:3] == ["Analyse", "Record Request", "Record Answer"]
    assert not drive.to_target
    told = drive.sent_to_client()
    assert kinds(told) == "EZ"
    error = error_of(told)
    assert error.sqlstate == "42501"
    assert error.get("M") == "hoop: denied: it drops a table"
    assert "standard/drop" in (error.get("D") or "")
    assert error.get("H") == "Ask an operator."
    assert answers(drive)[0].outcome is Outcome.DENIED
    drive.client(query(b"select 1"))
    assert drive.to_target == query(b"select 1")


def test_a_denied_query_in_a_transaction_fails_the_transaction_at_the_target() -> None:
    drive = Drive().client(query(b"begin")).target(complete(b"BEGIN"), ready_for_query(b"T"))
    drive.sent_to_client(), drive.sent_to_target()
    drive.client(query(b"drop table t"))
    sent = drive.sent_to_target()
    assert kinds(sent) == "ES"
    assert sent[0].body.startswith(b"hoop_")
    assert not drive.to_client
    drive.target(error_response("34000", "portal does not exist"), ready_for_query(b"E"))
    told = drive.sent_to_client()
    assert kinds(told) == "EZ"
    assert told[-1].body == b"E"
    assert error_of(told).sqlstate == "42501"


def test_the_abort_must_be_answered_by_34000_and_nothing_else() -> None:
    drive = Drive().client(query(b"begin")).target(complete(b"BEGIN"), ready_for_query(b"T"))
    drive.client(query(b"drop table t")).target(error_response("42P01", "surprise"))
    assert drive.closed is not None
    assert any(isinstance(note, Alarm) for note in drive.notes)


def test_a_second_query_waits_for_the_first() -> None:
    drive = Drive().client(query(b"select 1"), query(b"select 2"))
    assert drive.to_target == query(b"select 1")
    drive.target(complete(b"SELECT 0"), READY)
    assert drive.to_target == query(b"select 1") + query(b"select 2")


def test_function_call_is_refused() -> None:
    drive = Drive().client(message(b"F", b"\0" * 12))
    told = drive.sent_to_client()
    assert kinds(told) == "EZ"
    assert error_of(told).sqlstate == "42501"
    assert not drive.to_target


def test_a_statement_over_the_limit_is_denied_and_recorded_cut() -> None:
    drive = Drive(limits=Limits(statement=10)).client(query(b"select 1234567890"))
    assert error_of(drive.sent_to_client()).sqlstate == "42501"
    (request,) = [note for note in drive.notes if isinstance(note, Request)]
    assert request.statement.sql == b"select 123"
    assert not drive.to_target


def test_a_cancel_is_recorded_and_forwarded_only_for_what_is_in_flight() -> None:
    drive = Drive()
    drive.do(drive.session.cancel())
    assert not drive.other
    drive.client(query(b"select 1"))
    drive.do(drive.session.cancel())
    assert [type(each) for each in drive.other] == [CancelTarget]
    assert [each.forwarded for each in drive.notes if isinstance(each, Cancellation)] == [False, True]


def test_nothing_new_is_forwarded_while_a_cancel_is_on_its_way() -> None:
    drive = Drive().client(query(b"select 1"))
    drive.do(drive.session.cancel())
    drive.target(error_response("57014", "canceled"), READY)
    drive.client(query(b"select 2"))
    assert drive.to_target == query(b"select 1")
    drive.do(drive.session.cancel_delivered())
    assert drive.to_target == query(b"select 1") + query(b"select 2")


def test_names_that_sql_makes_and_drops_are_known_to_later_judgements() -> None:
    effects = {
        b"prepare": ((0, Prepared("p", b"delete from t")), (1, Declared("c", b"select email", hold=True))),
        b"drop": ((0, Deallocated("p")), (1, Closed(None))),
    }
    drive = Drive(judge=lambda action: allow(effects=effects.get(action.statement.sql, ())))
    drive.client(query(b"prepare")).target(complete(b"PREPARE"), complete(b"DECLARE CURSOR"), READY)
    drive.client(query(b"look")).target(complete(b"SELECT 0"), READY)
    assert drive.asked[-1].names.prepared == {"p": b"delete from t"}
    assert drive.asked[-1].names.cursors == {"c": b"select email"}
    drive.client(query(b"drop")).target(complete(b"DEALLOCATE"), error_response("34000", "no cursor"), READY)
    drive.client(query(b"look"))
    assert drive.asked[-1].names.prepared == {}
    assert drive.asked[-1].names.cursors == {"c": b"select email"}


def test_a_statement_that_depends_on_names_is_judged_on_a_quiet_session() -> None:
    drive = Drive(judge=lambda action: allow(depends_on_state=action.statement.sql == b"execute"))
    drive.client(parse(b"select", b"p"), parse(b"execute", b"q"))
    assert [each.statement.sql for each in drive.asked] == [b"select", b"execute"]
    assert kinds(drive.sent_to_target()) == "PH"
    drive.target(PARSED)
    assert drive.asked[-1].names.prepared == {"p": b"select"}
    assert kinds(drive.sent_to_target()) == "P"


def test_a_failed_transaction_is_assumed_only_where_it_is_known() -> None:
    drive = Drive().client(query(b"begin")).target(complete(b"BEGIN"), ready_for_query(b"T"))
    drive.client(query(b"x")).target(error_response("22012", "x"), ready_for_query(b"E"))
    drive.client(query(b"y"))
    assert drive.asked[-1].names.status == "E"
    drive.target(error_response("25P02", "aborted"), ready_for_query(b"E"))
    drive.client(parse(b"rollback"), parse(b"z"))
    assert [each.names.status for each in drive.asked[-2:]] == ["E", "T"]


@pytest.mark.parametrize(
    "hostile",
    [
        message(b"p", b"token\0"),
        b"Q\0\0\0\1",
        b"Q\xff\xff\xff\xff",
        message(b"Q", b"no end"),
        message(b"B", b"\0\0\0\1"),
        message(b"D", b"X\0"),
    ],
)
def test_a_client_that_breaks_the_protocol_gets_a_fatal_error(hostile: bytes) -> None:
    drive = Drive().client(hostile)
    told = drive.sent_to_client()
    assert kinds(told) == "E"
    assert error_of(told).severity == "FATAL"
    assert drive.closed is not None
    assert not drive.to_target


@pytest.mark.parametrize(
    "nonsense",
    [
        encode_data_row([b"1"]),
        READY,
        complete(b"SELECT 1"),
        PARSED,
        message(b"W", b"\0\0\0"),
        message(b"?"),
        b"Z\0\0\0\0",
    ],
)
def test_a_target_that_answers_what_nobody_asked_ends_the_session(nonsense: bytes) -> None:
    drive = Drive().target(nonsense)
    assert drive.closed is not None
    assert error_of(drive.sent_to_client()).severity == "FATAL"
    assert any(isinstance(note, Alarm) for note in drive.notes)


def test_a_changed_pin_ends_the_session() -> None:
    drive = Drive().client(query(b"select f()")).target(parameter_status("client_encoding", "SJIS"))
    assert drive.closed is not None


def test_a_fatal_error_of_the_target_reaches_the_client() -> None:
    drive = Drive().target(error_response("57P01", "terminating", severity="FATAL"))
    assert error_of(drive.sent_to_client()).sqlstate == "57P01"
    assert drive.closed is not None


def test_large_rows_stream_through_in_pieces() -> None:
    drive = Drive().client(query(b"select"))
    row = encode_data_row([b"x" * 500_000])
    answer = ROW + row + complete(b"SELECT 1") + READY
    for start in range(0, len(answer), 10_000):
        drive.target(answer[start : start + 10_000])
        if start == 200_000:
            assert len(drive.to_client) > 100_000
    assert drive.to_client == answer
    (note,) = answers(drive)
    assert note.truncated
    assert note.rows == 1


def test_a_cut_in_the_middle_of_a_row_says_nothing_more_to_the_client() -> None:
    drive = Drive().client(query(b"select"))
    drive.target(ROW + encode_data_row([b"x" * 500_000])[:200_000])
    before = len(drive.to_client)
    drive.do(drive.session.cut("57P01", "hoop: the session was cut: killed", "killed"))
    assert len(drive.to_client) == before
    assert drive.closed == "killed"


def test_entropy_of_the_driver_never_repeats() -> None:
    entropy = CountingEntropy()
    assert entropy.bytes(16) != entropy.bytes(16)


@pytest.mark.parametrize("judgement", [deny(), hold()])
def test_nothing_is_forwarded_without_a_request(judgement: object) -> None:
    drive = Drive(judge=lambda action: judgement).client(query(b"x"))  # type: ignore[arg-type,return-value]
    assert not drive.to_target
    assert not [each for each in drive.notes if isinstance(each, Preparation)]
