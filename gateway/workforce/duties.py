"""What a supervisor asks of its worker in another process, done by the worker.

Promises that a session is cut, a mark in force, a log signed, once the answer is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from gateway.errors import OurBug
from gateway.evidence.lasting import LastingLog
from gateway.model import Draft, Json
from gateway.witnessing import Witnessing
from gateway.worker.live import LiveSessions
from gateway.worker.worker import Worker
from gateway.workforce.messages import (
    Adopt,
    Adopted,
    Append,
    CancelKey,
    CatalogChanged,
    Cut,
    Describe,
    Described,
    Done,
    Drain,
    Heed,
    Outstanding,
    Sign,
    Watched,
)
from gateway.workforce.reviewers import Reviewers
from gateway.workforce.told import Telling

_KINDS = frozenset({"archive", "erasure"})
"""What a supervisor has recorded in a worker's log: what becomes of that log."""


@dataclass(slots=True)
class Duties:
    """One worker at its supervisor's disposal."""

    worker: Worker
    log: LastingLog
    live: LiveSessions
    witnessing: Witnessing
    telling: Telling
    reviewers: Reviewers
    over: trio.Event
    """It has ended everything, and closed its log."""
    draining: trio.Event = field(default_factory=trio.Event)
    seconds: float = 10.0
    """How long a drain may take."""

    async def answer(self, message: object) -> object:
        """Do what is asked."""
        match message:
            case Cut(session, words, reason):
                live = self.live.get(session)
                if live is not None:
                    await live.cut(words, reason)
            case CancelKey(pid, key):
                await self.worker.cancel_here(pid, key)
            case Adopt(connection, carried):
                return Adopted(self.worker.desks[connection].adopt(carried))
            case Heed():
                pass
            case Describe(sessions):
                return self._described(sessions=sessions)
            case Append(kind, fields) if kind in _KINDS:
                await self.log.record(Draft(kind, fields=fields))  # type: ignore[arg-type]  # from our own JSON
            case Sign(rotate):
                if rotate:
                    await self.log.now.rotate()
                await trio.to_thread.run_sync(self.log.journal.checkpoint)
            case Drain(seconds):
                self.seconds = seconds
                self.draining.set()
                await self.over.wait()
            case _:
                raise OurBug(f"no such duty: {type(message).__name__}")
        return Done()

    def told(self, message: object) -> None:
        """Take what is merely told."""
        match message:
            case Outstanding():
                self.reviewers.told(message)
            case Watched(records):
                self.telling.watched(records=records)
            case CatalogChanged(connection):
                self.worker.desks[connection].judge.expire()

    def _described(self, *, sessions: bool) -> Described:
        log, witnessing = self.log, self.witnessing
        catalogs: list[Json] = [desk.describe() for desk in self.worker.desks.values()]
        return Described(
            sessions=tuple(live.describe() for live in self.live) if sessions else (),
            catalogs=tuple(catalogs) if sessions else (),
            broken=log.journal.broken,
            head=witnessing.head(log),
            file=log.number,
            witnesses=tuple(witnessing.describe()),
            reached=(witnessing.reached() or {}).get(log.log, 0),
            refused=witnessing.fault,
        )
