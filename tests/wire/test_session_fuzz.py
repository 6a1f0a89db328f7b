"""The session machine under bytes that nobody would send: it never raises, never forwards what it did not record,
never lets a masked value through, and does not care how the bytes were cut.

`just fuzz` runs the same tests for longer (hypothesis profile `fuzz`).
"""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from driving import Drive, allow, by_words, hold, kinds
from hypothesis import event, given
from hypothesis import strategies as st

from gateway.model import Outcome
from gateway.pgwire.actions import Analyse, Refused
from gateway.pgwire.backend import (
    ColumnDescription,
    encode_data_row,
    encode_row_description,
    error_response,
    notice_response,
    parameter_status,
    ready_for_query,
    report,
)
from gateway.pgwire.framing import Message, MessageReader, cstring, message
from gateway.pgwire.frontend import FLUSH, SYNC, TERMINATE, Parse, describe, execute, query
from gateway.pgwire.judgement import Judgement

SECRET = b"secret@example.org"
COLUMNS = [ColumnDescription("n", 1, 1, 23, 4, -1, 0), ColumnDescription("email", 1, 2, 25, -1, -1, 0)]


class _Mask:
    column_name, source_columns, style, replacement = "email", ("public.users.email",), "redact", b"***"
    rewrite = guard = None


class _Plan:
    columns = (None, _Mask())
    disagreement = ""


def _plan(_index: int, _row: object) -> _Plan:
    return _Plan()


def judge(action: Analyse) -> Judgement:
    sql = action.statement.sql
    if sql.startswith(b"select email"):
        return allow(touches_marks=True, planner=_plan)
    return by_words(action)


def bind(portal: bytes, statement: bytes) -> bytes:
    return message(b"B", cstring(portal) + cstring(statement) + struct.pack("!hhh", 0, 0, 0))


names = st.sampled_from([b"", b"a", b"b"])
statements = st.sampled_from(
    [b"select 1", b"select email", b"drop table t", b"delete from t", b"copy t from stdin", b"begin", b""]
)
client_messages = st.one_of(
    statements.map(query),
    st.builds(lambda sql, name: Parse(name, sql, ()).encode(), statements, names),
    st.builds(bind, names, names),
    st.builds(execute, names, st.sampled_from([0, 1])),
    st.builds(describe, st.sampled_from([b"S", b"P"]), names),
    st.sampled_from([SYNC, SYNC, SYNC, FLUSH, message(b"d", b"1\n"), message(b"c"), message(b"f", b"no\0")]),
    st.sampled_from([message(b"F", b"\0" * 8), TERMINATE]),
    st.builds(lambda kind, body: message(bytes((kind,)), body), st.integers(0, 255), st.binary(max_size=12)),
    st.binary(max_size=12),
)
target_messages = st.one_of(
    st.sampled_from([b"I", b"T", b"E"]).map(ready_for_query),
    st.sampled_from([message(b"1"), message(b"2"), message(b"3"), message(b"n"), message(b"s"), message(b"I")]),
    st.sampled_from([message(b"G", b"\0\0\0"), message(b"H", b"\0\0\0"), message(b"c"), message(b"t", b"\0\0")]),
    st.just(encode_row_description(COLUMNS)),
    st.just(encode_data_row([b"1", SECRET])),
    st.just(encode_data_row([SECRET])),
    st.just(message(b"C", cstring(b"SELECT 1"))),
    st.just(report("ERROR", "22P02", SECRET.decode(), detail=SECRET.decode()).encode(b"E")),
    st.just(error_response("34000", "no portal")),
    st.just(notice_response("00000", SECRET.decode())),
    st.just(parameter_status("TimeZone", "UTC")),
    st.builds(lambda kind, body: message(bytes((kind,)), body), st.integers(0, 255), st.binary(max_size=12)),
    st.binary(max_size=12),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("client"), client_messages),
        st.tuples(st.just("target"), target_messages),
        st.tuples(st.sampled_from(["approve", "refuse", "cancel", "delivered"]), st.just(b"")),
    ),
    max_size=40,
)


def play(drive: Drive, step: tuple[str, bytes]) -> None:
    what, data = step
    match what:
        case "client":
            drive.client(data)
        case "target":
            drive.target(data)
        case "approve" if drive.holds:
            drive.approve()
        case "refuse" if drive.holds:
            drive.refuse(Refused(Outcome.REFUSED, report("ERROR", "42501", "hoop: refused")))
        case "cancel":
            drive.do(drive.session.cancel())
        case "delivered":
            drive.do(drive.session.cancel_delivered())


@given(steps)
def test_whatever_comes_the_machine_answers_or_closes_and_never_raises(found: list[tuple[str, bytes]]) -> None:
    drive = Drive(judge=judge)
    for step in found:
        play(drive, step)
    sent = drive.sent_to_target()
    assert set(kinds(sent)) <= set("QPBEDCSHdcfX")
    drive.sent_to_client()


@pytest.mark.fuzz
@given(steps)
def test_what_is_done_at_once_is_what_would_be_done_with_waiting(found: list[tuple[str, bytes]]) -> None:
    """The quick way of a message and the patient one: the same bytes to both sides, the same notes, the same end."""
    patient, quick = (Drive(judge=judge, quick=way) for way in (False, True))
    for step in found:
        play(patient, step)
        play(quick, step)
        assert (quick.to_client, quick.to_target) == (patient.to_client, patient.to_target)
        assert quick.notes == patient.notes
        assert [hold.n for hold in quick.holds] == [hold.n for hold in patient.holds]
        assert quick.closed == patient.closed
    event("closed" if quick.closed else "open")


@given(steps)
def test_nothing_that_runs_is_forwarded_before_its_note(found: list[tuple[str, bytes]]) -> None:
    drive = Drive(judge=judge)
    recorded = 0
    for step in found:
        play(drive, step)
        running = [each for each in drive.sent_to_target() if each.kind in {b"Q", b"P", b"B", b"E", b"d"}]
        own = [each for each in running if each.kind == b"E" and each.body.startswith(b"hoop_")]
        recorded += len(running) - len(own)
        granted = sum(1 for each in drive.order if each == "Hold")
        notes = [each for each in drive.order if each.startswith("Record ")]
        assert recorded <= len(notes) + granted


@given(steps)
def test_a_denied_statement_is_never_forwarded(found: list[tuple[str, bytes]]) -> None:
    drive = Drive(judge=judge)
    for step in found:
        play(drive, step)
    assert b"drop table" not in drive.to_target


@given(steps)
def test_a_held_statement_is_forwarded_only_after_a_yes(found: list[tuple[str, bytes]]) -> None:
    drive = Drive(judge=judge)
    for step in found:
        if step[0] != "approve":
            play(drive, step)
    assert not [each for each in drive.sent_to_target() if each.kind == b"Q" and b"delete" in each.body]


@given(st.lists(target_messages, max_size=15), st.booleans())
def test_no_answer_to_a_marked_statement_lets_a_value_through(found: list[bytes], extended: bool) -> None:
    drive = Drive(judge=judge)
    if extended:
        drive.client(Parse(b"", b"select email", ()).encode(), bind(b"", b""), execute(b""), SYNC)
    else:
        drive.client(query(b"select email"))
    for data in found:
        drive.target(data)
        if not drive.session.running:
            break
    assert SECRET not in drive.to_client
    assert all(SECRET.decode() not in repr(note) for note in drive.notes)


CONVERSATION_CLIENT = b"".join(
    (
        Parse(b"a", b"select email", ()).encode(),
        bind(b"", b"a"),
        execute(b""),
        SYNC,
        query(b"drop table t"),
        query(b"select 1"),
    )
)
CONVERSATION_TARGET = b"".join(
    (
        message(b"1"),
        message(b"2"),
        encode_row_description(COLUMNS),
        encode_data_row([b"1", SECRET]),
        message(b"C", cstring(b"SELECT 1")),
        ready_for_query(b"I"),
        encode_row_description(COLUMNS[:1]),
        encode_data_row([b"1"]),
        message(b"C", cstring(b"SELECT 1")),
        ready_for_query(b"I"),
    )
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


@given(st.lists(st.integers(0, 1 << 16), max_size=12), st.lists(st.integers(0, 1 << 16), max_size=12))
def test_how_bytes_are_cut_changes_nothing(client_cuts: list[int], target_cuts: list[int]) -> None:
    whole, pieces = Drive(judge=judge), Drive(judge=judge)
    whole.client(CONVERSATION_CLIENT)
    for piece in cut(CONVERSATION_CLIENT, client_cuts):
        pieces.client(piece)
    first = CONVERSATION_TARGET.index(ready_for_query(b"I")) + 6
    for part in (CONVERSATION_TARGET[:first], CONVERSATION_TARGET[first:]):
        whole.target(part)
        for piece in cut(part, target_cuts):
            pieces.target(piece)
    assert whole.to_client == pieces.to_client
    assert whole.to_target == pieces.to_target
    assert whole.notes == pieces.notes
    assert whole.closed is None


@given(st.lists(st.builds(Message, st.binary(min_size=1, max_size=1), st.binary(max_size=40)), max_size=10), st.data())
def test_framing_yields_what_was_framed(found: list[Message], data: st.DataObject) -> None:
    raw = b"".join(each.encode() for each in found)
    reader = MessageReader(100)
    seen: list[Message] = []
    for piece in cut(raw, data.draw(st.lists(st.integers(0, 1 << 10), max_size=8))):
        reader.feed(piece)
        seen += list(reader)
    assert seen == found
    assert reader.pending == 0


def test_the_fuzzer_can_reach_a_hold() -> None:
    drive = Drive(judge=lambda action: hold())
    play(drive, ("client", query(b"delete from t")))
    play(drive, ("approve", b""))
    assert kinds(drive.sent_to_target()) == "Q"
