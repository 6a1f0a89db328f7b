"""What the target answers an operation with: acknowledgements, descriptions, masked rows, completions, COPY, readiness.

Promises that each belongs to what was asked, that a row with a plan leaves masked, and that an operation ends once.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import TargetFault
from gateway.masking.rows import mask_row, masks_anything
from gateway.model import Outcome
from gateway.pgwire.backend import (
    ColumnDescription,
    decode_data_row,
    decode_parameter_description,
    decode_row_description,
    encode_data_row,
)
from gateway.pgwire.copy_out import CopyOutSide
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected, Operation
from gateway.pgwire.framing import BodyReader
from gateway.pgwire.guarded import GuardedSide
from gateway.pgwire.originals import OriginalsSide
from gateway.pgwire.tripping import alarm_differing, alarm_tripped, own_words

_ACKNOWLEDGES = {b"1": Await.PARSE, b"2": Await.BIND, b"3": Await.CLOSE, b"t": Await.DESCRIBE}


def answering(exchange: Exchange) -> Operation:
    """Return the operation whose rows are due. Raises `TargetFault` where none are."""
    head = exchange.flight.head
    if head is not None and (head.kind is Await.QUERY or head.kind is Await.EXECUTE):
        operation = head.operation
        if operation is not None:
            return operation
    raise TargetFault("the target sent rows that nobody asked for")


class ResultsSide:
    """Takes the answers of one session's target. `takes[kind](head, kind, body, raw)` takes a message of that kind."""

    def __init__(
        self, exchange: Exchange, guarded: GuardedSide, originals: OriginalsSide, copy_out: CopyOutSide
    ) -> None:
        self._x, self._guarded, self._originals, self._copy_out = exchange, guarded, originals, copy_out
        self.takes: dict[bytes, Callable[[Expected | None, bytes, bytes, bytes], None]] = {
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

    def masked_row(self, body: bytes) -> None:
        """Mask a row of a result with a plan, and pass it on."""
        operation = answering(self._x)
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
        operation = answering(self._x)
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

    def copying(self, kind: bytes, body: bytes, raw: bytes) -> None:
        """Begin or end a COPY (`G`, `H`, `c`)."""
        operation = answering(self._x)
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
