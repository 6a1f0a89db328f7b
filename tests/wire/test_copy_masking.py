"""COPY … TO STDOUT of marked columns in the machine: what is asked first, what fails closed, what is too large."""

from __future__ import annotations

import struct

import pytest
from driving import Drive, allow, error_of, kinds

from gateway.masking.copy_layout import CopyFormat, Layout
from gateway.masking.copy_out import CopyOut
from gateway.masking.plan import ColumnMask, MaskPlan
from gateway.masking.tripwire import trips
from gateway.model import MaskStyle
from gateway.pgwire.actions import Limits
from gateway.pgwire.backend import (
    ColumnDescription,
    encode_row_description,
    error_response,
    ready_for_query,
)
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import SYNC, Bind, Parse, execute, query
from gateway.pgwire.notes import Alarm, Answer

COLUMNS = (ColumnDescription("id", 7, 1, 23, 4, -1, 0), ColumnDescription("email", 7, 2, 25, -1, -1, 0))
STARS = ColumnMask("email", ("public.users.email",), MaskStyle.REDACT, b"***")
GUARD = ColumnMask(
    "told", (), MaskStyle.REDACT, b"***", guard=lambda value, own: b"***" if trips(value, own) else value
)
READY = ready_for_query(b"I")
PARSED, BOUND, CLOSED = message(b"1"), message(b"2"), message(b"3")
NO_PARAMETERS = message(b"t", b"\0\0")
TEXT, CSV, BINARY = Layout(), Layout(CopyFormat.CSV, b",", b""), Layout(CopyFormat.BINARY)
SQL = b"COPY (SELECT id, email FROM users) TO STDOUT"


def began(width: int, binary: int = 0) -> bytes:
    return message(b"H", struct.pack("!bH", binary, width) + bytes(2 * width))


def data(row: bytes) -> bytes:
    return message(b"d", row)


def end(rows: int) -> bytes:
    return message(b"c") + message(b"C", b"COPY %d\0" % rows) + READY


def copying(known: CopyOut, *masks: ColumnMask | None, disagreement: str = "", limit: int = 1 << 20) -> Drive:
    """A machine whose COPY is masked by `masks`; where the number of columns is another, all of it is."""

    def planner(_index: int, row: tuple[ColumnDescription, ...], **_: object) -> MaskPlan:
        return MaskPlan(masks if len(row) == len(masks) else (STARS,) * len(row), disagreement)

    def judge(_action: object) -> object:
        return allow(planner=planner, touches_marks=True, copy_out=True, copies=((0, known),))

    return Drive(judge=judge, limits=Limits(message=limit), marked=True)  # type: ignore[arg-type]


def shown(drive: Drive) -> bytes:
    return b"".join(each.body for each in drive.sent_to_client() if each.kind == b"d")


def test_a_table_is_masked_by_its_columns_in_the_catalog() -> None:
    drive = copying(CopyOut(TEXT, COLUMNS), None, STARS).client(query(SQL))
    assert kinds(drive.sent_to_target()) == "Q"
    drive.target(began(2), data(b"1\ta@x.org\n"), data(b"2\t\\N\n"), end(2))
    assert shown(drive) == b"1\t***\n2\t\\N\n"
    (note,) = [note for note in drive.notes if isinstance(note, Answer)]
    assert (note.rows, [(each.column_name, each.values) for each in note.masked]) == (2, [("email", 1)])
    assert "a@x.org" not in note.text


def test_the_query_within_is_described_before_it_is_copied() -> None:
    drive = copying(CopyOut(TEXT, (), b"SELECT id, email FROM users", 6), None, STARS).client(query(SQL))
    sent = drive.sent_to_target()
    assert kinds(sent) == "PDCH"
    parse = Parse.decode(sent[0].body)
    assert (parse.sql, parse.name[:5]) == (b"SELECT id, email FROM users", b"hoop_")
    assert sent[1].body == b"S" + cstring(parse.name) == sent[2].body
    drive.target(PARSED, NO_PARAMETERS, encode_row_description(list(COLUMNS)), CLOSED)
    assert kinds(drive.sent_to_target()) == "Q"
    assert not drive.to_client, "the answers are the gateway's own"
    drive.target(began(2), data(b"1\ta@x.org\n"), end(1))
    assert shown(drive) == b"1\t***\n"


def test_in_the_extended_protocol_the_question_goes_before_execute() -> None:
    sent = (Parse(b"", SQL, ()).encode(), Bind(b"", b"", (), (), ()), execute(b""), SYNC)
    drive = copying(CopyOut(CSV, (), b"SELECT id, email FROM users", 6), None, STARS)
    drive.client(*(each if isinstance(each, bytes) else _encoded(each) for each in sent))
    assert kinds(drive.sent_to_target()) == "PBDPDCES"
    drive.target(PARSED, BOUND, message(b"n"), PARSED, NO_PARAMETERS, encode_row_description(list(COLUMNS)), CLOSED)
    drive.target(began(2), data(b'1,"a@x.org"\n'), message(b"c"), message(b"C", b"COPY 1\0"), READY)
    assert kinds(drive.sent_to_client()) == "12HdcCZ"


def _encoded(bind: Bind) -> bytes:
    return message(b"B", cstring(bind.portal) + cstring(bind.statement) + bytes(6))


def test_an_error_in_the_query_is_the_answer_and_stands_where_it_was_written() -> None:
    drive = copying(CopyOut(TEXT, (), b"SELECT nope", 6), None, STARS).client(query(b"COPY (SELECT nope) TO STDOUT"))
    drive.sent_to_target()
    drive.target(error_response("42703", 'column "nope" does not exist', position=8))
    assert kinds(drive.sent_to_target()) == "S"
    drive.target(READY)
    told = drive.sent_to_client()
    assert kinds(told) == "EZ"
    assert error_of(told).get("P") == "14"
    drive.client(query(b"SELECT 1"))
    assert kinds(drive.sent_to_target()) in {"Q", "PDCH"}


@pytest.mark.parametrize(("known", "begin"), [
    (CopyOut(TEXT, COLUMNS), began(3)), (CopyOut(TEXT), began(3)), (CopyOut(CSV, COLUMNS[:1]), began(3)),
])  # fmt: skip
def test_where_the_columns_do_not_fit_all_are_masked(known: CopyOut, begin: bytes) -> None:
    drive = copying(known, None, STARS).client(query(SQL))
    separator = known.layout.delimiter
    drive.target(begin, data(separator.join((b"a", b"b", b"c")) + b"\n"), end(1))
    assert shown(drive) == separator.join((b"***",) * 3) + b"\n"


@pytest.mark.parametrize(("layout", "messages"), [
    (TEXT, began(2, 1)), (BINARY, began(2, 0)), (CSV, began(2, 1)),
    (TEXT, began(2) + data(b"1\ta@x.org\tmore\n")), (TEXT, began(2) + data(b"a@x.org\n")),
    (TEXT, began(2) + data(b"1\ta@x.org") + message(b"c")), (CSV, began(2) + data(b'1,"a@x.org') + message(b"c")),
    (BINARY, began(2, 1) + data(b"no signature, a@x.org")), (BINARY, began(2, 1) + message(b"c")),
])  # fmt: skip
def test_what_cannot_be_masked_ends_the_session(layout: Layout, messages: bytes) -> None:
    drive = copying(CopyOut(layout, COLUMNS), None, STARS).client(query(SQL)).target(messages)
    assert drive.closed is not None
    assert b"a@x.org" not in drive.to_client


@pytest.mark.parametrize("step", [1, 7, 50, 10_000])
def test_a_row_too_large_to_be_kept_is_masked_in_pieces(step: int) -> None:
    drive = copying(CopyOut(TEXT, (*COLUMNS, COLUMNS[0])), None, STARS, None, limit=64).client(query(SQL))
    row = b"x" * 3000 + b"\ta@x.org" * 1 + b"\t" + b"y" * 3000 + b"\n"
    raw = began(3) + data(row) + data(b"1\tb@x.org\t2\n") + end(2)
    for place in range(0, len(raw), step):
        drive.target(raw[place : place + step])
    assert drive.closed is None
    assert b"x.org" not in drive.to_client
    assert shown(drive) == b"x" * 3000 + b"\t***\t" + b"y" * 3000 + b"\n1\t***\t2\n"


def test_several_statements_of_a_string_are_planned_one_by_one() -> None:
    known = CopyOut(TEXT, COLUMNS)

    def judge(_action: object) -> object:
        plan = MaskPlan((None, STARS))
        return allow(planner=lambda *_, **__: plan, touches_marks=True, copy_out=True, copies=((1, known),))

    drive = Drive(judge=judge, marked=True).client(query(b"SELECT 1, 2; COPY users TO STDOUT"))  # type: ignore[arg-type]
    drive.target(message(b"C", b"SET\0"), began(2), data(b"1\ta@x.org\n"), end(1))
    assert shown(drive) == b"1\t***\n"


def test_what_trips_the_wire_and_what_differs_is_told() -> None:
    drive = copying(CopyOut(TEXT, COLUMNS), None, GUARD, disagreement="told is said to be marked").client(query(SQL))
    drive.target(
        began(2), data(b"1\tplain\n"), data(b"2\tann@secret.example\n"), data(b"3\tbob@secret.example\n"), end(3)
    )
    assert shown(drive) == b"1\tplain\n2\t***\n3\t***\n"
    told = [(note.alarm, note.detail) for note in drive.notes if isinstance(note, Alarm)]
    assert [name for name, _ in told] == ["votes-differ", "tripwire"]
    assert "secret" not in str(told)
