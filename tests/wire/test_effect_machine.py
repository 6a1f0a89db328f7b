"""What ran before anybody approved it, on the machine alone: nothing leaves, whatever the target says meanwhile."""

from __future__ import annotations

import pytest
from driving import Drive, allow, error_of, kinds
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Outcome, Verdict, VerdictKind
from gateway.pgwire.actions import Analyse, Announce, EndHold, Hold, Limits, OwnStatement, Refused, SendToTarget, Source
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
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import SYNC, Bind, Parse, execute, query
from gateway.pgwire.judgement import Guard, Judgement
from gateway.pgwire.notes import Answer
from gateway.policy.effects import EffectPlan

COLUMN = ColumnDescription("id", 0, 0, 23, 4, -1, 0)
DELETE = b"DELETE FROM t WHERE id = 1 RETURNING id"
REFUSED = Refused(Outcome.REFUSED, report("ERROR", "42501", "hoop: refused", detail="no"))


def judged(action: Analyse) -> Judgement:
    if not action.statement.sql.startswith(b"DELETE"):
        return allow()
    verdict = Verdict(VerdictKind.APPROVE, "deletes", "It deletes.", "delete", effect=True)
    return Judgement(verdict, "hash", guard=Guard(effect=EffectPlan(None, "no reason", ())))


def done(tag: str) -> bytes:
    return message(b"C", cstring(tag.encode()))


def counts(inserted: int, *, extended: bool = False) -> bytes:
    """The target's answer to the gateway's question what was changed."""
    rows = [
        (b"16400", b"public", b"t", b"0", b"0", str(inserted).encode()),
        (None, b"track_counts", b"on", *[None] * 3),
    ]
    shown = rows if inserted else rows[1:]
    end = b"" if extended else ready_for_query(b"T")
    answer = b"".join(encode_data_row(row) for row in shown)
    return message(b"1", b"") + message(b"2", b"") + answer + done("SELECT 2") + message(b"3", b"") + end


def ran(*, extended: bool = False) -> bytes:
    head = b"" if extended else encode_row_description([COLUMN])
    end = b"" if extended else ready_for_query(b"T")
    return head + encode_data_row([b"1"]) + done("DELETE 1") + end


def own(tag: str, *, extended: bool = False) -> bytes:
    end = b"" if extended else ready_for_query(b"T")
    return message(b"1", b"") + message(b"2", b"") + done(tag) + message(b"3", b"") + end


def running(drive: Drive, *, extended: bool) -> None:
    """Bring an operation to where the target runs it."""
    if extended:
        drive.client(Parse(b"", DELETE, ()).encode() + Bind(b"", b"", (), (), ()).encode() + execute(b"") + SYNC)
        drive.target(message(b"1", b""))
        drive.target(message(b"2", b""))
        drive.sent_to_client()
    else:
        drive.client(query(DELETE))
        drive.target(done("BEGIN") + ready_for_query(b"T"))
    drive.target(counts(0, extended=extended))


def held(drive: Drive, *, extended: bool) -> Hold:
    running(drive, extended=extended)
    drive.target(ran(extended=extended))
    drive.target(own("SET CONSTRAINTS", extended=extended))
    drive.target(counts(1, extended=extended))
    return drive.holds[-1]


@pytest.mark.parametrize("extended", [False, True])
def test_nothing_leaves_before_a_yes(*, extended: bool) -> None:
    drive = Drive(judged)
    action = held(drive, extended=extended)
    assert drive.to_client == b""
    assert action.effect is not None
    (relation,) = action.effect.relations or ()
    assert (action.effect.rows, relation.relation, relation.deleted) == (1, "public.t", 1)
    assert action.effect.no_sample == "no reason"
    drive.sent_to_target()
    drive.approve()
    if not extended:
        assert [found.body for found in drive.sent_to_target()] == [b"COMMIT\0"]
        assert drive.to_client == b""  # the target has not said that it is committed
        drive.target(done("COMMIT") + ready_for_query(b"I"))
    else:
        assert kinds(drive.sent_to_target()) == "S"
        drive.target(ready_for_query(b"I"))
    assert kinds(drive.sent_to_client()) == ("DCZ" if extended else "TDCZ")
    assert next(note for note in reversed(drive.notes) if isinstance(note, Answer) and note.rows).outcome is Outcome.OK


@pytest.mark.parametrize("extended", [False, True])
def test_a_no_rolls_back_before_it_is_told(*, extended: bool) -> None:
    drive = Drive(judged)
    held(drive, extended=extended)
    drive.sent_to_target()
    drive.refuse(REFUSED)
    if extended:
        assert kinds(drive.sent_to_target()) == "E"
        drive.target(error_response("34000", 'portal "x" does not exist'))
        assert kinds(drive.sent_to_client()) == "E"
        assert kinds(drive.sent_to_target()) == "S"
        drive.target(ready_for_query(b"I"))
        assert kinds(drive.sent_to_client()) == "Z"
    else:
        assert [found.body for found in drive.sent_to_target()] == [b"ROLLBACK\0"]
        assert drive.to_client == b""
        drive.target(done("ROLLBACK") + ready_for_query(b"I"))
        found = drive.sent_to_client()
        assert kinds(found) == "EZ"
        assert error_of(found).get("M") == "hoop: refused"
    answer = next(note for note in drive.notes if isinstance(note, Answer) and note.outcome is Outcome.REFUSED)
    assert (answer.rows, "id" in answer.text) == (0, False)


def test_each_statement_of_the_gateways_is_on_record_before_it_runs() -> None:
    drive = Drive(judged)
    held(drive, extended=False)
    order = [name for name in drive.order if name in {"Announce", "OwnStatement", "SendToTarget"}]
    assert order[:2] == ["Announce", "OwnStatement"]
    sent = [each.sql for each in drive.other if isinstance(each, OwnStatement)]
    assert sent[0] == b"BEGIN"
    assert sent[2] == b"SET CONSTRAINTS ALL IMMEDIATE"
    assert sent[1] == sent[3]
    assert order.count("SendToTarget") == len(sent) + 1  # the agent's own, once
    assert isinstance(drive.other[0], Announce)
    assert SendToTarget.__name__ in drive.order


@pytest.mark.parametrize("when", ["running", "held"])
@pytest.mark.parametrize("source", [Source.CLIENT, Source.TARGET])
def test_a_side_that_leaves_takes_the_answer_along(when: str, source: Source) -> None:
    drive = Drive(judged)
    if when == "running":
        running(drive, extended=False)
        drive.target(encode_row_description([COLUMN]) + encode_data_row([b"1"]))
    else:
        held(drive, extended=False)
    drive.sent_to_target()
    drive.do(drive.session.lost(source))
    assert b"COMMIT" not in drive.to_target
    assert kinds(drive.sent_to_client()) in {"", "E"}
    assert drive.closed == source.value
    if when == "held":
        assert [each.gone for each in drive.ended] == [False]  # it does not linger
        assert all(isinstance(each, EndHold) for each in drive.ended)


def test_too_long_an_answer_is_stopped() -> None:
    drive = Drive(judged, Limits(spool=1000))
    running(drive, extended=False)
    row = encode_data_row([b"x" * 400])
    drive.target(encode_row_description([COLUMN]))
    for _ in range(5):
        drive.target(row)
    drive.do(drive.session.cancel_delivered())
    drive.target(error_response("57014", "canceling statement due to user request") + ready_for_query(b"E"))
    drive.target(done("ROLLBACK") + ready_for_query(b"I"))
    found = drive.sent_to_client()
    assert kinds(found) == "EZ"
    assert "0 KiB" in (error_of(found).get("M") or "")


SAID = st.sampled_from(
    [
        notice_response("00000", "what it found: 1"),
        parameter_status("application_name", "1"),
        encode_row_description([COLUMN]),
        encode_data_row([b"1"]),
        encode_data_row([b"x" * 5000]),
        done("DELETE 1"),
        message(b"I", b""),
    ]
)


@given(st.lists(SAID, max_size=30), st.lists(st.integers(1, 4000), max_size=12))
def test_whatever_the_target_says_stays_here(said: list[bytes], cuts: list[int]) -> None:
    drive = Drive(judged)
    running(drive, extended=False)
    data = encode_row_description([COLUMN]) + b"".join(said) + done("DELETE 1") + ready_for_query(b"T")
    for cut in cuts:
        drive.target(data[:cut])
        data = data[cut:]
    drive.target(data)
    if not drive.closed:
        drive.target(own("SET CONSTRAINTS"))
        drive.target(counts(1))
    assert drive.to_client == b"" or drive.closed
    if not drive.closed:
        drive.refuse(REFUSED)
        drive.target(done("ROLLBACK") + ready_for_query(b"I"))
        assert kinds(drive.sent_to_client()) == "EZ"
