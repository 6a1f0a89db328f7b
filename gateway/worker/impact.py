"""What a reviewer is told of a held operation beside its text: what the planner expects, what the session holds.

Promises that nothing of the operation runs to find out, that both answers come within seconds or are "not known", and
that only counts, times, names of relations and lock modes leave: no value of a row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from gateway.model import Impact
from gateway.pgwire.actions import Analyse, Hold
from gateway.policy.catalog import Catalog
from gateway.policy.facts import facts
from gateway.policy.statement import SessionState
from gateway.target.estimate import Estimate, Question
from gateway.target.holdings import Holdings
from gateway.worker.weighing import Estimates, question_of


@dataclass(frozen=True, slots=True)
class Inquirer:
    """Asks about the held operations of one connection."""

    estimates: Estimates
    catalog: Callable[[], Catalog | None]
    holdings: Callable[[int], Awaitable[Holdings | None]]

    async def impact(self, action: Hold, pid: int | None) -> Impact:
        """Return what is known of an operation of the backend `pid`, at this moment."""
        expected: Estimate | None = None
        held: Holdings | None = None

        async def ask_planner() -> None:
            nonlocal expected
            question = self._question(action) if action.effect is None else None  # that is known, not expected
            expected = None if question is None else await self.estimates.estimate(question)

        async def ask_activity() -> None:
            nonlocal held
            held = None if pid is None else await self.holdings(pid)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_planner)
            nursery.start_soon(ask_activity)
        return Impact(
            rows=None if expected is None else expected.rows,
            changed=None if expected is None else expected.changed,
            transaction_ms=None if held is None else held.age_ms,
            writes=None if held is None else held.writes,
            blocks=None if held is None else held.blocks,
            locks=() if held is None else held.locks,
        )

    def _question(self, action: Hold) -> Question | None:
        """Return what to ask the planner; None where there is no plan, or it would run code to fold constants."""
        catalog, names = self.catalog(), action.names
        if catalog is None:
            return None
        found = facts(action.statement.sql, SessionState(names.prepared, names.cursors, names.status), catalog)
        if found.wants or found.not_understood is not None or len(found.statements) != 1:
            return None
        return question_of(0, found, Analyse(action.token, action.statement, names))
