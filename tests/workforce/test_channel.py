"""The line between two processes: every question ends, in order, also where one of them is gone or talks nonsense."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from gateway.control.messages import Refusal
from gateway.errors import ConfigurationFault, EvidenceFault, IssuerFault, LoginRefused, OurBug, TargetFault
from gateway.identity.kill_list import Revoked
from gateway.workforce.channel import Channel, Severed
from gateway.workforce.codec import Malformed
from gateway.workforce.handing import hand_over, pair, receive_clients


@dataclass(frozen=True, slots=True)
class Number:
    value: int


@dataclass(frozen=True, slots=True)
class Other:
    value: str


async def nothing(_: object, __: int) -> object:
    raise AssertionError("nobody asked")


@asynccontextmanager
async def line(
    answer: Callable[[Any, int], Awaitable[object]], told: Callable[[Any], None] = lambda _: None, **more: Any
) -> AsyncIterator[tuple[Channel, Channel, trio.Nursery]]:
    """Two ends: the first asks, the second answers."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    asks = Channel(ours, [Other], nothing, lambda _: None)
    answers = Channel(theirs, [Number], answer, told, **more)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asks.run)
        nursery.start_soon(answers.run)
        yield asks, answers, nursery
        nursery.cancel_scope.cancel()


async def doubled(message: Number, _: int) -> Number:
    return Number(2 * message.value)


async def test_questions_have_their_answers_whatever_the_order() -> None:
    gates = {1: trio.Event(), 2: trio.Event()}

    async def later(message: Number, _: int) -> Number:
        await gates[message.value].wait()
        return message

    found: list[int] = []
    async with line(later) as (asks, _, nursery):

        async def ask(value: int) -> None:
            found.append((await asks.ask(Number(value), Number)).value)

        nursery.start_soon(ask, 1)
        nursery.start_soon(ask, 2)
        await trio.testing.wait_all_tasks_blocked()
        gates[2].set()
        await trio.testing.wait_all_tasks_blocked()
        gates[1].set()
        await trio.testing.wait_all_tasks_blocked()
    assert found == [2, 1]


FAULTS = [
    LoginRefused("no", "28P01", "for the record"), IssuerFault("away"), TargetFault("down"), EvidenceFault("full"),
    ConfigurationFault("gone"), Refusal("not_found", "no such thing"), Revoked("subject", "dana", "lost"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_a_fault_is_raised_where_it_was_asked(fault: Exception) -> None:
    async def fails(_: Number, __: int) -> object:
        raise fault

    async with line(fails) as (asks, _, _):
        with pytest.raises(type(fault), match=str(fault)) as raised:
            await asks.ask(Number(1), Number)
    for name in ("sqlstate", "reason", "code", "words"):
        assert getattr(raised.value, name, None) == getattr(fault, name, None)


@pytest.mark.parametrize("fault", [OurBug("a bug"), ZeroDivisionError("a secret")])
async def test_what_fails_otherwise_records_nothing_and_ends_nobody(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(message: Number, _: int) -> object:
        if message.value == 0:
            raise fault
        return message

    async with line(fails) as (asks, _, _):
        with pytest.raises(EvidenceFault):
            await asks.ask(Number(0), Number)
        assert await asks.ask(Number(5), Number) == Number(5)
    assert "secret" not in caplog.text


async def test_what_is_told_is_taken_in_its_place_among_the_questions() -> None:
    seen: list[object] = []
    arrived = lambda message, number: seen.append((message, number))  # noqa: E731
    async with line(doubled, seen.append, arrived=arrived) as (asks, _, nursery):
        asks.tell(Number(1))
        nursery.start_soon(asks.ask, Number(2), Number)
        await trio.testing.wait_all_tasks_blocked()
        asks.tell(Number(3))
        await asks.ask(Number(4), Number)
    assert seen == [Number(1), (Number(2), 1), Number(3), (Number(4), 2)]


async def test_a_question_that_is_given_up_is_cancelled_there_also_before_it_began() -> None:
    began, ended = trio.Event(), trio.Event()

    async def waits(_: Number, __: int) -> object:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with line(waits) as (asks, _, nursery):
        with trio.CancelScope() as scope:
            nursery.start_soon(lambda: _after(began, scope))
            await asks.ask(Number(1), Number)
        await ended.wait()
        with trio.move_on_after(0):
            await asks.ask(Number(2), Number)


async def _after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def test_an_answer_that_comes_too_late_is_not_lost() -> None:
    late: list[Number] = []
    answering = trio.Event()

    async def stubborn(message: Number, _: int) -> Number:
        answering.set()
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        return message

    async with line(stubborn) as (asks, _, nursery):
        with trio.CancelScope() as scope:
            nursery.start_soon(lambda: _after(answering, scope))
            await asks.ask(Number(7), Number, late=late.append)
        await trio.sleep(2)
    assert late == [Number(7)]


async def test_who_waits_hears_that_the_other_side_is_gone() -> None:
    async def waits(_: Number, __: int) -> object:
        await trio.sleep_forever()
        raise AssertionError

    async with line(waits) as (asks, answers, nursery):
        nursery.start_soon(lambda: _close_when_asked(answers))
        with pytest.raises(Severed):
            await asks.ask(Number(1), Number)
        with pytest.raises(Severed):
            await asks.ask(Number(2), Number)
        asks.tell(Number(3))


async def _close_when_asked(answers: Channel) -> None:
    await trio.testing.wait_all_tasks_blocked()
    answers.close()


FRAMES = [
    {"what": "tell", "number": 0, "name": "Nonsense", "body": {}},
    {"what": "ask", "number": 1, "name": "Other", "body": {"value": "not for this side"}},
    {"what": "tell", "number": 0, "name": "Number", "body": {"value": "1"}},
    {"what": "tell", "number": 0, "name": "Number", "body": {"value": 1, "more": 2}},
]


@pytest.mark.parametrize("frame", FRAMES)
async def test_nothing_is_made_of_nonsense(frame: dict[str, object]) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    data = json.dumps(frame).encode()
    ours.send(len(data).to_bytes(4, "big") + data)
    told: list[object] = []
    with ours, pytest.RaisesGroup(Malformed):
        await Channel(theirs, [Number], doubled, told.append).run()
    assert told == []


async def test_a_frame_that_is_too_long_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.send((1 << 31).to_bytes(4, "big"))
    with ours, pytest.RaisesGroup(Malformed):
        await Channel(theirs, [Number], doubled, lambda _: None).run()


async def test_a_client_is_handed_over_with_its_address() -> None:
    ours, theirs = pair()
    client, server = socket.socketpair()
    taken: list[tuple[int, socket.socket, tuple[str, int]]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_clients, theirs, lambda *who: taken.append(who), lambda: None)
        assert hand_over(ours, 1, server, ("::1", 5432))
        await trio.testing.wait_all_tasks_blocked()
        ours.close()
    ((door, received, address),) = taken
    assert (door, address) == (1, ("::1", 5432))
    assert server.fileno() == -1
    with client, received, theirs:
        client.send(b"x")
        assert received.recv(1) == b"x"


def test_a_client_stays_where_it_is_when_nobody_takes_it() -> None:
    ours, theirs = pair()
    client, server = socket.socketpair()
    theirs.close()
    with ours, client, server:
        assert not hand_over(ours, 0, server, ("127.0.0.1", 1))
        assert server.fileno() != -1
