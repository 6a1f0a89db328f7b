"""Messages that clients send: decoding beside encoding.

Promises that what decodes encodes back to the same bytes; anything malformed is a `ClientFault`.
Source: PostgreSQL 18, "Message Formats", frontend messages.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from gateway.errors import ClientFault
from gateway.pgwire.framing import INT16, INT32, UINT16, UINT32, BodyReader, cstring, message

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = 3 << 16 | 2
CANCEL_REQUEST = 1234 << 16 | 5678
SSL_REQUEST = 1234 << 16 | 5679
GSSENC_REQUEST = 1234 << 16 | 5680

SYNC = message(b"S")
FLUSH = message(b"H")
TERMINATE = message(b"X")
COPY_FAIL = message(b"f", b"the session is being ended\0")


class Parse(NamedTuple):
    """Prepare a statement under a name ("" is the unnamed one)."""

    name: bytes
    sql: bytes
    types: tuple[int, ...]

    @classmethod
    def decode(cls, body: bytes) -> Parse:
        """Decode a Parse body."""
        name_end = body.find(b"\0")
        sql_end = body.find(b"\0", name_end + 1)
        if 0 <= name_end < sql_end and body[sql_end + 1 :] == b"\0\0":  # no types, as usual
            return cls(body[:name_end], body[name_end + 1 : sql_end], ())
        reader = BodyReader(body)
        name, sql = reader.cstring(), reader.cstring()
        types = tuple(reader.uint32() for _ in range(reader.uint16()))
        reader.end()
        return cls(name, sql, types)

    def encode(self) -> bytes:
        """Encode as a whole message."""
        types = b"".join(UINT32.pack(oid) for oid in self.types)
        return message(b"P", cstring(self.name) + cstring(self.sql) + INT16.pack(len(self.types)) + types)


class Bind(NamedTuple):
    """Make a portal of a prepared statement and values; formats are 0 (text) and 1 (binary)."""

    portal: bytes
    statement: bytes
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]

    @classmethod
    def decode(cls, body: bytes) -> Bind:
        """Decode a Bind body; nearly all are of one kind."""
        usual = _usual_bind(body)
        if usual is not None:
            return usual
        reader = BodyReader(body)
        portal, statement = reader.cstring(), reader.cstring()
        formats = reader.uint16s()
        values = tuple([reader.value() for _ in range(reader.uint16())])
        results = reader.uint16s()
        reader.end()
        if len(formats) not in (0, 1, len(values)):
            raise ClientFault(f"bind message has {len(formats)} parameter formats but {len(values)} parameters")
        if max(formats, default=0) > 1 or max(results, default=0) > 1:
            raise ClientFault("unsupported format code", "22023")
        return cls(portal, statement, formats, values, results)

    def encode(self) -> bytes:
        """Encode as a whole message."""
        body = cstring(self.portal) + cstring(self.statement) + _codes(self.formats) + INT16.pack(len(self.values))
        for value in self.values:
            body += INT32.pack(-1) if value is None else INT32.pack(len(value)) + value
        return message(b"B", body + _codes(self.result_formats))

    def format_of(self, index: int) -> int:
        """Return the format of parameter `index` (from 0): none given means text, one given means all."""
        return format_at(self.formats, index)


def _usual_bind(body: bytes) -> Bind | None:
    """Decode a Bind with at most one format for all its values, and one for its result; None: another, or malformed."""
    portal_end = body.find(b"\0")
    place = body.find(b"\0", portal_end + 1)
    if place <= portal_end:
        return None
    portal, statement = body[:portal_end], body[portal_end + 1 : place]
    formats: tuple[int, ...] = ()
    values: list[bytes | None] = []
    try:
        count, code = _TWO.unpack_from(body, place + 1)
        if count == 1 and code <= 1:
            formats, place = (code,), place + 2
        elif count:
            return None
        (count,) = UINT16.unpack_from(body, place + 3)
        place += 5
        for _ in range(count):
            (size,) = INT32.unpack_from(body, place)
            start, place = place + 4, place + 4 + max(size, 0)
            if size < -1:
                return None
            values.append(body[start:place] if size >= 0 else None)
    except struct.error:
        return None
    results = _RESULTS.get(body[place:])
    return None if results is None else Bind(portal, statement, formats, tuple(values), results)


_TWO = struct.Struct("!HH")
_RESULTS: Mapping[bytes, tuple[int, ...]] = {b"\0\0": (), b"\0\1\0\0": (0,), b"\0\1\0\1": (1,)}


def _codes(formats: tuple[int, ...]) -> bytes:
    return INT16.pack(len(formats)) + b"".join(INT16.pack(code) for code in formats)


def format_at(formats: tuple[int, ...], index: int) -> int:
    """Apply the protocol's rule for format lists: empty is text, one counts for all."""
    if not formats:
        return 0
    return formats[0] if len(formats) == 1 else formats[index]


class Named(NamedTuple):
    """Describe and Close: `target` is `S` for a prepared statement, `P` for a portal."""

    target: bytes
    name: bytes

    @classmethod
    def decode(cls, body: bytes) -> Named:
        """Decode a Describe or Close body."""
        reader = BodyReader(body)
        target, name = reader.take(1), reader.cstring()
        reader.end()
        if target not in (b"S", b"P"):
            raise ClientFault(f"invalid subtype {target[0]} of a DESCRIBE or CLOSE message")
        return cls(target, name)

    def encode(self, kind: bytes) -> bytes:
        """Encode as a whole message: `kind` is `D` for Describe, `C` for Close."""
        return message(kind, self.target + cstring(self.name))


class Execute(NamedTuple):
    """Run a portal for at most `max_rows` rows (0: all)."""

    portal: bytes
    max_rows: int

    @classmethod
    def decode(cls, body: bytes) -> Execute:
        """Decode an Execute body."""
        reader = BodyReader(body)
        portal, rows = reader.cstring(), reader.int32()
        reader.end()
        return cls(portal, rows)


def decode_query(body: bytes) -> bytes:
    """Return the statement text of a Query body."""
    if body.find(b"\0") == len(body) - 1 >= 0:
        return body[:-1]
    reader = BodyReader(body)
    sql = reader.cstring()
    reader.end()
    return sql


def query(sql: bytes) -> bytes:
    """Encode a Query."""
    return message(b"Q", cstring(sql))


def describe(target: bytes, name: bytes) -> bytes:
    """Encode a Describe of a statement (`S`) or portal (`P`)."""
    return message(b"D", target + cstring(name))


def execute(portal: bytes, max_rows: int = 0) -> bytes:
    """Encode an Execute."""
    return message(b"E", cstring(portal) + INT32.pack(max_rows))


def password(value: bytes) -> bytes:
    """Encode a PasswordMessage (cleartext or md5)."""
    return message(b"p", cstring(value))


def startup(parameters: Mapping[str, str], protocol: int = PROTOCOL_3_0) -> bytes:
    """Encode a StartupMessage."""
    body = UINT32.pack(protocol)
    for key, value in parameters.items():
        body += cstring(key.encode()) + cstring(value.encode())
    body += b"\0"
    return UINT32.pack(len(body) + 4) + body


def ssl_request() -> bytes:
    """Encode an SSLRequest."""
    return UINT32.pack(8) + UINT32.pack(SSL_REQUEST)


def cancel_request(pid: int, key: bytes) -> bytes:
    """Encode a CancelRequest for a backend's process id and key (4 to 256 bytes)."""
    return UINT32.pack(12 + len(key)) + UINT32.pack(CANCEL_REQUEST) + INT32.pack(pid) + key
