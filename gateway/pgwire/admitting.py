"""Whether a statement may be forwarded: judged, recorded, and held for a person where policy wants one.

Promises that the note of a statement was emitted before anyone may forward it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from gateway.errors import OurBug
from gateway.model import Declared, Prepared, Statement, VerdictKind
from gateway.pgwire.actions import Announce, Granted, Hold, Refused, recorded
from gateway.pgwire.exchange import Exchange, Held
from gateway.pgwire.judgement import Judgement, Names
from gateway.pgwire.judging import Judging
from gateway.pgwire.notes import Request
from gateway.pgwire.refusing import Refusing
from gateway.pgwire.steps import Wait


@dataclass(frozen=True, slots=True)
class Admitted:
    """The statement may be forwarded as request `n`."""

    n: int
    judgement: Judgement
    names: Names | None = None
    """What they meant, where a person decides after it ran."""


class Admitting:
    """Admits one session's statements."""

    def __init__(self, exchange: Exchange, judging: Judging, refusing: Refusing) -> None:
        self._x, self._judging, self._refusing = exchange, judging, refusing

    def admit(self, statement: Statement) -> Generator[Wait, object, Admitted | None]:
        """Judge and record a statement; hold or refuse it. None: it must not be forwarded, and that was dealt with."""
        x = self._x
        if len(statement.sql) > x.limits.statement:
            yield from self._refusing.too_long(statement)
            return None
        judgement = yield from self._judging.judge(statement)
        if judgement is None:
            return None
        kind = judgement.verdict.kind
        if kind is VerdictKind.DENY:
            yield from self._refusing.deny(statement, judgement)
            return None
        if (
            any(isinstance(effect, (Prepared, Declared)) for _, effect in judgement.effects)
            and self._refusing.is_full()
        ):
            yield from self._refusing.too_many(statement)
            return None
        if kind is VerdictKind.APPROVE:
            if runs_first(judgement) and x.waits:
                return (yield from self._announce(statement, judgement))
            return (yield from self._hold(statement, held_before(judgement)))
        n = x.next_n()
        x.count(statements=1)
        x.actions.append(recorded(Request(n, statement, judgement)))
        return Admitted(n, judgement)

    def _announce(self, statement: Statement, judgement: Judgement) -> Generator[Wait, object, Admitted | None]:
        """Let it run, once that is recorded: a person decides about what it did."""
        x = self._x
        yield from self._refusing.settle()
        if x.skip_until_sync:
            return None
        n, names = x.next_n(), x.view(x.status.decode())
        x.count(statements=1, held=1)
        x.actions.append(Announce(n, statement, judgement, names))
        return Admitted(n, judgement, names)

    def _hold(self, statement: Statement, judgement: Judgement) -> Generator[Wait, object, Admitted | None]:
        x = self._x
        yield from self._refusing.settle()
        if x.skip_until_sync:
            return None
        n = x.next_n()
        x.count(statements=1, held=1)
        token = self._judging.next_token()
        x.held = Held(token, n, judgement.touches_marks)
        x.actions.append(Hold(token, n, statement, judgement, x.view(x.status.decode())))
        answer = yield Wait.ANSWER
        x.held = None
        if isinstance(answer, Granted):
            return Admitted(n, held_before(answer.judgement))
        if not isinstance(answer, Refused):
            raise OurBug("a hold was answered by something else")
        yield from self._refusing.refuse(n, statement, judgement, answer.outcome, answer.report)
        return None


def held_before(judgement: Judgement) -> Judgement:
    """Return the judgement of what a person decides about before it runs, since its agent does not wait for that."""
    guard = judgement.guard
    if guard is None or guard.effect is None:
        return judgement
    verdict = judgement.verdict
    reason = f"{verdict.reason.rstrip('.')}. It is held before it runs, not after: the agent does not wait."
    left = replace(guard, effect=None)
    return replace(
        judgement,
        verdict=replace(verdict, effect=False, reason=reason),
        guard=left if left.changes or left.meter is not None else None,
    )


def runs_first(judgement: Judgement) -> bool:
    """Whether a person decides after it ran."""
    return judgement.guard is not None and judgement.guard.effect is not None
