"""How far long work is: one line on a terminal, gone when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

_WIDTH = 30
_EVERY = 0.2
"""Seconds between two drawings."""


class Progress:
    """A bar with share, rate and remaining time, of work that is counted in bytes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock, self._next, self._shown = stream, clock, 0.0, False
        self._began = clock()

    def __call__(self, done: int, total: int) -> None:
        """Draw, if the last time is long enough ago."""
        spent = self._clock() - self._began
        if spent < self._next:
            return
        self._next, self._shown = spent + _EVERY, True
        share, rate = done / max(total, 1), done / spent if spent else 0.0
        bar = ("#" * int(share * _WIDTH)).ljust(_WIDTH, ".")
        left = f"{_duration((total - done) / rate)} left" if rate else ""
        self._stream.write(f"\r\x1b[K[{bar}] {share:4.0%}  {rate / 1e6:.0f} MB/s  {left}")
        self._stream.flush()

    def done(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
