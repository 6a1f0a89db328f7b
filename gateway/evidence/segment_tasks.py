"""Segments and live tails shared out to processes, each followed by itself from what the frontier before it claims.

Promises results in order, whoever finishes first, and that closing leaves no process behind. Proves nothing about where
a segment or a tail begins: whoever joins the results compares that.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import duckdb
from blake3 import blake3

from gateway.evidence.entry import Malformed, parse_loosely
from gateway.evidence.following import Following
from gateway.evidence.frontier import read_frontier
from gateway.evidence.live_tail import follow_journals
from gateway.evidence.originals import originals_path
from gateway.evidence.said import AGAIN, Said
from gateway.evidence.segment_rows import connect, follow_segment
from gateway.evidence.segments import entries_path, frontier_path, journal_path, payload_path
from gateway.evidence.views import located

_SWITCH = 0.0002
"""Seconds after which one thread lets another one on."""
_ALONE = 32 << 20
"""Bytes of segments below which one process is faster than starting others."""
Opened: TypeAlias = Callable[[], duckdb.DuckDBPyConnection]
"""Gives a database from `connect`. Whoever follows many segments keeps one: a new one for each, and the memory that it
has to ask of the system again, cost an eighth of the whole."""


@dataclass(frozen=True, slots=True)
class Task:
    """Segment `number` of the log in `directory`, which goes on from segment `claim` (0: it is the log's beginning).

    Where it has `journals`, those journal files instead: the log's live tail.
    """

    directory: Path
    number: int
    claim: int
    due: frozenset[int]
    signed: int | None
    quick: bool
    journals: tuple[int, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Return its files that are there."""
        if self.journals:
            return tuple(journal_path(self.directory, number) for number in self.journals)
        find = (entries_path, payload_path, frontier_path, originals_path)
        return tuple(path for path in (one(self.directory, self.number) for one in find) if path.is_file())

    @property
    def size(self) -> int:
        """Return the bytes of its files."""
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True, slots=True)
class Worked:
    """A task that was followed by itself; `state` None: what it goes on from is not there."""

    state: Following | None
    digests: dict[Path, str] = field(default_factory=dict)


def work(task: Task, opened: Opened) -> Worked:
    """Follow one segment, or one live tail, by itself."""
    digests = {} if task.journals else {path: blake3().update_mmap(path).hexdigest() for path in task.files}
    if task.quick and not task.journals:
        return Worked(_skipped(task), digests)
    claim = read_frontier(task.directory, task.claim)
    if task.claim and claim is None:
        return Worked(None, digests)
    state = Following(task.directory, task.due, after=claim, signed=task.signed, quick=task.quick)
    state.roots.clear()  # that at its beginning belongs to what came before
    follow_task(state, task, opened)
    return Worked(state, digests)


def follow_task(state: Following, task: Task, opened: Opened) -> None:
    """Follow a segment, or a live tail, from where `state` stands. May raise OSError."""
    if task.journals:
        follow_journals(state, task.directory, task.journals, (task.signed or 0) if task.quick else 0)
    else:
        follow_segment(state, task.directory, task.number, opened())


def _skipped(task: Task) -> Following:
    """Go behind a segment by its frontier, and read only those records that are looked at again."""
    entries, frontier = entries_path(task.directory, task.number), read_frontier(task.directory, task.number)
    state = Following(task.directory, task.due, after=frontier, signed=task.signed, quick=True)
    if frontier is None:
        state.unreadable(f"segment {entries.name}: {frontier_path(task.directory, task.number).name} cannot be read")
    if not payload_path(task.directory, task.number).is_file():
        state.unpaid.append(task.number)
    again = _searched(state, entries) if frontier is None or frontier.again is None else frontier.again
    for one in again:
        kind = str(one.entry.get("kind"))
        for name in {kind} & AGAIN | ({"quote"} & one.entry.keys()):
            state.said.setdefault(name, []).append(one)
    return state


def _searched(state: Following, entries: Path) -> Iterator[Said]:
    """Read the records that are looked at again from the segment itself: its frontier is from before it had them."""
    kinds = ", ".join(f"'{kind}'" for kind in sorted(AGAIN | {"release"}))
    sql = f"SELECT seq, chain, entry FROM read_parquet({located(entries)}) WHERE kind IN ({kinds})"  # noqa: S608  ours
    try:
        with connect() as database:
            for seq, chain, entry in database.execute(sql).fetchall():
                yield Said(seq, chain, parse_loosely(entry.encode()))
    except (duckdb.Error, Malformed) as fault:
        state.unreadable(f"segment {entries.name} cannot be read: {str(fault).splitlines()[0]}")


def worked(tasks: Sequence[Task], jobs: int | None) -> Generator[Worked]:
    """Yield the result of each task in order, with `jobs` processes (None: one for each core).

    Quick tasks get threads: they hash files, which needs no interpreter.
    """
    count = min(jobs or len(os.sched_getaffinity(0)), len(tasks))
    quick = bool(tasks) and tasks[0].quick
    if count < 2 or (jobs is None and not quick and sum(task.size for task in tasks) < _ALONE):
        opened = cache(connect)
        yield from (work(task, opened) for task in tasks)
        return
    pool: Executor = ThreadPoolExecutor(count)
    if not quick:
        pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_begin)
    interval = sys.getswitchinterval()
    try:
        if quick:  # else whoever has hashed a file waits 5 ms for whoever follows a tail
            sys.setswitchinterval(_SWITCH)
        places = sorted(
            range(len(tasks)), key=lambda place: not tasks[place].journals
        )  # tails first: they take longest
        started = {place: pool.submit(_quickly if quick else _there, tasks[place]) for place in places}
        for place in range(len(tasks)):
            yield started.pop(place).result()  # and keeps none of them
    finally:
        sys.setswitchinterval(interval)
        pool.shutdown(cancel_futures=True)


def _quickly(task: Task) -> Worked:
    return work(task, connect)  # threads share none, and need none


def _there(task: Task) -> Worked:
    return work(task, _kept)


@cache
def _kept() -> duckdb.DuckDBPyConnection:
    """Return the one database of a worker process."""
    return connect()


def _begin() -> None:
    """Let Ctrl-C end a worker at once and without words; whoever started it says what happened."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
