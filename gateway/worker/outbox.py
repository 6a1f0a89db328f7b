"""Bytes on their way to one side of a session, each with the record that must be durable before they leave.

Promises order, that nothing is sent before its record is on disk, and bounded memory: whoever queues more than
`HIGH` bytes waits in `drain` until the other side took them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import trio

from gateway.evidence.commit import GroupCommit
from gateway.evidence.journal import Recorded, Ticket

HIGH = 256 << 10
"""Queued bytes above which the side that fills the queue has to wait."""

Send = Callable[[Recorded, bytes], Awaitable[None]]


class Outbox:
    """One direction of one session."""

    def __init__(self, log: GroupCommit, send: Send) -> None:
        self._log = log
        self._send = send
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._ticket: Ticket | None = None
        self._busy = False
        self._emptied = trio.Event()
        self.broken = False
        """The other side is gone: what is queued is dropped."""
        self.cut = False
        """A send was given up, perhaps in the middle of a message: nothing may follow it."""

    @property
    def waiting(self) -> bool:
        """Whether something is queued that nobody is sending."""
        return bool(self._queue) and not self._busy

    def put(self, ticket: Ticket, data: bytes) -> None:
        """Queue bytes that may leave once `ticket` is durable."""
        if not self.broken:
            self._queue.append(data)
            self._size += len(data)
            self._ticket = ticket

    async def drain(self) -> None:
        """Send what is queued; where another task does so, only wait until the queue is short again.

        Raises `EvidenceFault` where the record cannot be made durable; then nothing is sent.
        """
        if self._busy:
            while self._size > HIGH and not self.broken:
                await self._emptied.wait()
            return
        self._busy = True
        try:
            while self._queue and self._ticket is not None and not self.broken:
                await self._send_queued(self._ticket)
        finally:
            self._busy = False
            self._wake()

    async def empty(self) -> None:
        """Send what is queued, and wait for what another task is sending."""
        while self._busy and not self.broken:
            await self._emptied.wait()
        await self.drain()

    async def _send_queued(self, ticket: Ticket) -> None:
        data = self._queue[0] if len(self._queue) == 1 else b"".join(self._queue)
        self._queue.clear()
        recorded = await self._log.durable(ticket)
        try:
            await self._send(recorded, data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.broken = True
        except trio.Cancelled:
            self.cut = True
            raise
        self._size -= len(data)
        if self.broken:
            self._queue.clear()
            self._size = 0
        self._wake()

    def _wake(self) -> None:
        emptied, self._emptied = self._emptied, trio.Event()
        emptied.set()
