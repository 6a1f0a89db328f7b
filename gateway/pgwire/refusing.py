"""Telling the agent no, as PostgreSQL would: what went before is answered first, and the transaction fails.

Promises that a refusal leaves the target where an error of its own would (SEMANTICS.md, "Refusing"), and that what
is denied is recorded before the agent hears of it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from gateway.model import Outcome, Statement, Verdict, VerdictKind, WireProtocol
from gateway.pgwire.actions import recorded
from gateway.pgwire.backend import Report, ready_for_query, report
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Await, Expected
from gateway.pgwire.frontend import FLUSH, SYNC, execute
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Request
from gateway.pgwire.steps import Steps, Wait

LONGEST_NAME = 63
"""Bytes by which PostgreSQL tells names apart (NAMEDATALEN - 1): what is longer could stand for another's text here."""


class Refusing:
    """Refuses one session's statements and messages."""

    def __init__(self, exchange: Exchange) -> None:
        self._x = exchange

    def deny(self, statement: Statement, judgement: Judgement) -> Steps:
        """Record a statement as denied, and refuse it."""
        x = self._x
        yield from self.settle()
        if x.skip_until_sync:
            return
        n = x.next_n()
        x.count(statements=1, denied=1)
        x.actions.append(recorded(Request(n, statement, judgement)))
        yield from self.refuse(n, statement, judgement, Outcome.DENIED, denial(judgement.verdict))

    def too_long(self, statement: Statement) -> Steps:
        """Deny a statement that is longer than the limit; its beginning is recorded."""
        limit = self._x.limits.statement
        verdict = Verdict(
            VerdictKind.DENY,
            "limits/statement",
            f"the statement has {len(statement.sql)} bytes; the limit is {limit}",
            "unknown",
            hint="Send it in parts, or raise [limits] statement.",
        )
        cut = replace(statement, sql=statement.sql[:limit], parameters=())
        yield from self.deny(cut, Judgement(verdict, ""))

    def is_full(self) -> bool:
        """Say whether the session keeps as many names as it may."""
        x = self._x
        return x.names.count >= x.limits.names or x.names.size >= x.limits.names_size

    def too_many(self, statement: Statement) -> Steps:
        """Deny a statement that would make one name more."""
        limits = self._x.limits
        verdict = Verdict(
            VerdictKind.DENY,
            "limits/names",
            f"the session keeps {limits.names} prepared statements, portals and cursors, or {limits.names_size} bytes",
            "unknown",
            hint="Close or deallocate some first.",
        )
        yield from self.deny(statement, Judgement(verdict, ""))

    def ambiguous(self, *names: bytes) -> Generator[Wait, object, bool]:
        """Refuse a name that PostgreSQL would cut: two of them are one there and two here."""
        if all(len(name) <= LONGEST_NAME for name in names):
            return False
        self._x.alarm("long-name", f"a name of {max(map(len, names))} bytes was refused")
        words = f"a prepared statement's or portal's name is longer than {LONGEST_NAME} bytes"
        yield from self.fail(report("ERROR", "42622", words))
        return True

    def fail(self, error: Report) -> Steps:
        """Answer with an error of PostgreSQL's own, for what it would refuse without running anything."""
        yield from self.settle()
        if self._x.skip_until_sync:
            return
        yield from self.abort(simple=False)
        self._x.to_client(error.encode(b"E"))
        self._x.skip_until_sync = True

    def refuse(self, n: int, statement: Statement, judgement: Judgement, outcome: Outcome, error: Report) -> Steps:
        """Tell the agent no, and leave the target where an error of its own would; the session is quiet."""
        x = self._x
        simple = statement.protocol is WireProtocol.SIMPLE
        yield from self.abort(simple=simple)
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

    def abort(self, *, simple: bool) -> Steps:
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

    def settle(self) -> Steps:
        """Have everything that was forwarded answered; `skip_until_sync` says afterwards whether that failed."""
        x = self._x
        if x.flight and x.segment_dirty:
            x.to_target(FLUSH)
        yield Wait.TURN


def denial(verdict: Verdict) -> Report:
    """Return the error of a denied statement (INTERFACE.md), or PostgreSQL's own words for a syntax error."""
    if verdict.sqlstate != "42501":
        return report("ERROR", verdict.sqlstate, verdict.reason, position=verdict.position)
    if verdict.rule.endswith("/masked-value"):
        return masked_value(verdict.reason, verdict.rule, verdict.hint)
    return report(
        "ERROR", "42501", f"hoop: denied: {verdict.reason}", detail=f"Rule: {verdict.rule}", hint=verdict.hint or None
    )


def masked_value(reason: str, rule: str = "standard/masked-value", hint: str = "") -> Report:
    """Return the error of a masked value that is written back (INTERFACE.md)."""
    return report("ERROR", "42501", "hoop: masked value", detail=f"{reason} Rule: {rule}", hint=hint or None)
