"""One agent's session from a verified login to its end: the stages, and the border where faults become wire errors.

Promises that whatever happens inside ends this session alone, that the agent hears a reason, and that the session's
end is recorded unless the journal itself is broken.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

import trio

from gateway.errors import EvidenceFault, GatewayError, IssuerFault, LoginRefused, TargetFault
from gateway.evidence import record
from gateway.evidence.journal import Recorded, Ticket
from gateway.identity.admission import Credential
from gateway.listener.arrival import Arrival
from gateway.masking.carried import Carried
from gateway.model import Draft, Outcome, SessionInfo, Statement, format_time
from gateway.pgwire.actions import (
    Analyse,
    Announce,
    Before,
    Granted,
    Hold,
    OwnStatement,
    ReadBefore,
    Refused,
    Renew,
    Renewed,
    Source,
    Token,
)
from gateway.pgwire.backend import (
    AUTHENTICATION_OK,
    Report,
    backend_key_data,
    error_response,
    parameter_status,
    ready_for_query,
    report,
)
from gateway.pgwire.frontend import TERMINATE
from gateway.pgwire.judgement import Judgement, Names
from gateway.pgwire.session import Session
from gateway.pipeline import Asked, HoldEnds, Pipeline, forward
from gateway.target.connect import TargetSession, cancel_target
from gateway.target.query import Row
from gateway.worker.holding import Holding
from gateway.worker.judging import Judge
from gateway.worker.live import LiveSession
from gateway.worker.outbox import Outbox
from gateway.worker.promises import Promises
from gateway.worker.reactor import Leg, Line
from gateway.worker.recording import Recording
from gateway.worker.standing import Standing
from gateway.worker.surroundings import Surroundings
from gateway.worker.withholding import Told

logger = logging.getLogger(__name__)

_NO_QUESTION = Token(0)
_CANCEL_SECONDS = 5.0
_GOODBYE_SECONDS = 5.0
_EVIDENCE_WORDS = "hoop: the record cannot be written"


class AgentSession:
    """Runs one session. `make_holding` joins it to the approvals; `renew` verifies and records a new token."""

    def __init__(
        self,
        around: Surroundings,
        arrival: Arrival,
        info: SessionInfo,
        judge: Judge,
        target: TargetSession,
        pinned: Mapping[str, str],
        standing: Standing,
        renew: Callable[[AgentSession, str], Awaitable[tuple[SessionInfo, Credential]]],
        make_holding: Callable[[AgentSession], Holding],
        *,
        marked: bool = True,
        waits: bool = True,
        read_rows: Callable[[ReadBefore], Awaitable[tuple[Row, ...] | None]],
        carry: Callable[[Iterable[Carried], str], None] = lambda _carried, _who: None,
        promise: Callable[[Iterable[Carried], str], Awaitable[None]] | None = None,
    ) -> None:
        """`promise` is awaited before `carry` would be called, where other processes must know of it, too."""
        self._promises, self._read_rows = Promises(carry, promise), read_rows
        self._around, self._arrival, self._target, self._judge = around, arrival, target, judge
        self.standing, self._renew = standing, renew
        self.info = info
        self.session = Session(
            around.limits,
            around.entropy,
            around.clock.monotonic,
            pinned,
            marked=marked,
            judge=self._judge_now,
            waits=waits,
            salt=around.log.journal.salt,
        )
        journal = around.log.journal
        self._client_out = Outbox(journal, self._to_client, arrival.stream.push)
        self._target_out = Outbox(journal, self._to_target, target.stream.push)
        self._line = Line(
            Leg(Source.CLIENT, arrival.stream, self._client_out, arrival.leftover),
            Leg(Source.TARGET, target.stream, self._target_out, target.leftover),
        )
        self._holding = make_holding(self)
        self._pipeline: Pipeline | None = None
        key = around.entropy.bytes(32 if arrival.protocol_minor >= 2 else 4)
        self.live = LiveSession(info, self.session, target.pid, key, self._cancel, self.cut, self._settle)
        self._recording = recording = Recording(around, self.live, self._holding, self._promises)
        self.record, self.record_large = recording.record, recording.record_large
        """See `gateway.pipeline.Stages`."""

    # --- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the session until it is over."""
        reason = "error"
        try:
            reason = await self._serve()
        finally:
            self._around.live.remove(self.live)
            with trio.CancelScope(shield=True):
                await self._end(reason)

    async def _begin(self) -> Ticket:
        around = self._around
        started = (await around.log.record(record.session_start(self.info))).ticket
        around.live.add(self.live)
        around.publish("session.opened", self.live.describe())
        return started

    async def _serve(self) -> str:
        """Run the pipeline; every fault becomes what the agent is told, and the reason for the record."""
        faults: list[Exception] = []
        reactor, line = self._around.reactor, self._line
        try:
            started = await self._begin()
            async with trio.open_nursery() as nursery:
                pipeline = Pipeline(
                    self.session,
                    self,
                    self._client_out,
                    self._target_out,
                    started,
                    nursery,
                    partial(reactor.touch, line),
                    self._around.results_wait,
                )
                self._pipeline = pipeline
                self._client_out.put(started, self._greeting())
                nursery.start_soon(self._expire)
                nursery.start_soon(self._watch)
                nursery.start_soon(self._unrecorded)
                with reactor.serving(line, pipeline):
                    await pipeline.over.wait()
                    with trio.move_on_after(_GOODBYE_SECONDS):
                        await pipeline.finish()
                nursery.cancel_scope.cancel()
        except* Exception as group:  # noqa: BLE001  the session's border
            faults = list(_leaves(group))
        finally:
            self._pipeline = None
        if not faults:
            return pipeline.reason
        return await self._failed(faults)

    async def _failed(self, faults: list[Exception]) -> str:
        """Tell the agent, without words that could hold what others sent, and log what an engineer needs."""
        if any(isinstance(fault, EvidenceFault) for fault in faults):
            logger.error("session %s ended: %s", self.info.id, faults[0])
            sqlstate, words, reason = "58030", _EVIDENCE_WORDS, "evidence"
        elif all(isinstance(fault, TargetFault) for fault in faults):
            logger.error("session %s ended: %s", self.info.id, faults[0])
            sqlstate, words, reason = "08006", "hoop: the target failed", "target"
        else:
            for fault in faults:
                own = f": {fault}" if isinstance(fault, GatewayError) else ""
                place = "".join(traceback.format_tb(fault.__traceback__))
                logger.error("session %s ended by %s%s at\n%s", self.info.id, type(fault).__name__, own, place)
            sqlstate, words, reason = "XX000", "hoop: internal error; the session was ended", "error"
        if not self._client_out.cut:
            with trio.move_on_after(1), trio.CancelScope(shield=True):
                try:
                    await self._arrival.stream.send_all(error_response(sqlstate, words, severity="FATAL"))
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    logger.debug("session %s: the client did not take the reason", self.info.id)
        return reason

    async def _end(self, reason: str) -> None:
        """Close the target, and record the end."""
        around, counts = self._around, self.session.counts
        self._holding.abandon()
        if not self._target_out.cut:  # else it could complete the message that was cut
            with trio.move_on_after(1):
                try:
                    await self._target.stream.send_all(TERMINATE)
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    logger.debug("session %s: the target was gone already", self.info.id)
        await self._target.stream.aclose()
        draft = record.session_end(
            self.info,
            reason=reason,
            statements=counts.statements,
            denied=counts.denied,
            held=counts.held,
            rows=counts.rows,
            n=self.session.next_n(),
        )
        try:
            await around.log.record(draft)
        except EvidenceFault as fault:
            logger.error("session %s: its end is not recorded: %s", self.info.id, fault)  # noqa: TRY400  no traceback
        around.publish("session.closed", {**self.live.describe(), "reason": reason})

    def _greeting(self) -> bytes:
        """What follows a good password: the target's parameters, our own cancel key, ReadyForQuery."""
        parameters = b"".join(parameter_status(name, value) for name, value in self._target.parameters.items())
        key = backend_key_data(self.live.pid, self.live.key)
        return AUTHENTICATION_OK + parameters + key + ready_for_query(b"I")

    async def _expire(self) -> None:
        """End the session when its token expires; the wall clock is looked at again every minute at least."""
        while (left := (self.info.principal.expires - self._around.clock.now()) / 1_000_000) > 0:  # noqa: ASYNC110
            await trio.sleep(min(left, 60))  # not an event: the wall clock itself is what may jump
        await self.cut("hoop: the session was cut: the token expired", "token expired")

    async def _watch(self) -> None:
        """End the session when its token is no longer good, or nobody can tell for too long."""
        why = await self.standing.watch()
        logger.warning("session %s is cut: %s", self.info.id, why.detail)
        await self.cut(why.words, why.reason)

    async def _unrecorded(self) -> None:
        """End the session once nothing of it can be recorded any more, also where it is idle."""
        await self._around.log.broke.wait()
        raise EvidenceFault(self._around.log.journal.broken or _EVIDENCE_WORDS)

    async def cut(self, words: str, reason: str) -> None:
        """Cancel what runs, wait a little for its end, then end the session with FATAL 57P01."""
        pipeline = self._pipeline
        if pipeline is None or pipeline.over.is_set():
            return
        pipeline.perform(self.session.stop())
        if self.session.running:
            try:
                await self._cancel()
            except EvidenceFault as fault:
                logger.error("session %s: its cancel is not recorded: %s", self.info.id, fault)  # noqa: TRY400  no traceback
            with trio.move_on_after(_CANCEL_SECONDS):
                await pipeline.quiet()
        pipeline.perform(self.session.cut("57P01", words, reason))

    async def _settle(self) -> None:
        """Let what runs end, and nothing new begin."""
        if self._pipeline is not None:
            self._pipeline.perform(self.session.stop())
            await self._pipeline.quiet()

    async def _cancel(self) -> None:
        if self._pipeline is not None:
            self._pipeline.perform(self.session.cancel())

    # --- streams -------------------------------------------------------------------------------------------------

    def _to_client(self, _recorded: Recorded, data: bytes | memoryview) -> bool:
        return self._arrival.stream.send_now(data)

    def _to_target(self, recorded: Recorded, data: bytes | memoryview) -> bool:
        if (broken := self._around.log.journal.broken) is not None:
            raise EvidenceFault(broken)  # also what is recorded, or needs no record, as a Sync that commits
        return forward(recorded, self._target.stream.send_now, data)

    # --- stages --------------------------------------------------------------------------------------------------

    def _judge_now(self, statement: Statement, names: Names) -> Judgement | None:
        known = self._judge.known(statement, names)
        if known is None:
            return self.judge(Analyse(_NO_QUESTION, statement, names))
        return None if self._promises.owed(known) else known

    def judge(self, action: Analyse) -> Judgement | None:
        """See `gateway.pipeline.Stages`."""
        judgement = self._judge.judge(action, self.info.principal)
        return None if judgement is not None and self._promises.owed(judgement) else judgement

    async def analyse(self, action: Analyse) -> Judgement:
        """See `gateway.pipeline.Stages`."""
        judgement = await self._judge.analyse(action, self.info.principal)
        if self._promises.owed(judgement):
            await self._promises.make(judgement, f"session {self.info.id}")
        return judgement

    async def analyse_again(self, action: Analyse) -> Judgement:
        """Judge what was approved by what the target's catalog says now, and not when somebody last looked.

        A definition that this transaction changed is not to be seen there, and not by anybody else.
        """
        if not action.names.redefined:
            self._judge.expire()
        return await self.analyse(action)

    def announce(self, action: Announce) -> Ticket:
        """See `gateway.pipeline.Stages`."""
        told, reasoned = self._recording.told(action)
        self._recording.mark(action.judgement, action.n)
        return self._holding.announce(action, told, reasoned)

    def own(self, action: OwnStatement) -> Ticket:
        """See `gateway.pipeline.Stages`."""
        return self._around.log.append(record.own(self.info, action.n, action.of, action.sql))

    async def read_before(self, action: ReadBefore, recorded: Ticket) -> Before:
        """See `gateway.pipeline.Stages`."""
        await self._around.log.durable(recorded)
        return Before(await self._read_rows(action))

    def ask(self, action: Hold) -> Asked:
        """See `gateway.pipeline.Stages`."""
        if action.effect is not None:
            return self._holding.ask_about(action)
        return self._holding.ask(action, *self._recording.told(action))

    def append(self, draft: Draft, told: Told) -> Ticket:
        """Give the record of a held request its place, with what is sealed beside it."""
        return self._recording.append(draft, told)

    async def hold(self, asked: Asked, ends: HoldEnds) -> Granted | Refused:
        """See `gateway.pipeline.Stages`."""
        answer = await self._holding.hold(asked, ends)
        if isinstance(answer, Granted):
            await self._promises.make(answer.judgement, f"session {self.info.id}, statement {asked.action.n}")
            self._recording.mark(answer.judgement, asked.action.n)
        return answer

    async def renew(self, action: Renew) -> Renewed | Refused:
        """See `gateway.pipeline.Stages`."""
        try:
            info, credential = await self._renew(self, action.secret.decode("ascii", "replace"))
        except LoginRefused as refusal:
            return Refused(Outcome.REFUSED, report("ERROR", "28P01", f"hoop: renewal refused: {refusal}"))
        except IssuerFault:
            words = "hoop: renewal refused: the identity issuer cannot be reached; try again"
            return Refused(Outcome.REFUSED, report("ERROR", "28000", words))
        self.info = self.live.info = info
        self.standing.credential = credential
        self._holding.adopt(info)
        return Renewed(f"renewed until {format_time(info.principal.expires)}")

    async def notify(self, notice: Report) -> None:
        """Send a notice while an operation is held."""
        if self._pipeline is not None:
            self._pipeline.perform(self.session.tell(notice))

    async def cancel_target(self) -> None:
        """See `gateway.pipeline.Stages`. A target that cannot be reached for it is logged; the statement goes on."""
        try:
            await cancel_target(self._target.cancel_route, trio.current_time() + _CANCEL_SECONDS)
        except TargetFault as fault:
            logger.warning("session %s: %s", self.info.id, fault)

    def catalog_changed(self) -> None:
        """See `gateway.pipeline.Stages`."""
        self._judge.expire()
        self._around.changed(self.info.connection)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            found += _leaves(each)
        else:
            found.append(each)
    return found
