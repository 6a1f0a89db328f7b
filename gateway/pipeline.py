"""The whole path of an agent's bytes, in one place. Read this first.

    listener -> identity -> policy -> approval -> evidence -> target -> masking -> client

A session's state machine (`gateway.pgwire.session`) turns bytes into frozen actions; `Pipeline.perform` carries them
out in order: statements are judged (policy), held for a person (approval), recorded (evidence), and only then
forwarded. What leaves is queued with the ticket of the newest record before it, and goes out once that is durable:
`forward` takes a `Recorded`, which nothing but a synced journal yields. Answers come back through the machine, which
masks them (`gateway.masking`), and leave by `Outbox` as everything else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import trio

from gateway.evidence.journal import Recorded, Ticket
from gateway.model import Decision, HoldRequest
from gateway.pgwire.actions import (
    Action,
    Analyse,
    CancelTarget,
    CatalogChanged,
    Close,
    EndHold,
    Granted,
    Hold,
    Judgement,
    Note,
    Record,
    Refused,
    Renew,
    Renewed,
    SendToClient,
    SendToTarget,
    Source,
    Token,
)
from gateway.pgwire.session import Session
from gateway.worker.outbox import Outbox

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

    async def renew(self, action: Renew) -> Renewed | Refused:
        """Identity: go on with a new token, once that is recorded."""

    def record(self, note: Note) -> Ticket:
        """Evidence: give the note its place in the journal."""

    async def cancel_target(self) -> None:
        """Cancel what the target runs."""

    def catalog_changed(self) -> None:
        """The catalog must be read again."""


async def forward(recorded: Recorded, send: Callable[[bytes], Awaitable[None]], data: bytes) -> None:
    """Let bytes reach a target: only with the proof that what they do is on disk."""
    recorded.ticket  # noqa: B018  the argument is the point: no other value can be given
    await send(data)


class Pipeline:
    """Carries out one session's actions. `over` is set, with `reason`, once the machine closed the session."""

    def __init__(
        self,
        session: Session,
        stages: Stages,
        client: Outbox,
        target: Outbox,
        started: Ticket,
        nursery: trio.Nursery,
        results_wait: bool = False,
    ) -> None:
        self._session, self._stages, self._nursery = session, stages, nursery
        self._results_wait = results_wait
        self._client, self._target = client, target
        self._ticket = started
        self._holds: dict[Token, HoldEnds] = {}
        self._moved = trio.Event()
        self._going = False
        self.over = trio.Event()
        self.reason = ""

    async def read(self, source: Source, receive: Callable[[], Awaitable[bytes]]) -> None:
        """Feed everything that `source` sends to the machine, until it is gone or the session over."""
        while not self.over.is_set():
            data = await receive()
            self.perform(self._session.feed(source, data) if data else self._session.lost(source))
            if not data:
                return
            if source is Source.CLIENT:
                await self._target.drain()
            elif self._target.waiting:
                # Whoever reads the target must never wait for it to take something: it may be waiting for us to read.
                self._start(self._target.drain)
            await self._client.drain()
            while source is Source.CLIENT and self._session.buffered > _UNREAD and not self._session.awaits_message:
                await self._moved.wait()

    def perform(self, actions: Iterable[Action]) -> None:
        """Carry out actions in order, and those that they lead to. Nothing leaves before `drain`."""
        queue = deque(actions)
        while queue:
            match queue.popleft():
                case Analyse(token) as action:
                    judgement = self._stages.judge(action)
                    if judgement is None:
                        self._start(self._analyse, action)
                    else:
                        queue.extend(self._session.resume(token, judgement))
                case Hold() as action:
                    self._holds[action.token] = HoldEnds()
                    self._start(self._hold, action.token, self._stages.ask(action))
                case Renew() as action:
                    self._start(self._renew, action)
                case EndHold(token, _, gone):
                    ends = self._holds.get(token, HoldEnds())
                    (ends.gone if gone else ends.cancelled).set()
                case Record(note, wait):
                    ticket = self._stages.record(note)
                    self._ticket = ticket if wait or self._results_wait else self._ticket
                case SendToTarget(data):
                    self._target.put(self._ticket, data)
                case SendToClient(data):
                    self._client.put(self._ticket, data)
                case CancelTarget():
                    self._start(self._cancel)
                case CatalogChanged():
                    self._stages.catalog_changed()
                case Close(reason):
                    self.reason = reason
                    self.over.set()
        if self._session.rests and not self._going:
            self._going = True
            self._start(self._go_on)
        self._wake()

    async def quiet(self) -> None:
        """Wait until the target owes no answer and nobody is asked for one, or the session is over."""
        while (self._session.running or self._holds) and not self.over.is_set():
            await self._moved.wait()

    async def finish(self) -> None:
        """Wait until no hold is left open, then send what is queued."""
        while self._holds:
            await self._moved.wait()
        await self._target.empty()
        await self._client.empty()

    async def drain(self) -> None:
        """Send what is queued to both sides, once it may leave."""
        await self._target.drain()
        await self._client.drain()

    def drain_soon(self) -> None:
        """Drain in a task of the session's own: whoever asks may be cancelled, and must not cut a message in two."""
        self._start(self.drain)

    def _start(self, work: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Start a task of the session's own."""
        try:
            self._nursery.start_soon(work, *arguments)
        except RuntimeError:  # closed to new tasks: the session ended, and whoever asks from outside was late
            self.over.set()

    async def _go_on(self) -> None:
        """A client that sent many messages at once waits for the other sessions' turn, and for what it has to take."""
        while self._session.rests and not self.over.is_set():
            await trio.lowlevel.checkpoint()
            await self.drain()
            self.perform(self._session.go_on())
        self._going = False
        await self.drain()

    async def _analyse(self, action: Analyse) -> None:
        self.perform(self._session.resume(action.token, await self._stages.analyse(action)))
        await self.drain()

    async def _renew(self, action: Renew) -> None:
        self.perform(self._session.resume(action.token, await self._stages.renew(action)))
        await self.drain()

    async def _hold(self, token: Token, asked: Asked) -> None:
        try:
            answer = await self._stages.hold(asked, self._holds[token])
        finally:
            del self._holds[token]
            self._wake()
        self.perform(self._session.resume(token, answer))
        await self.drain()

    async def _cancel(self) -> None:
        await self._target.drain()
        await self._stages.cancel_target()
        self.perform(self._session.cancel_delivered())
        await self.drain()

    def _wake(self) -> None:
        moved, self._moved = self._moved, trio.Event()
        moved.set()
