"""Time for the console: the real clock, and the gateway's time kept from its greeting.

Everything that waits or counts takes a `gateway.model.Clock`, so that tests own time. Countdowns use the gateway's
clock, moved on by this machine's monotonic one: an operator's wrong wall clock shortens no deadline on the screen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.model import Clock, Micros

SECOND = 1_000_000


class SystemClock:
    """The machine's own clock."""

    def now(self) -> Micros:
        """Return the wall clock, UTC."""
        return Micros(time.time_ns() // 1000)

    def monotonic(self) -> int:
        """Return microseconds since boot."""
        return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True)
class GatewayTime:
    """The gateway's wall clock as of one moment of our monotonic clock."""

    at: Micros
    anchor: int

    def now(self, clock: Clock) -> Micros:
        """Return what the gateway's clock shows by now."""
        return Micros(self.at + clock.monotonic() - self.anchor)


def parse_time(text: object) -> Micros | None:
    """Read a time as the control socket writes it (`YYYY-MM-DDThh:mm:ss.ffffffZ`); None where it is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return Micros((elapsed.days * 86_400 + elapsed.seconds) * SECOND + elapsed.microseconds)


def time_of_day(at: Micros | None) -> str:
    """Return `03:14:09`, UTC; dashes where the time is not known."""
    if at is None:
        return "--:--:--"
    seconds = at // SECOND % 86_400
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def countdown(micros: int) -> str:
    """Return a remaining time as `04:12` or `1:04:12`; `00:00` once it is over."""
    seconds = max(0, micros) // SECOND
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60:02}:{rest % 60:02}"


def duration(micros: int | None) -> str:
    """Return a duration for people: `3 ms`, `2.1 s`, `4 min 12 s`."""
    if micros is None:
        return ""
    if micros < 1000:
        return f"{micros} µs"
    if micros < SECOND:
        return f"{micros // 1000} ms"
    if micros < 60 * SECOND:
        tenths = micros // 100_000
        return f"{tenths // 10}.{tenths % 10} s"
    seconds = micros // SECOND
    if seconds < 600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds // 60 % 60} min"
