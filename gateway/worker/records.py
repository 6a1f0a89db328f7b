"""From the wire's notes to the journal's drafts, and to the short events that consoles follow. Pure.

One note may become several records (a result and its masked columns). An event's text is cut; it never holds more
than the record does.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.evidence import record
from gateway.evidence.journal import Ticket
from gateway.model import Draft, Entropy, Json, MaskStyle, SessionInfo
from gateway.pgwire.actions import (
    Alarm,
    Answer,
    Cancellation,
    CopyChunk,
    Execution,
    Note,
    Originals,
    Preparation,
    Request,
)
from gateway.worker.sealing import SessionSealing

_TEXT = 2000
"""Characters of an event's text at most."""


def drafts(
    session: SessionInfo, note: Note, entropy: Entropy, payload_limit: int, sealing: SessionSealing
) -> Iterator[Draft]:
    """Yield the records of a note, in order; the note's own record is the last."""
    match note:
        case Preparation(n, statement, judgement):
            touches = judgement.touches_marks
            yield record.prepare(session, n, statement, judgement.verdict, judgement.policy_hash, touches)
        case Request(n, statement, judgement):
            yield record.request(
                session,
                n,
                statement,
                judgement.verdict,
                judgement.policy_hash,
                operation_hash=None,
                approval=None,
                touches_marks=judgement.touches_marks,
                predicate_touch=judgement.predicate_touch,
            )
        case Execution(n, of, max_rows):
            yield record.execute(session, n, of, max_rows)
        case CopyChunk(n, of, data, touches_marks):
            yield record.data(session, n, of, data, payload_limit, touches_marks, salt=entropy.bytes(32))
        case Originals():
            yield from sealing.rows(session, note)
        case Answer():
            for column in note.masked:
                yield record.masked(
                    session,
                    column.n,
                    note.of,
                    column.column_name,
                    column.source_columns,
                    MaskStyle(column.style),
                    column.values,
                    column.sealed,
                )
            yield _result(session, note)
        case Cancellation(n, of, forwarded):
            yield record.cancel(session, n, of, forwarded)
        case Alarm(n, alarm, detail):
            yield record.alarm(session, n, alarm, detail)


def _result(session: SessionInfo, note: Answer) -> Draft:
    return record.result(
        session,
        note.n,
        note.of,
        outcome=note.outcome,
        sqlstate=note.sqlstate,
        message=note.message,
        rows=note.rows,
        bytes_=note.size,
        duration_us=note.duration_us,
        masked_columns=tuple(column.column_name for column in note.masked),
        text=note.text,
        truncated=note.truncated,
        digest=note.digest,
        salt=note.salt,
        touches_marks=note.touches_marks,
    )


def event(session: SessionInfo, note: Note, ticket: Ticket, now: str) -> dict[str, Json] | None:
    """Return the `record` event that consoles are told; None for notes that say nothing to a person."""
    found: dict[str, Json] = {
        "log": ticket.log,
        "seq": ticket.seq,
        "ts": now,
        "session_id": session.id,
        "n": note.n,
        "subject": session.principal.subject,
        "connection": session.connection,
        "verdict": None,
        "rule": None,
        "operation": None,
        "outcome": None,
        "rows": None,
        "duration_us": None,
        "sqlstate": None,
    }
    match note:
        case Request(_, statement, judgement):
            verdict = judgement.verdict
            found |= {
                "kind": "request",
                "verdict": verdict.kind.value,
                "rule": verdict.rule,
                "operation": verdict.operation,
                "text": statement.sql[: 4 * _TEXT].decode("utf-8", "replace")[:_TEXT],
            }
        case Answer():
            found |= {
                "kind": "result",
                "text": note.message or "",
                "outcome": note.outcome.value,
                "rows": note.rows,
                "duration_us": note.duration_us,
                "sqlstate": note.sqlstate,
            }
        case Cancellation(_, _, forwarded):
            found |= {"kind": "cancel", "text": "forwarded" if forwarded else "nothing to cancel at the target"}
        case Alarm(_, alarm, detail):
            found |= {"kind": "alarm", "text": f"{alarm}: {detail}"[:_TEXT]}
        case _:
            return None
    return found
