"""Bytes on their way to one side of a session, each with the record that must be durable before they leave.

Promises order, that nothing is sent before its record is on disk, and that nothing here waits: what the other side
does not take stays, counted in `size`, and whoever fills the queue is not read from above `HIGH`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from gateway.errors import EvidenceFault
from gateway.evidence.journal import Journal, Recorded, Ticket

HIGH = 256 << 10
"""Queued bytes above which the side that fills the queue has to wait."""
AT_ONCE = 256 << 10
"""Bytes given to the other side in one go, at most."""

Send = Callable[[Recorded, bytes | memoryview], bool]
"""Sends without waiting; False: not all of it was taken, and the rest must be pushed."""
Push = Callable[[], bool]
"""Sends what is left of the last `Send`; True: nothing is."""


class Outbox:
    """One direction of one session. `flush` is called whenever something may leave that could not before."""

    def __init__(self, journal: Journal, send: Send, push: Push) -> None:
        self._journal, self._send, self._push = journal, send, push
        self._queue: deque[tuple[Ticket, bytes | memoryview]] = deque()
        self._sending = 0
        self._cut_in_two = False
        self.size = 0
        """Bytes that are queued, or were not yet taken."""
        self.blocked = False
        """The other side did not take all that it was sent: it has to be watched until it takes more."""
        self.broken = False
        """The other side is gone: what is queued is dropped."""

    @property
    def unrecorded(self) -> bool:
        """Whether something waits for its record to be on disk."""
        queue = self._queue
        return bool(queue) and queue[-1][0].seq > self._journal.durable

    @property
    def empty(self) -> bool:
        """Whether everything was taken, or nobody is there to take it."""
        return self.broken or not (self.blocked or self._queue)

    @property
    def cut(self) -> bool:
        """Whether a message was sent in part only: nothing but its rest may follow."""
        return self.blocked or self._cut_in_two

    def put(self, ticket: Ticket, data: bytes) -> None:
        """Queue bytes that may leave once `ticket` is durable."""
        if not self.broken:
            self._queue.append((ticket, data))
            self.size += len(data)

    def delay(self, ticket: Ticket) -> None:
        """Let everything that is queued wait for `ticket` too."""
        self._queue = deque((ticket, data) for _, data in self._queue)

    def flush(self) -> None:
        """Send what may leave, as far as the other side takes it.

        Raises `EvidenceFault` where the record can never be durable; then nothing is sent.
        """
        try:
            while self._queue or self.blocked:
                if self.blocked:
                    if not self._push():
                        return
                    self._taken()
                elif not self._send_some():
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.drop()

    def drop(self) -> None:
        """Send nothing more, also not the rest of what was sent in part."""
        self._cut_in_two = self.cut
        self.broken, self.blocked, self.size = True, False, 0
        self._queue.clear()

    def _send_some(self) -> bool:
        """Send a part of the queue; False: nothing may leave, or it was not taken."""
        ticket, data = self._queue[0]
        journal = self._journal
        if ticket.seq > journal.durable:
            if journal.broken is not None:
                raise EvidenceFault(journal.broken)
            return False
        self._queue.popleft()
        if not data:
            return True
        self._cut_in_two = False
        if self._queue or len(data) > AT_ONCE:
            ticket, data = self._more(ticket, data)
        size = len(data)
        if self._send(journal.redeem(ticket), data):
            self.size -= size
            return True
        self._sending, self.blocked = size, True
        return False

    def _more(self, ticket: Ticket, data: bytes | memoryview) -> tuple[Ticket, bytes | memoryview]:
        """Join to `data` what may leave with it, or cut it, so that it is worth sending and no more than at once."""
        if len(data) > AT_ONCE:
            view = memoryview(data)
            self._queue.appendleft((ticket, view[AT_ONCE:]))
            self._cut_in_two = True
            return ticket, view[:AT_ONCE]
        joined, size = [data], len(data)
        queue, durable = self._queue, self._journal.durable
        while queue and queue[0][0].seq <= durable and (size := size + len(queue[0][1])) <= AT_ONCE:
            ticket, data = queue.popleft()
            joined.append(data)
        return (ticket, b"".join(joined)) if len(joined) > 1 else (ticket, joined[0])

    def _taken(self) -> None:
        self.size -= self._sending
        self._sending, self.blocked = 0, False
