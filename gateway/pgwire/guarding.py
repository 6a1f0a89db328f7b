"""Operations with a guard: what they change is counted before it can be committed, what they return as it passes.

Promises that nothing a guarded operation changed is committed before the count is known, or, where a person decides
about what it did, before they said yes; that otherwise the transaction is left where an error of the target's own would
leave it; and that the agent hears how it ended once. Works by holding back the end of the operation's answer: outside a
transaction a simple query runs inside one of the gateway's, in the extended protocol the client's Sync waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from gateway.model import Outcome, Verdict
from gateway.pgwire import own
from gateway.pgwire.actions import Token
from gateway.pgwire.backend import Report, ready_for_query
from gateway.pgwire.copy_in import CopyIn
from gateway.pgwire.effecting import Effecting
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Operation
from gateway.pgwire.forwarding import Forwarding
from gateway.pgwire.framing import Message
from gateway.pgwire.frontend import Execute
from gateway.pgwire.judgement import Guard
from gateway.pgwire.refusing import Refusing, denial
from gateway.pgwire.spool import unread
from gateway.pgwire.steps import Steps, Wait


class Guarding:
    """Carries out one session's guarded operations."""

    def __init__(
        self,
        exchange: Exchange,
        refusing: Refusing,
        copy: CopyIn,
        forwarding: Forwarding,
        next_token: Callable[[], Token],
    ) -> None:
        self._x, self._refusing, self._copy, self._forwarding = exchange, refusing, copy, forwarding
        self._effecting = Effecting(exchange, next_token)

    def query(self, guard: Guard, found: Message, operation: Operation) -> Steps:
        """Forward a simple query that was recorded, and end its answer."""
        x = self._x
        wraps = (guard.wraps or guard.effect is not None) and x.status == b"I"
        if wraps:
            yield from self._own(b"BEGIN", operation)
        if guard.effect is not None:
            yield from self._try(guard, found, operation)
        else:
            yield from self._counted(guard, found, operation)
        if operation.stopped is not None or operation.refused is not None:
            if wraps and x.status != b"I":
                yield from self._own(b"ROLLBACK", operation)
            elif not wraps and x.status == b"T":
                yield from self._refusing.abort(simple=True)
        elif wraps and x.status != b"I":
            yield from self._own(b"ROLLBACK" if operation.failed else b"COMMIT", operation)
        self._end(operation)
        x.to_client(ready_for_query(x.status))

    def _counted(self, guard: Guard, found: Message, operation: Operation) -> Steps:
        """Run a simple query between two counts."""
        x = self._x
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

    def _try(self, guard: Guard, found: Message, operation: Operation) -> Steps:
        """Run a simple query whose effect a person decides about; only where a transaction is open."""
        x = self._x
        if operation.failed or x.status != b"T" or guard.effect is None:
            operation.stopped = unread("no transaction could be opened")
            return
        before = yield from self._count(guard, operation)
        changed = yield from self._effecting.begin(guard.effect, operation)
        if changed is None or operation.stopped is not None:
            self._unread(operation)
            return
        self._forwarding.query(found, operation)
        yield Wait.QUIET
        if x.status == b"T":
            yield from self._check(guard, operation, before)
        if x.status == b"T" and operation.stopped is None and not operation.failed:
            yield from self._effecting.decide(guard.effect, operation, changed)
        elif not operation.failed and operation.stopped is None:
            operation.stopped = unread("its transaction ended before its time")

    def execute(self, guard: Guard, found: Message, wanted: Execute, operation: Operation) -> Steps:
        """Forward the Execute of a portal that was recorded, and end its answer; nothing else is on its way then."""
        x = self._x
        effect = guard.effect if not operation.approved else None
        before = yield from self._count(guard, operation)
        if x.skip_until_sync and operation.stopped is None:
            return
        if wanted.max_rows and guard.changes and operation.stopped is None:
            # the target would run all of it, hand out a part, and commit at Sync, before its tag told the count
            operation.stopped = guard.in_parts()
        changed = None
        if effect is not None and operation.stopped is None:
            changed = yield from self._effecting.begin(effect, operation)
            if changed is None:
                self._unread(operation)
        if operation.stopped is None and not operation.failed:
            self._forwarding.execute(found, wanted, operation)
            if operation.judgement.copy_in:
                yield Wait.COPY
                if x.copy_in is operation:
                    yield from self._copy.run(operation)
        yield from own.quiet(x)
        if x.skip_until_sync and operation.stopped is None:
            if operation.failed:
                self._end(operation)
            return
        if operation.stopped is None:
            yield from self._check(guard, operation, before)
        if effect is not None and changed is not None and operation.stopped is None:
            yield from self._effecting.decide(effect, operation, changed)
        unwanted = operation.stopped is not None or operation.refused is not None
        if unwanted and not x.skip_until_sync:
            yield from self._refusing.abort(simple=False)
        suspended = not unwanted and not operation.failed and not operation.withheld
        if not suspended:
            self._end(operation)
        else:
            x.let_out()
        x.skip_until_sync = x.skip_until_sync or unwanted

    def _unread(self, operation: Operation) -> None:
        """Nobody could be shown what it does: it does not run, unless it failed already."""
        if not operation.failed:
            operation.stopped = operation.stopped or unread("the target does not say")

    def _end(self, operation: Operation) -> None:
        """Record how it ended, and give the agent what was held back, or the refusal."""
        x = self._x
        if operation.stopped is not None:
            x.count(denied=1)
            x.alarm("stopped", operation.stopped.reason)
            self._refuse(operation, denial(operation.stopped), Outcome.DENIED)
        elif operation.refused is not None:
            self._refuse(operation, operation.refused.report, operation.refused.outcome)
        elif operation.failed:
            x.end(operation, Outcome.ERROR)
        else:
            operation.collector.sent(operation.withheld)
            x.end(operation, Outcome.OK)
            x.to_client(operation.withheld)
            x.let_out()
        operation.withheld = b""

    def _refuse(self, operation: Operation, error: Report, outcome: Outcome) -> None:
        x = self._x
        if x.spool is not None:  # nothing of it leaves
            x.throw_away()
            operation.collector = x.collector()
        raw = error.encode(b"E")
        operation.collector.sent(raw)
        operation.collector.failed(error)
        x.end(operation, outcome)
        x.to_client(raw)

    def _own(self, sql: bytes, operation: Operation) -> Steps:
        """Run a statement of the gateway's; its answer is swallowed, an error of COMMIT is the operation's."""
        guard = operation.judgement.guard
        if guard is None or guard.effect is None:
            yield from own.run(self._x, sql, operation)
            return
        n, failed = self._effecting.noted(sql, operation), operation.failed
        yield from own.run(self._x, sql, operation)
        self._effecting.ended(n, Outcome.ERROR if operation.failed and not failed else Outcome.OK)

    def _count(self, guard: Guard, operation: Operation) -> Generator[Wait, object, int | None]:
        """Ask the target how many rows of the guarded relations this transaction has changed; None: nobody knows."""
        if not guard.counts:
            return 0
        oids = ",".join(str(oid) for oid in sorted({oid for count in guard.counts for oid in count.relations}))
        rows = yield from own.ask(self._x, _COUNT.format(oids=oids).encode(), operation)
        values = rows[-1] if rows else ()
        return int(values[0]) if len(values) == 1 and values[0] is not None else None

    def _check(self, guard: Guard, operation: Operation, before: int | None) -> Steps:
        """Hold what the target counted against the limits."""
        if not guard.counts or operation.stopped is not None or operation.failed:
            return
        after = yield from self._count(guard, operation)
        operation.stopped = _over(guard, before, after)


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
