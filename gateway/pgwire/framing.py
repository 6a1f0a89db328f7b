"""Cutting a byte stream into protocol messages: a type byte, a four-byte length that counts itself, a body.

`MessageReader` promises that no message longer than its limit is ever buffered, and that what it yields joined with
what it still holds equals what it was fed. It never looks for byte patterns; it walks lengths.
Source: PostgreSQL 18, "Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from gateway.errors import ClientFault

HEADER = struct.Struct("!cI")
INT16 = struct.Struct("!h")
UINT16 = struct.Struct("!H")
INT32 = struct.Struct("!i")
UINT32 = struct.Struct("!I")

HEADER_SIZE = 5


class Message(NamedTuple):
    """One protocol message: `kind` is the type byte, `body` what follows the length."""

    kind: bytes
    body: bytes

    def encode(self) -> bytes:
        """Return the message as it stands on the wire."""
        return HEADER.pack(self.kind, len(self.body) + 4) + self.body


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Encode one message."""
    return HEADER.pack(kind, len(body) + 4) + body


def cstring(text: bytes) -> bytes:
    """Encode a NUL-terminated string; `text` must hold no NUL."""
    if b"\0" in text:
        raise ClientFault("a string on the wire must not contain NUL")
    return text + b"\0"


class MessageReader:
    """Collects bytes and yields whole messages; a length over `limit` (bytes of the body) is a `ClientFault`."""

    __slots__ = ("_buffer", "_limit", "_position")

    def __init__(self, limit: int) -> None:
        self._buffer: bytes | bytearray = b""
        self._position = 0
        self._limit = limit

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append received bytes."""
        position, self._position = self._position, 0
        if position == len(self._buffer):  # nothing is held: what came is looked at where it is
            self._buffer = data if isinstance(data, bytes) else bytes(data)
            return
        if not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(self._buffer)
        del self._buffer[:position]
        self._buffer += data

    def clear(self) -> None:
        """Let go of what is held."""
        self._buffer, self._position = b"", 0

    @property
    def pending(self) -> int:
        """Bytes held that no message was made of yet."""
        return len(self._buffer) - self._position

    def peek(self) -> tuple[bytes, int] | None:
        """Return (kind, body length) of the next message, even if it is not whole; None before its header is."""
        if self.pending < HEADER_SIZE:
            return None
        kind, length = HEADER.unpack_from(self._buffer, self._position)
        if length < 4:
            raise ClientFault("invalid message length")
        if length - 4 > self._limit:
            raise ClientFault(f"message of {length - 4} bytes is larger than the limit of {self._limit}", "54000")
        return kind, length - 4

    def next(self) -> Message | None:
        """Return the next whole message, or None until more is fed."""
        buffer, position = self._buffer, self._position
        held = len(buffer) - position
        if held < HEADER_SIZE:
            return None
        kind, length = HEADER.unpack_from(buffer, position)
        if not 4 <= length <= self._limit + 4:
            self.peek()  # says what is wrong
        if held <= length:
            return None
        start, end = position + HEADER_SIZE, position + 1 + length
        body = buffer[start:end] if isinstance(buffer, bytes) else bytes(memoryview(buffer)[start:end])
        self._position = end
        return Message(kind, body)

    @property
    def ready(self) -> bool:
        """Whether `next` has something to say: a whole message, or a fault."""
        header = self.peek()
        return header is not None and self.pending >= HEADER_SIZE + header[1]

    def holds(self, kind: bytes) -> bool:
        """Whether a message of that kind stands among the whole messages held now."""
        position = self._position
        while len(self._buffer) - position >= HEADER_SIZE:
            found, length = HEADER.unpack_from(self._buffer, position)
            if length < 4 or position + 1 + length > len(self._buffer):
                return False
            if found == kind:
                return True
            position += 1 + length
        return False

    def __iter__(self) -> Iterator[Message]:
        """Yield the whole messages held now."""
        while (found := self.next()) is not None:
            yield found


class BodyReader:
    """Reads the fields of one message's body in order; running past its end is a `ClientFault`."""

    __slots__ = ("_body", "_position")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        end = self._position + count
        if count < 0 or end > len(self._body):
            raise ClientFault("message is shorter than its fields")
        found = self._body[self._position : end]
        self._position = end
        return found

    def cstring(self) -> bytes:
        """Return the bytes up to the next NUL, which is skipped."""
        end = self._body.find(b"\0", self._position)
        if end < 0:
            raise ClientFault("a string in a message is not terminated")
        found = self._body[self._position : end]
        self._position = end + 1
        return found

    def int16(self) -> int:
        """Return a signed 16-bit integer."""
        return int(INT16.unpack(self.take(2))[0])

    def uint16(self) -> int:
        """Return an unsigned 16-bit integer; counts are read so, since PostgreSQL 18 and libpq count to 65,535."""
        return int(UINT16.unpack(self.take(2))[0])

    def uint16s(self) -> tuple[int, ...]:
        """Return as many unsigned 16-bit integers as the first of them says."""
        count = self.uint16()
        return struct.unpack(f"!{count}H", self.take(2 * count)) if count else ()

    def int32(self) -> int:
        """Return a signed 32-bit integer."""
        return int(INT32.unpack(self.take(4))[0])

    def uint32(self) -> int:
        """Return an unsigned 32-bit integer: an object id."""
        return int(UINT32.unpack(self.take(4))[0])

    def value(self) -> bytes | None:
        """Return a length-prefixed value; None is NULL (length -1)."""
        length = self.int32()
        if length < -1:
            raise ClientFault("invalid value length")
        return None if length == -1 else self.take(length)

    @property
    def rest(self) -> bytes:
        """What was not read yet."""
        return self._body[self._position :]

    def end(self) -> None:
        """Insist that everything was read."""
        if self._position != len(self._body):
            raise ClientFault("message is longer than its fields")
