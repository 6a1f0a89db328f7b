"""The program itself: its words when used wrongly, and the very bytes it writes to a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway, make_approval, make_record, make_session

from hoop_tui.__main__ import main

EVIL = "\x1b]0;owned\x07\x1b[31;41mEVIL\x9b2J\u202e"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sokket", "x"], "unrecognized arguments"),
        (["--socket"], "expected one argument"),
        (["--socket", "/" + "x" * 120], "longer than 107 bytes"),
        (["--socket", __file__], "is no socket"),
        ([], "a terminal is needed"),
    ],
)
def test_wrong_use_is_one_line_and_two(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    assert left.value.code == 2
    assert said.out == ""
    assert said.err.startswith("hoop-tui: ")
    assert words in said.err
    assert said.err.count("\n") == 1


class Terminal:
    """The console in a terminal of its own."""

    def __init__(self, socket: Path, home: Path, **environment: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        plain = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "SSH_CONNECTION"}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hoop_tui", "--socket", str(socket)],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=Path(__file__).parents[2],
            env={**plain, "TERM": "xterm-256color", "COLORTERM": "truecolor", "XDG_STATE_HOME": str(home),
                 "PYTHONUTF8": "1", **environment},
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self.master, False)
        self.written = bytearray()

    async def until(self, words: bytes, seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while words not in self.written:
                self.take()
                await asyncio.sleep(0.01)

    def take(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # OSError: the program has left its terminal
            self.written += os.read(self.master, 1 << 16)

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    async def leave(self) -> int:
        self.press(b"q")
        async with asyncio.timeout(10):
            while self.process.poll() is None:
                self.take()
                await asyncio.sleep(0.01)
        os.close(self.master)
        return self.process.returncode


@pytest.fixture
def hostile(fake: FakeGateway) -> FakeGateway:
    fake.sessions["s"] = make_session("s", subject=EVIL, current=EVIL)
    fake.approvals["a"] = make_approval("a", statement=EVIL, reason=EVIL)
    return fake


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "linux"}], ids=["rich", "no colour", "linux"])
async def test_what_reaches_the_terminal_is_ours_alone(
    hostile: FakeGateway, tmp_path: Path, environment: dict[str, Any]
) -> None:
    terminal = Terminal(hostile.path, tmp_path / "home", **environment)
    await terminal.until(b"connected")
    hostile.publish("record", make_record(1, text=EVIL))
    await terminal.until(b"<U+001B>]0;owned<U+0007>")
    terminal.press(b"2\r")
    await terminal.until(b"hidden characters")
    assert await terminal.leave() == 0
    written = bytes(terminal.written)
    assert b"\x1b]0;owned" not in written
    assert b"\x1b[31;41mEVIL" not in written
    assert b"\x9b2J" not in written.replace("\u009b".encode(), b"\x9b")
    assert "\u202e".encode() not in written
    coloured = re.search(rb"\x1b\[[0-9;]*38;2;(?!(\d+);\1;\1\b)", written)
    assert bool(coloured) is not bool(environment.get("NO_COLOR")) or environment.get("TERM") == "linux"
    log = tmp_path / "home" / "hoop-tui" / "console.log"
    assert log.stat().st_mode & 0o777 == 0o600


async def test_a_missing_socket_is_shown_and_waited_for(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "none.sock", tmp_path / "home")
    await terminal.until(b"LOST")
    assert terminal.process.poll() is None
    assert await terminal.leave() == 0
