"""No byte reaches a target before the sync that covers its record returned, whatever the disk does and when."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import trio
from crash.wired import SILENT, STUCK, World, bind_message, parse_message
from evidence.evidence_samples import verify_signed
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.pgwire.framing import message
from gateway.pgwire.frontend import FLUSH, SYNC, execute, query


@dataclass(frozen=True)
class Await:
    """The agent reads on until a message of this kind."""

    kind: bytes


READY = Await(b"Z")
Part = bytes | Await | Callable[[World], Awaitable[None]]
Ids = Iterator[bytes]
Scripts = list[list[Callable[[Ids], list[Part]]]]


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
SCRIPTS = st.lists(st.lists(st.sampled_from(WAYS), min_size=1, max_size=4), min_size=1, max_size=4)


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


def run(directory: Path, scripts: Scripts, weather: Weather, *, waits: bool = False) -> World:
    """Run one agent for each script over disks in this weather, until all of it is over."""

    async def main() -> World:
        world = World(directory, results_wait=waits, timer=Timer(iter(weather.syncs)))
        for name, disk in world.disks.items():
            disk.turns, disk.write_at_most = iter(weather.turns), weather.short
            if weather.fails is not None and weather.fails[0] == name:
                disk.fail(weather.fails[1], weather.fails[2])
        ids = [(b"<%d.%d>" % (number, one) for one in count()) for number in range(len(scripts))]
        parts = [[READY, *(part for way in ways for part in way(ids[n]))] for n, ways in enumerate(scripts)]
        with trio.fail_after(20):
            await world.run(parts)
        return world

    return trio.run(main, clock=MockClock(rate=1))


@pytest.mark.fuzz
@given(scripts=SCRIPTS, weather=WEATHER, waits=st.booleans())
def test_nothing_is_forwarded_before_its_record_is_on_disk(scripts: Scripts, weather: Weather, waits: bool) -> None:
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
            assert verify_signed(Path(directory)).intact


def test_many_sessions_share_one_journal_and_its_syncs(tmp_path: Path) -> None:
    many = 40
    slow = Weather(syncs=(0.1,) * 10_000, turns=tuple(range(20)) * 500)
    world = run(tmp_path, [[_simple, _extended, _copy]] * many, slow)
    assert not world.violations
    assert all(seen.fatal is None for seen in world.sessions)
    records = len(world.on_disk["w1"].look())
    assert records > many * 10
    assert world.disks["w1"].syncs < records / 4
    world.close()
    assert verify_signed(tmp_path).intact


@pytest.mark.parametrize("what", ["write", "sync"])
def test_a_broken_journal_lets_nothing_more_through_not_even_a_commit(tmp_path: Path, what: str) -> None:
    """An Execute was recorded and forwarded; then somebody else's record fails, and only then comes the Sync."""

    async def breaks(world: World) -> None:
        world.disks["w1"].fail(what, 0)
        with pytest.raises(EvidenceFault):
            await world.logs["w1"].record(record.alarm(None, None, "other", "somebody else's"))

    world = run(tmp_path, [[lambda ids: [_one(ids) + FLUSH, Await(b"C"), breaks, SYNC, READY]]], Weather())
    (seen,) = world.sessions
    assert seen.forwarded[b"E"] == 1
    assert not [one for one in seen.to_target if one.kind == b"S"]
    assert seen.fatal is not None
    assert b"C58030\0" in seen.fatal


@pytest.mark.parametrize("what", ["write", "sync"])
def test_a_session_that_cannot_be_recorded_does_not_begin(tmp_path: Path, what: str) -> None:
    world = run(tmp_path, [[_simple]], Weather(fails=("w1", what, 0)))
    (seen,) = world.sessions
    assert seen.fatal is not None
    assert b"C58030\0" in seen.fatal
    assert [one.kind for one in seen.to_target] == [b"X"]


@pytest.mark.parametrize("what", ["write", "sync"])
def test_what_a_person_cannot_have_decided_on_record_does_not_run(tmp_path: Path, what: str) -> None:
    """The control log breaks: no decision is on disk, so nothing is released."""
    world = run(tmp_path, [[_simple, _held]], Weather(fails=("control", what, 0)))
    (seen,) = world.sessions
    assert seen.fatal is not None
    assert not [one for one in seen.to_target if b"delete" in one.body]


def test_nothing_follows_a_message_that_was_cut(tmp_path: Path) -> None:
    """The target stops reading in the middle of a message; Terminate would complete it with bytes of its own."""
    padding = b" " * 1_000_000

    async def cut(world: World) -> None:
        (seen,) = world.sessions
        await seen.stuck.wait()
        trio.lowlevel.current_clock().autojump_threshold = 0.01  # the time it is given to end in peace
        (live,) = world.around.live
        await live.cut("hoop: the session was cut", "killed")

    world = run(tmp_path, [[lambda ids: [query(STUCK + next(ids) + padding), cut, READY]]], Weather())
    (seen,) = world.sessions
    assert seen.left
    whole = query(STUCK + b"<0.0>" + padding)
    assert whole.startswith(seen.raw)
    assert len(seen.raw) < len(whole)


def test_a_session_ends_also_where_its_cancel_cannot_be_recorded(tmp_path: Path) -> None:
    async def arrived(world: World) -> None:
        while not world.sessions[0].raw:
            await trio.lowlevel.checkpoint()

    async def cut(world: World) -> None:
        world.disks["w1"].fail("sync", 0)
        with pytest.raises(EvidenceFault):
            await world.logs["w1"].record(record.alarm(None, None, "other", "somebody else's"))
        trio.lowlevel.current_clock().autojump_threshold = 0.01
        (live,) = world.around.live
        assert live.session.running
        await live.cut("hoop: the session was cut: the gateway is draining", "draining")

    world = run(tmp_path, [[lambda ids: [query(SILENT + next(ids)), arrived, cut, READY]]], Weather())
    (seen,) = world.sessions
    assert seen.left
    assert seen.fatal is not None
    assert b"C58030\0" in seen.fatal
