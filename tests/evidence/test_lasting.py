"""A log that outlives a full or failing disk: opened anew once that is well; what was before is over."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from evidence_double import CountedEntropy, DoubleStorage, StepClock
from evidence_samples import WORKER, journal_file, request, session

from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.entry import parse_line
from gateway.evidence.journal import Journal
from gateway.evidence.lasting import LastingLog, probe
from gateway.evidence.opening import first_records
from gateway.evidence.storage import File
from gateway.evidence.verify import verify


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio, on a clock that jumps over what nobody waits for in earnest."""
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


class Scene:
    """One lasting log on a disk with faults to switch on."""

    def __init__(self, home: Path) -> None:
        self.home, self.storage, self.clock = home, DoubleStorage(), StepClock(step=1)
        self.openings: list[str | None] = []
        self.on_open: Callable[[int], None] = lambda _: None
        """Called with the number of each opening, from 0."""
        self.log = LastingLog(self.open)
        self.again = trio.Event()

    @property
    def evidence(self) -> Path:
        return self.home / "evidence"

    def open(self, resumed: str | None) -> Journal:
        self.on_open(len(self.openings))
        self.openings.append(resumed)
        directory = self.evidence / "logs" / "w1"
        if resumed is not None:
            probe(self.storage, directory)
        journal = Journal.open(
            directory, WORKER, self.storage, self.clock, CountedEntropy(), keys=self.home / "keys"
        )  # fmt: skip
        for draft in first_records(journal, "gw-1", "0.1", resumed):
            journal.append(draft)
        try:
            journal.flush()
            journal.checkpoint()
        except EvidenceFault:
            journal.close()
            raise
        return journal

    def entries(self) -> list[dict[str, object]]:
        content = journal_file(self.evidence).read_bytes().split(b"\0")[0]
        return [json.loads(parse_line(raw).entry) for raw in content.split(b"\n")[:-1]]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def fill_up(scene: Scene) -> None:
    scene.storage.room = 100


def fail_a_sync(scene: Scene) -> None:
    scene.storage.sync_error = OSError(errno.EIO, "the disk says no")


def turn_read_only(scene: Scene) -> None:
    """What a file system does that found itself broken; put right before the third try."""
    whole, refusal = scene.storage.open, OSError(errno.EROFS, "Read-only file system")
    scene.storage.sync_error = refusal

    def refuse(_: Path) -> File:
        raise refusal

    def tried(number: int) -> None:
        scene.storage.open = whole if number == 3 else refuse  # type: ignore[method-assign]

    scene.on_open = tried


FAULTS = [
    (fill_up, "No space left on device"),
    (fail_a_sync, "the disk says no"),
    (turn_read_only, "Read-only file system"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
async def test_after_a_fault_the_log_goes_on_by_itself(
    scene: Scene, fault: Callable[[Scene], None], words: str
) -> None:
    log = scene.log
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, scene.again.set)
        await log.record(record.session_start(session()))
        before, lost = log.now, log.append(request(1))
        fault(scene)
        with pytest.raises(EvidenceFault, match=words):
            await log.durable(lost)
        await before.broke.wait()
        with pytest.raises(EvidenceFault, match=words):
            log.append(request(2))
        scene.storage.room = None
        await scene.again.wait()
        assert log.now is not before
        with pytest.raises(EvidenceFault):
            before.append(request(3))
        for ticket_taker in (log, before, log.now):
            with pytest.raises(EvidenceFault):
                await ticket_taker.durable(lost)
        await log.record(record.alarm(None, None, "test", "well again"))
        nursery.cancel_scope.cancel()
    scene.storage.power_cut()
    log.journal.close()
    assert set(scene.openings) == {None, f"the record cannot be written: {words}"}
    kinds = [entry["kind"] for entry in scene.entries()]
    assert [kind for kind in kinds if kind != "request"] == ["start", "session_start", "start", "session_end", "alarm"]
    second = scene.entries()[kinds.index("start", 1)]
    assert second["resumed"] == f"the record cannot be written: {words}"
    report = verify(scene.evidence)
    assert report.intact, report.findings


async def test_a_power_cut_after_a_failed_sync_leaves_no_hole(scene: Scene) -> None:
    """The kernel may call pages clean that it could not write: what is taken as good must be written again."""
    log = scene.log
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, scene.again.set)
        await log.record(record.session_start(session()))
        fail_a_sync(scene)
        with pytest.raises(EvidenceFault):
            await log.record(request(1))
        await scene.again.wait()
        await log.record(record.alarm(None, None, "test", "after it"))
        nursery.cancel_scope.cancel()
    log.journal.broken = "power is off"
    log.journal.close()
    scene.storage.power_cut()
    again = Scene(scene.home)
    again.log.journal.close()
    kinds = [entry["kind"] for entry in again.entries()]
    assert kinds == ["start", "session_start", "request", "start", "session_end", "alarm", "start"]
    assert verify(scene.evidence).intact


async def test_while_the_disk_stays_full_it_is_tried_less_and_less_often(scene: Scene) -> None:
    log, times = scene.log, [trio.current_time()]

    def tried(number: int) -> None:
        times.append(trio.from_thread.run_sync(trio.current_time))
        with pytest.raises(EvidenceFault, match="No space"):
            trio.from_thread.run_sync(log.append, request(1))
        if number == 8:
            scene.storage.room = None

    scene.on_open = tried
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, scene.again.set)
        scene.storage.room = 0
        with pytest.raises(EvidenceFault):
            await log.record(record.session_start(session()))
        await scene.again.wait()
        await log.record(record.alarm(None, None, "test", "well again"))
        nursery.cancel_scope.cancel()
    log.journal.close()
    waits = [round(after - before) for before, after in pairwise(times)]
    assert waits[1:] == [2, 4, 8, 16, 30, 30, 30]
    report = verify(scene.evidence)
    assert report.intact, report.findings


async def test_what_was_torn_is_kept_and_named(scene: Scene) -> None:
    log = scene.log
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, scene.again.set)
        await log.record(record.alarm(None, None, "test", "one"))
        scene.storage.room = 150  # a line is longer: it is cut in the middle
        with pytest.raises(EvidenceFault):
            await log.record(record.alarm(None, None, "test", "two"))
        scene.storage.room = None
        await scene.again.wait()
        nursery.cancel_scope.cancel()
    log.journal.close()
    (torn,) = (scene.evidence / "logs" / "w1" / "torn").iterdir()
    assert len(torn.read_bytes()) == 150
    assert [one["file"] for one in scene.entries()[-1]["torn"]] == [torn.name]  # type: ignore[index,attr-defined]
    report = verify(scene.evidence)
    assert [one.grade for one in report.findings] == ["note"]


async def test_a_checkpoint_that_cannot_be_written_breaks_and_mends_too(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = scene.log
    replace = scene.storage.replace

    def full(path: Path, data: bytes, mode: int = 0o600) -> None:
        if path.suffix == ".note":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(path, data, mode)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, scene.again.set)
        monkeypatch.setattr(scene.storage, "replace", full)
        await log.record(record.session_start(session()))
        await log.now.broke.wait()
        with pytest.raises(EvidenceFault, match="checkpoint cannot be written"):
            log.append(request(1))
        monkeypatch.setattr(scene.storage, "replace", replace)
        await scene.again.wait()
        nursery.cancel_scope.cancel()
    log.journal.close()
    assert verify(scene.evidence).intact


async def test_another_process_in_the_meantime_is_waited_for(scene: Scene) -> None:
    log, other = scene.log, ExitStack()

    def tried(number: int) -> None:
        if number == 1:
            other.enter_context(scene.storage.lock(scene.evidence / "logs" / "w1" / "lock"))
        if number == 4:
            other.close()

    scene.on_open = tried
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, scene.again.set)
        fail_a_sync(scene)
        with pytest.raises(EvidenceFault):
            await log.record(record.session_start(session()))
        await scene.again.wait()
        nursery.cancel_scope.cancel()
    assert len(scene.openings) == 5
    log.journal.close()
    assert verify(scene.evidence).intact
