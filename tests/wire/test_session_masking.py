"""The session machine and marked columns: no value of theirs in a row, an error or a notice."""

from __future__ import annotations

import pytest
from driving import Drive, allow, error_of, kinds
from phrases import BOUND, INT, PARSED, READY, TEXT, answers, bind, complete, parse

from gateway.pgwire.backend import (
    Report,
    encode_data_row,
    encode_row_description,
    error_response,
    notice_response,
    ready_for_query,
    report,
)
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import SYNC, execute, query
from gateway.pgwire.notes import Alarm


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
