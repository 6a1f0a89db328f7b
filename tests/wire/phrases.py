"""What clients and targets say to the session machine, as tests write it down."""

from __future__ import annotations

import struct

from driving import Drive

from gateway.pgwire.backend import (
    ColumnDescription,
    encode_row_description,
    ready_for_query,
)
from gateway.pgwire.framing import cstring, message
from gateway.pgwire.frontend import Parse
from gateway.pgwire.notes import Answer

INT = ColumnDescription("n", 16384, 1, 23, 4, -1, 0)
TEXT = ColumnDescription("email", 16384, 2, 25, -1, -1, 0)
ROW = encode_row_description([INT])
READY = ready_for_query(b"I")
PARSED, BOUND = message(b"1"), message(b"2")


def complete(tag: bytes) -> bytes:
    return message(b"C", cstring(tag))


def parse(sql: bytes, name: bytes = b"") -> bytes:
    return Parse(name, sql, ()).encode()


def bind(portal: bytes = b"", statement: bytes = b"", *values: bytes | None) -> bytes:
    body = cstring(portal) + cstring(statement) + struct.pack("!hh", 0, len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return message(b"B", body + struct.pack("!h", 0))


def answers(drive: Drive) -> list[Answer]:
    return [note for note in drive.notes if isinstance(note, Answer)]
