"""Tells reviewers at once what waits for them, and tells on until it got through or nobody needs to know (Trio).

Promises that telling never delays a session or a decision; that a destination that is away delays no other; that one
request is told once to each, over restarts too, as far as a receiver's answer was seen; and that what is given up is
an alarm. Holds no view of who may decide.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import trio

from gateway.model import Clock, Json, Micros
from gateway.notify.delivery import Destination, Undelivered
from gateway.notify.messages import BREAK_GLASS, DECIDED, ESCALATED, REQUESTED, Message, message
from gateway.notify.outbox import Outbox, Parcel

logger = logging.getLogger(__name__)

WAITING = 1_000
"""Parcels that may be on their way to one destination; a further one is given up at once."""
AT_ONCE = 4
"""Requests to one destination at the same time."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_ENDS = frozenset({"approved", "refused", "expired", "cancelled"})
_KNOWN = 4_096
_REMEMBERED = 24 * 3600 * 1_000_000
"""How long a decision is worth telling."""


Publish = Callable[[str, Mapping[str, Json]], None]


class Notifier:
    """Listens to events by `publish`; `run` delivers. `alarm(kind, detail)` records what was given up."""

    def __init__(
        self,
        destinations: Sequence[Destination],
        outbox: Outbox,
        clock: Clock,
        alarm: Callable[[str, str], None],
        *,
        decisions_to: Sequence[Destination] = (),
        escalations_to: Sequence[Destination] = (),
    ) -> None:
        self._requests, self._decisions, self._escalations = destinations, decisions_to, escalations_to
        self._outbox, self._clock, self._alarm = outbox, clock, alarm
        self._destinations = {each.name: each for each in (*destinations, *decisions_to, *escalations_to)}
        self._limits = {name: trio.CapacityLimiter(AT_ONCE) for name in self._destinations}
        self._on_the_way = dict.fromkeys(self._destinations, 0)
        self._arrived: deque[Parcel] = deque()
        self._asked: set[str] = set()
        """What is pending, and of which nobody else was told yet."""
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._changed = trio.Event()

    def beside(self, publish: Publish) -> Publish:
        """Return what publishes an event by `publish`, and takes notice of it here."""

        def both(event: str, data: Mapping[str, Json]) -> None:
            publish(event, data)
            if event.startswith("approval."):
                self.publish(event, data)

        return both

    def publish(self, event: str, data: Mapping[str, Json]) -> None:
        """Take notice of an approval's event, its card as data. Never waits."""
        now, approval = self._clock.now(), str(data.get("id"))
        until = _micros(str(data.get("expires")))
        if event == "approval.pending":
            self._queue(message(REQUESTED, data, now, until), self._requests)
            self._asked.add(approval)
        elif event == "approval.changed" and data.get("state") == "pending":
            if data.get("escalated") is not None and approval in self._asked:
                self._asked.remove(approval)
                self._queue(message(ESCALATED, data, now, until), self._escalations)
        elif event == "approval.changed" and self._is_first_end(approval, data):
            self._queue(message(DECIDED, data, now, Micros(now + _REMEMBERED)), self._decisions)
            if data.get("break_glass") is True:
                told = message(BREAK_GLASS, data, now, Micros(now + _REMEMBERED))
                self._queue(told, tuple(self._destinations.values()))
        self._wake()

    async def run(self) -> None:
        """Deliver until cancelled, first what an earlier process left."""
        async with trio.open_nursery() as nursery:
            for parcel in await trio.to_thread.run_sync(self._left):
                self._start(nursery, parcel)
            try:
                while True:
                    changed = self._changed
                    while self._arrived:
                        self._start(nursery, await self._keep())
                    await changed.wait()
            finally:
                while self._arrived:  # the next start tells of them
                    await self._keep()

    async def _keep(self) -> Parcel:
        """Put the oldest that arrived on disk, cancelled or not."""
        parcel = self._arrived.popleft()
        await self._on_disk(self._outbox.add, parcel)
        return parcel

    def _start(self, nursery: trio.Nursery, parcel: Parcel) -> None:
        self._on_the_way[parcel.destination] += 1
        nursery.start_soon(self._deliver, parcel)

    def _is_first_end(self, approval: str, data: Mapping[str, Json]) -> bool:
        """Say whether this is the decision, and not what came of it afterwards."""
        self._asked.discard(approval)
        if approval in self._ended or data.get("state") not in _ENDS:
            return False
        self._ended[approval] = None
        if len(self._ended) > _KNOWN:
            self._ended.popitem(last=False)
        return True

    def _queue(self, told: Message, destinations: Sequence[Destination]) -> None:
        for destination in destinations:
            name = destination.name
            if self._on_the_way[name] + len(self._arrived) < WAITING:
                self._arrived.append(Parcel(told, name))
            else:
                self._alarm("notification", f"{name} was not told of {told.id}: too much waits for it")

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _left(self) -> list[Parcel]:
        try:
            return [parcel for parcel in self._outbox.left() if parcel.destination in self._destinations]
        except OSError as fault:
            logger.warning("the outbox cannot be read: %s", fault.strerror)
            return []

    async def _deliver(self, parcel: Parcel) -> None:
        """Send until it is taken, or nobody needs it any more."""
        destination, told = self._destinations[parcel.destination], parcel.message
        pause, why, taken = _FIRST_PAUSE, "it came too late", False
        while not taken and self._clock.now() < told.until:
            try:
                async with self._limits[parcel.destination]:
                    await destination.send(told)
                taken = True
            except Undelivered as fault:
                why = str(fault)
                logger.warning("%s could not be told of %s: %s", parcel.destination, told.id, why)
                left = (told.until - self._clock.now()) / 1_000_000
                await trio.sleep(max(0.0, min(pause, left)))
                pause = min(2 * pause, _LONGEST_PAUSE)
        if not taken:
            self._alarm("notification", f"{parcel.destination} was not told of {told.id}: {why}")
        await self._on_disk(self._outbox.remove, parcel)
        self._on_the_way[parcel.destination] -= 1

    async def _on_disk(self, work: Callable[[Parcel], None], parcel: Parcel) -> None:
        """Keep the outbox; a disk that does not take it must not keep people from being told."""
        try:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(work, parcel)
        except OSError as fault:
            logger.warning("the outbox cannot be written: %s", fault.strerror)


def _micros(time: str) -> Micros:
    """Read a time as `format_time` writes it."""
    moment = datetime.fromisoformat(time)
    return Micros(round(moment.timestamp() * 1_000_000))
