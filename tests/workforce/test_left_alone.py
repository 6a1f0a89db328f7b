"""A worker's process whose supervisor is gone before it had begun: it ends, and lets go of its log."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from running import write_home

from gateway.evidence.storage import SystemClock, SystemEntropy
from gateway.logs import close_log, open_log
from gateway.settings import load
from gateway.workforce.codec import plain
from gateway.workforce.handing import pair
from gateway.workforce.messages import Begin

CONNECTION = """
[[connection]]
name = "orders"
target = "postgresql://127.0.0.1:1/orders"
username = "app"
password = "file:password"
agents = ["any"]
"""


@pytest.mark.parametrize("asked", [True, False], ids=["after its first message", "before it"])
def test_it_ends(tmp_path: Path, asked: bool) -> None:
    home = tmp_path / "home"
    write_home(home, "password", [CONNECTION])
    config = home / "gateway.toml"
    line, theirs = socket.socketpair()
    handed, their_handed = pair()
    if asked:
        begin = Begin(str(config), config.read_bytes(), "w2", 2, bytes(32), "http://127.0.0.1:1/realms/hoop", False)
        body = {"what": "ask", "number": 1, "name": "Begin", "body": plain(begin)}
        frame = json.dumps(body).encode()
        line.sendall(len(frame).to_bytes(4, "big") + frame)
    line.close()
    handed.close()
    fds = (theirs.fileno(), their_handed.fileno())
    command = [sys.executable, "-P", "-m", "gateway.workforce.process", *map(str, fds)]
    with theirs, their_handed:
        done = subprocess.run(command, pass_fds=fds, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (home / "state" / "evidence" / "logs" / "w2").exists() is asked
    close_log(open_log(load(config, {}), "w2", SystemClock(), SystemEntropy(), accept_loss=False), "stopped")
