"""Masked rows on their way to the agent: they wait until the originals of what was replaced in them are sealed.

Promises that no masked row is passed on before the note of its originals, where these are kept, that a stretch of rows
has at most `CHUNK` bytes of them, and that what is beyond the limit is counted as masked and not as sealed. Nothing
waits longer than until the bytes that came with it are walked.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.pgwire.actions import Record
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Operation
from gateway.pgwire.judgement import Plan
from gateway.pgwire.notes import OriginalColumn, Originals

CHUNK = 1 << 20
"""Bytes of originals that are sealed together, at most; one row may have more."""
_GAP = 1000
"""Rows without originals within one stretch, at most."""


class OriginalsSide:
    """Gathers one session's originals. Whoever sends anything else to the agent calls `flush` first."""

    def __init__(self, exchange: Exchange) -> None:
        self._x = exchange
        self._operation: Operation | None = None
        self._masked: tuple[int, ...] = ()
        self._rows: list[tuple[bytes | None, ...]] = []
        self._raw: list[bytes] = []
        self._size = self._last = 0

    def row(
        self,
        operation: Operation,
        plan: Plan,
        values: Sequence[bytes | None],
        replaced: Sequence[int],
        raw: bytes,
        number: int | None = None,
    ) -> None:
        """Take one row of `operation`: its original values, which of them were replaced, and what the agent gets.

        COPY gives the row's `number`: rows without anything to replace are left out, and one row may come in parts.
        """
        operation.row = operation.row + 1 if number is None else number
        limit = self._x.limits.originals
        keeps = limit is None or operation.row <= limit
        for index in replaced:
            operation.collector.masked(plan, index, sealed=keeps)
        if not keeps:
            self.flush()
            self._x.to_client(raw)
            return
        if self._operation is not operation:
            self.flush()
            self._operation = operation
            self._masked = tuple(index for index, column in enumerate(plan.columns) if column is not None)
        if self._rows and not 0 <= operation.row - self._last <= _GAP:
            self.flush()
            self._operation = operation
        kept = tuple([values[index] if index in replaced else None for index in self._masked])
        if self._rows and operation.row == self._last:
            former = self._rows.pop()
            kept = tuple([new if new is not None else old for new, old in zip(kept, former, strict=True)])
        elif self._rows:
            self._rows += [(None,) * len(kept)] * (operation.row - self._last - 1)
        self._last = operation.row
        self._rows.append(kept)
        self._raw.append(raw)
        self._size += sum([len(value) for value in kept if value is not None])
        if self._size >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Pass on the rows that wait, behind the note of their originals."""
        operation, plan = self._operation, self._operation.plan if self._operation is not None else None
        if operation is None or plan is None:
            return
        columns = []
        for index, values in zip(self._masked, zip(*self._rows, strict=True), strict=True):
            column = plan.columns[index]
            if column is not None:
                told = operation.columns[index]
                columns.append(
                    OriginalColumn(column.column_name, column.source_columns, told.type_oid, told.format, values)
                )
        first = self._last - len(self._rows) + 1
        note = Originals(self._x.next_n(), operation.n, operation.index, first, self._last, tuple(columns))
        self._x.actions.append(Record(note))
        self._x.to_client(b"".join(self._raw))
        self._operation, self._rows, self._raw, self._size = None, [], [], 0
