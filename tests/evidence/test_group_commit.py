"""Many tasks, one sync: nobody goes on before it returned, and a fault reaches all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio
import trio.testing
from evidence_double import DoubleStorage, held_syncs
from evidence_samples import open_journal, request, session, verify_signed

from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.commit import FAST, GroupCommit
from gateway.evidence.journal import Journal, Recorded


@pytest.fixture
def storage() -> DoubleStorage:
    return DoubleStorage()


@pytest.fixture
def journal(tmp_path: Path, storage: DoubleStorage) -> Journal:
    journal = open_journal(tmp_path, storage=storage)
    journal.append(record.session_start(session()))
    journal.flush()
    return journal


class Stopwatch:
    """Says that each sync took `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.at = seconds, 0.0

    def __call__(self) -> float:
        self.at += self.seconds
        return self.at


@pytest.mark.parametrize("seconds", [FAST / 10, FAST * 10], ids=["inline", "in a thread"])
async def test_one_sync_serves_all_that_are_ready(journal: Journal, storage: DoubleStorage, seconds: float) -> None:
    group = GroupCommit(journal, Stopwatch(seconds))
    await group.record(request(1))
    await group.record(request(2))
    before = storage.syncs
    done: list[int] = []

    async def ask(n: int) -> None:
        recorded = await group.record(request(n))
        assert isinstance(recorded, Recorded)
        assert recorded.ticket.seq <= journal.durable
        done.append(n)

    async with trio.open_nursery() as nursery:
        for n in range(3, 103):
            nursery.start_soon(ask, n)
    assert sorted(done) == list(range(3, 103))
    assert storage.syncs - before <= 2


async def test_nothing_goes_on_before_the_covering_sync_returned(journal: Journal, storage: DoubleStorage) -> None:
    group = GroupCommit(journal)
    went_on: list[int] = []

    async def ask(n: int) -> None:
        await group.record(request(n))
        went_on.append(n)

    with held_syncs(storage) as gate:
        async with trio.open_nursery() as nursery:
            for n in range(1, 6):
                nursery.start_soon(ask, n)
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            assert (went_on, journal.durable) == ([], 0)
            late = group.append(request(6))  # while the sync is under way: not covered by it
            gate.set()
    assert sorted(went_on) == [1, 2, 3, 4, 5]
    assert late.seq > journal.durable
    await group.durable(late)
    assert late.seq == journal.durable
    assert storage.log.count(("sync", "00000001.tsv")) == 3


async def test_what_is_durable_already_does_not_yield(journal: Journal) -> None:
    group = GroupCommit(journal)
    ticket = group.append(request(1))
    journal.flush()
    with trio.testing.assert_no_checkpoints():
        assert (await group.durable(ticket)).ticket is ticket


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_a_failed_sync_reaches_every_waiter_and_everyone_after(
    journal: Journal, storage: DoubleStorage, error: int
) -> None:
    group = GroupCommit(journal)
    storage.sync_error = OSError(error, "the disk says no")
    faults: list[int] = []

    async def ask(n: int) -> None:
        with pytest.raises(EvidenceFault, match="the disk says no"):
            await group.record(request(n))
        faults.append(n)

    async with trio.open_nursery() as nursery:
        for n in range(1, 11):
            nursery.start_soon(ask, n)
    assert sorted(faults) == list(range(1, 11))
    before = list(storage.log)
    await ask(11)
    assert storage.log == before
    assert journal.durable == 0


async def test_a_leader_that_is_cancelled_leaves_nobody_waiting(journal: Journal, tmp_path: Path) -> None:
    group = GroupCommit(journal)
    tickets = [group.append(request(n)) for n in (1, 2, 3)]
    cancelled = trio.CancelScope()
    done: list[int] = []

    async def leader() -> None:
        with cancelled:
            cancelled.cancel()  # strikes where it lets the others append
            await group.durable(tickets[0])

    async def follower(n: int) -> None:
        await group.durable(tickets[n - 1])
        done.append(n)

    async with trio.open_nursery() as nursery:
        for task, *arguments in [(leader,), (follower, 2), (follower, 3)]:
            nursery.start_soon(task, *arguments)
    assert sorted(done) == [2, 3]
    assert cancelled.cancelled_caught or journal.durable == 3
    journal.close()
    assert verify_signed(tmp_path).records == 4
    assert verify_signed(tmp_path).intact


async def test_a_task_cancelled_during_the_sync_does_not_harm_the_log(
    journal: Journal, storage: DoubleStorage, tmp_path: Path
) -> None:
    group = GroupCommit(journal)
    with held_syncs(storage) as gate, trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(group.record, request(1))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            gate.set()
    assert journal.durable == 1
    await group.record(request(2))
    journal.close()
    assert verify_signed(tmp_path).records == 3


async def test_what_nobody_waits_for_is_durable_within_50_ms(journal: Journal) -> None:
    group = GroupCommit(journal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run)
        group.append(request(1))
        with trio.fail_after(5):
            began = trio.current_time()
            while journal.durable < 1:
                await trio.sleep(0.002)
        assert trio.current_time() - began < 1
        group.append(request(2))
        with trio.fail_after(5):
            while journal.durable < 2:
                await trio.sleep(0.002)
        nursery.cancel_scope.cancel()


async def test_the_background_task_ends_when_the_journal_is_broken(journal: Journal, storage: DoubleStorage) -> None:
    group = GroupCommit(journal)
    storage.sync_error = OSError(errno.EIO, "the disk says no")
    group.append(request(1))
    with trio.fail_after(5):
        await group.run()
    with pytest.raises(EvidenceFault):
        group.append(request(2))


async def test_fast_disks_are_synced_in_the_loop_and_slow_ones_in_a_thread(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[object] = []
    run_sync = trio.to_thread.run_sync

    async def counted(*args: object, **kwargs: object) -> object:
        threads.append(args)
        return await run_sync(*args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    watch = Stopwatch(FAST / 10)
    group = GroupCommit(journal, watch)
    for n in range(1, 6):
        await group.record(request(n))
    assert len(threads) == 1, "only the first, whose speed nobody knew"
    watch.seconds = FAST * 10
    for n in range(6, 11):
        await group.record(request(n))
    assert len(threads) == 5
