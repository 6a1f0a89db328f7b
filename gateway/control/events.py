"""Numbered events for consoles: a bounded memory of recent ones, and a bounded queue for each subscriber. No I/O.

Promises that publishing never waits and never fails for a subscriber's sake: what a slow one cannot take is dropped
and announced to it as a `gap`, except approvals; where those do not fit either, the subscriber is given up
(`overrun`). Numbers start from the wall clock at the gateway's start, so that they grow over restarts as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from gateway.control.messages import Event, Malformed, encode, topic_of
from gateway.model import Clock, Json

RECENT_EVENTS = 4_096
RECENT_BYTES = 8 * 2**20
"""What is kept for those who resume."""
QUEUE_EVENTS = RECENT_EVENTS
QUEUE_BYTES = RECENT_BYTES
"""What one subscriber may have outstanding before events are dropped; approvals get four times that."""
APPROVALS_FACTOR = 4
CHUNK = 2**18


class Later(NamedTuple):
    """An event's data, made only if somebody wants it; `size` is what it keeps in memory until then, in bytes."""

    size: int
    make: Callable[[], Mapping[str, Json]]


class Line:
    """An event with its number and topic; `data` is its encoding, made when it is first wanted."""

    __slots__ = ("_data", "_event", "_found", "number", "size")

    def __init__(self, number: int, event: str, found: Mapping[str, Json] | Later) -> None:
        self.number = number
        self._event, self._found = event, found
        self._data: bytes | None = None
        self.size = found.size if isinstance(found, Later) else len(self.data)

    @property
    def topic(self) -> str:
        """Under which subscription it is sent."""
        return topic_of(self._event)

    @property
    def data(self) -> bytes:
        """The event as it is sent; one that cannot be encoded is a gap."""
        if self._data is None:
            found = self._found.make() if isinstance(self._found, Later) else self._found
            try:
                self._data = encode(Event(self.number, self._event, found))
            except Malformed:
                self._data = gap_line(self.number, self.number).data
            self._found = {}
        return self._data


class Subscriber:
    """One console's queue. `wake` is called when something was put into it; it must not wait."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.topics: frozenset[str] = frozenset()
        self.resumes = False
        """It was connected before, and goes on from there."""
        self.overrun = False
        """Even approvals did not fit: this console is to be disconnected."""
        self._wake = wake
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._gap: tuple[int, int] | None = None

    def offer(self, line: Line) -> None:
        """Queue the event if it was subscribed to and fits; else remember the gap."""
        if line.topic not in self.topics or self.overrun:
            return
        factor = APPROVALS_FACTOR if line.topic == "approvals" else 1
        if len(self._lines) >= factor * QUEUE_EVENTS or self._bytes + line.size > factor * QUEUE_BYTES:
            if line.topic == "approvals":
                self.overrun = True
                self._lines.clear()
                self._bytes = 0
            else:
                self._gap = (self._gap[0] if self._gap else line.number, line.number)
            self._wake()
            return
        if self._gap is not None:
            self._put(gap_line(*self._gap))
            self._gap = None
        self._put(line)
        self._wake()

    def take(self) -> bytes:
        """Remove and return what is queued, up to about CHUNK bytes; empty where there is nothing."""
        taken = bytearray()
        while self._lines and len(taken) < CHUNK:
            line = self._lines.popleft()
            taken += line.data
            self._bytes -= line.size
        if not self._lines and self._gap is not None:
            taken += gap_line(*self._gap).data
            self._gap = None
        return bytes(taken)

    def _put(self, line: Line) -> None:
        self._lines.append(line)
        self._bytes += line.size


class Events:
    """Gives events their numbers, remembers the recent ones, and hands them to every subscriber."""

    def __init__(self, clock: Clock) -> None:
        self.first = int(clock.now())
        self.next = self.first
        self._recent: deque[Line] = deque()
        self._bytes = 0
        self._subscribers: set[Subscriber] = set()
        self._heard = False
        self.on_records: Callable[[bool], None] = lambda _: None
        """Called with whether anybody subscribed to single records, when that changes."""

    def heard(self) -> bool:
        """Say whether anybody ever subscribed to single records: until then nobody can miss one."""
        return self._heard

    def publish(self, event: str, data: Mapping[str, Json] | Later) -> None:
        """Number the event and hand it on. Never waits; an event that cannot be encoded becomes a gap."""
        line, recent = Line(self.next, event, data), self._recent
        self.next += 1
        recent.append(line)
        self._bytes += line.size
        while len(recent) > RECENT_EVENTS or self._bytes > RECENT_BYTES:
            self._bytes -= recent.popleft().size
        for subscriber in self._subscribers:
            subscriber.offer(line)

    def skip(self, count: int, *, unwatched: bool) -> None:
        """Give numbers to events of records that were never told; `unwatched`: nobody who joined anew missed them."""
        line = gap_line(self.next, self.next + count - 1)
        self.next += count
        self._recent.append(line)
        self._bytes += line.size
        for subscriber in self._subscribers:
            if subscriber.resumes or not unwatched:
                subscriber.offer(line)

    def missed(self, resume: int | None) -> tuple[int, int] | None:
        """Return the range of numbers after `resume` that is no longer remembered, None where nothing is missing."""
        if resume is None or resume >= self.next - 1:
            return None
        oldest = self._recent[0].number if self._recent else self.next
        return (resume + 1, oldest - 1) if resume + 1 < oldest else None

    def restarted(self, resume: int | None) -> bool:
        """Whether `resume` is a number of an earlier start of the gateway."""
        return resume is not None and not self.first - 1 <= resume < self.next

    def join(self, subscriber: Subscriber, topics: Iterable[str], resume: int | None) -> None:
        """Subscribe, and queue the remembered events after `resume` first (None: only what happens from now on)."""
        watched = self._watched
        self._heard = self._heard or "records" in topics
        subscriber.topics, subscriber.resumes = frozenset(topics), resume is not None
        if resume is not None:
            for line in self._recent:
                if line.number > resume:
                    subscriber.offer(line)
        self._subscribers.add(subscriber)
        if self._watched is not watched:
            self.on_records(not watched)

    def leave(self, subscriber: Subscriber) -> None:
        """Forget the subscriber."""
        watched = self._watched
        self._subscribers.discard(subscriber)
        if watched and not self._watched:
            self.on_records(False)

    @property
    def _watched(self) -> bool:
        return any("records" in subscriber.topics for subscriber in self._subscribers)


def gap_line(first: int, last: int) -> Line:
    """Return the announcement that the events from `first` to `last` were dropped."""
    return Line(last, "gap", {"from": first, "to": last})
