"""The archiver as it runs, a process: read while it works, killed at any moment, run again."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from test_archiving import fill, opened, run

from gateway.evidence import journal, views
from gateway.evidence.segments import numbers_in
from gateway.evidence.verify import verify

COUNT = 160
COUNTS = """
    SELECT (SELECT count(*) FROM records), (SELECT count(DISTINCT seq) FROM records),
        (SELECT count(sql) FROM statements), (SELECT count(text) FROM transcript), (SELECT count(*) FROM gaps)
"""


def test_each_record_is_seen_once_while_archivers_work_and_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as small:
        small.setattr(journal, "ROTATE_RECORDS", 8)
        log = opened(tmp_path)
        fill(log, count=COUNT)
        log.close()
    evidence = tmp_path / "evidence"
    views.write_views(evidence)
    command = [sys.executable, "-P", "-m", "gateway.evidence.archiver", str(evidence)]
    moments, reads, kills = random.Random(7), 0, 0
    with duckdb.connect(str(evidence / views.NAME), read_only=True) as database:
        while len(numbers_in(evidence / "logs/w1")[1]) > 1:
            archiver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            steps = moments.randrange(4, 12)
            while archiver.poll() is None:
                assert database.execute(COUNTS).fetchall() == [(2 * COUNT + 2, 2 * COUNT + 2, COUNT, 2 * COUNT, 0)]
                reads += 1
                steps -= 1
                if steps == 0 and kills < 4:
                    archiver.kill()
                    kills += 1
            _, said = archiver.communicate()
            assert archiver.returncode in {0, -9}, said
    assert reads > 5
    told = run(tmp_path)
    assert [one.first for one in told] == [0, *(one.last + 1 for one in told[:-1])]
    assert len(told) >= 12
    report = verify(evidence)
    assert report.heads["gw-1/w1"][0] == 2 * COUNT + 2
    assert report.intact
