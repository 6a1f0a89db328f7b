"""`evidence verify` as a person runs it: its progress, its processes, and how it is stopped."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from evidence_samples import fill, sign
from test_archiving import fill as fill_log
from test_archiving import opened, record_archived

from gateway.__main__ import main
from gateway.cli.progress import Progress
from gateway.evidence import journal, views


def test_a_bar_with_rate_and_remaining_time() -> None:
    stream, times = io.StringIO(), iter([0.0, 0.1, 10.0, 10.1, 100.0])
    progress = Progress(stream, lambda: next(times))
    for done in (0, 30_000_000, 31_000_000, 180_000_000):
        progress(done, 600_000_000)
    progress.done()
    drawn = stream.getvalue().split("\r\x1b[K")
    assert drawn == [
        "",
        "[..............................]   0%  0 MB/s  ",
        "[#.............................]   5%  3 MB/s  3 min 10 s left",
        "[#########.....................]  30%  2 MB/s  3 min 53 s left",
        "",
    ]


def test_nothing_is_drawn_where_nobody_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path)
    assert main(["evidence", "verify", str(sign(tmp_path))]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_it_says_the_same_with_any_number_of_processes(
    tmp_path: Path, jobs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as small:
        small.setattr(journal, "ROTATE_RECORDS", 8)
        log = opened(tmp_path)
        fill_log(log, count=40)
        log.close()
    views.write_views(tmp_path / "evidence")
    assert record_archived(tmp_path) > 3
    assert main(["evidence", "verify", str(tmp_path / "evidence"), "--jobs", jobs, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["records"] == told["heads"]["gw-1/w1"]["size"]
    assert told["records"] > 80


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1000"])
def test_a_wrong_number_of_processes(tmp_path: Path, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evidence", "verify", str(tmp_path), "--jobs", wrong])
    assert stopped.value.code == 2
    assert "--jobs" in capsys.readouterr().err


def test_ctrl_c_ends_it_with_one_line(tmp_path: Path) -> None:
    """It reads a witness's notes from a pipe: once that is open on both sides, it is at work."""
    fill(tmp_path)
    pipe = tmp_path / "notes"
    os.mkfifo(pipe)
    heeding = [
        "env",
        "--default-signal=INT",
    ]  # whatever started the tests may ignore Ctrl-C, as shells do in the background
    command = [*heeding, sys.executable, "-m", "gateway", "evidence", "verify", str(tmp_path), "--witness", str(pipe)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as verifying:
        descriptor = os.open(pipe, os.O_WRONLY)
        verifying.send_signal(signal.SIGINT)
        out, err = verifying.communicate(timeout=60)
        os.close(descriptor)
    assert (verifying.returncode, out) == (2, "")
    assert err == "hoop-gateway: stopped before the end: nothing is proved\n"
