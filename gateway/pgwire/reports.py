"""What the target says beside results: errors, notices and settings that changed.

Promises that what may print a marked value is scrubbed or dropped, that an error ends what it is about and what the
target skips behind it, and that a pinned setting never changes unseen.
"""

from __future__ import annotations

from gateway.errors import TargetFault
from gateway.model import Outcome
from gateway.pgwire.answer import Collector
from gateway.pgwire.backend import Report, parameter_status
from gateway.pgwire.copy_out import offset
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected
from gateway.pgwire.framing import BodyReader
from gateway.pgwire.guarded import GuardedSide
from gateway.pgwire.scrub import moved, raised_inside, scrub
from gateway.pgwire.tripping import report_trips, setting_trips


class ReportsSide:
    """Takes the reports of one session's target."""

    def __init__(self, exchange: Exchange, guarded: GuardedSide) -> None:
        self._x, self._guarded = exchange, guarded

    def failed(self, head: Expected | None, error: Report) -> None:
        """Take an ErrorResponse."""
        x = self._x
        fatal = error.severity in ("FATAL", "PANIC")
        if head is not None and head.kind is Await.ABORT and not fatal:
            if error.sqlstate != "34000":
                raise TargetFault(f"the target answered {error.sqlstate} where 34000 was due")
            x.flight.pop()
            return
        operation = head.operation if head is not None else None
        if head is not None and not fatal and self._guarded.failed(head):
            return
        if self._x.spool is not None:
            error = self._guarded.unseen(operation, error, fatal=fatal)
        preparing = head.preparing if head is not None else None
        judgement = operation.judgement if operation is not None else preparing.judgement if preparing else None
        touches = x.tainted or (judgement is not None and judgement.touches_marks)
        touches = touches or (x.marked and x.wrote and raised_inside(error))
        if head is not None and head.kind is Await.PARSE and operation is not None:
            error = moved(error, offset(operation))
        asked = operation or preparing
        if x.marked and not touches and not (judgement is not None and judgement.copy_in):
            touches = report_trips(x, error, asked.statement if asked else None, asked.n if asked else None)
        shown = scrub(error) if touches else error
        if operation is not None and operation.refusal is not None and not fatal:
            shown = operation.refusal
        raw = shown.encode(b"E")
        x.copy_in = None
        if head is not None and head.kind is Await.OWN and not fatal:
            x.to_client(self._guarded.own_failed(head, shown))
            return
        if head is not None:
            self._attribute_failure(head, shown, raw)
        x.to_client(raw)
        if fatal:
            x.close(f"the target ended the session: {error.sqlstate}")

    def _attribute_failure(self, head: Expected, shown: Report, raw: bytes) -> None:
        x = self._x
        if head.kind is Await.QUERY and head.operation is not None:
            head.operation.failed = True
            head.operation.collector.sent(raw)
            head.operation.collector.failed(shown)
            return
        if head.kind is Await.SYNC:
            if x.last is not None:
                collector = x.last.collector
                collector.sent(raw)
                collector.failed(shown)
                x.answer(x.last.n, collector, Outcome.ERROR, touches_marks=x.last.judgement.touches_marks)
            return
        dropped, synced = x.flight.drop_until_sync()
        x.skip_until_sync = x.skip_until_sync or not synced
        for entry in dropped:
            answer = _collector_of(entry)
            if answer is None:
                continue
            if entry is head:
                answer.sent(raw)
                answer.failed(shown)
                self._end_entry(entry, Outcome.ERROR)
            else:
                answer.line("-- not run: an earlier message of the pipeline failed")
                self._end_entry(entry, Outcome.CANCELLED)

    def _end_entry(self, entry: Expected, outcome: Outcome) -> None:
        x = self._x
        if entry.preparing is not None:
            touches = entry.preparing.judgement.touches_marks
            x.answer(entry.preparing.n, entry.preparing.collector, outcome, touches_marks=touches)
        elif entry.operation is not None:
            x.end(entry.operation, outcome)

    def notice(self, head: Expected | None, notice: Report, raw: bytes) -> None:
        """Take a NoticeResponse."""
        x = self._x
        operation = head.operation if head is not None else None
        if x.tainted or (operation is not None and operation.judgement.touches_marks):
            return
        if x.marked and x.wrote and raised_inside(notice):
            return
        if x.marked and report_trips(x, notice, operation.statement if operation else None, x.in_flight):
            return
        if operation is not None:
            operation.collector.noticed(notice)
            operation.collector.sent(raw)
        x.to_client(raw)

    def parameter(self, body: bytes, raw: bytes) -> None:
        """Take a ParameterStatus."""
        reader = BodyReader(body)
        name, value = reader.cstring().decode("utf-8", "replace"), reader.cstring().decode("utf-8", "replace")
        pinned = self._x.pinned.get(name)
        if pinned is not None and value.lower() != pinned.lower() and not (name == "search_path" and value in _NOWHERE):
            raise TargetFault(f"the pinned setting {name} was changed")
        head = self._x.flight.head
        statement = head.operation.statement if head is not None and head.operation is not None else None
        if self._x.marked and setting_trips(self._x, name, value, statement):
            raw = parameter_status(name, "***")
        self._x.to_client(raw)


_NOWHERE = frozenset({"", '""'})
"""The empty search_path, which sessions may set beside the pinned one; PostgreSQL reports it from 18 on."""


def _collector_of(entry: Expected) -> Collector | None:
    if entry.preparing is not None:
        return entry.preparing.collector
    return entry.operation.collector if entry.operation is not None else None
