"""Has a running gateway archive over and over, and finds the process in which it does."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import trio

from gateway.control.client import connect
from gateway.errors import GatewayError


class Archiving:
    """For the time of a block, the gateway closes journal files of one log and makes segments of them."""

    def __init__(self, socket: Path, log: str) -> None:
        self._socket, self._log = socket, log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a gateway that was killed is still waited for"

    def _run(self) -> None:
        async def ask() -> None:
            async with connect(self._socket) as client:
                while not self._over.is_set():
                    await client.call("evidence.archive", {"log": self._log})

        try:
            trio.run(ask)
        except* (GatewayError, OSError, trio.BrokenResourceError):
            self._over.set()  # the gateway was killed


def archiver_of(gateway: int, seconds: float = 10) -> int | None:
    """Return the process id of an archiver that the gateway has at work; None where none was seen in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for pid in _children(gateway):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if b"gateway.evidence.archiver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
    return None


def _children(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            found += map(int, task.read_text().split())
    return found
