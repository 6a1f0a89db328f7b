"""Where time and randomness come from: the shapes of what every stage is handed instead of reaching for it."""

from __future__ import annotations

from typing import Protocol

from gateway.model.names import Micros


class Clock(Protocol):
    """Where time comes from; an argument everywhere, so that tests own it."""

    def now(self) -> Micros:
        """Return the wall clock, UTC."""

    def monotonic(self) -> int:
        """Return microseconds since boot; comparable within one boot only."""


class Entropy(Protocol):
    """Where randomness comes from; an argument everywhere, so that tests own it."""

    def bytes(self, count: int) -> bytes:
        """Return `count` unpredictable bytes."""
