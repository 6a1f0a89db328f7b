"""What the client sends, one message after the other: judge, record, forward; or hold; or refuse as PostgreSQL would.

Written as a generator that names what it waits for, so that the order of things reads from top to bottom:
nothing later overtakes a statement that is being judged or held. Promises that nothing reaches the target before
the note of it was emitted, and that a refusal leaves the target where an error of its own would (SEMANTICS.md,
"Refusing").
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

from gateway.errors import ClientFault, OurBug
from gateway.model import Statement, Verdict, VerdictKind, WireProtocol
from gateway.pgwire.actions import Token
from gateway.pgwire.admitting import Admitting
from gateway.pgwire.backend import ready_for_query, report
from gateway.pgwire.copy_in import CopyIn
from gateway.pgwire.copy_out import ask_first
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected, Operation
from gateway.pgwire.forwarding import Forwarding
from gateway.pgwire.framing import Message, MessageReader
from gateway.pgwire.frontend import (
    SYNC,
    TERMINATE,
    Bind,
    Execute,
    Named,
    Parse,
    decode_query,
)
from gateway.pgwire.guarding import Guarding
from gateway.pgwire.judgement import Judgement, Names, Stricter
from gateway.pgwire.judging import Judging
from gateway.pgwire.quick import Quick
from gateway.pgwire.refusing import Refusing
from gateway.pgwire.renewal import RenewalSide, Wire
from gateway.pgwire.steps import Steps, Wait
from gateway.pgwire.turns import TurnSide


class ClientSide:
    """Consumes the client's messages."""

    def __init__(self, exchange: Exchange) -> None:
        self._x = exchange
        self.reader = MessageReader(exchange.limits.message)
        self._refusing = refusing = Refusing(exchange)
        self._judging = judging = Judging(exchange, refusing)
        self._admitting = Admitting(exchange, judging, refusing)
        self._copy = CopyIn(exchange, self.reader)
        self._forwarding = Forwarding(exchange)
        self._quick = Quick(exchange, judging, refusing, self._forwarding).takes
        self._guarding = Guarding(exchange, refusing, self._copy, self._forwarding, judging.next_token)
        self._renewals = RenewalSide(
            exchange, Wire(refusing.settle, refusing.abort, refusing.deny, judging.next_token, Wait.ANSWER)
        )
        self.turns = TurnSide(exchange, self._renewals)
        self._handlers: dict[bytes, Callable[[Message], Steps]] = {
            b"Q": self._query,
            b"P": self._parse,
            b"B": self._bind,
            b"E": self._execute,
            b"D": self._describe,
            b"C": self._close,
            b"H": self._flush,
            b"S": self._sync,
            b"F": self._function_call,
            b"d": self._ignore,
            b"c": self._ignore,
            b"f": self._ignore,
        }

    @property
    def token(self) -> Token:
        """The question asked last."""
        return self._judging.token

    def at_once(self, found: Message) -> bool:
        """Handle a message if that needs no waiting; False: nothing was done, `run` must have it."""
        x = self._x
        if x.skip_until_sync or len(x.flight) >= x.limits.flight or self._renewals.concerns(found):
            return False
        quick = self._quick.get(found.kind)
        return quick is not None and quick(found)

    def run(self) -> Steps:
        """Handle messages until the session is closed."""
        x = self._x
        while True:
            found = yield Wait.MESSAGE
            if not isinstance(found, Message):
                raise OurBug("the client side was woken without a message")
            if found.kind == b"X":
                x.to_target(TERMINATE)
                x.close("client")
                continue
            if len(x.flight) >= x.limits.flight:
                yield from self._refusing.settle()
            if x.skip_until_sync and found.kind != b"S":
                continue
            if self._renewals.concerns(found) and (yield from self._renewals.takes(found)):
                continue
            handler = self._handlers.get(found.kind)
            if handler is None:
                raise ClientFault(f"invalid frontend message type {found.kind[0]}")
            yield from handler(found)

    # --- simple protocol -----------------------------------------------------------------------------------------

    def _query(self, found: Message) -> Steps:
        x = self._x
        sql = decode_query(found.body)
        yield from self._refusing.settle()
        if x.skip_until_sync:
            return
        statement = Statement(sql, WireProtocol.SIMPLE)
        admitted = yield from self._admitting.admit(statement)
        if admitted is None:
            return
        operation = x.operation(admitted.n, statement, admitted.judgement)
        operation.names = admitted.names
        if not (yield from ask_first(x, operation)):
            return
        if admitted.judgement.guard is not None:
            yield from self._guarding.query(admitted.judgement.guard, found, operation)
            return
        self._forwarding.query(found, operation)
        while admitted.judgement.copy_in:
            yield Wait.COPY
            if x.copy_in is not operation:
                break
            yield from self._copy.run(operation)

    def _function_call(self, _found: Message) -> Steps:
        statement = Statement(b"-- FunctionCall (the fast-path interface)", WireProtocol.SIMPLE)
        verdict = Verdict(
            VerdictKind.DENY,
            "standard/function-call",
            "the fast-path function call names no statement that could be judged",
            "function-call",
            hint="Call the function in a SELECT.",
        )
        yield from self._refusing.deny(statement, Judgement(verdict, ""))

    # --- extended protocol ---------------------------------------------------------------------------------------

    def _parse(self, found: Message) -> Steps:
        x = self._x
        parse = Parse.decode(found.body)
        if (yield from self._refusing.ambiguous(parse.name)):
            return
        statement = Statement(parse.sql, WireProtocol.EXTENDED, name=parse.name.decode("utf-8", "replace"))
        if len(parse.sql) > x.limits.statement:
            yield from self._refusing.too_long(statement)
            return
        if parse.name and self._refusing.is_full():
            yield from self._refusing.too_many(statement)
            return
        judgement = yield from self._judging.judge(statement)
        if judgement is None:
            return
        if judgement.verdict.kind is VerdictKind.DENY:
            yield from self._refusing.deny(statement, judgement)
            if not parse.name:  # PostgreSQL forgets the former unnamed statement before it reads the new one
                x.names.forget(b"")
            return
        self._forwarding.parse(found, parse, statement, judgement)

    def _bind(self, found: Message) -> Steps:
        x = self._x
        bind = Bind.decode(found.body)
        if (yield from self._refusing.ambiguous(bind.portal, bind.statement)):
            return
        if x.flight.is_uncertain(Await.PARSE, bind.statement):
            yield from self._refusing.settle()
            if x.skip_until_sync:
                return
        bound = self._forwarding.bound(bind)
        if bound is None:
            name = bind.statement.decode("utf-8", "replace")
            what = f'prepared statement "{name}"' if name else "unnamed prepared statement"
            yield from self._refusing.fail(report("ERROR", "26000", f"{what} does not exist"))
            return
        if bind.portal and self._refusing.is_full():
            yield from self._refusing.too_many(bound.statement)
            return
        admitted = yield from self._admitting.admit(bound.statement)
        if admitted is not None:
            self._forwarding.bind(found, bind, bound, admitted)

    def _execute(self, found: Message) -> Steps:
        x = self._x
        wanted = Execute.decode(found.body)
        if (yield from self._refusing.ambiguous(wanted.portal)):
            return
        if self._x.flight.is_uncertain(Await.BIND, wanted.portal) or self._forwarding.portal(wanted.portal) is None:
            yield from self._refusing.settle()
            if x.skip_until_sync:
                return
        operation = self._forwarding.portal(wanted.portal)
        if operation is None and wanted.portal in x.names.cursors:
            operation = yield from self._cursor(wanted)
            if operation is None:
                return
        elif operation is None:
            name = wanted.portal.decode("utf-8", "replace")
            yield from self._refusing.fail(report("ERROR", "34000", f'portal "{name}" does not exist'))
            return
        elif not (yield from self._still_runs(operation)):
            return
        else:
            self._forwarding.execution(operation, wanted)
        if operation.judgement.guard is not None:
            yield from self._guarding.execute(operation.judgement.guard, found, wanted, operation)
            return
        self._forwarding.execute(found, wanted, operation)
        if operation.judgement.copy_in:
            yield Wait.COPY
            if x.copy_in is operation:
                yield from self._copy.run(operation)

    def _still_runs(self, operation: Operation) -> Generator[Wait, object, bool]:
        """Whether what a portal was judged by at its Bind holds still, or was judged again; else it was refused."""
        if operation.judgement.depends_on_state:
            return (yield from self._stands(operation))
        return operation.judgement.planner is None or (yield from self._keeps_epoch(operation))

    def _stands(self, operation: Operation) -> Generator[Wait, object, bool]:
        """Judge a portal of EXECUTE or FETCH again before it runs: what it names may be another's since its Bind.

        What was approved runs only if no name changed at all.
        """
        x = self._x
        if self._just_bound(operation):
            return True
        yield from self._refusing.settle()
        if x.skip_until_sync:
            return False
        names = x.view(x.status.decode())
        again = yield from self._judging.analyse(operation.statement, exact=False)
        if again.verdict.kind is VerdictKind.APPROVE and not _moved(operation, names):
            return True
        if again.verdict.kind in (VerdictKind.APPROVE, VerdictKind.DENY):
            yield from self._refusing.deny(operation.statement, replace(again, verdict=_moved_verdict(again.verdict)))
            return False
        operation.judgement = again
        x.tainted = x.tainted or again.touches_marks
        return True

    def _keeps_epoch(self, operation: Operation) -> Generator[Wait, object, bool]:
        """Judge a portal with marks again before more of it is fetched: definitions may be others since its Bind.

        Its rows were planned by the old ones, its marks are those of now: what either masks is masked.
        """
        x = self._x
        if self._just_bound(operation):
            return True
        yield from self._refusing.settle()
        if x.skip_until_sync:
            return False
        again = yield from self._judging.analyse(operation.statement, exact=False)
        before = operation.judgement
        if again.verdict.kind is VerdictKind.DENY:
            yield from self._refusing.deny(operation.statement, again)
            return False
        if again.epoch != before.epoch and before.planner is not None and again.planner is not None:
            operation.judgement = replace(
                before,
                planner=Stricter(before.planner, again.planner),
                touches_marks=before.touches_marks or again.touches_marks,
                epoch=again.epoch,
            )
            x.tainted = x.tainted or operation.judgement.touches_marks
        return True

    def _just_bound(self, operation: Operation) -> bool:
        """Whether nothing but its Bind and Describe was forwarded since the portal was judged."""
        return self._x.flight.last is operation

    def _cursor(self, wanted: Execute) -> Generator[Wait, object, Operation | None]:
        """Execute of a cursor that DECLARE made: it is a FETCH, and judged as one."""
        name = wanted.portal.decode("utf-8", "replace")
        quoted = name.replace('"', '""')
        count = "ALL" if wanted.max_rows == 0 else str(wanted.max_rows)
        statement = Statement(f'FETCH {count} FROM "{quoted}"'.encode(), WireProtocol.EXTENDED)
        admitted = yield from self._admitting.admit(statement)
        if admitted is None:
            return None
        return self._x.operation(admitted.n, statement, admitted.judgement, wanted.portal)

    def _describe(self, found: Message) -> Steps:
        wanted = Named.decode(found.body)
        if (yield from self._refusing.ambiguous(wanted.name)):
            return
        if wanted.target == b"P" and self._x.flight.is_uncertain(Await.BIND, wanted.name):
            yield from self._refusing.settle()
            if self._x.skip_until_sync:
                return
        self._forwarding.describe(found, wanted)

    def _close(self, found: Message) -> Steps:
        wanted = Named.decode(found.body)
        if (yield from self._refusing.ambiguous(wanted.name)):
            return
        self._forwarding.raw(found.encode())
        self._x.flight.push(Expected(Await.CLOSE, target=wanted.target, name=wanted.name))

    def _flush(self, found: Message) -> Steps:
        self._x.to_target(found.encode())
        yield from ()

    def _sync(self, _found: Message) -> Steps:
        x = self._x
        refused_alone = x.skip_until_sync and not x.segment_dirty
        x.skip_until_sync = False
        x.segment_dirty = False
        if refused_alone:
            yield Wait.QUIET
            x.to_client(ready_for_query(x.status))
            return
        x.to_target(SYNC)
        x.flight.push(Expected(Await.SYNC))

    def _ignore(self, _found: Message) -> Steps:
        """COPY messages outside COPY are what is left of a failed one; PostgreSQL drops them too."""
        yield from ()

    # --- small pieces --------------------------------------------------------------------------------------------


def _moved(operation: Operation, names: Names) -> bool:
    """Whether a name that a portal's statement may use stands for something else than when it was bound."""
    before = operation.names
    if before is None:
        return True
    own = (operation.portal or b"").decode("utf-8", "replace")
    return any(names.prepared.get(name) != sql for name, sql in before.prepared.items() if name) or any(
        names.cursors.get(name) != sql for name, sql in before.cursors.items() if name not in ("", own)
    )


def _moved_verdict(verdict: Verdict) -> Verdict:
    """Deny what would need a person now, though nobody was asked when it was bound."""
    if verdict.kind is VerdictKind.DENY:
        return verdict
    reason = f"what it names was changed after it was bound: {verdict.reason}"
    return replace(verdict, kind=VerdictKind.DENY, reason=reason, hint="Bind it again.", reviewers=())
