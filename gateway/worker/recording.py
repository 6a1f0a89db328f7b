"""What one session records: each note becomes its records, with what is withheld sealed beside them.

Promises that nothing withheld stands in a record, that columns are marked before what fills them is forwarded, and that
the record of a large statement is made in pieces, between the turns of other sessions.
"""

from __future__ import annotations

import trio

from gateway.evidence import record
from gateway.evidence.journal import Ticket
from gateway.model import Draft
from gateway.pgwire.actions import Announce, Hold
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Answer, Execution, Note, Preparation, Request
from gateway.worker.holding import Holding
from gateway.worker.live import SHOWN, LiveSession
from gateway.worker.promises import Promises
from gateway.worker.records import asked, drafts, event, simple
from gateway.worker.sealing import SessionSealing
from gateway.worker.surroundings import Surroundings
from gateway.worker.withholding import Told, ToldNote, Withholding


class Recording:
    """Records one session."""

    def __init__(self, around: Surroundings, live: LiveSession, holding: Holding, promises: Promises) -> None:
        self._around, self._live, self._holding, self._promises = around, live, holding, promises
        self._sealing = SessionSealing(around.sealing, around.entropy)
        self._withholding = Withholding(seals=around.sealing.literals)

    def told(self, action: Announce | Hold) -> tuple[Told, Judgement]:
        """Return what is asked about as people may be told of it, and its judgement."""
        told = self._withholding.told(action.n, action.statement, action.judgement)
        self._live.current = told.statement.sql[:SHOWN]
        return told, self._withholding.reason(action.n, action.judgement)

    def append(self, draft: Draft, told: Told) -> Ticket:
        """Give the record of a held request its place, with what is sealed beside it."""
        ticket = None
        for each in self._sealing.sealed(self._live.info, draft, told.content):
            ticket = self._around.log.append(each)
        assert ticket is not None  # noqa: S101  a draft is always among them
        return ticket

    def mark(self, judgement: Judgement, n: int) -> None:
        """Mark what is about to receive values of marked columns, before it is forwarded."""
        if judgement.carries:
            self._promises.carry(judgement.carries, f"session {self._live.info.id}, statement {n}")

    def record(self, note: Note) -> Ticket:
        """See `gateway.pipeline.Stages`."""
        around, info = self._around, self._live.info
        if isinstance(note, Execution):
            return around.log.append(record.execute(info, note.n, note.of, note.max_rows))
        draft = simple(info, note) if self._withholding.spares(note) else None
        if draft is not None:
            ticket = around.log.append(draft)
        else:
            told = self._withholding.note(note)
            note, ticket = told.note, self._record_all(told)
        return self._told(note, ticket)

    async def record_large(self, note: Note) -> Ticket:
        """See `gateway.pipeline.Stages`."""
        if not isinstance(note, Request | Preparation) or not self._withholding.spares(note):
            return self.record(note)
        around, judgement = self._around, note.judgement
        async with around.large:
            payload = bytearray()
            for piece in record.judged_pieces(note.statement, judgement.verdict, judgement.predicate_touch):
                payload += piece
                await trio.lowlevel.checkpoint()
            ticket = self._told(note, around.log.append(asked(self._live.info, note, payload)))
            del payload
            await around.log.durable(ticket)
        return ticket

    def _told(self, note: Note, ticket: Ticket) -> Ticket:
        """Do what goes with a note that has its place now."""
        around, info = self._around, self._live.info
        if isinstance(note, Request):
            self._live.current = note.statement.sql[:SHOWN]
            if note.judgement.carries:
                self.mark(note.judgement, note.n)
        elif isinstance(note, Answer):
            self._holding.ended(note.of, note.outcome, note.rows, note.duration_us)
        if around.heard():
            shown = event(info, note, ticket)
            if shown is not None:
                around.publish("record", shown)
        return ticket

    def _record_all(self, told: ToldNote) -> Ticket:
        """Record a note that may have several records; the last is its own."""
        around = self._around
        ticket = None
        for draft in drafts(self._live.info, told, around.entropy, around.limits.payload, self._sealing):
            ticket = around.log.append(draft)
        assert ticket is not None  # noqa: S101  every note has a record
        return ticket
