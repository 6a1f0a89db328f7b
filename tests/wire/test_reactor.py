"""The reactor with real sockets: everybody has a turn, whoever takes nothing harms nobody, a fault ends one session."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from driving import Drive, allow, deny
from evidence.evidence_samples import open_journal
from evidence.evidence_samples import session as sample_session
from trio.testing import wait_all_tasks_blocked

from gateway.evidence.commit import GroupCommit
from gateway.evidence.journal import Journal, Ticket
from gateway.evidence.record import session_start
from gateway.listener.stream import PlainStream
from gateway.pgwire.actions import LARGE, Analyse, Limits, Source
from gateway.pgwire.backend import ready_for_query
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import SYNC, Bind, Parse, execute, query
from gateway.pgwire.judgement import Judgement
from gateway.pgwire.notes import Execution, Preparation, Request
from gateway.pgwire.session import Session
from gateway.pipeline import Pipeline
from gateway.worker.outbox import HIGH, Outbox
from gateway.worker.reactor import Leg, Line, Reactor

DONE = message(b"C", cstring(b"SELECT 1")) + ready_for_query(b"I")


class Stages:
    """`drop` is denied, `break` breaks, all else is allowed; everything was recorded with `ticket`."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket
        self.recorded: list[type] = []
        self.making, self.made = trio.Event(), trio.Event()
        """A large record is being made; it is made."""

    def judge(self, action: Analyse) -> Judgement:
        if action.statement.sql.startswith(b"break"):
            raise RuntimeError("a stage broke")
        return deny() if action.statement.sql.startswith(b"drop") else allow()

    def record(self, note: object) -> Ticket:
        self.recorded.append(type(note))
        return self._ticket

    async def record_large(self, note: object) -> Ticket:
        self.making.set()
        await self.made.wait()
        return self.record(note)


@dataclass
class Served:
    """One session in the reactor, and the far ends of its two sockets."""

    session: Session
    pipeline: Pipeline
    line: Line
    agent: trio.SocketStream
    target: trio.SocketStream
    stages: Any


class Scene:
    """A reactor that runs, over a log of its own."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.ticket = journal.append(session_start(sample_session()))
        journal.flush()
        self.reactor = Reactor(GroupCommit(journal))

    @asynccontextmanager
    async def session(self, limits: Limits = Limits()) -> AsyncIterator[Served]:  # noqa: B008  frozen
        session = Session(limits, Drive().session._x.entropy, lambda: 0, {})
        (near, agent), (far, target) = trio.socket.socketpair(), trio.socket.socketpair()
        streams = [PlainStream(socket.socket(fileno=each.detach())) for each in (near, far)]
        boxes = [Outbox(self.journal, partial(_send, stream), stream.push) for stream in streams]
        line = Line(Leg(Source.CLIENT, streams[0], boxes[0]), Leg(Source.TARGET, streams[1], boxes[1]))
        ends = trio.SocketStream(agent), trio.SocketStream(target)
        stages: Any = Stages(self.ticket)
        async with trio.open_nursery() as nursery:
            touch = partial(self.reactor.touch, line)
            pipeline = Pipeline(session, stages, boxes[0], boxes[1], self.ticket, nursery, touch)
            with self.reactor.serving(line, pipeline):
                yield Served(session, pipeline, line, *ends, stages)
            for each in (*streams, *ends):
                with trio.CancelScope(shield=True):
                    await each.aclose()


def _send(stream: PlainStream, _recorded: object, data: bytes | memoryview) -> bool:
    return stream.send_now(data)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    journal = open_journal(tmp_path)
    scene = Scene(journal)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.reactor.run)
            yield scene
            nursery.cancel_scope.cancel()
    journal.close()


async def drink(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


async def take(stream: trio.SocketStream, count: int) -> bytes:
    found = b""
    while len(found) < count:
        data = await stream.receive_some()
        assert data
        found += data
    return found


async def test_others_have_their_turn_between_a_clients_messages(scene: Scene) -> None:
    """Both the tasks of the process and the other sessions, one of which asks all the while."""
    turns = 0
    async with scene.session(Limits(turn=10)) as greedy, scene.session() as modest, trio.open_nursery() as nursery:

        async def other() -> None:
            nonlocal turns
            while greedy.session.counts.denied < 1000:
                turns += 1
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

        async def ask() -> None:
            while True:
                await modest.agent.send_all(query(b"drop table t"))
                await modest.agent.receive_some()

        for task in (other, ask, partial(drink, greedy.agent)):
            nursery.start_soon(task)
        await greedy.agent.send_all(query(b"drop table t") * 1000)
    assert turns >= 20
    assert modest.session.counts.denied >= 10


async def test_a_client_that_takes_nothing_stops_its_own_target_only(scene: Scene) -> None:
    row = message(b"D", b"\0\1" + (1000).to_bytes(4, "big") + b"x" * 1000)
    async with scene.session() as deaf, scene.session() as other, trio.open_nursery() as nursery:
        await deaf.agent.send_all(query(b"select"))
        await take(deaf.target, len(query(b"select")))
        nursery.start_soon(deaf.target.send_all, row * 20_000)
        while deaf.pipeline.wants(Source.TARGET):
            await trio.lowlevel.checkpoint()
        assert deaf.line.client.outbox.size < HIGH + 2 * (64 << 10)
        for _ in range(3):
            await other.agent.send_all(query(b"select"))
            await take(other.target, len(query(b"select")))
            await other.target.send_all(DONE)
            assert await take(other.agent, len(DONE)) == DONE
        assert await take(deaf.agent, len(row) * 20_000) == row * 20_000


async def test_a_target_that_takes_nothing_is_read_all_the_same(scene: Scene) -> None:
    """It may be waiting for us to read before it takes anything; its client is read no further meanwhile."""
    async with scene.session() as stuck, trio.open_nursery() as nursery:
        long = query(b"select " + b" " * 1_000_000)
        nursery.start_soon(stuck.agent.send_all, long * 5)
        while stuck.pipeline.wants(Source.CLIENT):
            await trio.lowlevel.checkpoint()
        notice = message(b"N", b"SNOTICE\0C00000\0Mhear me\0\0")
        await stuck.target.send_all(notice)
        assert await take(stuck.agent, len(notice)) == notice
        for _ in range(5):
            assert await take(stuck.target, len(long)) == long
            await stuck.target.send_all(DONE)
            assert await take(stuck.agent, len(DONE)) == DONE


async def test_others_go_on_while_the_record_of_a_large_statement_is_made(scene: Scene) -> None:
    """What comes behind it waits in its order, and nothing of it reaches the target before."""
    bind = Bind(b"", b"", (), (b"x" * (2 * LARGE),), ()).encode()
    turn = Parse(b"", b"select $1", ()).encode() + bind + execute(b"") + SYNC
    answer = b"".join(map(message, (b"1", b"2"))) + DONE
    async with scene.session() as large, scene.session() as other, trio.open_nursery() as nursery:
        stages = large.stages
        nursery.start_soon(large.agent.send_all, turn + query(b"select 2"))
        await stages.making.wait()
        for _ in range(100):
            await other.agent.send_all(query(b"select"))
            await take(other.target, len(query(b"select")))
            await other.target.send_all(DONE)
            assert await take(other.agent, len(DONE)) == DONE
        assert stages.recorded == [Preparation]
        assert not large.pipeline.wants(Source.CLIENT)
        assert not large.pipeline.wants(Source.TARGET)
        stages.made.set()
        assert await take(large.target, len(turn)) == turn
        assert stages.recorded == [Preparation, Request, Execution]
        await large.target.send_all(answer)
        assert await take(large.agent, len(answer)) == answer
        assert await take(large.target, len(query(b"select 2"))) == query(b"select 2")


async def test_what_waits_behind_it_is_counted_and_let_go_where_memory_is_short(scene: Scene) -> None:
    async with scene.session() as large:
        bind = Bind(b"", b"", (), (b"x" * (2 * LARGE),), ()).encode()
        parse = Parse(b"", b"select $1", ()).encode()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(large.agent.send_all, parse + bind + execute(b"") + SYNC)
            await large.stages.making.wait()
        assert large.pipeline.held >= len(bind)
        large.pipeline.give_up()
        assert large.pipeline.held < LARGE
        large.stages.made.set()
        await large.pipeline.over.wait()
        assert large.pipeline.reason == "memory"
        assert large.stages.recorded == [Preparation, Request, Execution]
        assert b"53200" in await large.agent.receive_some()
        large.line.target.stream.socket.shutdown(socket.SHUT_WR)  # type: ignore[attr-defined]
        assert await take(large.target, len(parse)) == parse
        assert await large.target.receive_some() == b""


async def test_a_session_that_is_cut_meanwhile_ends_once_the_record_is_made(scene: Scene) -> None:
    async with scene.session() as large:
        bind = Bind(b"", b"", (), (b"x" * (2 * LARGE),), ()).encode()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(large.agent.send_all, Parse(b"", b"select $1", ()).encode() + bind + execute(b"") + SYNC)
            await large.stages.making.wait()
        large.pipeline.perform(large.session.cut("57P01", "hoop: the session was cut", "killed"))
        assert not large.pipeline.over.is_set()
        large.stages.made.set()
        await large.pipeline.over.wait()
        assert large.pipeline.reason == "killed"
        assert b"hoop: the session was cut" in await large.agent.receive_some()


async def test_a_fault_ends_its_session_alone(scene: Scene) -> None:
    async with scene.session() as broken, scene.session() as other:
        await broken.agent.send_all(query(b"break"))
        await broken.pipeline.over.wait()
        with pytest.raises(RuntimeError, match="a stage broke"):
            await broken.pipeline.finish()
        await other.agent.send_all(query(b"drop table t"))
        assert (await other.agent.receive_some())[:1] == b"E"


async def test_who_is_gone_is_noticed_and_costs_nothing(scene: Scene) -> None:
    """A client that hangs up while its target takes nothing: nobody reads it, and nobody is woken for it for ever."""
    async with scene.session() as gone:
        long = query(b"select " + b" " * 1_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gone.agent.send_all, long * 2)
            while gone.pipeline.wants(Source.CLIENT):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await gone.agent.aclose()
        with trio.fail_after(5):
            await wait_all_tasks_blocked(0.05)  # a reactor that is woken over and over never blocks
        assert not gone.pipeline.over.is_set()
        await drink_until(gone)
        assert gone.pipeline.over.is_set()


async def drink_until(served: Served) -> None:
    """Let the target take everything until the session is over."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drink, served.target)
        await served.pipeline.over.wait()
        nursery.cancel_scope.cancel()


async def test_a_message_that_came_with_the_end_is_taken_first(scene: Scene) -> None:
    async with scene.session() as short:
        await short.agent.send_all(query(b"select"))
        await short.agent.aclose()
        assert (await take(short.target, len(query(b"select")))) == query(b"select")
        await short.pipeline.over.wait()
        assert short.pipeline.reason == "client"


async def test_unfinished_messages_of_all_sessions_are_bounded_together(tmp_path: Path) -> None:
    """Each may keep a long message; together they may not: who keeps most is ended, the others never notice."""
    journal = open_journal(tmp_path)
    scene = Scene(journal)
    scene.reactor = Reactor(GroupCommit(journal), 3 << 20)
    half = query(b"select " + b" " * 10_000_000)
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(20))
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(scene.reactor.run)
        sessions = [await stack.enter_async_context(scene.session()) for _ in range(4)]
        for served, size in zip(sessions[:3], (800_000, 900_000, 1_000_000), strict=True):
            await served.agent.send_all(half[:size])
            while served.session.held < size:
                await trio.lowlevel.checkpoint()
        await sessions[3].agent.send_all(query(b"drop table t"))
        assert (await sessions[3].agent.receive_some())[:1] == b"E"
        assert not any(served.pipeline.over.is_set() for served in sessions)
        nursery.start_soon(sessions[2].agent.send_all, half[1_000_000:1_700_000])
        await sessions[2].pipeline.over.wait()
        assert b"C53200\0" in await sessions[2].agent.receive_some()
        assert sessions[2].session.held == 0
        assert [served.pipeline.over.is_set() for served in sessions] == [False, False, True, False]
        nursery.cancel_scope.cancel()
    journal.close()
