"""The session machine, driven with plain lists: what reaches whom, in which order, and what is recorded."""

from __future__ import annotations

import struct

import pytest
from driving import CountingEntropy, Drive, allow, deny, error_of, hold, kinds

from gateway.model import Outcome
from gateway.pgwire.actions import CancelTarget, Limits, Refused, Source
from gateway.pgwire.backend import (
    ColumnDescription,
    Report,
    encode_data_row,
    encode_row_description,
    error_response,
    notice_response,
    parameter_status,
    ready_for_query,
    report,
)
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import FLUSH, SYNC, TERMINATE, Parse, describe, execute, query
from gateway.pgwire.judgement import Closed, Deallocated, Declared, Prepared
from gateway.pgwire.notes import Alarm, Answer, Cancellation, CopyChunk, Execution, Preparation, Request

INT = ColumnDescription("n", 16384, 1, 23, 4, -1, 0)
TEXT = ColumnDescription("email", 16384, 2, 25, -1, -1, 0)
ROW = encode_row_description([INT])
READY = ready_for_query(b"I")


def complete(tag: bytes) -> bytes:
    return message(b"C", cstring(tag))


def parse(sql: bytes, name: bytes = b"") -> bytes:
    return Parse(name, sql, ()).encode()


def bind(portal: bytes = b"", statement: bytes = b"", *values: bytes | None) -> bytes:
    body = cstring(portal) + cstring(statement) + struct.pack("!hh", 0, len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return message(b"B", body + struct.pack("!h", 0))


PARSED, BOUND, CLOSED_OK = message(b"1"), message(b"2"), message(b"3")


def answers(drive: Drive) -> list[Answer]:
    return [note for note in drive.notes if isinstance(note, Answer)]


# --- simple protocol ----------------------------------------------------------------------------------------------


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


# --- extended protocol --------------------------------------------------------------------------------------------


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


# --- holding ------------------------------------------------------------------------------------------------------


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


# --- cancel -------------------------------------------------------------------------------------------------------


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


# --- COPY ---------------------------------------------------------------------------------------------------------

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


# --- masking ------------------------------------------------------------------------------------------------------


class Mask:
    """Masks the second column with three stars."""

    column_name, source_columns, style, replacement = "email", ("public.users.email",), "redact", b"***"
    rewrite = guard = None


class MaskSecond:
    columns = (None, Mask())
    disagreement = ""


class MaskNone:
    columns = (None, None)
    disagreement = ""


def masked(touches: bool = True) -> Drive:
    return Drive(judge=lambda action: allow(planner=lambda index, row: MaskSecond(), touches_marks=touches))


BOTH = encode_row_description([INT, TEXT])


def test_masked_values_never_reach_the_client_nor_the_transcript() -> None:
    drive = masked().client(query(b"select n, email"))
    drive.target(BOTH, encode_data_row([b"1", b"a@x.org"]), encode_data_row([b"2", None]), complete(b"SELECT 2"), READY)
    assert b"a@x.org" not in drive.to_client
    rows = [each for each in drive.sent_to_client() if each.kind == b"D"]
    assert rows[0].encode() == encode_data_row([b"1", b"***"])
    assert rows[1].encode() == encode_data_row([b"2", None])
    (note,) = answers(drive)
    assert "a@x.org" not in note.text
    (column,) = note.masked
    assert (column.column_name, column.values) == ("email", 1)


def test_a_portal_is_described_by_the_gateway_before_its_rows_are_masked() -> None:
    drive = masked().client(parse(b"select"), bind(), execute(b""), SYNC)
    assert kinds(drive.sent_to_target()) == "PBDES"
    row = encode_data_row([b"1", b"a@x.org"])
    drive.target(PARSED, BOUND, BOTH, row, complete(b"SELECT 1"), READY)
    told = drive.sent_to_client()
    assert kinds(told) == "12DCZ"
    assert told[2].encode() == encode_data_row([b"1", b"***"])


def test_rows_before_their_description_end_the_session() -> None:
    drive = masked().client(query(b"select"))
    drive.target(encode_data_row([b"1", b"a@x.org"]))
    assert drive.closed is not None
    assert b"a@x.org" not in drive.to_client


def test_a_row_that_does_not_fit_its_description_ends_the_session() -> None:
    drive = masked().client(query(b"select"))
    drive.target(BOTH, encode_data_row([b"1", b"a@x.org", b"surprise"]), complete(b"SELECT 1"), READY)
    assert drive.closed is not None
    assert b"a@x.org" not in drive.to_client


def test_row_descriptions_vote_against_a_clean_statement_masks_and_alarms() -> None:
    drive = masked(touches=False).client(query(b"select"))
    drive.target(BOTH, encode_data_row([b"1", b"a@x.org"]), complete(b"SELECT 1"), READY)
    assert b"a@x.org" not in drive.to_client
    (alarm,) = [each for each in drive.notes if isinstance(each, Alarm)]
    assert alarm.alarm == "votes-differ"


def test_errors_and_notices_lose_their_values_where_marks_are_in_reach() -> None:
    drive = masked().client(query(b"select"))
    error = report("ERROR", "22P02", 'invalid input: "a@x.org"', detail="a@x.org", hint="a@x.org").encode(b"E")
    drive.target(notice_response("00000", "a@x.org"), error, READY)
    assert b"a@x.org" not in drive.to_client
    told = drive.sent_to_client()
    assert kinds(told) == "EZ"
    assert error_of(told).sqlstate == "22P02"


def test_a_later_error_of_the_same_transaction_is_scrubbed_too() -> None:
    marked = iter([True, False, False])
    drive = Drive(judge=lambda action: allow(planner=lambda i, r: MaskNone(), touches_marks=next(marked)))
    drive.client(query(b"insert")).target(complete(b"INSERT 0 1"), ready_for_query(b"T"))
    drive.client(query(b"commit"))
    drive.target(report("ERROR", "23505", "duplicate", detail="Key (email)=(a@x.org)").encode(b"E"), READY)
    assert b"a@x.org" not in drive.to_client
    drive.client(query(b"select 1")).target(error_response("22012", "division by zero"), READY)
    assert b"division by zero" in drive.to_client


INSIDE = 'SQL statement "UPDATE ONLY public.people SET team = NULL"'


@pytest.mark.parametrize(
    ("context", "passes"), [(INSIDE, False), (f"{INSIDE}\nCOPY items, line 1", False), ("COPY items, line 1", True)]
)
def test_what_a_trigger_or_a_foreign_keys_action_prints_does_not_pass_where_columns_are_marked(
    context: str, passes: bool
) -> None:
    drive = Drive(judge=lambda action: allow(writes=True), marked=True).client(query(b"update teams"))
    printed = report("ERROR", "23502", "null value", detail="Failing row contains (1, null, a@x.org).")
    notice = Report((*report("NOTICE", "00000", "a@x.org").fields, ("W", context)))
    error = Report((*printed.fields, ("W", context)))
    drive.target(notice.encode(b"N"), error.encode(b"E"), READY)
    assert (b"a@x.org" in drive.to_client) is passes
    assert answers(drive)[0].sqlstate == "23502"


def test_an_error_of_analysis_keeps_postgresqls_words() -> None:
    drive = masked().client(query(b"select emial"))
    fields = report("ERROR", "42703", 'column "emial" does not exist', position=8)
    drive.target(fields.encode(b"E"), READY)
    assert error_of(drive.sent_to_client()).get("M") == 'column "emial" does not exist'


@pytest.mark.parametrize("begin", [b"", message(b"H", b"\0\0\0")])
def test_copy_data_that_nobody_announced_ends_the_session(begin: bytes) -> None:
    drive = masked().client(query(b"select"))
    drive.target(begin, message(b"d", b"a@x.org\n"))
    assert drive.closed is not None
    assert b"a@x.org" not in drive.to_client


# --- names made by SQL --------------------------------------------------------------------------------------------


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


# --- trouble ------------------------------------------------------------------------------------------------------


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
