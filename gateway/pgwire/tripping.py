"""Where a watched value trips: what the agent itself sent, and the alarm. Values never stand in an alarm."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.masking.tripwire import trips
from gateway.model import Statement
from gateway.pgwire.backend import Report
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.flight import Operation
from gateway.pgwire.judgement import Plan

ALARM = "tripwire"
_OWN_DATA = "COPY "
"""The context of errors in the data that the agent itself copies in."""
_FREE = "MDHWqRx"
"""Fields of errors and notices that may hold values."""


def own_words(statement: Statement) -> bytes:
    """Return what the agent itself sent of an operation: to see it again tells it nothing."""
    return b"\0".join((statement.sql, *(each.value or b"" for each in statement.parameters)))


def alarm_tripped(exchange: Exchange, operation: Operation, plan: Plan, replaced: Sequence[int]) -> None:
    """Tell people, once for each operation, that values were replaced in columns that no other vote masks."""
    if operation.tripped or operation.judgement.verdict.operation == "explain":
        return
    names = [column.column_name for index in replaced if (column := plan.columns[index]) and column.guard is not None]
    if names:
        operation.tripped = True
        words = f"statement {operation.n}: {', '.join(names)} held what looks like personal data, and no vote said so"
        exchange.alarm(ALARM, words)


def alarm_differing(exchange: Exchange, operation: Operation, plan: Plan) -> None:
    """Tell people, once for each operation, that the target names marked columns where lineage read clean ones."""
    if operation.disputed:
        return
    words = plan.disagreement
    masked = [column.column_name for column in plan.columns if column is not None and column.guard is None]
    if masked and not operation.judgement.touches_marks:
        words = f"the statement read clean, the target names marked columns: {', '.join(masked)}"
    if words:
        operation.disputed = exchange.tainted = True
        exchange.alarm("votes-differ", words)


def report_trips(exchange: Exchange, found: Report, statement: Statement | None, n: int | None) -> bool:
    """Say whether an error or notice holds what looks like personal data of others; then tell people."""
    context = found.get("W")
    if context is not None and all(line.startswith(_OWN_DATA) for line in context.splitlines()):
        return False
    text = "\0".join(value for code, value in found.fields if code in _FREE).encode("utf-8", "surrogateescape")
    what = trips(text, own_words(statement) if statement is not None else b"")
    if what:
        exchange.alarm(ALARM, f"{found.sqlstate} of statement {'unknown' if n is None else n} held {what}; withheld")
    return bool(what)


def setting_trips(exchange: Exchange, name: str, value: str, statement: Statement | None) -> bool:
    """Say whether a setting's new value looks like personal data that the agent did not send; then tell people."""
    what = trips(value.encode(), own_words(statement) if statement is not None else b"")
    if what:
        exchange.alarm(ALARM, f"the setting {name} held {what}; withheld")
    return bool(what)
