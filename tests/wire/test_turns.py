"""A turn that is taken in one piece does what its messages would do one by one: to bytes, notes, names and counts."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import pytest
from driving import Drive, allow, by_words
from hypothesis import event, given
from hypothesis import strategies as st

from gateway.model import Outcome, Prepared
from gateway.pgwire import frontend
from gateway.pgwire.actions import Analyse, Limits
from gateway.pgwire.backend import (
    ColumnDescription,
    encode_data_row,
    encode_row_description,
    error_response,
    notice_response,
    parameter_status,
    ready_for_query,
)
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import FLUSH, SYNC, Bind, Parse, _usual_bind, describe, execute, query
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Answer, Execution, Preparation, Request
from gateway.pgwire.turns import LARGEST

INT = ColumnDescription("n", 1, 1, 23, 4, -1, 0)
BINARY = ColumnDescription("n", 1, 1, 23, 4, -1, 1)
EMAIL = ColumnDescription("email", 1, 2, 25, -1, -1, 0)
PARSED, BOUND, NO_DATA = message(b"1"), message(b"2"), message(b"n")


def judge(action: Analyse) -> Judgement:
    """`prepare` names a statement, `write` writes, `define` changes the catalog, `state` depends on it.

    What was known of the session is kept in the judgement, and so compared.
    """
    sql, names = action.statement.sql, action.names
    if sql.startswith(b"prepare"):
        return allow(effects=((0, Prepared("a", b"select 2")),))
    if sql.startswith((b"drop", b"delete", b"copy")):
        return by_words(action)
    return allow(
        relations=(names.status, str(names.redefined), *map(repr, names.prepared.items())),
        depends_on_state=sql.startswith(b"state"),
        writes=sql.startswith(b"write"),
        changes_catalog=sql.startswith(b"define"),
        touches_marks=sql.startswith(b"marked"),
        planner=plan if sql.startswith(b"planned") else None,
    )


class Mask:
    column_name, source_columns, style, replacement = "email", ("public.users.email",), "redact", b"***"
    rewrite = guard = None


class Plan:
    disagreement = ""

    def __init__(self, columns: tuple[Mask | None, ...]) -> None:
        self.columns = columns


def plan(_index: int, row: tuple[ColumnDescription, ...]) -> Plan:
    return Plan(tuple(Mask() if column.name == "email" else None for column in row))


TEXTS = (
    b"select 1", b"write t", b"define t", b"marked t", b"drop t", b"delete t", b"state", b"prepare a", b"", b"-- renew",
    b"select hoop.renew()",
)  # fmt: skip
names = st.sampled_from([b"", b"", b"a"])
texts = st.sampled_from([TEXTS[0], *TEXTS])
values = st.lists(st.none() | st.sampled_from([b"1", b"\0\xff", b"O'Brien", b"x" * 300]), max_size=2).map(tuple)
binds = st.builds(
    Bind, st.sampled_from([b"", b"", b"", b"p"]), names, st.sampled_from([(), (0,), (1,)]), values,
    st.sampled_from([(), (0,), (1,), (1, 0)]),
).map(lambda bind: bind.encode())  # fmt: skip
runs = st.sampled_from(
    [describe(b"P", b"") + execute(b"") + SYNC] * 3
    + [execute(b"") + SYNC] * 3
    + [execute(b"", 1) + SYNC, execute(b""), describe(b"S", b"a") + execute(b"") + SYNC, FLUSH, SYNC]
)
parses = st.builds(
    lambda name, sql, types: Parse(name, sql, types).encode(), names, texts, st.sampled_from([(), (23,)])
)
turns = st.one_of(
    texts.map(query),
    st.tuples(binds, runs).map(b"".join),
    st.tuples(parses, binds, runs).map(b"".join),
    st.tuples(parses, st.sampled_from([SYNC, describe(b"S", b"a") + SYNC, b""])).map(b"".join),
    st.tuples(texts.map(query), texts.map(query)).map(b"".join),
)
ready = st.sampled_from([b"I", b"I", b"I", b"T", b"E"]).map(ready_for_query)
rows = st.lists(
    st.sampled_from(
        [encode_data_row([b"1"]), encode_data_row([None]), encode_data_row([b"a\tb", b"2"]), message(b"D")]
    ),
    max_size=3,
).map(b"".join)
results = st.tuples(
    st.sampled_from([*(encode_row_description(columns) for columns in ([INT], [BINARY], [])), NO_DATA, b""]),
    rows,
    st.sampled_from([b"SELECT 1", b"INSERT 0 2", b"BEGIN", b"\xff"]).map(lambda tag: message(b"C", cstring(tag))),
).map(b"".join)
described = st.sampled_from([b"", message(b"t", b"\0\0") + encode_row_description([INT])])
others = st.sampled_from([
    error_response("42601", "no"), notice_response("00000", "well") + message(b"C", b"SELECT 0\0"),
    parameter_status("TimeZone", "UTC"), message(b"I"), message(b"C"), message(b"C", b"a\0b\0"), message(b"s"),
])  # fmt: skip
answers = st.one_of(
    st.tuples(results, ready).map(b"".join),
    st.tuples(st.just(BOUND), results, ready).map(b"".join),
    st.tuples(st.just(PARSED + BOUND), results, ready).map(b"".join),
    st.tuples(st.just(PARSED), described, ready).map(b"".join),
    st.tuples(others, ready).map(b"".join),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


Step = tuple[str, bytes, list[int]]
cuts = st.one_of(st.just([]), st.just([]), st.just([]), st.lists(st.integers(0, 200), max_size=2))
plain = st.sampled_from([b"select 1", b"select 1", b"write t", b"planned", b"planned write", *TEXTS])


@st.composite
def exchanges(draw: st.DrawFn) -> list[Step]:
    """A turn as clients send it and an answer that fits, mostly."""
    kind, tag = draw(st.sampled_from("QBP")), message(b"C", draw(st.sampled_from([b"SELECT 1\0", b"COMMIT\0"])))
    row = draw(st.sampled_from([*(encode_row_description([each]) for each in (INT, INT, BINARY, EMAIL)), NO_DATA]))
    own = row if draw(st.booleans()) else draw(st.sampled_from([b"", b"", encode_row_description([INT])]))
    asks, rest = draw(st.booleans()), draw(rows) + tag + draw(ready)
    if kind == "Q":
        sent, answer = query(draw(plain)), (b"" if row == NO_DATA else row) + rest
    else:
        run = (describe(b"P", b"") if asks else b"") + execute(b"") + SYNC
        bind = Bind(b"", b"a" if kind == "B" else b"", (), draw(values), draw(st.sampled_from([(), (1,)]))).encode()
        parse = Parse(b"", draw(plain), draw(st.sampled_from([(), (23,)]))).encode() if kind == "P" else b""
        sent = parse + bind + run
        answer = (PARSED if parse else b"") + BOUND + (row if asks else b"") + own + rest
    return [("client", sent, draw(cuts)), ("target", answer, draw(cuts))]


known = st.sampled_from([b"select 1", b"planned"]).map(
    lambda sql: [
        ("client", Parse(b"a", sql, (23,)).encode() + SYNC, list[int]()),
        ("target", PARSED + ready_for_query(b"I"), list[int]()),
    ]
)
"""The prepared statement that Binds are about."""
steps = st.tuples(
    known,
    st.lists(
        st.one_of(
            *[exchanges()] * 6,
            st.tuples(st.just("client"), turns, cuts).map(lambda one: [one]),
            st.tuples(st.just("target"), answers, cuts).map(lambda one: [one]),
            st.just([("cancel", b"", [])]),
        ),
        max_size=16,
    ),
).map(lambda found: [*found[0], *(step for one in found[1] for step in one)])
"""Mostly in order, since whoever asks is answered; sometimes not."""


def play(drive: Drive, what: str, data: bytes) -> None:
    if what == "client":
        drive.client(data)
    elif what == "target":
        drive.target(data)
    else:
        drive.do(drive.session.cancel())
        drive.do(drive.session.cancel_delivered())


def looks(drive: Drive) -> tuple[object, ...]:
    """All that can be seen of a machine, and its names."""
    session, x = drive.session, drive.session._x
    seen = (drive.to_client, drive.to_target, drive.notes, drive.order, drive.closed, drive.other)
    names = (x.names.prepared, list(x.names.portals), x.names.size, x.names.count)
    return *seen, *names, session.state, session.running, session.in_transaction, session.counts, x.tainted, x.wrote


@pytest.mark.fuzz
@given(
    steps, st.sampled_from([Limits(), Limits(), Limits(turn=2), Limits(flight=2), Limits(payload=5), Limits(names=1)])
)
def test_taken_in_one_piece_or_one_by_one(found: list[Step], limits: Limits) -> None:
    pieces, apart = (Drive(judge=judge, quick=True, limits=limits) for _ in range(2))
    apart.session._turns.takes = lambda _: False  # type: ignore[method-assign]
    taken = answered = 0
    for what, data, places in found:
        for piece in cut(data, places):
            was_whole = pieces.session._turns.turn is not None
            play(pieces, what, piece)
            play(apart, what, piece)
            whole = pieces.session._turns.turn is not None
            taken, answered = (
                taken + whole,
                answered + (was_whole and what == "target" and not pieces.session._x.flight),
            )
            assert looks(pieces) == looks(apart)
    event(f"turns taken: {min(taken, 3)}, answers: {min(answered, 3)}")


SELECTED = encode_row_description([INT]) + encode_data_row([b"7"]) + message(b"C", cstring(b"SELECT 1"))
BIND = Bind(b"", b"", (), (b"7",), (0,)).encode()
PREPARED = Bind(b"", b"a", (), (b"7",), (0,)).encode()
RUN = execute(b"") + SYNC
DESCRIBED = describe(b"P", b"") + RUN


def prepared(drive: Drive) -> Drive:
    drive.client(Parse(b"a", b"select 1", (23,)).encode(), SYNC).target(PARSED, ready_for_query(b"I"))
    drive.notes.clear()
    return drive


@pytest.mark.parametrize(("turn", "answer", "notes"), [
    (query(b"select 1"), SELECTED, [Request, Answer]),
    (PREPARED + DESCRIBED, BOUND + SELECTED, [Request, Execution, Answer]),
    (PREPARED + RUN, BOUND + encode_data_row([b"7"]) + message(b"C", b"SELECT 1\0"), [Request, Execution, Answer]),
    (Parse(b"", b"select 1", ()).encode() + BIND + DESCRIBED, PARSED + BOUND + SELECTED,
     [Preparation, Request, Execution, Answer]),
    (Parse(b"", b"write", ()).encode() + BIND + DESCRIBED, PARSED + BOUND + NO_DATA + message(b"C", b"UPDATE 1\0"),
     [Preparation, Request, Execution, Answer]),
], ids=["query", "prepared", "described before", "parsed", "no rows"])  # fmt: skip
@pytest.mark.parametrize("status", [b"I", b"T", b"E"])
def test_usual_turns_are_taken_in_one_piece(turn: bytes, answer: bytes, notes: list[type], status: bytes) -> None:
    drive = prepared(Drive(judge=judge, quick=True))
    drive.sent_to_client(), drive.sent_to_target()
    drive.client(turn)
    assert drive.session._turns.turn is not None
    assert (bytes(drive.to_target), drive.session.state, drive.session.running) == (turn, "running", True)
    drive.target(answer, ready_for_query(status))
    assert drive.session._turns.turn is None
    assert not drive.session._x.flight
    assert [type(note) for note in drive.notes] == notes
    assert bytes(drive.to_client) == answer + ready_for_query(status)
    assert drive.session.in_transaction is (status != b"I")
    (ended,) = [note for note in drive.notes if isinstance(note, Answer)]
    assert (ended.outcome, ended.rows) == (Outcome.OK, 1)


PLANNED = Parse(b"", b"planned", ()).encode() + BIND


@pytest.mark.parametrize(("turn", "shown"), [(PLANNED + DESCRIBED, True), (PLANNED + RUN, False)])
@pytest.mark.parametrize(("column", "taken"), [(INT, True), (EMAIL, False)])
def test_what_may_be_masked_is_described_first_and_taken_whole_only_where_nothing_is(
    turn: bytes, shown: bool, column: ColumnDescription, taken: bool
) -> None:
    drive = Drive(judge=judge, quick=True).client(turn)
    assert drive.session._turns.turn is not None
    assert bytes(drive.to_target) == turn[: -len(RUN)] + DESCRIBED
    row = encode_row_description([column])
    described = PARSED + BOUND + (row if shown else b"")
    with patch.object(drive.session._target, "feed", side_effect=drive.session._target.feed) as one_by_one:
        drive.target(
            described + row + encode_data_row([b"secret"]) + message(b"C", b"SELECT 1\0") + ready_for_query(b"I")
        )
    assert one_by_one.called is not taken
    answer = encode_data_row([b"secret" if taken else b"***"]) + message(b"C", b"SELECT 1\0") + ready_for_query(b"I")
    assert bytes(drive.to_client) == described + answer


@pytest.mark.parametrize("answer", [
    notice_response("00000", "well") + SELECTED, SELECTED + SELECTED, error_response("42601", "no"),
    parameter_status("TimeZone", "UTC") + SELECTED, SELECTED[:-4], message(b"I"), b"",
])  # fmt: skip
def test_an_answer_that_is_not_plain_is_taken_message_by_message(answer: bytes) -> None:
    drive = Drive(judge=judge, quick=True).client(query(b"select 1"))
    drive.target(answer)
    assert drive.session._turns.turn is None
    assert len(drive.session._x.flight) == 1


@pytest.mark.parametrize("sql", [b"drop t", b"delete t", b"marked t", b"define t", b"state", b"prepare a", b"-- renew"])
def test_what_asks_for_more_is_never_taken_so(sql: bytes) -> None:
    for turn in (query(sql), Parse(b"", sql, ()).encode() + BIND + RUN):
        drive = Drive(judge=judge, quick=True).client(turn)
        assert drive.session._turns.turn is None


def test_a_large_turn_has_its_own_steps() -> None:
    drive = Drive(judge=judge, quick=True).client(query(b"select 1 -- " + b"x" * LARGEST))
    assert drive.session._turns.turn is None
    assert drive.session.running


def test_what_comes_behind_a_turn_waits_for_its_answer() -> None:
    drive = Drive(judge=judge, quick=True).client(query(b"select 1")).client(query(b"drop t"))
    assert [type(note) for note in drive.notes] == [Request]
    drive.target(SELECTED + ready_for_query(b"I"))
    assert [type(note) for note in drive.notes] == [Request, Answer, Request, Answer]


@pytest.mark.parametrize(("status", "first"), [(b"T", b"define t"), (b"E", b"write t")])
def test_where_judging_must_wait_for_parse_the_messages_are_taken_one_by_one(status: bytes, first: bytes) -> None:
    """A definition of this transaction may be what the statement means; a failed one may have ended by then."""
    drive = Drive(judge=judge, quick=True).client(query(first)).target(message(b"C", b"X\0"), ready_for_query(status))
    drive.client(Parse(b"", b"select 1", ()).encode() + BIND + RUN)
    assert drive.session._turns.turn is None
    assert drive.session._x.flight


formats = st.lists(st.integers(0, 2), max_size=3).map(tuple)


@given(
    st.builds(
        Bind, st.sampled_from([b"", b"p"]), st.sampled_from([b"", b"s"]), formats,
        st.lists(st.none() | st.binary(max_size=3), max_size=3).map(tuple), formats,
    ),
    st.integers(0, 40), st.binary(max_size=3),
)  # fmt: skip
def test_a_usual_bind_is_decoded_as_any_other(bind: Bind, cut_at: int, more: bytes) -> None:
    body = bind.encode()[5:]
    for found in (body, body[:cut_at], body[:cut_at] + more + body[cut_at:]):
        usual = _usual_bind(found)
        if usual is not None:
            assert usual.encode()[5:] == found
            with patch.object(frontend, "_usual_bind", return_value=None):
                assert Bind.decode(found) == usual
