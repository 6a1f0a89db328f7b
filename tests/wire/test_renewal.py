"""`SELECT hoop.renew(…)` on the machine: answered in place, in both protocols, its token seen by nobody else."""

from __future__ import annotations

import pytest
from driving import Drive, kinds

from gateway.model import Outcome
from gateway.pgwire.actions import Refused, Renew, Renewed
from gateway.pgwire.backend import decode_data_row, decode_row_description, ready_for_query, report
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import FLUSH, SYNC, Parse, describe, execute, query
from gateway.pgwire.renewal import HIDDEN, Renewal, recognise

TOKEN = b"eyJhbGciOi.eyJzdWIiOiJ4.c2ln-_"
LITERAL = b"SELECT hoop.renew('" + TOKEN + b"')"
REFUSED = Refused(Outcome.REFUSED, report("ERROR", "28P01", "hoop: renewal refused: it has expired"))


def bind(*values: bytes | None, statement: bytes = b"", portal: bytes = b"", formats: tuple[int, ...] = ()) -> bytes:
    cells = b"".join((len(v)).to_bytes(4, "big") + v if v is not None else b"\xff" * 4 for v in values)
    results = len(formats).to_bytes(2, "big") + b"".join(each.to_bytes(2, "big") for each in formats)
    body = portal + b"\0" + statement + b"\0" + b"\0\0" + len(values).to_bytes(2, "big") + cells + results
    return message(b"B", body)


def asked(drive: Drive) -> Renew:
    (found,) = [each for each in drive.other if isinstance(each, Renew)]
    return found


def nobody_saw(drive: Drive) -> None:
    assert TOKEN not in bytes(drive.to_target)
    assert TOKEN.decode() not in repr((drive.notes, drive.asked, drive.other, drive.holds))


@pytest.mark.parametrize(
    ("sql", "token", "column"),
    [
        (LITERAL, TOKEN, "renew"),
        (b"\n select\tHOOP . Renew ( '" + TOKEN + b"' ) ; ", TOKEN, "renew"),
        (b"SELECT hoop.renew('" + TOKEN + b"'::text)", TOKEN, "renew"),
        (b"SELECT hoop.renew($1)", None, "renew"),
        (b"SELECT hoop.renew($1::VARCHAR) AS renew_1", None, "renew_1"),
        (b'SELECT hoop.renew($1) AS "renewed"', None, "renewed"),
        (b"SELECT hoop.renew('')", b"", "renew"),
    ],
)
def test_a_renewal_is_recognised(sql: bytes, token: bytes | None, column: str) -> None:
    assert recognise(sql) == Renewal(token, column)
    assert TOKEN.decode() not in repr(recognise(sql))


@pytest.mark.parametrize(
    "sql",
    [
        LITERAL + b"; SELECT 1",
        b"BEGIN; " + LITERAL,
        b"EXPLAIN " + LITERAL,
        b"PREPARE x AS " + LITERAL,
        b"SELECT hoop.renew(E'" + TOKEN + b"')",
        b"SELECT hoop.renew('" + TOKEN + b"', 1)",
        b"SELECT hoop.renew('a''b')",
        b"SELECT hoop.renew('a\\'b')",
        b"SELECT hoop.renew($2)",
        b'SELECT "hoop"."renew"(\'' + TOKEN + b"')",
        b"/* app */ " + LITERAL,
        b"SELECT 'hoop.renew('",
    ],
)
def test_what_only_resembles_one_is_refused_and_recorded_without_its_words(sql: bytes) -> None:
    assert recognise(sql) is True
    drive = Drive().client(query(sql))
    assert kinds(drive.sent_to_client()) == "EZ"
    assert not drive.to_target
    assert not drive.asked, "it is not even parsed"
    assert drive.notes[0].statement.sql == HIDDEN  # type: ignore[union-attr]
    nobody_saw(drive)
    drive.client(Parse(b"", sql, ()).encode(), SYNC)
    assert kinds(drive.sent_to_client()) == "EZ"
    nobody_saw(drive)


@pytest.mark.parametrize("sql", [b"SELECT renew('x')", b"SELECT hoop_renew('x')", b"SELECT hoop.renewal", b"renew"])
def test_other_statements_are_left_alone(sql: bytes) -> None:
    assert recognise(sql) is False


@pytest.mark.parametrize("status", [b"I", b"T", b"E"])
def test_the_simple_protocol(status: bytes) -> None:
    drive = Drive().client(query(b"BEGIN")).target(message(b"C", b"BEGIN\0"), ready_for_query(status))
    drive.sent_to_client()
    drive.sent_to_target()
    notes = len(drive.notes)
    drive.client(query(LITERAL))
    assert not drive.to_client
    assert asked(drive).secret == TOKEN
    drive.do(drive.session.resume(asked(drive).token, Renewed("renewed until then")))
    found = drive.sent_to_client()
    assert kinds(found) == "TDCZ"
    assert decode_data_row(found[1].body) == [b"renewed until then"]
    assert found[3].body == status
    assert not drive.to_target
    assert len(drive.notes) == notes, "the login record is not the machine's"
    nobody_saw(drive)


def test_a_refused_renewal_is_an_error_and_the_session_goes_on() -> None:
    drive = Drive().client(query(LITERAL))
    drive.do(drive.session.resume(asked(drive).token, REFUSED))
    assert kinds(drive.sent_to_client()) == "EZ"
    drive.client(query(b"SELECT 1"))
    assert kinds(drive.sent_to_target()) == "Q"


def test_a_refused_renewal_fails_the_transaction_as_any_error_does() -> None:
    drive = Drive().client(query(b"BEGIN")).target(message(b"C", b"BEGIN\0"), ready_for_query(b"T"))
    drive.sent_to_client()
    drive.sent_to_target()
    drive.client(query(LITERAL))
    drive.do(drive.session.resume(asked(drive).token, REFUSED))
    assert kinds(drive.sent_to_target()) == "ES"
    drive.target(report("ERROR", "34000", "portal does not exist").encode(b"E"), ready_for_query(b"E"))
    found = drive.sent_to_client()
    assert kinds(found) == "EZ"
    assert found[1].body == b"E"


def test_the_extended_protocol_with_a_parameter() -> None:
    drive = Drive().client(
        Parse(b"s1", b"SELECT hoop.renew($1)", ()).encode(),
        describe(b"S", b"s1"), bind(TOKEN, statement=b"s1", formats=(1,)),
        describe(b"P", b""), execute(b""), SYNC,
    )  # fmt: skip
    found = drive.sent_to_client()
    assert kinds(found) == "1tT2T"
    assert found[1].body == b"\0\1" + (25).to_bytes(4, "big")
    assert decode_row_description(found[2].body)[0].format == 0
    assert decode_row_description(found[4].body)[0].format == 1
    drive.do(drive.session.resume(asked(drive).token, Renewed("yes")))
    assert kinds(drive.sent_to_client()) == "DC"
    assert kinds(drive.sent_to_target()) == "S", "the target's own word ends the pipeline"
    drive.target(ready_for_query(b"I"))
    assert kinds(drive.sent_to_client()) == "Z"
    nobody_saw(drive)


def test_in_a_pipeline_it_keeps_its_place() -> None:
    drive = Drive().client(Parse(b"", b"SELECT 1", ()).encode(), bind(), execute(b""))
    drive.client(Parse(b"", LITERAL, ()).encode(), bind(), execute(b""), SYNC)
    assert kinds(drive.sent_to_target()) == "PBEH", "what came before is asked for first"
    assert not [each for each in drive.other if isinstance(each, Renew)]
    drive.target(message(b"1"), message(b"2"), message(b"C", b"SELECT 0\0"))
    assert kinds(drive.sent_to_client()) == "12C12"
    drive.do(drive.session.resume(asked(drive).token, Renewed("yes")))
    assert kinds(drive.sent_to_client()) == "DC"
    assert kinds(drive.sent_to_target()) == "S"


def test_after_an_error_in_the_pipeline_it_is_skipped() -> None:
    drive = Drive().client(Parse(b"", b"SELECT 1/0", ()).encode(), bind(), execute(b""))
    drive.client(Parse(b"", LITERAL, ()).encode(), bind(), execute(b""), SYNC)
    drive.target(message(b"1"), message(b"2"), report("ERROR", "22012", "division by zero").encode(b"E"))
    drive.target(ready_for_query(b"I"))
    assert kinds(drive.sent_to_client()) == "12EZ"
    assert not [each for each in drive.other if isinstance(each, Renew)]


def test_a_portal_renews_once_and_not_beyond_sync() -> None:
    drive = Drive().client(Parse(b"", LITERAL, ()).encode(), bind(portal=b"p"), execute(b"p"))
    drive.do(drive.session.resume(asked(drive).token, Renewed("yes")))
    drive.client(execute(b"p"))
    found = drive.sent_to_client()
    assert kinds(found) == "12DCC"
    assert found[-1].body == b"SELECT 0\0"
    drive.client(SYNC).target(ready_for_query(b"I"))
    drive.sent_to_client()
    drive.client(execute(b"p"), SYNC)
    assert kinds(drive.sent_to_client()) == "EZ"
    assert len([each for each in drive.other if isinstance(each, Renew)]) == 1


@pytest.mark.parametrize("values", [(), (TOKEN, TOKEN)])
def test_a_wrong_number_of_parameters_is_an_error_without_the_token(values: tuple[bytes, ...]) -> None:
    drive = Drive().client(Parse(b"", b"SELECT hoop.renew($1)", ()).encode(), bind(*values), SYNC)
    found = drive.sent_to_client()
    assert kinds(found) == "1EZ"
    assert TOKEN not in found[1].body


def test_closing_and_reusing_its_name_gives_the_name_back_to_the_target() -> None:
    drive = Drive().client(Parse(b"s1", LITERAL, ()).encode(), message(b"C", b"Ss1\0"))
    assert kinds(drive.sent_to_client()) == "13"
    drive.client(Parse(b"s1", LITERAL, ()).encode(), Parse(b"s1", b"SELECT 1", ()).encode(), bind(statement=b"s1"))
    assert kinds(drive.sent_to_target()) == "PB"
    assert not [each for each in drive.other if isinstance(each, Renew)]


def test_flush_is_passed_on_and_the_answer_is_there_already() -> None:
    drive = Drive().client(Parse(b"s1", b"SELECT hoop.renew($1)", ()).encode(), describe(b"S", b"s1"), FLUSH)
    assert kinds(drive.sent_to_client()) == "1tT"
    assert kinds(drive.sent_to_target()) == "H"


def test_a_cut_while_it_is_asked_ends_the_session() -> None:
    drive = Drive().client(query(LITERAL))
    renew = asked(drive)
    drive.do(drive.session.stop())
    drive.do(drive.session.cut("57P01", "hoop: the session was cut: the token was revoked", "token revoked"))
    assert drive.closed == "token revoked"
    assert drive.session.resume(renew.token, Renewed("too late")) == []
