"""A small client for the gateway's own SQL: simple queries over a TargetSession, text results.

Promises that an answer is bounded in size, that an error of the server is a QueryFailed after which the session can go
on, and that a session whose answer was not read to its end is never used again. Never carries an agent's statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from gateway.errors import ClientFault, TargetFault
from gateway.model import Parameter
from gateway.pgwire.backend import ColumnDescription, Report, decode_data_row, decode_row_description
from gateway.pgwire.framing import Message, MessageReader, cstring, message
from gateway.pgwire.frontend import SYNC, TERMINATE, Bind, Parse, execute, query
from gateway.target.connect import TargetSession
from gateway.target.login import clean

MESSAGE_LIMIT = 64 * 1024 * 1024
RESULT_LIMIT = 256 * 1024 * 1024

Row = tuple[str | None, ...]


class QueryFailed(TargetFault):
    """The server answered with an error; `sqlstate` is its code."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"{clean(report.get('M') or 'the query failed')} ({clean(report.sqlstate)})")
        self.sqlstate = report.sqlstate


@dataclass(frozen=True, slots=True)
class Result:
    """What one statement gave: its columns, its rows as text (None is NULL), its command tag."""

    columns: tuple[ColumnDescription, ...]
    rows: tuple[Row, ...]
    tag: str


class QueryClient:
    """Runs one string of statements after the other on `session`, which it owns from now on."""

    def __init__(self, session: TargetSession, *, result_limit: int = RESULT_LIMIT) -> None:
        self._session = session
        self._limit = result_limit
        self._reader = MessageReader(MESSAGE_LIMIT)
        self._reader.feed(session.leftover)
        self.usable = True
        """Whether the session waits for a query: False once an answer was cut off."""

    async def run(self, sql: str) -> tuple[Result, ...]:
        """Run `sql`, perhaps several statements, and return each one's result; the caller sets the deadline.

        Raises QueryFailed for the first error; TargetFault where the target is gone or breaks the protocol.
        """
        return await self._ask(query(sql.encode()))

    async def run_one(self, sql: bytes, parameters: Sequence[Parameter] = ()) -> Result:
        """Run exactly one statement, with parameters as an agent bound them; text results, columns not described.

        By the extended protocol, in which no text can hold a second statement. Raises as `run`.
        """
        types = tuple(each.type_oid for each in parameters)
        formats, values = tuple(each.format for each in parameters), tuple(each.value for each in parameters)
        bind = Bind(b"", b"", formats, values, ())
        results = await self._ask(Parse(b"", sql, types).encode() + bind.encode() + execute(b"") + SYNC)
        return results[-1] if results else Result((), (), "")

    async def _ask(self, messages: bytes) -> tuple[Result, ...]:
        if not self.usable:
            raise TargetFault("the session was cut off in the middle of an answer")
        self.usable = False
        try:
            await self._session.stream.send_all(messages)
            results, failure = await self._answers()
        except ClientFault as fault:  # the wire module's word for malformed bytes; here they are the target's
            raise TargetFault(f"the target does not speak the PostgreSQL protocol: {fault}") from None
        except trio.BrokenResourceError as error:
            raise TargetFault(f"the connection to the target broke: {error}") from None
        self.usable = True
        if failure is not None:
            raise QueryFailed(failure)
        return results

    async def aclose(self) -> None:
        """Say goodbye and close; does not wait for the server."""
        try:
            if self.usable:
                with trio.move_on_after(1):
                    await self._session.stream.send_all(TERMINATE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.usable = False
        finally:
            await self._session.stream.aclose()

    async def _answers(self) -> tuple[tuple[Result, ...], Report | None]:
        """Read to ReadyForQuery."""
        results: list[Result] = []
        columns: tuple[ColumnDescription, ...] = ()
        rows: list[Row] = []
        failure: Report | None = None
        taken = 0
        while (found := await self._receive()).kind != b"Z":
            taken += len(found.body)
            if taken > self._limit:
                raise TargetFault(f"the answer is larger than {self._limit} bytes")
            match found.kind:
                case b"T":
                    columns = decode_row_description(found.body)
                case b"D":
                    rows.append(
                        tuple(None if value is None else value.decode() for value in decode_data_row(found.body))
                    )
                case b"C":
                    results.append(Result(columns, tuple(rows), found.body[:-1].decode("utf-8", "replace")))
                    columns, rows = (), []
                case b"E":
                    failure = failure or Report.decode(found.body)
                    if failure.severity in ("FATAL", "PANIC"):
                        raise QueryFailed(failure)
                case b"G":
                    await self._session.stream.send_all(message(b"f", cstring(b"no data here")))
                case b"N" | b"S" | b"A" | b"I" | b"H" | b"d" | b"c" | b"1" | b"2":
                    pass
                case kind:
                    raise ClientFault(f"unexpected message {kind!r} in an answer")
        return tuple(results), failure

    async def _receive(self) -> Message:
        while (found := self._reader.next()) is None:
            data = await self._session.stream.receive_some()
            if not data:
                raise TargetFault("the target closed the connection")
            self._reader.feed(data)
        return found


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")
