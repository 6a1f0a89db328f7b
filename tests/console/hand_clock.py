"""The console's time, in the hand of a test."""

from __future__ import annotations

from gateway.model import Micros


class HandClock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.elapsed = 0

    def now(self) -> Micros:
        return Micros(1_700_000_000_000_000 + self.elapsed)

    def monotonic(self) -> int:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        self.elapsed += int(seconds * 1_000_000)
