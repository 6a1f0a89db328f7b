"""An agent looks for marked values beside the rows: in what others notify, and in where an error stands."""

from __future__ import annotations

import pytest
from driving import CountingEntropy, Drive, allow, error_of

from gateway.pgwire.actions import Close, Limits, SendToClient, Source
from gateway.pgwire.backend import ready_for_query, report
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import query
from gateway.pgwire.session import Session

WORDS = 'syntax error at or near "@"'


@pytest.mark.parametrize(
    ("marked", "payload", "seen"),
    [(True, b"ann@secret.example", b"***"), (True, b"", b""), (False, b"ann@secret.example", b"ann@secret.example")],
)
def test_no_notification_tells_what_a_trigger_put_into_it(marked: bool, payload: bytes, seen: bytes) -> None:
    session = Session(Limits(), CountingEntropy(), lambda: 0, {}, marked=marked)

    def said(what: bytes) -> bytes:
        return message(b"A", b"\0\0\0\7" + cstring(b"channel") + cstring(what))

    assert session.feed(Source.TARGET, said(payload)) == [SendToClient(said(seen))]


@pytest.mark.parametrize(
    ("value", "open_"), [("public", True), ("", True), ('""', True), ("crm", False), ('"", crm', False)]
)
def test_a_reported_search_path_is_the_pinned_one_or_empty(value: str, open_: bool) -> None:
    session = Session(Limits(), CountingEntropy(), lambda: 0, {"search_path": "public"})
    found = session.feed(Source.TARGET, message(b"S", cstring(b"search_path") + cstring(value.encode())))
    assert any(isinstance(action, Close) for action in found) is not open_


@pytest.mark.parametrize(("context", "position"), [('invalid type name "a@b"', None), (None, "2")])
def test_an_errors_position_is_one_in_the_agents_text_or_withheld(context: str | None, position: str | None) -> None:
    """`email::regtype` answers with the place of the first wrong character in the value, and with a context."""
    error = report("ERROR", "42601", WORDS, position=2)
    fields = [*error.fields, ("W", context)] if context else error.fields
    raw = message(b"E", b"".join(code.encode() + cstring(value.encode()) for code, value in fields) + b"\0")
    drive = Drive(lambda _: allow(touches_marks=True)).client(query(b"select email::regtype from users"))
    drive.target(raw, ready_for_query(b"I"))
    assert error_of(drive.sent_to_client()).get("P") == position
