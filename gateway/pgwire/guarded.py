"""The target's answers to guarded operations: counted as they pass, stopped before the row that would pass the limit.

Promises that the row which would pass a limit does not leave and nothing after it, that the end of a guarded answer is
held back until `guarding` lets it go, and that answers to the gateway's own statements are swallowed whole.
"""

from __future__ import annotations

from gateway.errors import TargetFault
from gateway.model import Verdict, VerdictKind
from gateway.pgwire.actions import CancelTarget
from gateway.pgwire.backend import Report, decode_data_row
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected, Operation
from gateway.pgwire.framing import BodyReader
from gateway.pgwire.frontend import COPY_FAIL
from gateway.pgwire.own import FLUSHED, OWN_FAULTS
from gateway.pgwire.scrub import scrub
from gateway.pgwire.spool import unread

CANCELLED = "57014"
_CHANGING = frozenset({b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"COPY"})
_NOT_COUNTED = Verdict(
    VerdictKind.DENY,
    "gateway/not-counted",
    "The rows that it changes cannot be counted at the target.",
    "write",
    hint="Write it without a table expression or EXPLAIN around it.",
)


class GuardedSide:
    """Looks at one session's guarded answers before anybody else does."""

    def __init__(self, exchange: Exchange) -> None:
        self._x = exchange

    def swallows(self, operation: Operation, kind: bytes, raw: bytes) -> bool:
        """Say whether a message of the operation's answer must not be looked at any further."""
        if operation.stopped is not None and kind in b"TDdIHcNGn":
            if kind == b"G":  # a later statement of the string waits for data that nobody will send
                self._x.to_target(COPY_FAIL)
            return True
        guard, spool = operation.judgement.guard, self._x.spool
        if spool is not None and spool.full and kind in b"TDdN":
            self._stop(operation, spool.refusal())
            return True
        if kind not in b"Dd" or guard is None or guard.meter is None:
            return False
        self._stop(operation, guard.meter.take(1, len(raw)))
        return operation.stopped is not None

    def completed(self, operation: Operation, kind: bytes, body: bytes) -> None:
        """Hold what a command tag says against the limits."""
        guard = operation.judgement.guard
        if guard is None or operation.stopped is not None or kind != b"C":
            return
        word, _, number = BodyReader(body).cstring().partition(b" ")
        count = int(number.rsplit(b" ", 1)[-1]) if number.rsplit(b" ", 1)[-1].isdigit() else 0
        for bound in guard.bounds:
            if bound.index == operation.index and count > bound.rows:
                operation.stopped = bound.refusal(count)
        unseen = max(0, count - operation.seen)
        if guard.meter is not None and guard.writes and word in _CHANGING and unseen and operation.stopped is None:
            operation.stopped = guard.meter.take(unseen, 0)

    def failed(self, head: Expected) -> bool:
        """Take an error of the target's in the answer to a stopped operation: the refusal stands for it."""
        operation = head.operation
        if operation is None or operation.stopped is None or head.kind is Await.OWN:
            return False
        self._x.copy_in = None
        operation.collector.rows += operation.seen
        operation.seen = 0
        if head.kind is Await.EXECUTE:
            self._x.flight.drop_until_sync()
            self._x.skip_until_sync = True
        return True

    def own(self, head: Expected, kind: bytes, body: bytes) -> None:
        """Take the answer to a statement of the gateway's own; its ReadyForQuery is for the caller."""
        match kind:
            case b"D":
                self._x.told.append(tuple(decode_data_row(body)))
            case b"3" if head.target == FLUSHED:
                self._x.flight.pop()
            case b"1" | b"2" | b"3" | b"C" | b"N":
                pass
            case _:
                raise TargetFault(f"the target sent a message of type {kind!r} that does not belong here")

    def own_failed(self, head: Expected, shown: Report) -> bytes:
        """Take an error of a statement of the gateway's own; returns what the agent is told of it at once."""
        operation = head.operation
        if operation is None or head.name == b"ROLLBACK":
            raise TargetFault(f"the target answered {shown.sqlstate} to ROLLBACK")
        raw = b""
        guard = operation.judgement.guard
        effect = guard is not None and guard.effect is not None
        if head.name in OWN_FAULTS or (effect and shown.sqlstate == CANCELLED):
            raw = shown.encode(b"E")
            operation.failed = True
            operation.collector.sent(raw)
            operation.collector.failed(shown)
        else:
            operation.stopped = operation.stopped or (unread(f"error {shown.sqlstate}") if effect else _NOT_COUNTED)
        if head.target == FLUSHED:
            self._x.flight.drop_until_sync()
            self._x.skip_until_sync = True
        return raw

    def unseen(self, operation: Operation | None, error: Report, *, fatal: bool) -> Report:
        """Take an error while an answer is kept back: nothing of that leaves, nor words of what nobody approved."""
        x = self._x
        x.throw_away()
        if fatal or operation is None:
            return error
        operation.collector = x.collector()
        return error if operation.approved else scrub(error, "nobody approved it yet")

    def _stop(self, operation: Operation, why: Verdict | None) -> None:
        """Let nothing more of it pass, and have the target stop."""
        x = self._x
        operation.stopped = why
        if why is not None and not x.cancelling:
            x.cancelling = True
            x.actions.append(CancelTarget())
