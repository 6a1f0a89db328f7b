"""Messages that servers send: decoding beside encoding.

Promises that decoding what a server sent and encoding it again gives the same bytes. Malformed bytes are a
`ClientFault` here too: the caller knows whose bytes they were and says so.
Source: PostgreSQL 18, "Message Formats" (backend messages) and "Error and Notice Message Fields".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from gateway.errors import ClientFault
from gateway.pgwire.framing import INT16, INT32, UINT16, UINT32, BodyReader, cstring, message

AUTHENTICATION_OK = message(b"R", INT32.pack(0))
AUTHENTICATION_CLEARTEXT = message(b"R", INT32.pack(3))


@dataclass(frozen=True, slots=True)
class ColumnDescription:
    """One column of a RowDescription; `table_oid` and `column_number` are 0 for what is no plain column."""

    name: str
    table_oid: int
    column_number: int
    type_oid: int
    type_size: int
    type_modifier: int
    format: int


def decode_row_description(body: bytes) -> tuple[ColumnDescription, ...]:
    """Decode a RowDescription body; the same few come over and over."""
    return _known_description(body) if len(body) <= _SHORT else _describe(body)


_SHORT = 1024
"""Bytes of a RowDescription that is kept decoded, at most."""


@lru_cache(maxsize=512)
def _known_description(body: bytes) -> tuple[ColumnDescription, ...]:
    return _describe(body)


def _describe(body: bytes) -> tuple[ColumnDescription, ...]:
    reader = BodyReader(body)
    columns = []
    for _ in range(reader.uint16()):
        name = reader.cstring().decode("utf-8", "replace")
        table, number, kind = reader.uint32(), reader.int16(), reader.uint32()
        size, modifier, wire = reader.int16(), reader.int32(), reader.int16()
        columns.append(ColumnDescription(name, table, number, kind, size, modifier, wire))
    reader.end()
    return tuple(columns)


def encode_row_description(columns: Sequence[ColumnDescription]) -> bytes:
    """Encode a RowDescription."""
    body = UINT16.pack(len(columns))
    for column in columns:
        body += cstring(column.name.encode()) + UINT32.pack(column.table_oid) + INT16.pack(column.column_number)
        body += UINT32.pack(column.type_oid) + INT16.pack(column.type_size)
        body += INT32.pack(column.type_modifier) + INT16.pack(column.format)
    return message(b"T", body)


def decode_parameter_description(body: bytes) -> tuple[int, ...]:
    """Decode a ParameterDescription body into the parameters' type oids."""
    reader = BodyReader(body)
    types = tuple(reader.uint32() for _ in range(reader.uint16()))
    reader.end()
    return types


def decode_data_row(body: bytes) -> list[bytes | None]:
    """Decode a DataRow body into its values; None is NULL."""
    values: list[bytes | None] = []
    position, end = 2, len(body)
    try:
        for _ in range(UINT16.unpack_from(body)[0]):
            (length,) = INT32.unpack_from(body, position)
            start = position + 4
            position = start + length if length >= 0 else start
            values.append(body[start:position] if length >= 0 else None)
            if length < -1 or position > end:
                break
    except struct.error:
        position = end + 1
    if position > end:
        raise ClientFault("message is shorter than its fields")
    if position < end:
        raise ClientFault("message is longer than its fields, or has an invalid value length")
    return values


def encode_data_row(values: Sequence[bytes | None]) -> bytes:
    """Encode a DataRow."""
    cells = (INT32.pack(-1) if value is None else INT32.pack(len(value)) + value for value in values)
    return message(b"D", UINT16.pack(len(values)) + b"".join(cells))


@dataclass(frozen=True, slots=True)
class Report:
    """The fields of an ErrorResponse or NoticeResponse, in the order in which they came."""

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def decode(cls, body: bytes) -> Report:
        """Decode an ErrorResponse or NoticeResponse body."""
        reader = BodyReader(body)
        fields = []
        while (code := reader.take(1)) != b"\0":
            fields.append((code.decode("latin-1"), reader.cstring().decode("utf-8", "surrogateescape")))
        return cls(tuple(fields))

    def get(self, code: str) -> str | None:
        """Return the first field of that code: `S` severity, `C` SQLSTATE, `M` message, `D` detail, `H` hint, …"""
        return next((value for key, value in self.fields if key == code), None)

    @property
    def sqlstate(self) -> str:
        """The SQLSTATE; XX000 where the server gave none."""
        return self.get("C") or "XX000"

    @property
    def severity(self) -> str:
        """The severity that is never translated (`V`), else the localised one."""
        return self.get("V") or self.get("S") or "ERROR"

    def encode(self, kind: bytes) -> bytes:
        """Encode as `E` (error) or `N` (notice)."""
        body = b"".join(
            code.encode("latin-1") + cstring(value.encode("utf-8", "surrogateescape")) for code, value in self.fields
        )
        return message(kind, body + b"\0")


def report(
    severity: str,
    sqlstate: str,
    text: str,
    *,
    detail: str | None = None,
    hint: str | None = None,
    position: int | None = None,
) -> Report:
    """Build the fields of an error or notice of our own; NULs cannot travel and are dropped."""
    fields = [("S", severity), ("V", severity), ("C", sqlstate), ("M", text)]
    fields += [(code, value) for code, value in (("D", detail), ("H", hint)) if value]
    if position is not None:
        fields.append(("P", str(position)))
    return Report(tuple((code, value.replace("\0", "")) for code, value in fields))


def error_response(
    sqlstate: str,
    text: str,
    *,
    severity: str = "ERROR",
    detail: str | None = None,
    hint: str | None = None,
    position: int | None = None,
) -> bytes:
    """Encode an ErrorResponse of our own; `severity` is ERROR or FATAL."""
    return report(severity, sqlstate, text, detail=detail, hint=hint, position=position).encode(b"E")


def notice_response(sqlstate: str, text: str, *, detail: str | None = None, hint: str | None = None) -> bytes:
    """Encode a NoticeResponse of our own."""
    return report("NOTICE", sqlstate, text, detail=detail, hint=hint).encode(b"N")


def parameter_status(name: str, value: str) -> bytes:
    """Encode a ParameterStatus."""
    return message(b"S", cstring(name.encode()) + cstring(value.encode()))


def backend_key_data(pid: int, key: bytes) -> bytes:
    """Encode BackendKeyData; `key` is 4 bytes in protocol 3.0, up to 256 in 3.2."""
    return message(b"K", INT32.pack(pid) + key)


def ready_for_query(status: bytes) -> bytes:
    """Encode ReadyForQuery; `status` is I, T or E."""
    return message(b"Z", status)


def negotiate_protocol_version(minor: int, unknown: Sequence[str]) -> bytes:
    """Encode NegotiateProtocolVersion: the newest protocol (as a 32-bit number) we speak and options we do not know."""
    names = b"".join(cstring(name.encode()) for name in unknown)
    return message(b"v", INT32.pack(minor) + INT32.pack(len(unknown)) + names)
