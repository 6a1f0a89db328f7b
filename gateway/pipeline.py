"""The whole path of an agent's bytes, in one place. Read this first.

    listener -> identity -> policy -> approval -> evidence -> target -> masking -> client

A session's state machine (`gateway.pgwire.session`) turns bytes into frozen actions; `Pipeline.perform` carries them
out in order: statements are judged (policy), held for a person (approval), recorded (evidence), and only then
forwarded. What leaves is queued with the ticket of the newest record before it, and goes out once that is durable:
`forward` takes a `Recorded`, which nothing but a synced journal yields. Answers come back through the machine, which
masks them (`gateway.masking`), and leave by `Outbox` as everything else. `gateway.worker.reactor` brings the bytes of
all sessions, and sees to it that one sync serves all that are ready; what must wait is a task of the session's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from gateway.evidence.journal import Recorded, Ticket
from gateway.model import Decision, HoldRequest
from gateway.pgwire.actions import (
    Action,
    Analyse,
    Announce,
    Before,
    CancelTarget,
    CatalogChanged,
    Close,
    EndHold,
    Granted,
    Hold,
    OwnStatement,
    ReadBefore,
    Record,
    Refused,
    Renew,
    Renewed,
    SendToClient,
    SendToTarget,
    Source,
    Token,
)
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Note
from gateway.pgwire.session import Session
from gateway.worker.outbox import HIGH, Outbox

_UNREAD = 1 << 20
"""Bytes that a client may send ahead while its statement is held or judged."""


@dataclass(frozen=True, slots=True)
class HoldEnds:
    """How a hold may end without a decision: it is no longer wanted, or the client merely hung up."""

    cancelled: trio.Event = field(default_factory=trio.Event)
    gone: trio.Event = field(default_factory=trio.Event)


@dataclass(frozen=True, slots=True)
class Asked:
    """A held operation whose request has its place in the journal; `claimed` where it was approved before."""

    action: Hold
    request: HoldRequest
    ticket: Ticket
    claimed: Decision | None = None


class Stages(Protocol):
    """What the pipeline calls: one object for each session (`gateway.worker.agent_session`)."""

    def judge(self, action: Analyse) -> Judgement | None:
        """Policy, at once; None: the statement needs a disposable process or a fresh catalog, see `analyse`."""

    async def analyse(self, action: Analyse) -> Judgement:
        """Policy, for what cannot be judged at once."""

    def ask(self, action: Hold) -> Asked:
        """Approval: give the request of what is held its place in the journal."""

    async def hold(self, asked: Asked, ends: HoldEnds) -> Granted | Refused:
        """Approval: ask people, judge again, record the release."""

    def announce(self, action: Announce) -> Ticket:
        """Evidence: give the request of what runs before a person decides its place in the journal."""

    def own(self, action: OwnStatement) -> Ticket:
        """Evidence: give a statement of the gateway's own its place in the journal."""

    async def read_before(self, action: ReadBefore, recorded: Ticket) -> Before:
        """Approval: read what rows were before an operation changed them, once that is recorded."""

    async def renew(self, action: Renew) -> Renewed | Refused:
        """Identity: go on with a new token, once that is recorded."""

    def record(self, note: Note) -> Ticket:
        """Evidence: give the note its place in the journal."""

    async def record_large(self, note: Note) -> Ticket:
        """Evidence: the same for a large note, piece by piece, so that other sessions have their turns between."""

    async def cancel_target(self) -> None:
        """Cancel what the target runs."""

    def catalog_changed(self) -> None:
        """The catalog must be read again."""


def forward(recorded: Recorded, send: Callable[[bytes | memoryview], bool], data: bytes | memoryview) -> bool:
    """Let bytes reach a target: only with the proof that what they do is on disk."""
    recorded.ticket  # noqa: B018  the argument is the point: no other value can be given
    return send(data)


class Pipeline:
    """Carries out one session's actions. `over` is set, with `reason`, once the machine closed the session.

    `ready` is called whenever something may have to leave, or may be read again that was not before.
    """

    def __init__(
        self,
        session: Session,
        stages: Stages,
        client: Outbox,
        target: Outbox,
        started: Ticket,
        nursery: trio.Nursery,
        ready: Callable[[], None],
        results_wait: bool = False,
    ) -> None:
        self._session, self._stages, self._nursery, self._ready = session, stages, nursery, ready
        self._results_wait = results_wait
        self._client, self._target = client, target
        self._ticket = started
        self._holds: dict[Token, HoldEnds] = {}
        self._behind: list[Action] | None = None
        """What has to wait, since the record of a large statement is being made."""
        self._behind_size = 0
        """Bytes among it that are to be sent."""
        self._moved: trio.Event | None = None
        self.over = trio.Event()
        self._ended = False
        """`over` is set."""
        self.reason = ""
        self.fault: Exception | None = None
        """What broke while nobody of the session's own was there to take it."""

    def take(self, source: Source, data: bytes) -> None:
        """Feed what `source` sent to the machine; nothing: it is gone."""
        self.perform(self._session.feed(source, data) if data else self._session.lost(source))

    def wants(self, source: Source) -> bool:
        """Say whether more of `source` is to be read: not while somebody does not take what is there for it already.

        Whoever reads the target never waits for it to take something: it may be waiting for us to read.
        """
        if self._client.size > HIGH or self._ended or self._behind is not None:
            return False
        session = self._session
        return source is Source.TARGET or (
            self._target.size <= HIGH and (session.buffered <= _UNREAD or session.awaits_message)
        )

    def perform(self, queue: list[Action]) -> None:
        """Carry out actions in order, and those that they lead to. Nothing leaves before `flush`."""
        if self._behind is not None:
            self._put_behind(queue)
            return
        for place, action in enumerate(queue):  # which grows as questions are answered
            if isinstance(action, Record):
                if action.large:
                    self._put_behind(queue[place + 1 :])
                    self._start(self._record_large, action)
                    break
                if action.wait and not self._results_wait:
                    self._ticket = self._stages.record(action.note)
                else:
                    self._record(action)
            elif isinstance(action, SendToTarget):
                self._target.put(self._ticket, action.data)
            elif isinstance(action, SendToClient):
                self._client.put(self._ticket, action.data)
            elif isinstance(action, Analyse):
                queue += self._judge(action)
            else:
                self._carry_out(action)
        self._ready()
        if self._moved is not None:
            self._wake()

    def _judge(self, action: Analyse) -> Iterable[Action]:
        """Judge at once where that is possible, else in a task; returns what the judgement leads to."""
        judgement = self._stages.judge(action)
        if judgement is not None:
            return self._session.resume(action.token, judgement)
        self._start(self._analyse, action)
        return ()

    def _record(self, action: Record) -> None:
        self._recorded(action, self._stages.record(action.note))

    def _put_behind(self, actions: Sequence[Action]) -> None:
        self._behind = [*(self._behind or ()), *actions]
        self._behind_size += sum(len(each.data) for each in actions if isinstance(each, SendToTarget | SendToClient))

    async def _record_large(self, action: Record) -> None:
        """Record, then carry out what came behind it."""
        self._recorded(action, await self._stages.record_large(action.note))
        behind, self._behind, self._behind_size = self._behind or [], None, 0
        self.perform(behind)

    def _recorded(self, action: Record, ticket: Ticket) -> None:
        """What follows leaves only once this is on disk; what is queued, too, where results have to be."""
        if action.wait or self._results_wait:
            self._ticket = ticket
        if self._results_wait and not action.wait:
            self._client.delay(ticket)

    def _carry_out(self, action: Action) -> None:
        """Carry out what is rarer."""
        match action:
            case Hold():
                self._holds[action.token] = HoldEnds()
                self._start(self._hold, action.token, self._stages.ask(action))
            case Announce():
                self._ticket = self._stages.announce(action)
            case OwnStatement():
                self._ticket = self._stages.own(action)
            case ReadBefore():
                self._start(self._read_before, action, self._ticket)
            case Renew():
                self._start(self._renew, action)
            case EndHold(token, _, gone):
                ends = self._holds.get(token, HoldEnds())
                (ends.gone if gone else ends.cancelled).set()
            case CancelTarget():
                self._start(self._cancel)
            case CatalogChanged():
                self._stages.catalog_changed()
            case Close(reason):
                self.reason = reason
                self._end()

    @property
    def unrecorded(self) -> bool:
        """Whether something waits for its record to be on disk."""
        return self._target.unrecorded or self._client.unrecorded

    @property
    def held(self) -> int:
        """Bytes that this session keeps: unfinished messages, and what the other sides have not taken."""
        return self._session.held + self._client.size + self._target.size + self._behind_size

    def give_up(self) -> None:
        """End the session, since all sessions together keep more than they may, and this one most."""
        words = "hoop: too much is being sent at once, and this session keeps most of it; send less, or take answers"
        if self._behind is not None:  # it is recorded, and will not be forwarded
            left = [each for each in self._behind if not isinstance(each, SendToTarget)]
            self._behind, self._behind_size = None, 0
            self._put_behind(left)
        self.perform(self._session.cut("53200", words, "memory"))
        self._session.forget()
        for box in (self._client, self._target):
            if box.size > HIGH:
                box.drop()

    def flush(self) -> None:
        """Send to both sides what may leave, as far as they take it. Raises `EvidenceFault`."""
        self._target.flush()
        self._client.flush()
        if self._moved is not None:
            self._wake()

    @property
    def calm(self) -> bool:
        """Whether it keeps nothing and goes on: all is sent and taken, both sides are wanted, nothing rests."""
        busy = self._client.size or self._target.size or self._ended or self._session.held
        return not busy and self._behind is None

    @property
    def rests(self) -> bool:
        """Whether `go_on` has something to do: a client sent many messages at once, and was promised no more turns."""
        return self._session.rests and self.wants(Source.CLIENT)

    def go_on(self) -> None:
        """Take more of what the client sent, after the other sessions had their turn."""
        self.perform(self._session.go_on())

    def fail(self, fault: Exception) -> None:
        """End the session with `fault`."""
        self.fault = self.fault or fault
        self._end()
        self._wake()

    async def quiet(self) -> None:
        """Wait until the target owes no answer and nobody is asked for one, or the session is over."""
        while (self._session.running or self._holds) and not self.over.is_set():
            await self._move()

    async def finish(self) -> None:
        """Wait until no hold is left open and everything that is queued was taken. Raises the session's fault."""
        while (self._holds or not (self._target.empty and self._client.empty)) and self.fault is None:
            await self._move()
        if self.fault is not None:
            raise self.fault

    def _start(self, work: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Start a task of the session's own."""
        try:
            self._nursery.start_soon(work, *arguments)
        except RuntimeError:  # closed to new tasks: the session ended, and whoever asks from outside was late
            self._end()

    def _end(self) -> None:
        self._ended = True
        self.over.set()

    async def _analyse(self, action: Analyse) -> None:
        self.perform(self._session.resume(action.token, await self._stages.analyse(action)))

    async def _renew(self, action: Renew) -> None:
        self.perform(self._session.resume(action.token, await self._stages.renew(action)))

    async def _read_before(self, action: ReadBefore, recorded: Ticket) -> None:
        self.perform(self._session.resume(action.token, await self._stages.read_before(action, recorded)))

    async def _hold(self, token: Token, asked: Asked) -> None:
        try:
            answer = await self._stages.hold(asked, self._holds[token])
        finally:
            del self._holds[token]
            self._wake()
        self.perform(self._session.resume(token, answer))

    async def _cancel(self) -> None:
        self._target.put(self._ticket, b"")  # nothing, once the cancel is on record
        self._ready()
        while not (self._target.empty or self.over.is_set()):  # what is to be cancelled must be there first, too
            await self._move()
        if self.fault is not None:
            return
        await self._stages.cancel_target()
        self.perform(self._session.cancel_delivered())

    async def _move(self) -> None:
        """Wait until something was done for this session."""
        if self._moved is None:
            self._moved = trio.Event()
        await self._moved.wait()

    def _wake(self) -> None:
        if self._moved is not None:
            self._moved.set()
            self._moved = None
