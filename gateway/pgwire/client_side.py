"""What the client sends, one message after the other: judge, record, forward; or hold; or refuse as PostgreSQL would.

Written as a generator that names what it waits for, so that the order of things reads from top to bottom:
nothing later overtakes a statement that is being judged or held. Promises that nothing reaches the target before
the note of it was emitted, and that a refusal leaves the target where an error of its own would (SEMANTICS.md,
"Refusing").
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeAlias

from gateway.errors import ClientFault, OurBug
from gateway.model import Outcome, Parameter, Statement, Verdict, VerdictKind, WireProtocol
from gateway.pgwire.actions import (
    Analyse,
    CopyChunk,
    Declared,
    Execution,
    Granted,
    Hold,
    Judgement,
    Names,
    Preparation,
    Prepared,
    Record,
    Refused,
    Request,
    Token,
)
from gateway.pgwire.backend import ColumnDescription, Report, ready_for_query, report
from gateway.pgwire.exchange import Exchange, Held
from gateway.pgwire.flight import Await, Expected, Operation, Preparing
from gateway.pgwire.framing import Message, MessageReader, message
from gateway.pgwire.frontend import (
    FLUSH,
    SYNC,
    TERMINATE,
    Bind,
    Execute,
    Named,
    Parse,
    decode_query,
    describe,
    execute,
    format_at,
)
from gateway.pgwire.renewal import RenewalSide, Wire


class Wait(Enum):
    """What the client side waits for."""

    MESSAGE = auto()
    """A whole message; it is sent in."""
    QUIET = auto()
    """Everything that was forwarded is answered, and no cancel is on its way."""
    TURN = auto()
    """As QUIET, before something new begins: never, once the session is about to be cut."""
    COPY = auto()
    """The target wants COPY data, or the statement ended."""
    COPY_MESSAGE = auto()
    """A whole message while COPY goes on; None is sent in when it ended."""
    ANSWER = auto()
    """`Session.resume` for the token last given out; the answer is sent in."""


Steps: TypeAlias = Generator[Wait, object, None]

_LONGEST_NAME = 63
"""Bytes by which PostgreSQL tells names apart (NAMEDATALEN - 1): what is longer could stand for another's text here."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    """The statement may be forwarded as request `n`."""

    n: int
    judgement: Judgement


class ClientSide:
    """Consumes the client's messages."""

    def __init__(self, exchange: Exchange) -> None:
        self._x = exchange
        self.reader = MessageReader(exchange.limits.message)
        self.token = Token(0)
        self._renewals = RenewalSide(
            exchange, Wire(self._settle, self._abort, self._deny, self._next_token, Wait.ANSWER)
        )
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
                yield from self._settle()
            if x.skip_until_sync and found.kind != b"S":
                continue
            if (yield from self._renewals.takes(found)):
                continue
            handler = self._handlers.get(found.kind)
            if handler is None:
                raise ClientFault(f"invalid frontend message type {found.kind[0]}")
            yield from handler(found)

    # --- simple protocol -----------------------------------------------------------------------------------------

    def _query(self, found: Message) -> Steps:
        x = self._x
        sql = decode_query(found.body)
        yield from self._settle()
        if x.skip_until_sync:
            return
        statement = Statement(sql, WireProtocol.SIMPLE)
        admitted = yield from self._admit(statement)
        if admitted is None:
            return
        operation = x.operation(admitted.n, statement, admitted.judgement)
        x.to_target(found.encode())
        x.segment_dirty = False
        x.flight.push(Expected(Await.QUERY, operation))
        while admitted.judgement.copy_in:
            yield Wait.COPY
            if x.copy_in is not operation:
                break
            yield from self._copy_in(operation)

    def _function_call(self, _found: Message) -> Steps:
        statement = Statement(b"-- FunctionCall (the fast-path interface)", WireProtocol.SIMPLE)
        verdict = Verdict(
            VerdictKind.DENY,
            "standard/function-call",
            "the fast-path function call names no statement that could be judged",
            "function-call",
            hint="Call the function in a SELECT.",
        )
        yield from self._deny(statement, Judgement(verdict, ""))

    # --- extended protocol ---------------------------------------------------------------------------------------

    def _parse(self, found: Message) -> Steps:
        x = self._x
        parse = Parse.decode(found.body)
        if (yield from self._ambiguous(parse.name)):
            return
        statement = Statement(parse.sql, WireProtocol.EXTENDED, name=parse.name.decode("utf-8", "replace"))
        if len(parse.sql) > x.limits.statement:
            yield from self._too_long(statement)
            return
        if parse.name and self._is_full():
            yield from self._too_many(statement)
            return
        judgement = yield from self._judge(statement)
        if judgement is None:
            return
        if judgement.verdict.kind is VerdictKind.DENY:
            yield from self._deny(statement, judgement)
            if not parse.name:  # PostgreSQL forgets the former unnamed statement before it reads the new one
                x.names.forget(b"")
            return
        n = x.next_n()
        x.actions.append(Record(Preparation(n, statement, judgement)))
        if judgement.touches_marks:
            x.tainted = True
        self._forward(found.encode())
        preparing = Preparing(n, parse.name, statement, parse.types, judgement, x.collector())
        x.flight.push(Expected(Await.PARSE, preparing=preparing, name=parse.name))

    def _bind(self, found: Message) -> Steps:
        x = self._x
        bind = Bind.decode(found.body)
        if (yield from self._ambiguous(bind.portal, bind.statement)):
            return
        if x.flight.is_uncertain(Await.PARSE, bind.statement):
            yield from self._settle()
            if x.skip_until_sync:
                return
        parsing = x.flight.newest(Await.PARSE, bind.statement)
        pending = parsing.preparing if parsing is not None else None
        known = x.names.prepared.get(bind.statement)
        if pending is not None:
            sql, types = pending.statement.sql, pending.types
            columns: tuple[ColumnDescription, ...] = ()
        elif known is not None:
            sql, types, columns = known.sql, known.types, known.columns
        else:
            name = bind.statement.decode("utf-8", "replace")
            what = f'prepared statement "{name}"' if name else "unnamed prepared statement"
            yield from self._fail(report("ERROR", "26000", f"{what} does not exist"))
            return
        parameters = tuple(
            Parameter(types[index] if index < len(types) else 0, bind.format_of(index), value)
            for index, value in enumerate(bind.values)
        )
        name = bind.statement.decode("utf-8", "replace")
        statement = Statement(sql, WireProtocol.EXTENDED, parameters, name)
        if bind.portal and self._is_full():
            yield from self._too_many(statement)
            return
        admitted = yield from self._admit(statement)
        if admitted is None:
            return
        operation = x.operation(admitted.n, statement, admitted.judgement, bind.portal)
        if admitted.judgement.depends_on_state:
            operation.names = x.view(x.status.decode())
        if columns and len(bind.result_formats) in (0, 1, len(columns)):
            operation.columns = tuple(
                replace(column, format=format_at(bind.result_formats, index)) for index, column in enumerate(columns)
            )
        self._forward(found.encode())
        x.flight.push(Expected(Await.BIND, operation, name=bind.portal))

    def _execute(self, found: Message) -> Steps:
        x = self._x
        wanted = Execute.decode(found.body)
        if (yield from self._ambiguous(wanted.portal)):
            return
        if self._x.flight.is_uncertain(Await.BIND, wanted.portal) or self._portal(wanted.portal) is None:
            yield from self._settle()
            if x.skip_until_sync:
                return
        operation = self._portal(wanted.portal)
        if operation is None and wanted.portal in x.names.cursors:
            operation = yield from self._cursor(wanted)
            if operation is None:
                return
        elif operation is None:
            name = wanted.portal.decode("utf-8", "replace")
            yield from self._fail(report("ERROR", "34000", f'portal "{name}" does not exist'))
            return
        elif operation.judgement.depends_on_state and not (yield from self._stands(operation)):
            return
        else:
            x.actions.append(Record(Execution(x.next_n(), operation.n, wanted.max_rows)))
        if operation.judgement.planner is not None:
            self._forward(describe(b"P", wanted.portal))
            x.flight.push(Expected(Await.DESCRIBE, operation, target=b"P", name=wanted.portal, hidden=True))
        self._forward(found.encode())
        x.flight.push(Expected(Await.EXECUTE, operation, name=wanted.portal))
        if operation.judgement.copy_in:
            yield Wait.COPY
            if x.copy_in is operation:
                yield from self._copy_in(operation)

    def _stands(self, operation: Operation) -> Generator[Wait, object, bool]:
        """Judge a portal of EXECUTE or FETCH again before it runs: what it names may be another's since its Bind.

        What was approved runs only if no name changed at all.
        """
        x = self._x
        sent = [entry for entry in x.flight if entry.kind is not Await.DESCRIBE]
        if sent and sent[-1].operation is operation and sent[-1].kind is Await.BIND:
            return True
        yield from self._settle()
        if x.skip_until_sync:
            return False
        names = x.view(x.status.decode())
        again = yield from self._analyse(operation.statement, exact=False)
        if again.verdict.kind is VerdictKind.APPROVE and not _moved(operation, names):
            return True
        if again.verdict.kind in (VerdictKind.APPROVE, VerdictKind.DENY):
            yield from self._deny(operation.statement, replace(again, verdict=_moved_verdict(again.verdict)))
            return False
        operation.judgement = again
        x.tainted = x.tainted or again.touches_marks
        return True

    def _cursor(self, wanted: Execute) -> Generator[Wait, object, Operation | None]:
        """Execute of a cursor that DECLARE made: it is a FETCH, and judged as one."""
        name = wanted.portal.decode("utf-8", "replace")
        quoted = name.replace('"', '""')
        count = "ALL" if wanted.max_rows == 0 else str(wanted.max_rows)
        statement = Statement(f'FETCH {count} FROM "{quoted}"'.encode(), WireProtocol.EXTENDED)
        admitted = yield from self._admit(statement)
        if admitted is None:
            return None
        return self._x.operation(admitted.n, statement, admitted.judgement, wanted.portal)

    def _describe(self, found: Message) -> Steps:
        wanted = Named.decode(found.body)
        if (yield from self._ambiguous(wanted.name)):
            return
        if wanted.target == b"P" and self._x.flight.is_uncertain(Await.BIND, wanted.name):
            yield from self._settle()
            if self._x.skip_until_sync:
                return
        operation = self._portal(wanted.name) if wanted.target == b"P" else None
        self._forward(found.encode())
        self._x.flight.push(Expected(Await.DESCRIBE, operation, target=wanted.target, name=wanted.name))

    def _close(self, found: Message) -> Steps:
        wanted = Named.decode(found.body)
        if (yield from self._ambiguous(wanted.name)):
            return
        self._forward(found.encode())
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

    # --- COPY … FROM STDIN ---------------------------------------------------------------------------------------

    def _copy_in(self, operation: Operation) -> Steps:
        x = self._x
        while x.copy_in is operation:
            found = yield Wait.COPY_MESSAGE
            if not isinstance(found, Message):
                return
            match found.kind:
                case b"d":
                    self._copy_data(operation, found.body)
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

    def _copy_data(self, operation: Operation, body: bytes) -> None:
        """Record and forward in chunks; a longer CopyData is cut, which COPY does not see."""
        x = self._x
        step = x.limits.copy_chunk
        waiting = [body]
        size = len(body)
        while size < step and (header := self.reader.peek()) is not None and header[0] == b"d":
            found = self.reader.next() if size + header[1] <= step else None
            if found is None:
                break
            waiting.append(found.body)
            size += len(found.body)
        if len(waiting) > 1 or size <= step:
            pieces = [(b"".join(waiting), b"".join(message(b"d", part) for part in waiting))]
        else:
            cuts = (body[start : start + step] for start in range(0, size, step))
            pieces = [(cut, message(b"d", cut)) for cut in cuts]
        for content, raw in pieces:
            note = CopyChunk(x.next_n(), operation.n, content, operation.judgement.touches_marks)
            x.actions.append(Record(note))
            x.to_target(raw)

    # --- judging, holding, refusing ------------------------------------------------------------------------------

    def _admit(self, statement: Statement) -> Generator[Wait, object, _Admitted | None]:
        """Judge and record a statement; hold or refuse it. None: it must not be forwarded, and that was dealt with."""
        x = self._x
        if len(statement.sql) > x.limits.statement:
            yield from self._too_long(statement)
            return None
        judgement = yield from self._judge(statement)
        if judgement is None:
            return None
        kind = judgement.verdict.kind
        if kind is VerdictKind.DENY:
            yield from self._deny(statement, judgement)
            return None
        if any(isinstance(effect, (Prepared, Declared)) for _, effect in judgement.effects) and self._is_full():
            yield from self._too_many(statement)
            return None
        if kind is VerdictKind.APPROVE:
            return (yield from self._hold(statement, judgement))
        n = x.next_n()
        x.count(statements=1)
        x.actions.append(Record(Request(n, statement, judgement)))
        return _Admitted(n, judgement)

    def _judge(self, statement: Statement) -> Generator[Wait, object, Judgement | None]:
        """Ask for a judgement. None: an earlier message of the pipeline failed meanwhile, nothing is to be done."""
        x = self._x
        if x.redefined and x.flight:
            yield from self._settle()
            if x.skip_until_sync:
                return None
        quiet = not x.flight
        judgement = yield from self._analyse(statement, exact=quiet and not x.segment_dirty)
        if quiet or not (judgement.depends_on_state or judgement.verdict.kind is VerdictKind.DENY):
            return judgement
        yield from self._settle()
        if x.skip_until_sync:
            return None
        return (yield from self._analyse(statement, exact=not x.segment_dirty))

    def _analyse(self, statement: Statement, *, exact: bool) -> Generator[Wait, object, Judgement]:
        """`exact`: the transaction status is known; else a failed transaction is not assumed to be one still."""
        x = self._x
        status = x.status.decode()
        if status == "E" and not exact:
            status = "T"
        x.actions.append(Analyse(self._next_token(), statement, x.view(status)))
        answer = yield Wait.ANSWER
        if not isinstance(answer, Judgement):
            raise OurBug("an analysis was answered by something else")
        if answer.alarm:
            x.alarm("analysis", answer.alarm)
        return answer

    def _deny(self, statement: Statement, judgement: Judgement) -> Steps:
        x = self._x
        yield from self._settle()
        if x.skip_until_sync:
            return
        n = x.next_n()
        x.count(statements=1, denied=1)
        x.actions.append(Record(Request(n, statement, judgement)))
        yield from self._refuse(n, statement, judgement, Outcome.DENIED, _denial(judgement.verdict))

    def _too_long(self, statement: Statement) -> Steps:
        limit = self._x.limits.statement
        verdict = Verdict(
            VerdictKind.DENY,
            "limits/statement",
            f"the statement has {len(statement.sql)} bytes; the limit is {limit}",
            "unknown",
            hint="Send it in parts, or raise [limits] statement.",
        )
        cut = replace(statement, sql=statement.sql[:limit], parameters=())
        yield from self._deny(cut, Judgement(verdict, ""))

    def _is_full(self) -> bool:
        x = self._x
        return x.names.count >= x.limits.names or x.names.size >= x.limits.names_size

    def _too_many(self, statement: Statement) -> Steps:
        limits = self._x.limits
        verdict = Verdict(
            VerdictKind.DENY,
            "limits/names",
            f"the session keeps {limits.names} prepared statements, portals and cursors, or {limits.names_size} bytes",
            "unknown",
            hint="Close or deallocate some first.",
        )
        yield from self._deny(statement, Judgement(verdict, ""))

    def _hold(self, statement: Statement, judgement: Judgement) -> Generator[Wait, object, _Admitted | None]:
        x = self._x
        yield from self._settle()
        if x.skip_until_sync:
            return None
        n = x.next_n()
        x.count(statements=1, held=1)
        token = self._next_token()
        x.held = Held(token, n, judgement.touches_marks)
        x.actions.append(Hold(token, n, statement, judgement, x.view(x.status.decode())))
        answer = yield Wait.ANSWER
        x.held = None
        if isinstance(answer, Granted):
            return _Admitted(n, answer.judgement)
        if not isinstance(answer, Refused):
            raise OurBug("a hold was answered by something else")
        yield from self._refuse(n, statement, judgement, answer.outcome, answer.report)
        return None

    def _ambiguous(self, *names: bytes) -> Generator[Wait, object, bool]:
        """Refuse a name that PostgreSQL would cut: two of them are one there and two here."""
        if all(len(name) <= _LONGEST_NAME for name in names):
            return False
        self._x.alarm("long-name", f"a name of {max(map(len, names))} bytes was refused")
        words = f"a prepared statement's or portal's name is longer than {_LONGEST_NAME} bytes"
        yield from self._fail(report("ERROR", "42622", words))
        return True

    def _fail(self, error: Report) -> Steps:
        """Answer with an error of PostgreSQL's own, for what it would refuse without running anything."""
        yield from self._settle()
        if self._x.skip_until_sync:
            return
        yield from self._abort(simple=False)
        self._x.to_client(error.encode(b"E"))
        self._x.skip_until_sync = True

    def _refuse(self, n: int, statement: Statement, judgement: Judgement, outcome: Outcome, error: Report) -> Steps:
        """Tell the agent no, and leave the target where an error of its own would; the session is quiet."""
        x = self._x
        simple = statement.protocol is WireProtocol.SIMPLE
        yield from self._abort(simple=simple)
        raw = error.encode(b"E")
        collector = x.collector()
        collector.sent(raw)
        collector.failed(error)
        x.answer(n, collector, outcome, touches_marks=judgement.touches_marks)
        x.to_client(raw)
        if simple:
            x.to_client(ready_for_query(x.status))
        else:
            x.skip_until_sync = True

    def _abort(self, *, simple: bool) -> Steps:
        """Fail the target's transaction, if one is open or could be, by a portal that cannot exist."""
        x = self._x
        if x.status == b"I" and not x.segment_dirty:
            return
        portal = b"hoop_" + x.entropy.bytes(16).hex().encode()
        x.to_target(execute(portal))
        x.flight.push(Expected(Await.ABORT))
        if simple:
            x.to_target(SYNC)
            x.segment_dirty = False
            x.flight.push(Expected(Await.SYNC, hidden=True))
        else:
            x.segment_dirty = True
        yield Wait.QUIET

    # --- small pieces --------------------------------------------------------------------------------------------

    def _settle(self) -> Steps:
        """Have everything that was forwarded answered; `skip_until_sync` says afterwards whether that failed."""
        x = self._x
        if x.flight and x.segment_dirty:
            x.to_target(FLUSH)
        yield Wait.TURN

    def _forward(self, raw: bytes) -> None:
        self._x.segment_dirty = True
        self._x.to_target(raw)

    def _next_token(self) -> Token:
        self.token = Token(self.token + 1)
        return self.token

    def _portal(self, name: bytes) -> Operation | None:
        """Find a portal, the newest Bind on its way first."""
        entry = self._x.flight.newest(Await.BIND, name)
        return entry.operation if entry is not None else self._x.names.portals.get(name)


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


def _denial(verdict: Verdict) -> Report:
    """The error of a denied statement (INTERFACE.md), or PostgreSQL's own words for a syntax error."""
    if verdict.sqlstate != "42501":
        return report("ERROR", verdict.sqlstate, verdict.reason, position=verdict.position)
    return report(
        "ERROR", "42501", f"hoop: denied: {verdict.reason}", detail=f"Rule: {verdict.rule}", hint=verdict.hint or None
    )
