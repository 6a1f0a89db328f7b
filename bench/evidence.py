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
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import duckdb
import trio

from bench.synthetic import SyntheticClock, write
from gateway.evidence import columns, record
from gateway.evidence.archiver import Archived, archive
from gateway.evidence.checked_log import CheckedLog
from gateway.evidence.commit import GroupCommit
from gateway.evidence.following import Following, Stretch, committed
from gateway.evidence.frontier import read_frontier
from gateway.evidence.journal import Journal
from gateway.evidence.live_tail import follow_journals
from gateway.evidence.reader import select
from gateway.evidence.saved import saved
from gateway.evidence.segment_rows import connect, follow_segment
from gateway.evidence.segment_tasks import worked
from gateway.evidence.segments import entries_path, journal_path, numbers_in, payload_path
from gateway.evidence.sources import journal_lines
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.evidence.verify import verify
from gateway.evidence.views import located
from gateway.model import LogName

QUESTIONS = {
    "statements of a session, all columns": "SELECT * FROM statements WHERE session_id = '{session}' ORDER BY seq",
    "its transcript": "SELECT * FROM transcript WHERE session_id = '{session}' ORDER BY seq",
    "statements of an hour, all columns": "SELECT * FROM statements WHERE {hour}",
    "statements of a subject in an hour": "SELECT ts, sql FROM statements WHERE subject = '{subject}' AND {hour}",
    "statements of an hour that name a table": "SELECT ts, sql FROM statements WHERE sql ILIKE '%payments%' AND {hour}",
    "records of an hour": "SELECT log, seq, kind, subject, verdict FROM records WHERE {hour}",
    "sessions of a subject": "SELECT * FROM sessions WHERE subject = '{subject}'",
    "a session": "SELECT * FROM sessions WHERE session_id = '{session}'",
    "the newest of a subject": "SELECT ts, sql FROM statements WHERE subject = '{subject}' ORDER BY ts DESC LIMIT 100",
    "every statement by its outcome": "SELECT outcome, count(*) FROM statements GROUP BY ALL",
    "every statement that names a table": "SELECT count(*) FROM statements WHERE sql ILIKE '%payments%'",
}  # fmt: skip
"""What auditors ask beside the saved queries."""
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
        asked = _asking(evidence)
    page = _page(rows, *asked)
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
    found = [("archived", f"{archived / spent:,.0f} records/s and core")] if spent else []
    return found + _verifying(evidence)


def _verifying(evidence: Path) -> list[tuple[str, str]]:
    """Measure checking it, full and quick, each the best of three, against reading the same files."""
    files = [path for path in evidence.glob("logs/*/*/*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    count, live = verify(evidence, jobs=1).records, _live(evidence)

    def best(work: Callable[[], object]) -> tuple[float, float]:
        times = [_timed(work) for _ in range(3)]
        return min(cpu for cpu, _ in times), min(wall for _, wall in times)

    read = best(lambda: [path.read_bytes() for path in files])[1]
    found = [("checked", f"{count:,} records, {live:,} of them live, {size / 1e6:,.0f} MB")]
    for name, quick, jobs in (("full verify, one process", False, 1), ("quick verify", True, None)):
        cpu, wall = best(lambda quick=quick, jobs=jobs: verify(evidence, quick, jobs=jobs))  # type: ignore[misc]
        rate = f"{size / wall / 1e6:,.0f} MB/s, {read / wall:.2f} of reading"
        found.append((name, f"{cpu / count * 1e6:.1f} µs a record of CPU, {rate}"))
    tasks = CheckedLog(evidence / "logs" / "w1", quick=True).tasks()
    archived = sum(task.size for task in tasks)
    wall = best(lambda: [*worked(tasks, None)])[1]
    read = best(lambda: [path.read_bytes() for task in tasks for path in task.files])[1]
    found.append(("quick verify, of segments", f"{archived / wall / 1e6:,.0f} MB/s, {read / wall:.2f} of reading"))
    found += [(name, f"{cpu:.1f} µs a record of CPU") for name, cpu in _parts(evidence)]
    found.append(("reading those segments from memory", f"{archived / read / 1e6:,.0f} MB/s"))
    return found


def _live(evidence: Path) -> int:
    logs = [(log, number) for log in (evidence / "logs").iterdir() for number in numbers_in(log)[1]]
    return sum(whole for log, number in logs for _, whole in journal_lines(journal_path(log, number)))


def _parts(evidence: Path) -> list[tuple[str, float]]:
    """Return microseconds of CPU a record, the best of three, for a segment and for the live tail."""
    log = evidence / "logs" / "w1"
    segments, journals = numbers_in(log)
    spent: dict[str, list[float]] = {}

    def measured(name: str, work: Callable[[Following], object], after: int, quick: bool = False) -> None:
        state = Following(log, after=read_frontier(log, after), quick=quick)
        began = time.process_time()
        work(state)
        spent.setdefault(name, []).append((time.process_time() - began) / max(state.records, 1))

    signed = max(int(one.stem) for one in (log / "checkpoints").glob("*.note"))
    with connect() as database:
        for _ in range(3):
            measured(
                "full verify, of a segment", lambda to: follow_segment(to, log, segments[-1], database), segments[-2]
            )
            measured("full verify, of the live tail", lambda to: follow_journals(to, log, journals), segments[-1])
            measured(
                "full verify, no columns and form", lambda to: _bare(to, log, segments[-1], database), segments[-2]
            )
            quick = partial(follow_journals, directory=log, numbers=journals, signed=signed)
            measured("quick verify, of the live tail", quick, segments[-1], quick=True)
    return [(name, min(times) * 1e6) for name, times in spent.items()]


def _bare(log: Following, directory: Path, number: int, database: duckdb.DuckDBPyConnection) -> None:
    """Chain, tree and payloads of a segment alone: what no check can leave out."""
    entries, payload = located(entries_path(directory, number)), located(payload_path(directory, number))
    cursor, encoded = database.cursor(), database.cursor()
    cursor.execute(columns.commitments(payload, entries, f"{directory.name}/{number:08}"))
    while (row := cursor.fetchone()) is not None:
        _, _, _, salts, payloads, pcs = row
        assert committed(salts, payloads.encode().split(b"\n"), pcs)
    # As verify reads them: values one by one would cost more than what is measured here.
    cursor.execute(f"""
        SELECT min(seq) AS first, string_agg(chain, ',') FROM read_parquet({entries}, file_row_number = true)
        GROUP BY file_row_number // {columns.GROUP} ORDER BY first
    """)  # noqa: S608  ours
    encoded.execute(columns.entries(entries))
    while (row := cursor.fetchone()) is not None:
        these = [entry for (entry,) in encoded.fetchmany(columns.GROUP)]
        (first, chains), nothing = row, [None] * len(these)
        times, kinds = [log.last_ts] * len(these), [""] * len(these)
        assert log.stretch(Stretch(first, chains, these, times, kinds, *[nothing] * 3))


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return CPU seconds of this process and its children, and seconds on the wall."""

    def cpu() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    began, wall = cpu(), time.monotonic()
    work()
    return cpu() - began, time.monotonic() - wall


def _asking(evidence: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]], int]:
    """Measure each saved query and each question, the better of two."""
    first = "SELECT session_id, subject, ended FROM sessions WHERE statements > 0 ORDER BY ended DESC LIMIT 1 OFFSET 9"
    ((session, subject, ended),) = select(evidence, first)[1]
    hour = f"ts BETWEEN TIMESTAMP '{ended}' - INTERVAL 1 HOUR AND TIMESTAMP '{ended}'"
    (count,) = select(evidence, "SELECT count(*) FROM records")[1][0]
    questions = {one: sql.format(session=session, subject=subject, hour=hour) for one, sql in QUESTIONS.items()}
    return _asked(evidence, {one.name: one.sql for one in saved()}), _asked(evidence, questions), int(count)


def _asked(evidence: Path, queries: Mapping[str, str]) -> list[tuple[str, str]]:
    found = []
    for name, sql in queries.items():
        cpu, wall = min((_timed(lambda sql=sql: select(evidence, sql)) for _ in range(2)), key=lambda t: t[1])  # type: ignore[misc]
        found.append((name, f"{wall:.2f} s ({cpu:.2f} s of CPU)"))
    return found


def _page(
    rows: list[tuple[str, str]], asked: list[tuple[str, str]], questions: list[tuple[str, str]], count: int
) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    load = f"load average {os.getloadavg()[0]:.1f} at the end, of other work on the machine"
    lines = ["# Benchmarks of the evidence", "", f"`python -m bench.evidence` on {machine}; {load}.", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += [f"The saved queries over {count:,} records, views opened anew each time:", ""]
    lines += ["| query | answered in |", "|---|---|", *(f"| `{name}` | {value} |" for name, value in asked), ""]
    lines += ["| question | answered in |", "|---|---|", *(f"| {name} | {value} |" for name, value in questions)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
