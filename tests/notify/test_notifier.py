"""Telling on until it got through: retries, restarts, others that are away, escalation, and giving up loudly."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.model import Micros, format_time
from gateway.notify.delivery import Undelivered
from gateway.notify.messages import REQUESTED, Message, message
from gateway.notify.notifier import Notifier
from gateway.notify.outbox import Outbox, Parcel

START = 1_800_000_000_000_000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Trio on a clock that jumps when everybody waits."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0.005)}


class TrioClock:
    """The wall clock of Trio's own time, which jumps."""

    def now(self) -> Micros:
        return Micros(START + round(trio.current_time() * 1_000_000))

    def monotonic(self) -> int:
        return round(trio.current_time() * 1_000_000)


@dataclass
class Place:
    """A destination that fails as often as it is told to."""

    name: str
    failures: float = 0
    told: list[str] = field(default_factory=list)
    tried: list[float] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        self.tried.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if len(self.tried) <= self.failures:
            raise Undelivered("away")
        self.told.append(message.id)


def approval(name: str, state: str = "pending", minutes: int = 15, **more: Any) -> dict[str, Any]:
    expires = format_time(Micros(START + minutes * 60_000_000))
    return {"id": name, "state": state, "subject": "agent", "connection": "orders", "expires": expires, **more}


@asynccontextmanager
async def telling(directory: Path, *places: Place, **more: Any):  # type: ignore[no-untyped-def]  # an async generator's type says nothing here
    alarms: list[str] = []
    notifier = Notifier(places, Outbox(directory), TrioClock(), lambda kind, detail: alarms.append(detail), **more)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.run)
        yield notifier, alarms
        nursery.cancel_scope.cancel()


async def until(what: Any) -> None:
    """Wait in Trio's jumping time."""
    with trio.fail_after(3600):
        while not what():
            await trio.sleep(2)


async def test_it_tells_on_until_it_is_taken(tmp_path: Path) -> None:
    away, there = Place("notify-0", failures=5), Place("notify-1")
    async with telling(tmp_path / "o", away, there) as (notifier, alarms):
        notifier.publish("approval.pending", approval("a1"))
        await until(lambda: there.told)
        assert away.told == []
        await until(lambda: away.told)
        await until(lambda: not list((tmp_path / "o").iterdir()))
    assert (away.told, there.told, alarms) == (["a1.requested"], ["a1.requested"], [])
    pauses = [round(b - a) for a, b in zip(away.tried, away.tried[1:], strict=False)]
    assert pauses == [1, 2, 4, 8, 16]


async def test_what_is_given_up_is_an_alarm(tmp_path: Path) -> None:
    away = Place("notify-0", failures=float("inf"))
    async with telling(tmp_path / "o", away) as (notifier, alarms):
        notifier.publish("approval.pending", approval("a1", minutes=2))
        await until(lambda: alarms)
        assert trio.current_time() >= 120
    assert alarms == ["notify-0 was not told of a1.requested: away"]
    assert list((tmp_path / "o").iterdir()) == []


async def test_a_restart_tells_what_was_left(tmp_path: Path) -> None:
    away = Place("notify-0", failures=float("inf"))
    async with telling(tmp_path / "o", away) as (notifier, _):
        notifier.publish("approval.pending", approval("a1"))
        await until(lambda: away.tried)
        notifier.publish("approval.pending", approval("a2"))
    (tmp_path / "o" / "damaged.json").write_text("{")
    back = Place("notify-0")
    async with telling(tmp_path / "o", back):
        await until(lambda: len(back.told) == 2)
        await until(lambda: len(list((tmp_path / "o").iterdir())) == 1)
    assert sorted(back.told) == ["a1.requested", "a2.requested"]


async def test_what_still_waits_is_told_to_others_once(tmp_path: Path) -> None:
    first, second = Place("notify-0"), Place("escalation-0")
    risen = {"escalated": format_time(Micros(START + 300_000_000)), "escalated_to": ["group:leads"]}
    async with telling(tmp_path / "o", first, escalations_to=[second]) as (notifier, _):
        for name in ("a1", "a2"):
            notifier.publish("approval.pending", approval(name))
            notifier.publish("approval.changed", approval(name))
        notifier.publish("approval.changed", approval("a2", "approved"))
        for _ in range(3):  # escalated, then weighed, then approved by one of two
            notifier.publish("approval.changed", approval("a1", **risen))
        notifier.publish("approval.changed", approval("a2", "approved", **risen))
        await until(lambda: second.told)
        await trio.sleep(600)
    assert (sorted(first.told), second.told) == (["a1.requested", "a2.requested"], ["a1.escalated"])


async def test_of_a_broken_glass_everybody_is_told_once(tmp_path: Path) -> None:
    chat, hook, further = Place("notify-0"), Place("webhook-0"), Place("escalation-0")
    async with telling(tmp_path / "o", chat, hook, decisions_to=[hook], escalations_to=[further]) as (notifier, _):
        notifier.publish("approval.pending", approval("a1"))
        for state in ("approved", "approved", "executed"):
            notifier.publish("approval.changed", approval("a1", state, break_glass=True))
        await until(lambda: further.told and len(hook.told) == 3)
        await trio.sleep(60)
    assert sorted(chat.told) == ["a1.break_glass", "a1.requested"]
    assert sorted(hook.told) == ["a1.break_glass", "a1.decided", "a1.requested"]
    assert further.told == ["a1.break_glass"]


async def test_a_decision_is_told_once(tmp_path: Path) -> None:
    chat, hook = Place("notify-0"), Place("webhook-0")
    async with telling(tmp_path / "o", chat, hook, decisions_to=[hook]) as (notifier, _):
        notifier.publish("approval.pending", approval("a1"))
        for state in ("pending", "approved", "approved", "executed"):
            notifier.publish("approval.changed", approval("a1", state))
        await until(lambda: len(hook.told) == 2)
        await trio.sleep(60)
    assert (chat.told, sorted(hook.told)) == (["a1.requested"], ["a1.decided", "a1.requested"])


async def test_a_flood_is_bounded_and_said(tmp_path: Path) -> None:
    away = Place("notify-0", failures=float("inf"))
    async with telling(tmp_path / "o", away) as (notifier, alarms):
        for number in range(1_100):
            notifier.publish("approval.pending", approval(f"a{number}"))
        assert len(alarms) == 100


def test_the_outbox_is_private(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o")
    parcel = Parcel(message(REQUESTED, approval("a1"), Micros(1), Micros(2)), "notify-0")
    outbox.add(parcel)
    (path,) = (tmp_path / "o").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert outbox.left() == [parcel]
    outbox.remove(parcel)
    outbox.remove(parcel)
    assert outbox.left() == []
