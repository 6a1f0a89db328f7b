"""Forwarding what was admitted: its note where it has one of its own, the bytes, and the answer that is now expected.

Promises that the bytes are those that the client sent, and that whatever is forwarded is expected to be answered.
Decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.model import Parameter, Statement, WireProtocol
from gateway.pgwire.actions import Record, recorded
from gateway.pgwire.admitting import Admitted
from gateway.pgwire.backend import ColumnDescription
from gateway.pgwire.copy_out import ask
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected, Operation, Preparing
from gateway.pgwire.framing import Message
from gateway.pgwire.frontend import Bind, Execute, Named, Parse, describe, format_at
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Execution, Preparation


@dataclass(frozen=True, slots=True)
class Bound:
    """What a Bind binds: the statement with its parameters, and what a Describe of it said."""

    statement: Statement
    columns: tuple[ColumnDescription, ...]


def parameters(bind: Bind, types: tuple[int, ...]) -> tuple[Parameter, ...]:
    """Return what `bind` binds to parameters of these types (0, or none: not known)."""
    return tuple(
        [
            Parameter(types[index] if index < len(types) else 0, bind.format_of(index), value)
            for index, value in enumerate(bind.values)
        ]
    )


def bound_columns(columns: tuple[ColumnDescription, ...], formats: tuple[int, ...]) -> tuple[ColumnDescription, ...]:
    """Return a statement's columns in the formats that a Bind wants; none where it wants them for another number."""
    if len(formats) not in (0, 1, len(columns)):
        return ()
    return tuple([replace(column, format=format_at(formats, index)) for index, column in enumerate(columns)])


class Forwarding:
    """Forwards one session's messages."""

    def __init__(self, exchange: Exchange) -> None:
        self._x = exchange

    def query(self, found: Message, operation: Operation) -> None:
        """Forward a Query."""
        x = self._x
        x.to_target(found.encode())
        x.segment_dirty = False
        x.flight.push(Expected(Await.QUERY, operation))

    def parse(self, found: Message, parse: Parse, statement: Statement, judgement: Judgement) -> None:
        """Forward a Parse, behind its note."""
        x = self._x
        n = x.next_n()
        x.actions.append(recorded(Preparation(n, statement, judgement)))
        if judgement.touches_marks:
            x.tainted = True
        self.raw(found.encode())
        preparing = Preparing(n, parse.name, statement, parse.types, judgement, x.collector())
        x.flight.push(Expected(Await.PARSE, preparing=preparing, name=parse.name))

    def bound(self, bind: Bind) -> Bound | None:
        """Find what `bind` binds, the newest Parse on its way first; None: the name stands for nothing."""
        x = self._x
        parsing = x.flight.newest(Await.PARSE, bind.statement)
        pending = parsing.preparing if parsing is not None else None
        known = x.names.prepared.get(bind.statement)
        columns: tuple[ColumnDescription, ...] = ()
        if pending is not None:
            sql, types = pending.statement.sql, pending.types
        elif known is not None:
            sql, types, columns = known.sql, known.types, known.columns
        else:
            return None
        name = bind.statement.decode("utf-8", "replace")
        return Bound(Statement(sql, WireProtocol.EXTENDED, parameters(bind, types), name), columns)

    def bind(self, found: Message, bind: Bind, bound: Bound, admitted: Admitted) -> None:
        """Forward a Bind whose statement was admitted."""
        x = self._x
        operation = x.operation(admitted.n, bound.statement, admitted.judgement, bind.portal)
        operation.names = admitted.names
        if operation.names is None and admitted.judgement.depends_on_state:
            operation.names = x.view(x.status.decode())
        operation.columns = bound_columns(bound.columns, bind.result_formats)
        self.raw(found.encode())
        x.flight.push(Expected(Await.BIND, operation, name=bind.portal))

    def execution(self, operation: Operation, wanted: Execute) -> None:
        """Emit the note of an Execute."""
        x = self._x
        x.actions.append(Record(Execution(x.next_n(), operation.n, wanted.max_rows)))

    def execute(self, found: Message, wanted: Execute, operation: Operation) -> None:
        """Forward an Execute, behind a Describe of our own where its rows may have to be masked."""
        x = self._x
        if operation.judgement.planner is not None:
            self.raw(describe(b"P", wanted.portal))
            x.flight.push(Expected(Await.DESCRIBE, operation, target=b"P", name=wanted.portal, hidden=True))
        ask(x, operation)
        self.raw(found.encode())
        x.flight.push(Expected(Await.EXECUTE, operation, name=wanted.portal))

    def describe(self, found: Message, wanted: Named) -> None:
        """Forward a Describe."""
        operation = self.portal(wanted.name) if wanted.target == b"P" else None
        self.raw(found.encode())
        self._x.flight.push(Expected(Await.DESCRIBE, operation, target=wanted.target, name=wanted.name))

    def raw(self, data: bytes) -> None:
        """Forward a message of the extended protocol."""
        self._x.segment_dirty = True
        self._x.to_target(data)

    def portal(self, name: bytes) -> Operation | None:
        """Find a portal, the newest Bind on its way first."""
        entry = self._x.flight.newest(Await.BIND, name)
        return entry.operation if entry is not None else self._x.names.portals.get(name)
