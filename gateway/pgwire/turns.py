"""A client's whole turn, taken in one piece, and its whole answer: what nearly every turn of nearly every agent is.

A turn is a Query, or Bind, perhaps Describe, Execute and Sync, perhaps behind a Parse, all of it without a name but for
the prepared statement, when nothing else is on its way. Promises to do all that the messages one by one would do, in
the same order, or nothing at all and say so: then `ClientSide` and `TargetSide` take the same bytes from the beginning.
A turn whose answer does not come whole, or is not plain, becomes the queue of answers owed that its messages would
have left (`resolve`), before anything else is looked at.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from gateway.errors import ClientFault
from gateway.masking.rows import masks_anything
from gateway.model import Outcome, Statement, VerdictKind, WireProtocol
from gateway.pgwire.actions import Record
from gateway.pgwire.backend import ColumnDescription, decode_data_row, decode_row_description
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected, Operation, Preparing
from gateway.pgwire.forwarding import bound_columns, parameters
from gateway.pgwire.framing import HEADER_SIZE, message
from gateway.pgwire.frontend import SYNC, Bind, Parse, decode_query, describe, execute
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Execution, Preparation, Request
from gateway.pgwire.refusing import LONGEST_NAME
from gateway.pgwire.renewal import RenewalSide
from gateway.pgwire.transcript import show_header

LARGEST = 16 << 10
"""Bytes of a turn, or of an answer, that is taken in one piece; a larger one is worth its own steps."""
_MESSAGES = 5
"""Messages of a turn at most."""

_HEADER, _LENGTH = struct.Struct("!cI"), struct.Struct("!I")
_RUN = execute(b"") + SYNC
_DESCRIBED = describe(b"P", b"") + _RUN
_PARSED, _BOUND, _NO_DATA = message(b"1"), message(b"2"), message(b"n")
_READY = message(b"Z", b"I")[:-1]
_ROW, _DESCRIPTION, _COMPLETE = b"DTC"


@dataclass(slots=True)
class Turn:
    """A turn that was forwarded; its answer is what comes next."""

    operation: Operation
    parse: Preparing | None = None
    """The unnamed statement that it begins with."""
    described: bool = False
    """The client asked what the rows will be."""


class _Answer(NamedTuple):
    """A whole answer, looked through: nothing of it did anything yet."""

    columns: tuple[ColumnDescription, ...] | None
    hidden: tuple[int, int]
    """Where the answer to a Describe of the gateway's own stands."""
    rows: list[list[bytes | None]]
    tag: bytes
    rows_at: int
    end: int
    """Where ReadyForQuery begins."""


class TurnSide:
    """Takes one session's whole turns."""

    def __init__(self, exchange: Exchange, renewals: RenewalSide) -> None:
        self._x, self._renewals = exchange, renewals
        self.turn: Turn | None = None
        self._headed: tuple[ColumnDescription, ...] = ()
        self._shown = ""
        """The header of these columns: mostly the last ones come again."""

    # --- from the client -----------------------------------------------------------------------------------------

    def takes(self, data: bytes) -> bool:
        """Take what the client sent if it is one turn; nothing else of it waits, and nothing is on its way."""
        x = self._x
        limits = x.limits
        if x.judge is None or x.skip_until_sync or x.segment_dirty or x.cancelling or x.stopping:
            return False
        if len(data) > min(LARGEST, limits.message) or min(limits.turn, limits.flight) < _MESSAGES:
            return False
        try:
            kind, first = _HEADER.unpack_from(data)
            first += 1
            if kind == b"Q":
                return first == len(data) and self._query(data)
            if kind == b"B":
                return self._prepared(data, first)
            return kind == b"P" and self._parsed(data, first)
        except (ClientFault, struct.error):
            return False  # nothing was done yet: what is wrong is told message by message

    def _query(self, data: bytes) -> bool:
        x = self._x
        if self._renewals.may_concern(data):
            return False
        statement = Statement(decode_query(data[HEADER_SIZE:]), WireProtocol.SIMPLE)
        judgement = self._judge(statement)
        if judgement is None:
            return False
        n = self._request(statement, judgement)
        x.to_target(data)
        self.turn = Turn(x.operation(n, statement, judgement))
        return True

    def _prepared(self, data: bytes, binds: int) -> bool:
        x = self._x
        tail = data[binds:]
        if tail not in (_DESCRIBED, _RUN) or self._renewals.may_concern(b""):
            return False
        bind = Bind.decode(data[HEADER_SIZE:binds])
        known = x.names.prepared.get(bind.statement)
        if known is None or bind.portal or len(bind.statement) > LONGEST_NAME:
            return False
        name = bind.statement.decode("utf-8", "replace")
        statement = Statement(known.sql, WireProtocol.EXTENDED, parameters(bind, known.types), name)
        judgement = self._judge(statement)
        if judgement is None:
            return False
        turn = self._run(data, bind, statement, judgement, known.columns)
        turn.described = tail == _DESCRIBED
        return True

    def _parsed(self, data: bytes, parses: int) -> bool:
        x = self._x
        if not data.startswith(b"B", parses):
            return False
        binds = _end(data, parses)
        tail = data[binds:]
        if tail not in (_DESCRIBED, _RUN):
            return False
        if x.redefined or x.status == b"E" or self._renewals.may_concern(data[:parses]):
            return False
        parse, bind = Parse.decode(data[HEADER_SIZE:parses]), Bind.decode(data[parses + HEADER_SIZE : binds])
        if parse.name or bind.statement or bind.portal:
            return False
        asked = Statement(parse.sql, WireProtocol.EXTENDED)
        judgement = self._judge(asked)
        if judgement is None:
            return False
        n = x.next_n()
        x.actions.append(Record(Preparation(n, asked, judgement)))
        preparing = Preparing(n, b"", asked, parse.types, judgement, x.collector())
        bound = parameters(bind, parse.types)
        statement = Statement(parse.sql, WireProtocol.EXTENDED, bound) if bound else asked
        turn = self._run(data, bind, statement, judgement, ())
        turn.parse, turn.described = preparing, tail == _DESCRIBED
        return True

    def _run(
        self,
        data: bytes,
        bind: Bind,
        statement: Statement,
        judgement: Judgement,
        columns: tuple[ColumnDescription, ...],
    ) -> Turn:
        """Note what is bound and executed, and forward the turn."""
        x = self._x
        n = self._request(statement, judgement)
        operation = x.operation(n, statement, judgement, b"")
        if columns:
            operation.columns = bound_columns(columns, bind.result_formats)
        x.actions.append(Record(Execution(x.next_n(), n, 0)))
        if judgement.planner is not None:  # what it returns has to be known before its rows come
            data = data[: -len(_RUN)] + _DESCRIBED
        x.to_target(data)
        self.turn = Turn(operation)
        return self.turn

    def _request(self, statement: Statement, judgement: Judgement) -> int:
        x = self._x
        n = x.next_n()
        x.count(statements=1)
        x.actions.append(Record(Request(n, statement, judgement)))
        return n

    def _judge(self, statement: Statement) -> Judgement | None:
        """Return the judgement of a statement that may run and asks for nothing beside it.

        Of a turn, what Parse prepares and what Bind binds are one statement at one moment: they are judged once.
        """
        if len(statement.sql) > self._x.limits.statement:
            return None
        x = self._x
        if x.judge is None:
            return None
        judgement = x.judge(statement, x.names.view(x.status.decode(), redefined=x.redefined))
        if judgement is None or not judgement.plain:  # what is an alarm, or depends on the moment, is not plain
            return None
        return judgement if judgement.verdict.kind in (VerdictKind.ALLOW, VerdictKind.MASK) else None

    # --- from the target -----------------------------------------------------------------------------------------

    def resolve(self) -> None:
        """Owe the answers to the turn's messages one by one, as if they had been taken so."""
        turn, self.turn = self.turn, None
        if turn is None:
            return
        push, operation = self._x.flight.push, turn.operation
        if operation.portal is None:
            push(Expected(Await.QUERY, operation))
            return
        if turn.parse is not None:
            push(Expected(Await.PARSE, preparing=turn.parse))
        push(Expected(Await.BIND, operation))
        if turn.described:
            push(Expected(Await.DESCRIBE, operation, target=b"P"))
        if operation.judgement.planner is not None:
            push(Expected(Await.DESCRIBE, operation, target=b"P", hidden=True))
        push(Expected(Await.EXECUTE, operation))
        push(Expected(Await.SYNC))

    def answered(self, data: bytes) -> bool:
        """Take what the target sent if it is the whole answer to the turn."""
        turn = self.turn
        if turn is None or len(data) > LARGEST:
            return False
        try:
            answer = _whole(turn, data)
        except (ClientFault, struct.error, IndexError):
            return False  # what is wrong with it is told message by message
        if answer is None:
            return False
        self.turn = None
        if turn.operation.portal is None:
            self._answered_query(turn.operation, answer, data)
        else:
            self._answered_portal(turn, turn.operation, answer, data)
        begin, end = answer.hidden
        self._x.to_client(data if begin == end else data[:begin] + data[end:])
        return True

    def _answered_query(self, operation: Operation, answer: _Answer, data: bytes) -> None:
        x = self._x
        header = None if answer.columns is None else self._header(answer.columns)
        operation.collector.whole(header, answer.rows, answer.columns or (), answer.tag, data[: answer.end])
        operation.index = 1
        x.status = data[-1:]
        x.end(operation, Outcome.OK)
        if x.names.portals:
            x.replaced(b"")
        x.names.forget(b"")
        if x.status == b"I":
            x.idle()

    def _answered_portal(self, turn: Turn, operation: Operation, answer: _Answer, data: bytes) -> None:
        x = self._x
        if turn.parse is not None:
            x.names.parsed(b"", turn.parse.statement, turn.parse.types)
        if x.names.portals:
            x.replaced(b"")
        columns, collector, header = answer.columns, operation.collector, None
        if columns is not None:
            if columns != operation.columns:
                header = self._header(columns)
            operation.columns, operation.described = columns, True
        collector.whole(header, answer.rows, operation.columns, answer.tag, data[answer.rows_at : answer.end])
        x.status = data[-1:]
        x.end(operation, Outcome.OK)
        if x.status == b"I":  # the portal is gone with its transaction
            x.idle()
        else:
            x.names.bound(b"", operation)

    def _header(self, columns: tuple[ColumnDescription, ...]) -> str:
        if columns is not self._headed:
            self._headed, self._shown = columns, show_header(columns)
        return self._shown


def _whole(turn: Turn, data: bytes) -> _Answer | None:
    """Look an answer through: acknowledgements, a description, rows, CommandComplete, ReadyForQuery, and no more."""
    end = len(data) - len(_READY) - 1
    if end < 0 or not data.startswith(_READY, end) or data[-1] not in b"ITE":
        return None
    operation, place = turn.operation, 0
    is_query, planner = operation.portal is None, operation.judgement.planner
    if not is_query:
        acknowledged = _BOUND if turn.parse is None else _PARSED + _BOUND
        if not data.startswith(acknowledged):
            return None
        place = len(acknowledged)
    columns: tuple[ColumnDescription, ...] | None = None
    if turn.described or (is_query and data[place] == _DESCRIPTION):
        columns, place = _description(data, place)
    hidden = place, place
    if planner is not None and not is_query:
        again, place = _description(data, place)
        if columns is not None and again != columns:
            return None
        columns, hidden = again, (hidden[0], place)
    begin, rows = (0 if is_query else place), []
    while data[place] == _ROW and place < end:
        stop = _end(data, place)
        if stop > end:
            return None
        rows.append(decode_data_row(data[place + HEADER_SIZE : stop]))
        place = stop
    if data[place] != _COMPLETE or _end(data, place) != end:
        return None
    if planner is not None and (rows if columns is None else masks_anything(planner(0, columns))):
        return None
    tag, terminated, _ = data[place + HEADER_SIZE : end].partition(b"\0")
    return _Answer(columns, hidden, rows, tag, begin, end) if terminated else None


def _description(data: bytes, place: int) -> tuple[tuple[ColumnDescription, ...], int]:
    """Return what the message at `place` describes and where it ends. Raises `ClientFault` for any other message."""
    stop = _end(data, place)
    if data[place] == _DESCRIPTION:
        return decode_row_description(data[place + HEADER_SIZE : stop]), stop
    if not data.startswith(_NO_DATA, place):
        raise ClientFault("no description")
    return (), stop


def _end(data: bytes, place: int) -> int:
    """Return where the message at `place` ends, as its length says. Raises `struct.error` where it has none."""
    length: int = _LENGTH.unpack_from(data, place + 1)[0]
    return place + 1 + length if length >= 4 else len(data) + 1
