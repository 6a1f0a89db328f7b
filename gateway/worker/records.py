"""From the wire's notes to the journal's drafts, and to the short events that consoles follow. Pure.

One note may become several records (a result and its masked columns). An event's text is cut; it never holds more
than the record does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from gateway.control.events import Later
from gateway.evidence import record
from gateway.evidence.journal import Ticket
from gateway.model import Draft, Entropy, Json, MaskStyle, Outcome, SessionInfo, Verdict, format_time
from gateway.pgwire.notes import (
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
from gateway.worker.withholding import ToldNote

_TEXT = 2000
"""Characters of an event's text at most."""


def drafts(
    session: SessionInfo, told: ToldNote, entropy: Entropy, payload_limit: int, sealing: SessionSealing
) -> Iterator[Draft]:
    """Yield the records of a note, in order; the note's own record is the last."""
    match note := told.note:
        case Preparation():
            yield from sealing.sealed(session, _prepared(session, note, told.withheld), told.content)
        case Request():
            yield from sealing.sealed(session, requested(session, note, told.withheld), told.content)
        case Execution(n, of, max_rows):
            yield record.execute(session, n, of, max_rows)
        case CopyChunk(n, of, data, touches_marks):
            salt, withheld = entropy.bytes(32), note.withheld
            chunk = record.data(session, n, of, data, payload_limit, touches_marks, salt=salt, withheld=withheld)
            yield from sealing.sealed(session, chunk, told.content)
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
            yield from sealing.sealed(session, _result(session, note), told.content)
        case Cancellation(n, of, forwarded):
            yield record.cancel(session, n, of, forwarded)
        case Alarm(n, alarm, detail):
            yield record.alarm(session, n, alarm, detail)


def simple(session: SessionInfo, note: Note) -> Draft | None:
    """Return the record of a note that may be told as it is; None: it has several, or is something else."""
    if isinstance(note, Request):
        return requested(session, note)
    if isinstance(note, Answer):
        return None if note.masked else _result(session, note)
    if isinstance(note, Execution):
        return record.execute(session, note.n, note.of, note.max_rows)
    return _prepared(session, note) if isinstance(note, Preparation) else None


def asked(session: SessionInfo, note: Request | Preparation, payload: bytearray) -> Draft:
    """Return the record of a statement whose payload was made already."""
    if isinstance(note, Request):
        return requested(session, note, payload=payload)
    return _prepared(session, note, payload=payload)


def _prepared(session: SessionInfo, note: Preparation, withheld: int = 0, payload: bytearray | None = None) -> Draft:
    judgement = note.judgement
    verdict, policy_hash, touches = judgement.verdict, judgement.policy_hash, judgement.touches_marks
    return record.prepare(session, note.n, note.statement, verdict, policy_hash, touches, withheld, payload=payload)


def requested(session: SessionInfo, note: Request, withheld: int = 0, payload: bytearray | None = None) -> Draft:
    """Return the record of a request, `withheld` of whose literals are not in it."""
    judgement = note.judgement
    return record.request(
        session,
        note.n,
        note.statement,
        judgement.verdict,
        judgement.policy_hash,
        operation_hash=None,
        approval=None,
        touches_marks=judgement.touches_marks,
        predicate_touch=judgement.predicate_touch,
        withheld=withheld,
        payload=payload,
    )


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


def event(session: SessionInfo, note: Note, ticket: Ticket) -> Later | None:
    """Return the `record` event that consoles are told; None for notes that say nothing to a person.

    It is made only if a console wants it, and keeps until then no more than it will show.
    """
    if isinstance(note, Request):
        text = note.statement.sql[: 4 * _TEXT]
        return Later(_SMALL + len(text), partial(_asked, session, note.n, ticket, note.judgement.verdict, text))
    if isinstance(note, Answer):
        message = note.message or ""
        result = (note.outcome, note.rows, note.duration_us, note.sqlstate, message)
        return Later(_SMALL + len(message), partial(_answered, session, note.n, ticket, *result))
    match note:
        case Cancellation(n, _, forwarded):
            words = "forwarded" if forwarded else "nothing to cancel at the target"
            return Later(_SMALL, partial(_noted, session, n, ticket, "cancel", words))
        case Alarm(n, alarm, detail):
            shown = f"{alarm}: {detail}"[:_TEXT]
            return Later(_SMALL + len(shown), partial(_noted, session, n, ticket, "alarm", shown))
        case _:
            return None


_SMALL = 600
"""Bytes of an event without its text, roughly."""


def _noted(session: SessionInfo, n: int, ticket: Ticket, kind: str, text: str, **more: Json) -> dict[str, Json]:
    return {
        "log": ticket.log,
        "seq": ticket.seq,
        "ts": format_time(ticket.ts),
        "session_id": session.id,
        "n": n,
        "subject": session.principal.subject,
        "connection": session.connection,
        "verdict": None,
        "rule": None,
        "operation": None,
        "outcome": None,
        "rows": None,
        "duration_us": None,
        "sqlstate": None,
        "kind": kind,
        "text": text,
        **more,
    }


def _asked(session: SessionInfo, n: int, ticket: Ticket, verdict: Verdict, sql: bytes) -> dict[str, Json]:
    text = sql.decode("utf-8", "replace")[:_TEXT]
    judged: dict[str, Json] = {
        "verdict": verdict.kind.value,
        "rule": verdict.rule,
        "operation": verdict.operation,
    }
    return _noted(session, n, ticket, "request", text, **judged)


def _answered(
    session: SessionInfo,
    n: int,
    ticket: Ticket,
    outcome: Outcome,
    rows: int,
    duration_us: int,
    sqlstate: str | None,
    message: str,
) -> dict[str, Json]:
    ended: dict[str, Json] = {
        "outcome": outcome.value,
        "rows": rows,
        "duration_us": duration_us,
        "sqlstate": sqlstate,
    }
    return _noted(session, n, ticket, "result", message, **ended)
