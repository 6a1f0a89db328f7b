"""COPY … FROM STDIN: the client's data, recorded and forwarded chunk by chunk.

Promises that no chunk reaches the target before the note of it was emitted, and none that would put a masked value over
the original of a marked column.
"""

from __future__ import annotations

from gateway.errors import ClientFault
from gateway.pgwire.actions import Record
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Operation
from gateway.pgwire.framing import Message, MessageReader, cstring, message
from gateway.pgwire.frontend import COPY_FAIL, TERMINATE
from gateway.pgwire.judgement import Scanner
from gateway.pgwire.notes import CopyChunk
from gateway.pgwire.refusing import masked_value
from gateway.pgwire.steps import Steps, Wait


class CopyIn:
    """Takes one session's COPY data."""

    def __init__(self, exchange: Exchange, reader: MessageReader) -> None:
        self._x, self._reader = exchange, reader
        self._scanner: Scanner | None = None

    def run(self, operation: Operation) -> Steps:
        """Take messages until the COPY of `operation` ends."""
        x = self._x
        scan = next((scan for index, scan in operation.judgement.copy_into if index == operation.index), None)
        self._scanner = scan() if scan is not None else None
        while x.copy_in is operation:
            found = yield Wait.COPY_MESSAGE
            if not isinstance(found, Message):
                return
            match found.kind:
                case b"d":
                    self._data(operation, found.body)
                case b"c" | b"f":
                    x.copy_in = None
                    x.to_target(found.encode())
                case b"H" | b"S":
                    continue
                case b"X":
                    x.to_target(TERMINATE)
                    x.close("client")
                    return
                case _:
                    raise ClientFault(f"unexpected message type {found.kind!r} during COPY from stdin")

    def _data(self, operation: Operation, body: bytes) -> None:
        """Record and forward in chunks; a longer CopyData is cut, which COPY does not see."""
        x = self._x
        step = x.limits.copy_chunk
        waiting = [body]
        size = len(body)
        while size < step and (header := self._reader.peek()) is not None and header[0] == b"d":
            found = self._reader.next() if size + header[1] <= step else None
            if found is None:
                break
            waiting.append(found.body)
            size += len(found.body)
        if len(waiting) > 1 or size <= step:
            pieces = [(b"".join(waiting), b"".join(message(b"d", part) for part in waiting))]
        else:
            cuts = (body[start : start + step] for start in range(0, size, step))
            pieces = [(cut, message(b"d", cut)) for cut in cuts]
        guard = operation.judgement.guard
        if guard is not None and guard.meter is not None and operation.stopped is None:
            operation.stopped = guard.meter.take(0, size)
            if operation.stopped is not None:  # its data ends here; what the client still sends of it is dropped
                x.copy_in = None
                x.to_target(COPY_FAIL)
                return
        for content, raw in pieces:
            column = self._scanner.feed(content) if self._scanner is not None else ""
            if column:
                self._refuse(operation, column)
                return
            judgement = operation.judgement
            note = CopyChunk(
                x.next_n(), operation.n, content, judgement.touches_marks, withheld=judgement.literals.data
            )
            x.actions.append(Record(note))
            x.to_target(raw)

    def _refuse(self, operation: Operation, column: str) -> None:
        """Have the target give the COPY up: nothing of it stays."""
        x = self._x
        operation.refusal = masked_value(
            f"The data would put a masked value, as this gateway shows it, over the original in {column}.",
            hint="Leave the column out of the data, or send values that were not read from here.",
        )
        x.copy_in = None
        x.to_target(message(b"f", cstring(b"hoop: masked value")))
