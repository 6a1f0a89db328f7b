"""What the target sends: every backend message is walked, attributed to its operation, masked and passed on.

Promises that no byte of a masked column passes, that every other byte passes unchanged and in order, and that a
message which does not fit what was sent ends the session (fail closed). Whole rows that nobody masks stream through
without being collected.
"""

from __future__ import annotations

import struct

from gateway.errors import TargetFault
from gateway.pgwire.backend import Report, decode_data_row
from gateway.pgwire.copy_out import CopyOutSide
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await
from gateway.pgwire.guarded import GuardedSide
from gateway.pgwire.originals import OriginalsSide
from gateway.pgwire.reports import ReportsSide
from gateway.pgwire.results import ResultsSide, answering
from gateway.pgwire.scrub import notification

_ROWS = frozenset((ord("D"), ord("d")))
_KINDS = [bytes((kind,)) for kind in range(256)]
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
        self._results = ResultsSide(exchange, self._guarded, self._originals, self._copy_out)
        self._reports = ReportsSide(exchange, self._guarded)

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
            answering(self._x).collector.sent(piece)
            self._x.to_client(piece)

    def _stream(self, data: bytes) -> bytes:
        piece, rest = data[: self._streaming], data[self._streaming :]
        self._streaming -= len(piece)
        operation = answering(self._x)
        operation.collector.sent(piece)
        operation.collector.truncated = True
        self._x.to_client(piece)
        if not self._streaming:
            operation.seen += 1
        return rest

    def _copy_on(self, data: bytes) -> bytes:
        piece, rest = data[: self._copying], data[self._copying :]
        self._copying -= len(piece)
        self._copy_out.data(answering(self._x), piece)
        return rest

    def _passes(self, kind: int) -> bool:
        head = self._x.flight.head
        if head is not None and head.kind is Await.OWN:
            return False
        operation = answering(self._x)
        if kind == _COPY_DATA:
            if not operation.copying_out:
                raise TargetFault("the target sent COPY data outside COPY")
            return operation.copier is None and operation.judgement.guard is None
        judgement = operation.judgement
        if judgement.planner is not None and not operation.described:
            raise TargetFault("the target sent rows before it described them")
        return operation.plan is None and judgement.guard is None

    def _note_row(self, kind: int, data: bytes, start: int, stop: int) -> None:
        operation = answering(self._x)
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
        handle = self._results.takes.get(kind)
        if handle is not None:
            handle(head, kind, body, raw)
            return
        match kind:
            case b"D":
                self._results.masked_row(body)
            case b"d":
                self._copy_out.data(answering(self._x), body)
            case b"E":
                self._reports.failed(head, Report.decode(body))
            case b"N":
                self._reports.notice(head, Report.decode(body), raw)
            case b"S":
                self._reports.parameter(body, raw)
            case b"A":
                x.to_client(notification(body) if x.marked else raw)
            case b"G" | b"H" | b"c":
                self._results.copying(kind, body, raw)
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
