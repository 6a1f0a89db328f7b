"""The log of a worker that is no longer configured: ended, archived, let go, and opened by its worker again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from evidence_samples import request, result, session
from running import write_home

from gateway.archiving import prune_once
from gateway.evidence import record
from gateway.evidence.archiver import KEPT, archive
from gateway.evidence.reader import select
from gateway.evidence.retention import Term
from gateway.evidence.segments import journal_path, payload_path
from gateway.evidence.storage import DiskStorage, InUse, SystemClock, SystemEntropy
from gateway.evidence.verify import verify
from gateway.logs import Logs, close_log, open_log, open_logs
from gateway.model import LogName, Micros
from gateway.settings import Settings, load

W2 = LogName("gw-1/w2")
CONNECTION = """
[[connection]]
name = "orders"
target = "postgresql://127.0.0.1:1/orders"
username = "app"
password = "file:password"
agents = ["any"]
"""


class Later(SystemClock):
    """The clock of an archiver that runs when the kept journal files' time has come."""

    def now(self) -> Micros:
        return Micros(super().now() + 2 * KEPT)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """One worker, where there were three: w2 was killed in a session, w3 stopped in order and had none."""
    home = tmp_path / "home"
    write_home(home, "password", [CONNECTION])
    found = load(home / "gateway.toml", {})
    for place in ("w2", "w3"):
        journal = open_log(found, place, SystemClock(), SystemEntropy(), accept_loss=False)
        if place == "w2":
            who = session()
            for draft in (record.session_start(who), request(2), result(3, 2)):
                journal.append(draft)
        close_log(journal, "stopped" if place == "w3" else None)
    return found


@contextmanager
def opened(settings: Settings) -> Iterator[Logs]:
    with open_logs(settings, SystemClock(), SystemEntropy(), accept_loss=False) as logs:
        yield logs


def kinds(settings: Settings, log: str) -> list[tuple[str, str]]:
    sql = f"SELECT kind, coalesce(entry->>'reason', '') FROM records WHERE log = '{log}' ORDER BY seq"
    return [(kind, reason) for kind, reason in select(settings.evidence_dir, sql)[1]]


def test_what_was_open_is_ended_and_its_file_closed_once(settings: Settings) -> None:
    with opened(settings) as logs:
        assert [log.log for log in logs.all] == ["gw-1/control", "gw-1/w1", "gw-1/w2", "gw-1/w3"]
        assert [log.number for log in logs.resting] == [2, 1]
    assert kinds(settings, W2) == [
        ("start", ""), ("session_start", ""), ("request", ""), ("result", ""),
        ("start", ""), ("session_end", "lost"), ("shutdown", "stopped"),
    ]  # fmt: skip
    for _ in range(2):
        with opened(settings) as logs:
            assert [log.number for log in logs.resting] == [2, 1], "a start made a file of nothing"
    assert verify(settings.evidence_dir).intact


async def test_it_is_archived_and_let_go_with_the_records_of_that_in_it(settings: Settings) -> None:
    directory = settings.evidence_dir / "logs" / "w2"
    with opened(settings) as logs:
        named = {log.log: log for log in logs.all}
        for clock in (SystemClock(), Later()):
            for one in archive(settings.evidence_dir, DiskStorage(), clock):
                told = asdict(one)
                await named[told.pop("log")].record(record.archive(**told))
        assert not journal_path(directory, 1).exists()
        assert payload_path(directory, 1).exists()
        await prune_once(settings.evidence_dir, logs.all, [Term("payloads", age=1)], None)
        assert not payload_path(directory, 1).exists()
    assert [kind for kind, _ in kinds(settings, W2)][-3:] == ["archive", "erasure", "shutdown"]
    assert verify(settings.evidence_dir).intact


def test_a_worker_waits_for_one_whose_supervisor_was_killed_and_the_supervisor_for_nobody(settings: Settings) -> None:
    begun = lambda place: open_log(settings, place, SystemClock(), SystemEntropy(), accept_loss=False)  # noqa: E731
    former, control = begun("w2"), begun("control")
    with ThreadPoolExecutor(1) as one:
        next_ = one.submit(begun, "w2")
        with pytest.raises(InUse):
            begun("control")
        assert not next_.done()
        close_log(former)
        close_log(next_.result(timeout=30), "stopped")
    close_log(control)
    assert verify(settings.evidence_dir).intact


def test_its_worker_goes_on_with_it_once_there_is_one_again(settings: Settings) -> None:
    with opened(settings):
        pass
    head = len(kinds(settings, W2))
    journal = open_log(settings, "w2", SystemClock(), SystemEntropy(), accept_loss=False)
    assert journal.durable == head
    close_log(journal, "stopped")
    assert [kind for kind, _ in kinds(settings, W2)][head:] == ["start", "shutdown"]
    with opened(settings) as logs:
        assert [log.number for log in logs.resting] == [2, 1]
    report = verify(settings.evidence_dir)
    assert report.intact, json.dumps([str(each) for each in report.findings])
