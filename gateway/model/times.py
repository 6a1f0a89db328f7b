"""Moments and stretches of time. Nothing here reads a clock: what time it is, a `Clock` says, which is an argument.

Times are microseconds since the Unix epoch, UTC (`Micros`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from gateway.model.names import Micros

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""As configuration writes them; Monday is 0."""


def format_time(at: Micros) -> str:
    """Return `at` as `YYYY-MM-DDThh:mm:ss.ffffffZ`, the only form in entries and on the control socket."""
    return f"{_second(at // 1_000_000)}.{at % 1_000_000:06d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """Most times that are written within a second are of that second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True, slots=True)
class Hours:
    """A stretch of every week, UTC: `start` to `end` in minutes after midnight of each of `days` (0: Monday).

    The end is not part of it; a stretch whose end is not after its start goes on into the next day.
    """

    days: frozenset[int]
    start: int
    end: int

    def covers(self, at: Micros) -> bool:
        """Say whether the moment `at` lies in it."""
        moment = datetime.fromtimestamp(at // 1_000_000, UTC)
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.end)

    def __str__(self) -> str:
        span = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.start, self.end))
        days = ",".join(WEEKDAYS[day] for day in sorted(self.days))
        return span if len(self.days) == len(WEEKDAYS) else f"{days} {span}"
