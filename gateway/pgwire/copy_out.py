"""COPY … TO STDOUT: what the target sends, masked where a marked column is in reach.

COPY describes nothing. Before it runs, the target is asked to describe the query within it, by messages of the
gateway's own whose answers the client never sees; a table's columns come from the catalog. Where the numbers of columns
differ, every column is masked; where the format is not the one that was asked for, the session ends.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from gateway.errors import TargetFault
from gateway.masking.copy_layout import CopyFormat
from gateway.masking.copy_out import CopyOut, copier
from gateway.masking.copying import Copied, CopyFault
from gateway.masking.rows import masks_anything
from gateway.pgwire.backend import ColumnDescription
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected, Operation
from gateway.pgwire.framing import BodyReader, cstring, message
from gateway.pgwire.frontend import FLUSH, SYNC, Parse, describe
from gateway.pgwire.judgement import Plan
from gateway.pgwire.originals import OriginalsSide
from gateway.pgwire.steps import Wait
from gateway.pgwire.tripping import alarm_differing, alarm_tripped, own_words


class CopyOutSide:
    """Handles the COPY data of one session's target."""

    def __init__(self, exchange: Exchange, originals: OriginalsSide) -> None:
        self._x, self._originals = exchange, originals

    def begins(self, operation: Operation, body: bytes) -> None:
        """Take a CopyOutResponse: plan what is masked."""
        if not operation.judgement.copy_out:
            raise TargetFault("the target sends COPY data that no statement announced")
        operation.copying_out = True
        known, planner = _known(operation), operation.judgement.planner
        if known is None or planner is None:
            return
        reader = BodyReader(body)
        binary = reader.take(1) != b"\0"
        width = reader.uint16()
        if binary != (known.layout.format is CopyFormat.BINARY):
            raise TargetFault("the target sends COPY data in a format that was not asked for")
        columns = _columns(operation, known, width, 1 if binary else 0)
        plan = planner(operation.index, columns, encoding=known.layout.codec)
        if masks_anything(plan):
            operation.plan, operation.columns = plan, columns
            operation.copier = copier(known.layout, plan, own_words(operation.statement))
            operation.collector.planned(plan)
            alarm_differing(self._x, operation, plan)

    def data(self, operation: Operation, body: bytes) -> None:
        """Take COPY data, or a part of it, and send what the client may see."""
        plan, rewriter, collector = operation.plan, operation.copier, operation.collector
        if plan is None or rewriter is None:
            raise TargetFault("COPY data without a plan was to be masked")
        try:
            copied = rewriter.feed(body)
        except CopyFault as fault:
            raise TargetFault(f"the target sent COPY data that cannot be masked: {fault}") from None
        raw = b""
        if copied.data:
            raw = message(b"d", copied.data)
            collector.sent(raw)
            if collector.wants_text:
                collector.line(copied.data.decode("utf-8", "replace").rstrip("\n"))
        self._pass_on(operation, plan, copied, raw)

    def _pass_on(self, operation: Operation, plan: Plan, copied: Copied, raw: bytes) -> None:
        """Hand what was replaced over row by row; what the agent gets comes with the last of them."""
        rows: dict[int, dict[int, bytes]] = {}
        for each in copied.replaced:
            if each.whole:
                rows.setdefault(each.row, {})[each.column] = each.original
            else:  # masked, and too long to be kept: not among those that are sealed
                operation.collector.masked(plan, each.column)
        if not rows and raw:
            self._originals.flush()
            self._x.to_client(raw)
        for found in rows.values():
            alarm_tripped(self._x, operation, plan, tuple(found))
        for place, (row, found) in enumerate(rows.items(), 1):
            values = [found.get(column) for column in range(len(plan.columns))]
            passed = raw if place == len(rows) else b""
            self._originals.row(operation, plan, values, tuple(found), passed, row + 1)

    def ends(self, operation: Operation) -> None:
        """Take CopyDone."""
        if not operation.copying_out:
            raise TargetFault("the target ended a COPY that did not begin")
        operation.copying_out = False
        if operation.copier is not None:
            try:
                operation.copier.end()
            except CopyFault as fault:
                raise TargetFault(f"the target sent COPY data that cannot be masked: {fault}") from None
        operation.copier, operation.plan, operation.inner = None, None, ()


def _known(operation: Operation) -> CopyOut | None:
    copies = operation.judgement.copies
    return next((known for index, known in copies if index == operation.index), None) if copies else None


def _columns(operation: Operation, known: CopyOut, width: int, wire: int) -> tuple[ColumnDescription, ...]:
    found = operation.inner or known.columns
    if len(found) != width:
        return tuple(ColumnDescription(f"column {place + 1}", 0, 0, 0, -1, -1, wire) for place in range(width))
    return tuple(replace(column, format=wire) for column in found)


# --- asking ----------------------------------------------------------------------------------------------------------


def ask(exchange: Exchange, operation: Operation) -> bool:
    """Have the target describe the query within a COPY; the answers come before the COPY's own. False: no need."""
    known = _known(operation)
    if known is None or not known.query or operation.judgement.planner is None:
        return False
    name = b"hoop_" + exchange.entropy.bytes(16).hex().encode()
    asking = (
        (Parse(name, known.query, ()).encode(), Expected(Await.PARSE, operation, name=name, hidden=True)),
        (describe(b"S", name), Expected(Await.DESCRIBE, operation, name=name, target=b"S", hidden=True)),
        (message(b"C", b"S" + cstring(name)), Expected(Await.CLOSE, name=name, target=b"S", hidden=True)),
    )
    for raw, expected in asking:
        exchange.segment_dirty = True
        exchange.to_target(raw)
        exchange.flight.push(expected)
    return True


def ask_first(exchange: Exchange, operation: Operation) -> Generator[Wait, object, bool]:
    """Ask in the simple protocol and wait. False: the query is in error, the client was told, nothing must follow."""
    if not ask(exchange, operation):
        return True
    exchange.to_target(FLUSH)
    yield Wait.QUIET
    if not exchange.skip_until_sync:
        return True
    exchange.skip_until_sync = exchange.segment_dirty = False
    exchange.to_target(SYNC)
    exchange.flight.push(Expected(Await.SYNC))
    return False


def offset(operation: Operation) -> int:
    """Return the characters of the statement before the query that the target was asked about."""
    known = _known(operation)
    return known.offset if known is not None else 0
