"""A gateway with a witness in another process: what status, evidence and the auditor see, and a history put back."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import RunningGateway, serving, write_home

from gateway.__main__ import main

SECONDS = 30


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def witnessing(place: Path, port: int, evidence: Path) -> Iterator[None]:
    """`hoop-gateway witness serve` for the time of a block."""
    command = [sys.executable, "-m", "gateway", "witness", "serve", str(place), "--listen", f"127.0.0.1:{port}"]
    command += [f"--log={path}" for path in sorted(evidence.glob("logs/*/log.pub"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"ready 127.0.0.1:{port}\n"
        yield
    finally:
        process.terminate()
        process.stdout.close()
        assert process.wait(10) == 0


def status(gateway: RunningGateway) -> tuple[int, dict[str, Any]]:
    done = gateway.command("status", "-c", str(gateway.config), "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def until(gateway: RunningGateway, ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for the status until it is as wanted."""
    deadline = time.monotonic() + SECONDS
    while True:
        _, told = status(gateway)
        if ready(told):
            return told
        assert time.monotonic() < deadline, (told, gateway.log)


def all_seen(told: dict[str, Any]) -> bool:
    return all(head["witnessed"] and not head["unwitnessed"] for head in told["evidence"].values())


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A gateway with a witness and a file sink, a target that is not there; `port` and `witness` beside it."""
    port = free_port()
    (tmp_path / "port").write_text(str(port))
    assert main(["witness", "init", str(tmp_path / "witness"), "--name", "witness.test/w1"]) == 0
    key = capsys.readouterr().out.strip()
    table = f'[[evidence.witness]]\nurl = "http://127.0.0.1:{port}"\nkey = "{key}"\n[[evidence.sink]]\nfile = "sink"\n'
    write_home(tmp_path, "x", [], table)
    with serving(tmp_path):
        pass  # makes the logs' keys, which the witness must know
    return tmp_path


def test_the_window_closes_and_the_auditor_can_compare(home: Path) -> None:
    port = int((home / "port").read_text())
    with serving(home) as gateway:
        first = until(gateway, lambda told: any(each["fault"] for each in told["witnesses"]))
        assert "cannot be reached" in str([each["fault"] for each in first["witnesses"]])
        assert first["healthy"] is True
        check = ["check", "-c", str(gateway.config)]
        assert "evidence.witness.0.url: cannot be reached" in gateway.command(*check, check=False).stdout
        with witnessing(home / "witness", port, gateway.evidence):
            assert "fault:" not in gateway.command(*check, check=False).stdout
            told = until(gateway, lambda told: all(not each["fault"] for each in told["witnesses"]) and all_seen(told))
        assert {each["name"] for each in told["witnesses"]} == {"witness.test/w1", str(home / "sink")}
        rows = gateway.query("SELECT log, size, witnessed_by FROM checkpoints WHERE len(witnessed_by) > 0")
        assert {row["log"] for row in rows} == {"gw-1/control", "gw-1/w1"}
        for kept in (home / "witness" / "notes", home / "sink"):
            done = gateway.command("evidence", "verify", str(gateway.evidence), "--witness", str(kept), check=False)
            assert done.returncode == 0, done.stdout
            assert " seen by a witness" in done.stdout
    assert (gateway.evidence / "witness.pub").read_text().startswith("witness.test/w1+")


def test_a_history_that_was_put_back_is_told_loudly(home: Path) -> None:
    port, evidence = int((home / "port").read_text()), home / "state" / "evidence"
    shutil.copytree(evidence, home / "copy")
    with witnessing(home / "witness", port, evidence):
        with serving(home) as gateway:
            until(gateway, all_seen)
        shutil.rmtree(evidence)
        shutil.copytree(home / "copy", evidence)
        with serving(home) as gateway:
            until(gateway, lambda told: any(each["refuses"] for each in told["witnesses"]))
            code, told = status(gateway)
            assert (code, told["healthy"], told["forwarding"]) == (1, False, True)
            assert "it signed" in told["fault"]
            alarms = gateway.query("SELECT alarm, detail FROM alarms")
            assert "witness_refuses" in {row["alarm"] for row in alarms}
    done = gateway.command("evidence", "verify", str(evidence), "--witness", str(home / "sink"), check=False)
    assert done.returncode == 1, done.stdout
    assert "tampered" in done.stdout
