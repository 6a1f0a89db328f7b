"""Operations with a guard: what they change is counted before it can be committed, what they return as it passes.

Promises that nothing a guarded operation changed is committed before the count is known, that over the limit the
transaction is left where an error of the target's own would leave it, and that the agent hears how it ended once.
Works by holding back the end of the operation's answer: outside a transaction a simple query runs inside one of the
gateway's, in the extended protocol the client's Sync waits.
"""

from __future__ import annotations

from collections.abc import Generator

from gateway.model import Outcome, Verdict
from gateway.pgwire.actions import Guard
from gateway.pgwire.backend import ready_for_query
from gateway.pgwire.copy_in import CopyIn
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected, Operation
from gateway.pgwire.forwarding import Forwarding
from gateway.pgwire.framing import Message
from gateway.pgwire.frontend import FLUSH, SYNC, Bind, Execute, Named, Parse, execute, query
from gateway.pgwire.refusing import Refusing, denial
from gateway.pgwire.steps import Steps, Wait


class Guarding:
    """Carries out one session's guarded operations."""

    def __init__(self, exchange: Exchange, refusing: Refusing, copy: CopyIn, forwarding: Forwarding) -> None:
        self._x, self._refusing, self._copy, self._forwarding = exchange, refusing, copy, forwarding

    def query(self, guard: Guard, found: Message, operation: Operation) -> Steps:
        """Forward a simple query that was recorded, and end its answer."""
        x = self._x
        wraps = guard.wraps and x.status == b"I"
        if wraps:
            yield from self._own(b"BEGIN", operation)
        before = yield from self._count(guard, operation)
        self._forwarding.query(found, operation)
        while operation.judgement.copy_in:
            yield Wait.COPY
            if x.copy_in is not operation:
                break
            yield from self._copy.run(operation)
        yield Wait.QUIET
        if x.status == b"T":
            yield from self._check(guard, operation, before)
        if operation.stopped is not None:
            if wraps:
                yield from self._own(b"ROLLBACK", operation)
            elif x.status == b"T":
                yield from self._refusing.abort(simple=True)
        elif wraps and x.status != b"I":
            yield from self._own(b"ROLLBACK" if operation.failed else b"COMMIT", operation)
        self._end(operation)
        x.to_client(ready_for_query(x.status))

    def execute(self, guard: Guard, found: Message, wanted: Execute, operation: Operation) -> Steps:
        """Forward the Execute of a portal that was recorded, and end its answer; nothing else is on its way then."""
        x = self._x
        before = yield from self._count(guard, operation)
        if x.skip_until_sync and operation.stopped is None:
            return
        if wanted.max_rows and guard.changes and operation.stopped is None:
            # the target would run all of it, hand out a part, and commit at Sync, before its tag told the count
            operation.stopped = guard.in_parts()
        if operation.stopped is None:
            self._forwarding.execute(found, wanted, operation)
            if operation.judgement.copy_in:
                yield Wait.COPY
                if x.copy_in is operation:
                    yield from self._copy.run(operation)
        yield from self._quiet()
        if x.skip_until_sync and operation.stopped is None:
            return
        if operation.stopped is None:
            yield from self._check(guard, operation, before)
        if operation.stopped is not None and not x.skip_until_sync:
            yield from self._refusing.abort(simple=False)
        suspended = operation.stopped is None and not operation.withheld
        if not suspended:
            self._end(operation)
        x.skip_until_sync = x.skip_until_sync or operation.stopped is not None

    def _end(self, operation: Operation) -> None:
        """Record how it ended, and give the agent what was held back, or the refusal."""
        x = self._x
        if operation.stopped is not None:
            error = denial(operation.stopped)
            raw = error.encode(b"E")
            operation.collector.sent(raw)
            operation.collector.failed(error)
            x.count(denied=1)
            x.alarm("stopped", operation.stopped.reason)
            x.end(operation, Outcome.DENIED)
            x.to_client(raw)
        elif operation.failed:
            x.end(operation, Outcome.ERROR)
        else:
            operation.collector.sent(operation.withheld)
            x.end(operation, Outcome.OK)
            x.to_client(operation.withheld)
        operation.withheld = b""

    def _own(self, sql: bytes, operation: Operation) -> Steps:
        """Run a statement of the gateway's; its answer is swallowed, an error of COMMIT is the operation's."""
        self._x.to_target(query(sql))
        self._x.flight.push(Expected(Await.OWN, operation, name=sql, hidden=True))
        yield Wait.QUIET

    def _count(self, guard: Guard, operation: Operation) -> Generator[Wait, object, int | None]:
        """Ask the target how many rows of the guarded relations this transaction has changed; None: nobody knows."""
        x = self._x
        if not guard.counts:
            return 0
        simple = operation.portal is None
        if not simple:
            yield from self._quiet()
            if x.skip_until_sync:
                return None
        name = b"hoop_" + x.entropy.bytes(16).hex().encode()
        oids = ",".join(str(oid) for oid in sorted({oid for count in guard.counts for oid in count.relations}))
        sql = _COUNT.format(oids=oids).encode()
        asked = Parse(name, sql, ()).encode() + Bind(name, name, (), (), ()).encode() + execute(name)
        x.counted = None
        x.to_target(asked + Named(b"S", name).encode(b"C") + (SYNC if simple else FLUSH))
        x.flight.push(Expected(Await.OWN, operation, name=b"" if simple else b"count", hidden=True))
        yield Wait.QUIET
        return x.counted

    def _check(self, guard: Guard, operation: Operation, before: int | None) -> Steps:
        """Hold what the target counted against the limits."""
        if not guard.counts or operation.stopped is not None or operation.failed:
            return
        after = yield from self._count(guard, operation)
        operation.stopped = _over(guard, before, after)

    def _quiet(self) -> Steps:
        if self._x.flight and self._x.segment_dirty:
            self._x.to_target(FLUSH)
        yield Wait.QUIET


_COUNT = (
    "SELECT CASE WHEN pg_catalog.current_setting('track_counts')::pg_catalog.bool THEN pg_catalog.sum("
    "pg_catalog.pg_stat_get_xact_tuples_updated(r.oid) OPERATOR(pg_catalog.+)"
    " pg_catalog.pg_stat_get_xact_tuples_deleted(r.oid)) END"
    " FROM pg_catalog.unnest('{{{oids}}}'::pg_catalog.oid[]) r (oid)"
)


def _over(guard: Guard, before: int | None, after: int | None) -> Verdict | None:
    """Return the refusal of an operation after which the count went from `before` to `after`."""
    limit = min(guard.counts, key=lambda count: count.rows)
    if before is None or after is None:
        return limit.refusal(None)
    return limit.refusal(after - before) if after - before > limit.rows else None
