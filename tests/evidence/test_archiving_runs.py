"""The gateway runs the archiver beside itself and records what it made."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from evidence_double import CountedEntropy
from evidence_samples import CONTROL, WORKER, request, session

from gateway.archiving import archive_once, keep_archiving
from gateway.evidence import journal, record, views
from gateway.evidence.commit import GroupCommit
from gateway.evidence.journal import Journal
from gateway.evidence.reader import select
from gateway.evidence.segments import entries_path, journal_path
from gateway.evidence.storage import DiskStorage, SystemClock
from gateway.evidence.verify import verify


@pytest.fixture
def logs(tmp_path: Path) -> tuple[GroupCommit, GroupCommit]:
    opened = []
    for name in (CONTROL, WORKER):
        directory = tmp_path / "evidence" / "logs" / name.rpartition("/")[2]
        keys = tmp_path / "keys"
        log = Journal.open(directory, name, DiskStorage(), SystemClock(), CountedEntropy(), keys=keys)
        log.append(record.start("gw-1", "0.1"))
        log.flush()
        opened.append(GroupCommit(log))
    return opened[0], opened[1]


async def test_a_closed_file_is_archived_and_recorded_while_records_go_on(
    tmp_path: Path, logs: tuple[GroupCommit, GroupCommit], monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence, (control, worker) = tmp_path / "evidence", logs
    views.write_views(evidence)
    with monkeypatch.context() as small:
        small.setattr(journal, "ROTATE_RECORDS", 8)
        worker.append(record.session_start(session()))
        for n in range(1, 12):
            await worker.durable(worker.append(request(n)))
    assert worker.journal.number == 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_archiving, evidence, logs)
        with trio.fail_after(30):
            while not select(evidence, "SELECT 1 FROM records WHERE kind = 'archive'")[1]:
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    log = evidence / "logs/w1"
    assert entries_path(log, 1).exists()
    assert journal_path(log, 1).exists(), "for ten minutes more"
    await archive_once(evidence, logs)
    assert select(evidence, "SELECT log, count(*) FROM records WHERE kind = 'archive' GROUP BY ALL")[1] == [(WORKER, 1)]
    for one in (control, worker):
        one.journal.close()
    assert {one.grade for one in verify(evidence).findings} == {"note"}


async def test_what_goes_wrong_is_said_and_stops_nothing(
    tmp_path: Path, logs: tuple[GroupCommit, GroupCommit], caplog: pytest.LogCaptureFixture
) -> None:
    await archive_once(tmp_path / "nothing", logs)
    assert "archiving: " in caplog.text
    for one in logs:
        one.journal.close()
