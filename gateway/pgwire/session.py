"""A session after login as a synchronous state machine: bytes in, frozen actions out, no I/O, no clock of its own.

`feed(source, data)` takes bytes from either side, `resume(token, answer)` answers a question that an `Analyse` or
`Hold` asked. Both return the actions to perform, in order. `gateway.pipeline` performs them on Trio; the tests drive
the same machine with plain lists. A fault of either side ends the session with a clear error, never the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from gateway.errors import ClientFault, OurBug, TargetFault
from gateway.model import Entropy, Outcome, Statement
from gateway.pgwire.actions import (
    Action,
    Before,
    CancelTarget,
    Counts,
    EndHold,
    Granted,
    Limits,
    Record,
    Refused,
    Renewed,
    Source,
    Token,
)
from gateway.pgwire.backend import Report, error_response
from gateway.pgwire.client_side import ClientSide
from gateway.pgwire.exchange import Exchange
from gateway.pgwire.frontend import COPY_FAIL
from gateway.pgwire.judgement import Judgement, Names
from gateway.pgwire.notes import Cancellation
from gateway.pgwire.steps import Wait
from gateway.pgwire.target_side import TargetSide


class Session:
    """One agent's session with its target; `monotonic` returns microseconds.

    `pinned` are ParameterStatus values that must not change; where they do, the session ends. `marked`: the connection
    has marked columns, so that no notification's payload passes. `waits`: the agent waits for decisions. `judge` is
    pure and answers at once what it can: other statements, or all where it is None, are asked about by `Analyse`.
    `salt` draws the salt of a record, where that is quicker than asking `entropy` for it.
    """

    def __init__(
        self,
        limits: Limits,
        entropy: Entropy,
        monotonic: Callable[[], int],
        pinned: Mapping[str, str],
        *,
        marked: bool = False,
        judge: Callable[[Statement, Names], Judgement | None] | None = None,
        waits: bool = True,
        salt: Callable[[], bytes] | None = None,
    ) -> None:
        salt = salt or partial(entropy.bytes, 32)
        self._x = Exchange(limits, entropy, salt, monotonic, pinned, marked, judge, waits=waits)
        self._client = ClientSide(self._x)
        self._target = TargetSide(self._x)
        self._turns, self._reader = self._client.turns, self._client.reader
        self._steps = self._client.run()
        self._wait = next(self._steps)
        self._answer: object = None
        self._left = limits.turn

    def feed(self, source: Source, data: bytes) -> list[Action]:
        """Take bytes that `source` sent."""
        if self._x.closed:
            return []
        try:
            if source is Source.CLIENT:
                if self._takes_turn(data):
                    return self._take()
                self._left = self._x.limits.turn
                self._client.reader.feed(data)
                if self._x.held is not None and self._client.reader.holds(b"X"):
                    return self.lost(Source.CLIENT)
            elif self._turns.turn is not None and not self._target.pending and self._turns.answered(data):
                return self._take()
            else:
                self._turns.resolve()
                self._target.feed(data)
            self._advance()
        except ClientFault as fault:
            side = "the client" if source is Source.CLIENT else "the target"
            self._end(fault.sqlstate, str(fault), f"{side} broke the protocol: {fault}")
        except TargetFault as fault:
            self._x.alarm("target-protocol", str(fault))
            self._end("08P01", f"hoop: the session was ended: {fault}", str(fault))
        return self._take()

    def resume(self, token: Token, answer: Judgement | Granted | Refused | Renewed | Before) -> list[Action]:
        """Answer the question `token`; an answer that nobody waits for any more is dropped."""
        if self._x.closed or token != self._client.token or self._wait is not Wait.ANSWER:
            return []
        if self._x.stopping and not isinstance(answer, Refused | Before):
            return []
        self._answer = answer
        try:
            self._advance()
        except ClientFault as fault:
            self._end(fault.sqlstate, str(fault), f"the client broke the protocol: {fault}")
        return self._take()

    def cancel(self) -> list[Action]:
        """Take a CancelRequest that came with this session's key."""
        x = self._x
        if x.closed:
            return []
        self._turns.resolve()
        if x.held is not None:
            x.actions.append(Record(Cancellation(x.next_n(), x.held.n, forwarded=False)))
            x.actions.append(EndHold(x.held.token, "cancelled by the client"))
            return self._take()
        if not x.flight or x.cancelling:
            x.actions.append(Record(Cancellation(x.next_n(), None, forwarded=False), wait=False))
        else:
            x.cancelling = True
            x.actions.append(Record(Cancellation(x.next_n(), x.in_flight, forwarded=True)))
            x.actions.append(CancelTarget())
        return self._take()

    def stop(self) -> list[Action]:
        """Take nothing more from the client: the session is about to be cut. A COPY from it fails."""
        x = self._x
        x.stopping = True
        if x.copy_in is not None and not x.closed:
            x.copy_in = None
            x.to_target(COPY_FAIL)
            self._advance()
        return self._take()

    def cancel_delivered(self) -> list[Action]:
        """Say that the target took the cancel: new operations may be forwarded again."""
        self._x.cancelling = False
        if not self._x.closed:
            try:
                self._advance()
            except ClientFault as fault:
                self._end(fault.sqlstate, str(fault), f"the client broke the protocol: {fault}")
        return self._take()

    def lost(self, source: Source) -> list[Action]:
        """Say that one side closed its connection."""
        x = self._x
        self._end_hold(f"the {source.value} is gone", gone=source is Source.CLIENT)
        x.throw_away()
        if source is Source.TARGET and not x.closed and not self._target.streaming:
            x.to_client(error_response("08006", "hoop: the target closed the connection", severity="FATAL"))
        x.close(source.value)
        return self._take()

    def cut(self, sqlstate: str, text: str, reason: str) -> list[Action]:
        """End the session from outside: FATAL to the client, with the reason."""
        self._end_hold(reason)
        self._end(sqlstate, text, reason)
        return self._take()

    def forget(self) -> None:
        """Let go of the messages that are not whole: the session is over."""
        self._client.reader.clear()
        self._target.clear()

    def tell(self, notice: Report) -> list[Action]:
        """Send the client a notice of the gateway's own; only while an operation is held, when nothing else flows."""
        if self._x.held is not None and not self._x.closed:
            self._x.tell_now(notice.encode(b"N"))
        return self._take()

    def go_on(self) -> list[Action]:
        """Take more of what the client sent, after others had their turn."""
        self._left = self._x.limits.turn
        if not self._x.closed:
            self._advance()
        return self._take()

    @property
    def rests(self) -> bool:
        """Whether messages wait for `go_on`: the client sent more at once than is taken in one turn."""
        return self._left <= 0 and not self._x.closed and self._takes and self._client.reader.ready

    @property
    def _takes(self) -> bool:
        return self._wait is Wait.MESSAGE and not (self._x.cancelling or self._x.stopping)

    def next_n(self) -> int:
        """Return the next number of a record of this session."""
        return self._x.next_n()

    @property
    def counts(self) -> Counts:
        """What the session did so far."""
        return self._x.counts

    @property
    def state(self) -> str:
        """`held`, `running` or `idle`, as lists of sessions show it."""
        if self._x.held is not None:
            return "held"
        return "running" if self._x.flight or self._turns.turn is not None else "idle"

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, as the last ReadyForQuery said or an unfinished pipeline implies."""
        return self._x.status != b"I" or self._x.segment_dirty

    @property
    def running(self) -> bool:
        """Whether the target owes an answer to an operation."""
        return self._x.flight.running > 0 or self._turns.turn is not None

    @property
    def buffered(self) -> int:
        """Bytes from the client that wait; the driver stops reading above a bound while something is held."""
        return self._reader.pending

    @property
    def held(self) -> int:
        """Bytes of messages of both sides that are not whole yet, or wait."""
        spooled = 0 if self._x.spool is None else self._x.spool.size
        return self._reader.pending + self._target.pending + spooled

    @property
    def awaits_message(self) -> bool:
        """Whether more bytes from the client are needed to go on."""
        x = self._x
        return self._wait in (Wait.MESSAGE, Wait.COPY_MESSAGE) and not (self.rests or x.cancelling or x.stopping)

    def _takes_turn(self, data: bytes) -> bool:
        """Whether what the client sent is a whole turn that was taken at once."""
        if self._turns.turn is not None:
            self._turns.resolve()
            return False
        if self._wait is not Wait.MESSAGE or self._client.reader.pending or self._x.flight:
            return False
        return self._turns.takes(data)

    def _advance(self) -> None:
        x, client, steps = self._x, self._client, self._steps
        while not x.closed:
            if self._wait is Wait.MESSAGE:
                found = None if self._left <= 0 or x.cancelling or x.stopping else client.reader.next()
                if found is None:
                    return
                self._left -= 1
                if not client.at_once(found):
                    self._wait = steps.send(found)
                continue
            ready, value = self._look()
            if not ready:
                return
            self._wait = steps.send(value)

    def _look(self) -> tuple[bool, object]:
        """Return whether what the client side waits for is there, and what to send in."""
        x = self._x
        match self._wait:
            case Wait.QUIET | Wait.TURN:
                stopped = x.stopping and self._wait is Wait.TURN
                return not (x.flight or x.cancelling or stopped), None
            case Wait.COPY:
                return x.copy_in is not None or not x.flight, None
            case Wait.COPY_MESSAGE:
                if x.copy_in is None:
                    return True, None
                found = self._client.reader.next()
                return found is not None, found
            case Wait.ANSWER:
                answer, self._answer = self._answer, None
                return answer is not None, answer
        raise OurBug("the client side waits for something unheard of")

    def _end_hold(self, cause: str, *, gone: bool = False) -> None:
        """A held operation will not run on this session any more."""
        x = self._x
        if x.held is not None and not x.closed:
            x.actions.append(EndHold(x.held.token, cause, gone and not x.held.ran))
            collector = x.collector()
            collector.line(f"-- {'rolled back' if x.held.ran else 'not run'}: {cause}")
            x.answer(x.held.n, collector, Outcome.CANCELLED, touches_marks=x.held.touches_marks)

    def _end(self, sqlstate: str, text: str, reason: str) -> None:
        if not self._x.closed:
            self._x.throw_away()
            if not self._target.streaming:
                self._x.to_client(error_response(sqlstate, text, severity="FATAL"))
            self._x.close(reason)

    def _take(self) -> list[Action]:
        return self._x.take()
