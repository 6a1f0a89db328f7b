"""An agent tries to have one text judged and another run, by names that the target and the gateway read differently."""

from __future__ import annotations

import struct

from driving import Drive, allow, by_words, deny, error_of, hold, kinds

from gateway.model import Deallocated, Declared, Prepared, VerdictKind
from gateway.pgwire.actions import Analyse
from gateway.pgwire.backend import ready_for_query
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import SYNC, Parse, describe, execute, query
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Alarm, Request

IDLE, BLOCK = ready_for_query(b"I"), ready_for_query(b"T")
PARSED, BOUND, CLOSED = message(b"1"), message(b"2"), message(b"3")


def parse(sql: bytes, name: bytes = b"") -> bytes:
    return Parse(name, sql, ()).encode()


def bind(portal: bytes = b"", statement: bytes = b"") -> bytes:
    return message(b"B", cstring(portal) + cstring(statement) + struct.pack("!hhh", 0, 0, 0))


def close(kind: bytes, name: bytes) -> bytes:
    return message(b"C", kind + cstring(name))


def complete(tag: bytes) -> bytes:
    return message(b"C", cstring(tag))


def test_a_name_that_the_target_would_cut_is_refused_wherever_it_stands() -> None:
    long = b"a" * 64
    for sent in (parse(b"select 1", long), bind(long), bind(b"", long), execute(long), describe(b"S", long)):
        drive = Drive().client(sent, SYNC)
        assert drive.sent_to_target() == []
        found = drive.sent_to_client()
        assert kinds(found) == "EZ"
        assert error_of(found).sqlstate == "42622"
        assert [note.alarm for note in drive.notes if isinstance(note, Alarm)] == ["long-name"]
    assert kinds(Drive().client(close(b"P", long), SYNC).sent_to_client()) == "EZ"


def test_the_longest_name_that_is_not_cut_passes() -> None:
    drive = Drive().client(parse(b"select 1", b"a" * 63), SYNC)
    assert kinds(drive.sent_to_target()) == "PS"


def judging(names: dict[bytes, Judgement]) -> Drive:
    """EXECUTE and FETCH are judged by the text behind their name, as policy does."""

    def judge(action: Analyse) -> Judgement:
        sql = action.statement.sql
        if sql == b"prepare s as select 1":
            return allow(effects=((0, Prepared("s", b"select 1")),))
        if sql == b"deallocate s":
            return allow(effects=((0, Deallocated("s")),))
        if sql.startswith(b"declare c"):
            return allow(effects=((0, Declared("c", sql)),))
        if sql == b"execute s":
            text = action.names.prepared.get("s")
        elif sql == b"fetch c":
            text = action.names.cursors.get("c")
        else:
            return by_words(action)
        return names[text] if text in names else deny("it does not exist")

    return Drive(judge)


def prepared(drive: Drive) -> Drive:
    """Within a block: `s` stands for a harmless text, and portal `p` is bound to `execute s`."""
    drive.client(query(b"begin")).target(complete(b"BEGIN"), BLOCK)
    drive.client(query(b"prepare s as select 1")).target(complete(b"PREPARE"), BLOCK)
    drive.client(parse(b"execute s", b"x"), SYNC).target(PARSED, BLOCK)
    drive.client(bind(b"p", b"x"), SYNC).target(BOUND, BLOCK)
    return drive


def test_a_portal_of_execute_does_not_run_what_its_name_was_given_afterwards() -> None:
    """EXECUTE looks its name up when the portal runs, not when it is bound."""
    drive = judging(
        {b"select 1": allow(depends_on_state=True), b"delete from t where id = 1": hold(depends_on_state=True)}
    )
    prepared(drive)
    drive.client(query(b"deallocate s")).target(complete(b"DEALLOCATE"), BLOCK)
    drive.client(parse(b"delete from t where id = 1", b"s"), SYNC).target(PARSED, BLOCK)
    drive.sent_to_client()
    drive.sent_to_target()
    drive.client(execute(b"p"), SYNC)
    assert b"p" not in [each.body[:1] for each in drive.sent_to_target() if each.kind == b"E"]
    last = [note for note in drive.notes if isinstance(note, Request)][-1]
    assert last.judgement.verdict.kind is VerdictKind.DENY


def test_a_portal_of_execute_runs_where_its_name_still_stands() -> None:
    drive = judging({b"select 1": allow(depends_on_state=True)})
    prepared(drive)
    drive.sent_to_target()
    drive.client(execute(b"p"), SYNC)
    assert kinds(drive.sent_to_target()) == "ES"


def test_a_portal_of_fetch_is_masked_by_what_its_cursor_reads_now() -> None:
    first, second = b"declare c cursor for select a", b"declare c cursor for select email || ''"
    plain, marked = allow(depends_on_state=True), allow(depends_on_state=True, touches_marks=True)
    drive = judging({first: plain, second: marked})
    drive.client(query(b"begin")).target(complete(b"BEGIN"), BLOCK)
    drive.client(query(first)).target(complete(b"DECLARE CURSOR"), BLOCK)
    drive.client(parse(b"fetch c"), bind(b"p"), message(b"H")).target(PARSED).target(BOUND)
    drive.client(query(second)).target(complete(b"DECLARE CURSOR"), BLOCK)
    drive.client(execute(b"p"), SYNC)
    assert drive.session._x.names.portals[b"p"].judgement is marked


def test_what_was_approved_as_a_portal_runs_only_if_no_name_moved() -> None:
    drive = judging({b"select 1": hold(depends_on_state=True)})
    drive.client(query(b"begin")).target(complete(b"BEGIN"), BLOCK)
    drive.client(query(b"prepare s as select 1")).target(complete(b"PREPARE"), BLOCK)
    drive.client(parse(b"execute s", b"x"), SYNC).target(PARSED, BLOCK)
    drive.client(bind(b"p", b"x"), SYNC)
    drive.approve(allow(depends_on_state=True))
    drive.target(BOUND, BLOCK)
    drive.sent_to_target()
    drive.client(execute(b"p"), SYNC)
    assert kinds(drive.sent_to_target()) == "ES"
    drive.target(complete(b"SELECT 1"), BLOCK)
    drive.client(query(b"deallocate s")).target(complete(b"DEALLOCATE"), BLOCK)
    drive.sent_to_target()
    drive.client(execute(b"p"), SYNC)
    assert b"p\0" not in [each.body[:2] for each in drive.sent_to_target()]
