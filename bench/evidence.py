"""`python -m bench.evidence`: how fast evidence is written, archived, checked and asked; docs/benchmarks-evidence.md.

One run measures all of it on one machine. `--evidence DIR` asks and checks an evidence directory that is there already,
instead of writing `--records` records first. Times of processes that share cores with other work are CPU times.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from bench.synthetic import SyntheticClock, write
from gateway.evidence import record
from gateway.evidence.archiver import Archived, archive
from gateway.evidence.commit import GroupCommit
from gateway.evidence.journal import Journal
from gateway.evidence.reader import select
from gateway.evidence.saved import saved
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.evidence.verify import verify
from gateway.model import LogName

OUT = Path(__file__).parent.parent / "docs" / "benchmarks-evidence.md"


def main() -> int:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.evidence", description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--evidence", type=Path, help="ask and check this one")
    parser.add_argument("--checked", type=int, default=330_000, help="records of the log that is checked")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run of writing")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hoop-bench-") as folder:
        rows = _writing(Path(folder), arguments.seconds) + _checking(Path(folder), arguments.checked)
        evidence = arguments.evidence or write(Path(folder) / "large", arguments.records)
        asked, count = _asking(evidence)
    page = _page(rows, asked, count)
    print(page)
    arguments.out.write_text(page)
    return 0


def _writing(folder: Path, seconds: float) -> list[tuple[str, str]]:
    """Measure records a second, durable before whoever wrote them goes on, with a log of its own for each case."""
    found = []
    for waiters in (1, 64, 256):
        place = folder / f"w{waiters}" / "logs" / "w1"
        log = Journal.open(place, LogName("gw-1/w1"), DiskStorage(), SystemClock(), SystemEntropy())
        count = trio.run(_write, GroupCommit(log), waiters, seconds)
        log.close()
        found.append((f"records written durable, {waiters} waiting", f"{count / seconds:,.0f}/s"))
    return found


async def _write(group: GroupCommit, waiters: int, seconds: float) -> int:
    written = 0

    async def one() -> None:
        nonlocal written
        while True:
            await group.record(record.access("bench", "evidence", "measuring"))
            written += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run)
        for _ in range(waiters):
            nursery.start_soon(one)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return written


def _checking(folder: Path, records: int) -> list[tuple[str, str]]:
    """Measure archiving and checking a log of so many records."""
    archived, spent = 0, 0.0

    def counted(evidence: Path, storage: DiskStorage, clock: SyntheticClock) -> list[Archived]:
        nonlocal archived, spent
        began = time.process_time()
        found = list(archive(evidence, storage, clock))
        spent += time.process_time() - began
        archived += sum(one.last - one.first + 1 for one in found)
        return found

    evidence = write(folder / "checked", records, archiving=counted)
    size = sum(path.stat().st_size for path in evidence.glob("logs/*/*/*") if path.suffix in {".parquet", ".tsv"})
    found = [("archived", f"{archived / spent:,.0f} records/s and core")] if spent else []
    for name, quick in (("full verify", False), ("quick verify", True)):
        cpu, wall = _timed(lambda quick=quick: verify(evidence, quick))  # type: ignore[misc]
        found.append((name, f"{cpu / records * 1e6:.1f} µs a record of CPU, {size / wall / 1e6:,.0f} MB/s"))
    cpu, wall = _timed(lambda: [path.read_bytes() for path in evidence.glob("logs/*/*/*.parquet")])
    found.append(("reading the same files from memory", f"{size / wall / 1e6:,.0f} MB/s"))
    return found


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return CPU seconds of this process and its children, and seconds on the wall."""

    def cpu() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    began, wall = cpu(), time.monotonic()
    work()
    return cpu() - began, time.monotonic() - wall


def _asking(evidence: Path) -> tuple[list[tuple[str, str]], int]:
    """Measure each saved query, the better of two."""
    (count,) = select(evidence, "SELECT count(*) FROM records")[1][0]
    found = []
    for one in saved():
        cpu, wall = min((_timed(lambda one=one: select(evidence, one.sql)) for _ in range(2)), key=lambda t: t[1])  # type: ignore[misc]
        found.append((one.name, f"{wall:.2f} s ({cpu:.2f} s of CPU)"))
    return found, int(count)


def _page(rows: list[tuple[str, str]], asked: list[tuple[str, str]], count: int) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    load = f"load average {os.getloadavg()[0]:.1f} at the end, of other work on the machine"
    lines = ["# Benchmarks of the evidence", "", f"`python -m bench.evidence` on {machine}; {load}.", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += [f"The saved queries over {count:,} records, views opened anew each time:", ""]
    lines += ["| query | answered in |", "|---|---|", *(f"| `{name}` | {value} |" for name, value in asked)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
