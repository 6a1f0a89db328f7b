"""Byte streams over one TCP or Unix socket: what sessions read and write, also beneath TLS (`tls_stream`).

Promises: end of file is `b""` however the peer left; no call waits for a peer to answer a goodbye; memory is bounded
whatever the peer sends.
A call that needs no waiting does not yield, except every `PATIENCE`-th, so that no session can starve the others.
Whoever watches the socket itself reads and sends by `read_now`, `send_now` and `push`, which never wait.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio

RECEIVE_BYTES: Final = 64 * 1024
PATIENCE: Final = 16
GOODBYE_SECONDS: Final = 1.0


class PlainStream(trio.abc.Stream):
    """One connected, non-blocking socket; owns it and closes it.

    Like every Trio stream, one task may send while another receives; a second sender gets BusyResourceError.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._turns = 0
        self._sending = False
        self._emptied = False
        """The last read took all there was."""
        self._rest: memoryview | None = None
        """What the socket did not take of the last `send_now`."""
        self.ended = False
        """`read_now` met the end of what the peer sends."""

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for its addresses and options; not for reading or writing."""
        return self._socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what is there, at most `max_bytes` (64 KiB where None); b"" at end of file."""
        limit = max_bytes or RECEIVE_BYTES
        while True:
            if self._emptied:  # asking an empty socket costs a call and an exception, and it nearly always is empty
                await self._readable()
            try:
                data = self._socket.recv(limit)
            except BlockingIOError:
                self._emptied = True
            except OSError as error:
                raise self._broken(error) from error
            else:
                self._emptied = len(data) < limit
                await self._take_turn()
                return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything; waits while the peer does not read."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            sent = self._send_now(data)
            if sent < len(data):
                with memoryview(data) as view:
                    while sent < len(view):
                        await trio.lowlevel.wait_writable(self._socket)
                        self._turns = 0
                        sent += self._send_now(view[sent:])
            else:  # nothing is left to be cancelled: Cancelled means that the message was cut
                await self._take_turn(trio.lowlevel.cancel_shielded_checkpoint)
        finally:
            self._sending = False

    def fileno(self) -> int:
        """Return the number of the socket's file; -1 once it is closed."""
        return self._socket.fileno()

    def read_now(self) -> bytes | None:
        """Return what is there, at most 64 KiB; None: nothing; b"": end of file, however it came about."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        self.ended = not data
        return data

    def send_now(self, data: bytes | memoryview) -> bool:
        """Send without waiting; False: the socket did not take all of it, and `push` must send the rest first."""
        if self._rest is not None or self._sending:
            raise trio.BrokenResourceError("an earlier send was cut off")
        sent = self._send_now(data)
        if sent < len(data):
            self._rest = memoryview(data)[sent:]
        return self._rest is None

    def push(self) -> bool:
        """Send what the last `send_now` left, as far as the socket takes it; True: nothing is left."""
        if self._rest is not None:
            sent = self._send_now(self._rest)
            self._rest = self._rest[sent:] if sent < len(self._rest) else None
        return self._rest is None

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket takes bytes again."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        await trio.lowlevel.wait_writable(self._socket)

    async def aclose(self) -> None:
        """Close at once; whoever waits on this stream gets ClosedResourceError."""
        self.close_now()
        await trio.lowlevel.checkpoint()

    def close_now(self) -> None:
        """Close without a checkpoint; safe to call twice."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def part(self) -> None:
        """Say that nothing more is sent, then wait a second at most for the peer to leave, and close.

        Closing with unread bytes would reset the connection, and the peer might never see our last message.
        """
        try:
            with trio.move_on_after(GOODBYE_SECONDS), contextlib.suppress(OSError, trio.BrokenResourceError):
                self._socket.shutdown(socket.SHUT_WR)
                while await self.receive_some():
                    await trio.lowlevel.checkpoint()
        finally:
            self.close_now()

    async def _readable(self) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this stream was already closed")
        await trio.lowlevel.wait_readable(self._socket)
        self._turns = 0
        self._emptied = False

    def _send_now(self, data: bytes | bytearray | memoryview) -> int:
        if not data:
            return 0
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._broken(error) from error

    async def _take_turn(self, checkpoint: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint) -> None:
        self._turns += 1
        if self._turns >= PATIENCE:
            self._turns = 0
            await checkpoint()

    def _broken(self, error: OSError) -> Exception:
        if self._socket.fileno() < 0:
            return trio.ClosedResourceError("this stream was already closed")
        return trio.BrokenResourceError(f"socket connection broken: {error.strerror}")


def keep_alive(connected: socket.socket) -> None:
    """Send small messages at once, and notice a peer that vanished: probes after 30 s of silence, every 10 s, three."""
    if connected.family == socket.AF_UNIX:
        return
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
