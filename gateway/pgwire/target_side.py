"""What the target sends: every backend message is walked, attributed to its operation, masked and passed on.

Promises that no byte of a masked column passes, that every other byte passes unchanged and in order, and that a
message which does not fit what was sent ends the session (fail closed). Whole rows that nobody masks stream through
without being collected.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from gateway.errors import TargetFault
from gateway.masking.rows import mask_row, masks_anything
from gateway.model import Outcome
from gateway.pgwire.answer import Collector
from gateway.pgwire.backend import (
    ColumnDescription,
    Report,
    decode_data_row,
    decode_parameter_description,
    decode_row_description,
    encode_data_row,
    parameter_status,
)
from gateway.pgwire.copy_out import CopyOutSide, offset
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected, Operation
from gateway.pgwire.framing import BodyReader
from gateway.pgwire.guarded import GuardedSide
from gateway.pgwire.originals import OriginalsSide
from gateway.pgwire.scrub import moved, notification, raised_inside, scrub
from gateway.pgwire.tripping import alarm_differing, alarm_tripped, own_words, report_trips, setting_trips

_ROWS = frozenset((ord("D"), ord("d")))
_KINDS = [bytes((kind,)) for kind in range(256)]
_ACKNOWLEDGES = {b"1": Await.PARSE, b"2": Await.BIND, b"3": Await.CLOSE, b"t": Await.DESCRIBE}
_LENGTH = struct.Struct("!I")
_DATA_ROW, _COPY_DATA = ord("D"), ord("d")
_STREAM_FROM = 64 << 10
"""Rows larger than this that need no masking are passed on in pieces as they come."""


class TargetSide:
    """Consumes the target's bytes."""

    def __init__(self, exchange: Exchange) -> None:
        self._x = exchange
        self._pending = bytearray()
        self._needed = 5
        self._streaming = 0
        self._copying = 0
        """Bytes that are still to come of COPY data too large to be kept whole."""
        self._originals = OriginalsSide(exchange)
        self._guarded = GuardedSide(exchange)
        self._copy_out = CopyOutSide(exchange, self._originals)
        self._handlers: dict[bytes, Callable[[Expected | None, bytes, bytes, bytes], None]] = {
            b"T": self._described,
            b"n": self._described,
            b"C": self._completed,
            b"I": self._completed,
            b"s": self._completed,
            b"Z": self._ready,
            b"1": self._acknowledged,
            b"2": self._acknowledged,
            b"3": self._acknowledged,
            b"t": self._acknowledged,
        }

    @property
    def streaming(self) -> bool:
        """Whether the client has been sent a part of a row only: nothing else can be said to it now."""
        return self._streaming > 0

    @property
    def pending(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._pending)

    def clear(self) -> None:
        """Let go of it."""
        self._pending.clear()

    def feed(self, data: bytes) -> None:
        """Take bytes from the target."""
        if self._streaming:
            data = self._stream(data)
        if self._copying:
            data = self._copy_on(data)
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return
            data = bytes(self._pending)
            self._pending.clear()
        used = self._walk(data)
        self._originals.flush()
        rest = len(data) - used
        if rest:
            self._needed = 5 if rest < 5 else 1 + int(_LENGTH.unpack_from(data, used + 1)[0])
            self._pending += data[used:]

    def _walk(self, data: bytes) -> int:
        position = run = 0
        end = len(data)
        while end - position >= 5 and not self._x.closed:
            kind = data[position]
            length = int(_LENGTH.unpack_from(data, position + 1)[0])
            if length < 4:
                raise TargetFault("the target sent an invalid message length")
            stop = position + 1 + length
            streams = kind in _ROWS and self._passes(kind)
            if stop > end:
                if streams and length > _STREAM_FROM:
                    self._run(data, run, end)
                    self._streaming = stop - end
                    return end
                if length > self._x.limits.message and kind == _COPY_DATA:
                    self._run(data, run, position)
                    self._copying = stop - position - 5
                    self._copy_on(data[position + 5 : end])
                    return end
                if length > self._x.limits.message:
                    raise TargetFault(f"the target sent a message of {length} bytes, too large to be looked at whole")
                break
            if streams:
                self._note_row(kind, data, position + 5, stop)
            else:
                if run < position:
                    self._run(data, run, position)
                self._handle(_KINDS[kind], data[position + 5 : stop], data[position:stop])
                run = stop
            position = stop
        self._run(data, run, position)
        return position

    def _run(self, data: bytes, start: int, stop: int) -> None:
        """Pass on messages that need no change."""
        if stop > start:
            self._originals.flush()
            piece = data[start:stop]
            self._operation().collector.sent(piece)
            self._x.to_client(piece)

    def _stream(self, data: bytes) -> bytes:
        piece, rest = data[: self._streaming], data[self._streaming :]
        self._streaming -= len(piece)
        operation = self._operation()
        operation.collector.sent(piece)
        operation.collector.truncated = True
        self._x.to_client(piece)
        if not self._streaming:
            operation.seen += 1
        return rest

    def _copy_on(self, data: bytes) -> bytes:
        piece, rest = data[: self._copying], data[self._copying :]
        self._copying -= len(piece)
        self._copy_out.data(self._operation(), piece)
        return rest

    def _operation(self) -> Operation:
        head = self._x.flight.head
        if head is not None and (head.kind is Await.QUERY or head.kind is Await.EXECUTE):
            operation = head.operation
            if operation is not None:
                return operation
        raise TargetFault("the target sent rows that nobody asked for")

    def _passes(self, kind: int) -> bool:
        head = self._x.flight.head
        if head is not None and head.kind is Await.OWN:
            return False
        operation = self._operation()
        if kind == _COPY_DATA:
            if not operation.copying_out:
                raise TargetFault("the target sent COPY data outside COPY")
            return operation.copier is None and operation.judgement.guard is None
        judgement = operation.judgement
        if judgement.planner is not None and not operation.described:
            raise TargetFault("the target sent rows before it described them")
        return operation.plan is None and judgement.guard is None

    def _note_row(self, kind: int, data: bytes, start: int, stop: int) -> None:
        operation = self._operation()
        collector = operation.collector
        if kind == _DATA_ROW:
            operation.seen += 1
            if collector.wants_text:
                collector.row(decode_data_row(data[start:stop]), operation.columns)
        elif collector.wants_text:
            collector.line(data[start:stop].decode("utf-8", "replace").rstrip("\n"))

    # --- one message ---------------------------------------------------------------------------------------------

    def _handle(self, kind: bytes, body: bytes, raw: bytes) -> None:
        x = self._x
        head = x.flight.head
        if kind not in (b"D", b"d"):
            self._originals.flush()
        operation = head.operation if head is not None else None
        guarded = operation is not None and operation.judgement.guard is not None
        if guarded and self._is_taken(kind, body, raw):
            return
        handle = self._handlers.get(kind)
        if handle is not None:
            handle(head, kind, body, raw)
            return
        match kind:
            case b"D":
                self._masked_row(body)
            case b"d":
                self._copy_out.data(self._operation(), body)
            case b"E":
                self._failed(head, Report.decode(body))
            case b"N":
                self._notice(head, Report.decode(body), raw)
            case b"S":
                self._parameter(body, raw)
            case b"A":
                x.to_client(notification(body) if x.marked else raw)
            case b"G" | b"H" | b"c":
                self._copy(kind, body, raw)
            case _:
                raise TargetFault(f"the target sent a message of type {kind!r} that does not belong here")

    def _is_taken(self, kind: bytes, body: bytes, raw: bytes) -> bool:
        """Whether a guard took the message, or let a row pass that needs no change."""
        head = self._x.flight.head
        operation = head.operation if head is not None else None
        if head is None or operation is None:
            return False
        if head.kind is Await.OWN and kind in b"123CDN":
            self._guarded.own(head, kind, body)
            return True
        if head.kind not in (Await.QUERY, Await.EXECUTE):
            return False
        if self._guarded.swallows(operation, kind, raw):
            return True
        if operation.withheld and kind in b"TDdGHE":  # not the last of the string: it may go
            operation.collector.sent(operation.withheld)
            self._x.to_client(operation.withheld)
            operation.withheld = b""
        unchanged = operation.plan is None if kind == b"D" else operation.copier is None
        if kind not in b"Dd" or not unchanged:
            return False
        self._note_row(kind[0], raw, 5, len(raw))
        self._run(raw, 0, len(raw))
        return True

    def _masked_row(self, body: bytes) -> None:
        operation = self._operation()
        plan = operation.plan
        if plan is None:
            raise TargetFault("a row without a plan was to be masked")
        values = decode_data_row(body)
        if len(values) != len(plan.columns):
            raise TargetFault("the target sent a row that does not fit its description")
        row = mask_row(values, plan, operation.own)
        alarm_tripped(self._x, operation, plan, row.replaced)
        operation.seen += 1
        collector = operation.collector
        if collector.wants_text:
            collector.row(row.values, operation.columns)
        raw = encode_data_row(row.values)
        collector.sent(raw)
        self._originals.row(operation, plan, values, row.replaced, raw)

    def _described(self, head: Expected | None, kind: bytes, body: bytes, raw: bytes) -> None:
        columns = decode_row_description(body) if kind == b"T" else ()
        if head is not None and head.kind is Await.QUERY and head.operation is not None and kind == b"T":
            self._result_begins(head.operation, columns)
            head.operation.collector.sent(raw)
            self._x.to_client(raw)
            return
        if head is None or head.kind is not Await.DESCRIBE:
            raise TargetFault("the target described what nobody asked about")
        self._x.flight.pop()
        if head.operation is not None and head.target == b"S":
            head.operation.inner = columns
        elif head.operation is not None:
            self._result_begins(head.operation, columns)
        elif head.target == b"S":
            self._x.names.described(head.name, columns)
        if not head.hidden:
            self._x.to_client(raw)

    def _result_begins(self, operation: Operation, columns: tuple[ColumnDescription, ...]) -> None:
        judgement = operation.judgement
        if columns != operation.columns or operation.portal is None:
            operation.collector.header(columns)
        operation.columns, operation.plan, operation.described = columns, None, True
        if judgement.planner is None:
            return
        plan = judgement.planner(operation.index, columns)
        if not masks_anything(plan):
            return
        operation.plan = plan
        operation.collector.planned(plan)
        if any(column is not None and column.guard is not None for column in plan.columns):
            operation.own = own_words(operation.statement)
        alarm_differing(self._x, operation, plan)

    def _acknowledged(self, head: Expected | None, kind: bytes, body: bytes, raw: bytes) -> None:
        x = self._x
        if head is None or head.kind is not _ACKNOWLEDGES[kind]:
            raise TargetFault("the target acknowledged what nobody sent")
        if kind == b"t":
            x.names.takes(head.name, decode_parameter_description(body))
        else:
            x.flight.pop()
        if kind == b"1" and head.preparing is not None:
            x.names.parsed(head.preparing.name, head.preparing.statement, head.preparing.types)
        elif kind == b"2" and head.operation is not None:
            x.replaced(head.name)
            x.names.bound(head.name, head.operation)
        elif kind == b"3":
            self._name_closed(head)
        if not head.hidden:
            x.to_client(raw)

    def _name_closed(self, head: Expected) -> None:
        if head.target == b"S":
            self._x.names.forget(head.name)
        else:
            self._x.replaced(head.name)
            self._x.names.undeclared(head.name)

    def _completed(self, head: Expected | None, kind: bytes, body: bytes, raw: bytes) -> None:
        x = self._x
        operation = self._operation()
        collector = operation.collector
        self._guarded.completed(operation, kind, body)
        held_back = operation.judgement.guard is not None and kind != b"s"
        if not held_back:
            collector.sent(raw)
        if operation.stopped is not None:
            collector.rows += operation.seen
            self._take_effect(operation)
        elif kind == b"s":
            collector.suspended(operation.seen)
        elif kind == b"C":
            collector.completed(BodyReader(body).cstring(), operation.seen)
            self._take_effect(operation)
        operation.seen = 0
        if x.copy_in is operation:
            x.copy_in = None
        if head is not None and head.kind is Await.QUERY:
            operation.index += 1
            operation.row = 0
            operation.columns, operation.plan, operation.described = (), None, False
        else:
            x.flight.pop()
            if kind != b"s" and not held_back:
                x.end(operation, Outcome.OK)
        if operation.stopped is not None:
            return
        if held_back:
            collector.sent(operation.withheld)
            raw, operation.withheld = operation.withheld, raw
        x.to_client(raw)

    def _take_effect(self, operation: Operation) -> None:
        x = self._x
        for index, effect in operation.judgement.effects:
            if index == operation.index:
                for gone in x.names.apply(effect, operation.judgement):
                    if gone is not operation:
                        x.end(gone, Outcome.OK)

    def _ready(self, head: Expected | None, _kind: bytes, body: bytes, raw: bytes) -> None:
        x = self._x
        if head is None or head.kind not in (Await.QUERY, Await.SYNC, Await.OWN) or body not in (b"I", b"T", b"E"):
            raise TargetFault("the target is ready for a query that nobody sent")
        x.flight.pop()
        x.status = body
        guarded = head.operation is not None and head.operation.judgement.guard is not None
        if head.operation is not None and head.kind is Await.QUERY:
            if not guarded:
                x.end(head.operation, Outcome.ERROR if head.operation.failed else Outcome.OK)
            x.replaced(b"")
            x.names.forget(b"")
        if body == b"I":
            x.idle()
        if not (head.hidden or guarded):
            x.to_client(raw)

    def _failed(self, head: Expected | None, error: Report) -> None:
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

    def _notice(self, head: Expected | None, notice: Report, raw: bytes) -> None:
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

    def _parameter(self, body: bytes, raw: bytes) -> None:
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

    def _copy(self, kind: bytes, body: bytes, raw: bytes) -> None:
        operation = self._operation()
        if kind == b"G":
            if not operation.judgement.copy_in:
                raise TargetFault("the target wants COPY data that no statement announced")
            self._x.copy_in = operation
        elif kind == b"H":
            self._copy_out.begins(operation, body)
        else:
            self._copy_out.ends(operation)
        operation.collector.sent(raw)
        self._x.to_client(raw)


_NOWHERE = frozenset({"", '""'})
"""The empty search_path, which sessions may set beside the pinned one; PostgreSQL reports it from 18 on."""


def _collector_of(entry: Expected) -> Collector | None:
    if entry.preparing is not None:
        return entry.preparing.collector
    return entry.operation.collector if entry.operation is not None else None
