"""No byte reaches a target before the sync that covers its record returned, whatever the disk does and when."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import trio
from crash.wired import World, bind_message, parse_message
from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence.verify import verify
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import FLUSH, SYNC, execute, query


@dataclass(frozen=True)
class Await:
    """The agent reads on until a message of this kind."""

    kind: bytes


READY = Await(b"Z")
Part = bytes | Await
Ids = Iterator[bytes]


def _simple(ids: Ids) -> list[Part]:
    return [query(b"insert " + next(ids)), READY]


def _slow(ids: Ids) -> list[Part]:
    return [query(b"slow " + next(ids)), READY]


def _denied(ids: Ids) -> list[Part]:
    return [query(b"drop " + next(ids)), READY]


def _held(ids: Ids) -> list[Part]:
    return [query(b"delete " + next(ids)), READY]


def _ahead(ids: Ids) -> list[Part]:
    """Several Query messages in one go."""
    return [b"".join(query(b"insert " + next(ids)) for _ in range(3)), READY, READY, READY]


def _extended(ids: Ids) -> list[Part]:
    return [_one(ids) + SYNC, READY]


def _pipeline(ids: Ids) -> list[Part]:
    return [_one(ids) + _one(ids), _one(ids) + SYNC, READY]


def _sync_later(ids: Ids) -> list[Part]:
    """What was recorded and forwarded before is committed by a message that has no record of its own."""
    return [_one(ids) + FLUSH, Await(b"C"), SYNC, READY]


def _denied_in_pipeline(ids: Ids) -> list[Part]:
    return [_one(ids) + parse_message(b"drop " + next(ids)) + _one(ids) + SYNC, READY]


def _copy(ids: Ids) -> list[Part]:
    chunks = [message(b"d", next(ids) + b"\n") for _ in range(3)]
    return [query(b"copy " + next(ids)), Await(b"G"), chunks[0], b"".join(chunks[1:]), message(b"c"), READY]


def _one(ids: Ids) -> bytes:
    return parse_message(b"insert " + next(ids)) + bind_message(next(ids)) + execute(b"")


WAYS: list[Callable[[Ids], list[Part]]] = [
    _simple, _slow, _denied, _held, _ahead, _extended, _pipeline, _sync_later, _denied_in_pipeline, _copy,
]  # fmt: skip


@dataclass(frozen=True)
class Weather:
    """What the disk does, and when."""

    syncs: tuple[float, ...] = ()
    """Seconds that each sync seems to take: slow ones move to a thread."""
    turns: tuple[int, ...] = ()
    """Turns of the event loop that happen while each sync in a thread is under way."""
    short: int | None = None
    """Bytes that a write takes at most."""
    fails: tuple[str, str, int] | None = None
    """Which log (`control`, `w1`), what (`write`, `sync`), and how many bytes or syncs still pass."""


WEATHER = st.builds(
    Weather,
    syncs=st.lists(st.sampled_from([0.0, 0.1]), max_size=30).map(tuple),
    turns=st.lists(st.integers(0, 12), max_size=30).map(tuple),
    short=st.none() | st.sampled_from([100, 4000, 65536]),
    fails=st.none()
    | st.tuples(st.sampled_from(["control", "w1"]), st.just("write"), st.integers(0, 60_000))
    | st.tuples(st.sampled_from(["control", "w1"]), st.just("sync"), st.integers(0, 30)),
)
SCRIPTS = st.lists(st.lists(st.sampled_from(WAYS), min_size=1, max_size=6), min_size=1, max_size=5)


@dataclass
class Timer:
    """A stopwatch for syncs that shows what the weather says."""

    spans: Iterator[float]
    _now: float = 0.0
    _running: bool = field(default=False)

    def __call__(self) -> float:
        self._now += next(self.spans, 0.0) if self._running else 0.0
        self._running = not self._running
        return self._now


def run(directory: Path, scripts: list[list[Callable[[Ids], list[Part]]]], weather: Weather, *, waits: bool) -> World:
    """Run one agent for each script over disks in this weather, until all of it is over."""

    async def main() -> World:
        world = World(directory, results_wait=waits, timer=Timer(iter(weather.syncs)))
        for name, disk in world.disks.items():
            disk.turns, disk.write_at_most = iter(weather.turns), weather.short
            if weather.fails is not None and weather.fails[0] == name:
                disk.fail(weather.fails[1], weather.fails[2])
        ids = [(b"<%d.%d>" % (number, one) for one in count()) for number in range(len(scripts))]
        with trio.fail_after(20):
            await world.run([[part for way in ways for part in way(ids[n])] for n, ways in enumerate(scripts)])
        return world

    return trio.run(main)


@pytest.mark.fuzz
@given(scripts=SCRIPTS, weather=WEATHER, waits=st.booleans())
def test_nothing_is_forwarded_before_its_record_is_on_disk(
    scripts: list[list[Callable[[Ids], list[Part]]]], weather: Weather, waits: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        world = run(Path(directory), scripts, weather, waits=waits)
        assert not world.violations
        for seen in world.sessions:
            assert seen.fatal is None or b"C58030\0" in seen.fatal, seen.fatal
            assert seen.fatal is None or world.broken
        if world.broken:
            world.close()
        else:
            assert all(seen.fatal is None for seen in world.sessions)
            world.calm()
            world.close()
            assert verify(Path(directory)).intact
