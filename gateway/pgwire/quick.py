"""What can be done at once: the messages of nearly every statement, without waiting for anything.

Promises to do all that `ClientSide` would do for a message, or nothing at all and say so: then its generators, which
can wait, take the message from the beginning. Nothing is forwarded here that was not judged and noted here.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.model import Statement, VerdictKind, WireProtocol
from gateway.pgwire.actions import recorded
from gateway.pgwire.admitting import Admitted
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected
from gateway.pgwire.forwarding import Forwarding
from gateway.pgwire.framing import Message
from gateway.pgwire.frontend import SYNC, Bind, Execute, Named, Parse, decode_query
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.judging import Judging
from gateway.pgwire.notes import Request
from gateway.pgwire.refusing import LONGEST_NAME, Refusing


class Quick:
    """Takes one session's messages where that needs no waiting. `takes[kind](message)` says whether it did."""

    def __init__(self, exchange: Exchange, judging: Judging, refusing: Refusing, forwarding: Forwarding) -> None:
        self._x, self._judging, self._refusing, self._forwarding = exchange, judging, refusing, forwarding
        self.takes: dict[bytes, Callable[[Message], bool]] = {
            b"Q": self._query,
            b"P": self._parse,
            b"B": self._bind,
            b"D": self._describe,
            b"E": self._execute,
            b"S": self._sync,
        }

    def _query(self, found: Message) -> bool:
        x = self._x
        if x.flight or x.cancelling or x.stopping:
            return False
        statement = Statement(decode_query(found.body), WireProtocol.SIMPLE)
        admitted = self._admit(statement)
        if admitted is None:
            return False
        self._forwarding.query(found, x.operation(admitted.n, statement, admitted.judgement))
        return True

    def _parse(self, found: Message) -> bool:
        parse = Parse.decode(found.body)
        if len(parse.name) > LONGEST_NAME or (parse.name and self._refusing.is_full()):
            return False
        statement = Statement(parse.sql, WireProtocol.EXTENDED, name=parse.name.decode("utf-8", "replace"))
        judgement = self._judge(statement)
        if judgement is None or judgement.verdict.kind is VerdictKind.DENY:
            return False
        self._forwarding.parse(found, parse, statement, judgement)
        return True

    def _bind(self, found: Message) -> bool:
        bind = Bind.decode(found.body)
        if len(bind.portal) > LONGEST_NAME or len(bind.statement) > LONGEST_NAME:
            return False
        if self._x.flight.is_uncertain(Await.PARSE, bind.statement) or (bind.portal and self._refusing.is_full()):
            return False
        bound = self._forwarding.bound(bind)
        admitted = None if bound is None else self._admit(bound.statement)
        if bound is None or admitted is None:
            return False
        self._forwarding.bind(found, bind, bound, admitted)
        return True

    def _execute(self, found: Message) -> bool:
        x = self._x
        wanted = Execute.decode(found.body)
        if len(wanted.portal) > LONGEST_NAME or x.flight.is_uncertain(Await.BIND, wanted.portal):
            return False
        operation = self._forwarding.portal(wanted.portal)
        if operation is None:
            return False
        judgement = operation.judgement
        if judgement.copy_in or judgement.depends_on_state or judgement.guard is not None:
            return False
        if judgement.planner is not None and x.flight.last is not operation:
            return False
        self._forwarding.execution(operation, wanted)
        self._forwarding.execute(found, wanted, operation)
        return True

    def _describe(self, found: Message) -> bool:
        wanted = Named.decode(found.body)
        if len(wanted.name) > LONGEST_NAME:
            return False
        if wanted.target == b"P" and self._x.flight.is_uncertain(Await.BIND, wanted.name):
            return False
        self._forwarding.describe(found, wanted)
        return True

    def _sync(self, _found: Message) -> bool:
        x = self._x
        if x.skip_until_sync:
            return False
        x.segment_dirty = False
        x.to_target(SYNC)
        x.flight.push(Expected(Await.SYNC))
        return True

    def _admit(self, statement: Statement) -> Admitted | None:
        """Note a statement that is allowed and asks for nothing else; None: there is more to it."""
        x = self._x
        judgement = self._judge(statement)
        if judgement is None or judgement.copy_in or judgement.copies or judgement.effects or judgement.guard:
            return None
        kind = judgement.verdict.kind
        if kind is not VerdictKind.ALLOW and kind is not VerdictKind.MASK:
            return None
        n = x.next_n()
        x.count(statements=1)
        x.actions.append(recorded(Request(n, statement, judgement)))
        return Admitted(n, judgement)

    def _judge(self, statement: Statement) -> Judgement | None:
        x = self._x
        if len(statement.sql) > x.limits.statement or (x.redefined and x.flight):
            return None
        return self._judging.at_once(statement)
