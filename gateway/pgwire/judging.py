"""Asking policy about a statement, at a moment at which the answer still holds when the statement runs.

Promises that what may change the answer (a definition, a name, the transaction's state) is known before it counts.
"""

from __future__ import annotations

from collections.abc import Generator

from gateway.errors import OurBug
from gateway.model import Statement, VerdictKind
from gateway.pgwire.actions import Analyse, Token
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.refusing import Refusing
from gateway.pgwire.steps import Wait


class Judging:
    """Gets one session's judgements. `token` names the question asked last."""

    def __init__(self, exchange: Exchange, refusing: Refusing) -> None:
        self._x, self._refusing = exchange, refusing
        self.token = Token(0)

    def at_once(self, statement: Statement) -> Judgement | None:
        """Return the judgement where it can be had now and will hold; None: `judge` has to wait for something."""
        x = self._x
        if x.judge is None:
            return None
        quiet = not x.flight
        judgement = x.judge(statement, x.view(self._status(exact=quiet and not x.segment_dirty)))
        if judgement is None or judgement.alarm:
            return None
        if quiet or not (judgement.depends_on_state or judgement.verdict.kind is VerdictKind.DENY):
            return judgement
        return None

    def judge(self, statement: Statement) -> Generator[Wait, object, Judgement | None]:
        """Ask for a judgement. None: an earlier message of the pipeline failed meanwhile, nothing is to be done."""
        x = self._x
        if x.redefined and x.flight:
            yield from self._refusing.settle()
            if x.skip_until_sync:
                return None
        quiet = not x.flight
        judgement = yield from self.analyse(statement, exact=quiet and not x.segment_dirty)
        if x.skip_until_sync:  # while it was thought about, the target refused what came before
            return None
        if quiet or not (judgement.depends_on_state or judgement.verdict.kind is VerdictKind.DENY):
            return judgement
        yield from self._refusing.settle()
        if x.skip_until_sync:
            return None
        return (yield from self.analyse(statement, exact=not x.segment_dirty))

    def analyse(self, statement: Statement, *, exact: bool) -> Generator[Wait, object, Judgement]:
        """Ask once. `exact`: the transaction status is known; else a failed one is not assumed to be one still."""
        x = self._x
        names = x.view(self._status(exact=exact))
        answer: object = None if x.judge is None else x.judge(statement, names)
        if answer is None:
            x.actions.append(Analyse(self.next_token(), statement, names))
            answer = yield Wait.ANSWER
        if not isinstance(answer, Judgement):
            raise OurBug("an analysis was answered by something else")
        if answer.alarm:
            x.alarm("analysis", answer.alarm)
        return answer

    def _status(self, *, exact: bool) -> str:
        status = self._x.status.decode()
        return "T" if status == "E" and not exact else status

    def next_token(self) -> Token:
        """Return the token of a new question."""
        self.token = Token(self.token + 1)
        return self.token
