"""Cuts a byte stream into lines of at most MAX_FRAME bytes. No I/O, no JSON.

Never buffers more than one frame: what is longer raises `Malformed`, and the stream is then beyond repair.
"""

from __future__ import annotations

from gateway.control.messages import MAX_FRAME, Malformed


class Lines:
    """Feed bytes as they arrive, get whole lines without their line feed; empty lines are skipped."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes. Raises Malformed where one is longer than the limit."""
        *whole, rest = data.split(b"\n")
        lines = []
        for piece in whole:
            self._keep(piece, 1)
            line = b"".join(self._parts)
            self._parts, self._size = [], 0
            if line.strip():
                lines.append(line)
        self._keep(rest, 0)
        return lines

    def _keep(self, piece: bytes, line_feed: int) -> None:
        self._size += len(piece)
        if self._size + line_feed > self._limit:
            raise Malformed(f"a line is longer than {self._limit} bytes")
        if piece:
            self._parts.append(piece)
