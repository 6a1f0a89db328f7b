r"""What the agent saw, as text that people and DuckDB can read.

A row is one line, values separated by tabs, NULL as `\N`, control characters escaped as COPY does; binary values of
common types are shown as PostgreSQL's text form would be near enough to read, everything else in hex. For reading
only: the digest beside it covers the exact bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from uuid import UUID

from gateway.pgwire.backend import ColumnDescription

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

_SPECIAL = re.compile(r"[\\\t\n\r]")


def _number(code: str) -> Callable[[bytes], str]:
    size = struct.calcsize(code)

    def show(value: bytes) -> str:
        return str(struct.unpack(code, value)[0]) if len(value) == size else _hex(value)

    return show


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _hex(value)


def _hex(value: bytes) -> str:
    return "\\x" + value.hex()


def _boolean(value: bytes) -> str:
    return "t" if value == b"\x01" else "f"


def _uuid(value: bytes) -> str:
    return str(UUID(bytes=value)) if len(value) == 16 else _hex(value)


_BINARY: dict[int, Callable[[bytes], str]] = {
    16: _boolean,
    18: _text,
    19: _text,
    20: _number("!q"),
    21: _number("!h"),
    23: _number("!i"),
    25: _text,
    26: _number("!I"),
    114: _text,
    700: _number("!f"),
    701: _number("!d"),
    1042: _text,
    1043: _text,
    2950: _uuid,
    3802: lambda value: _text(value[1:]),
}
"""Binary forms worth reading, by type oid (pg_type.dat)."""


def show_value(value: bytes | None, type_oid: int, wire_format: int) -> str:
    """Return one value on one line."""
    if value is None:
        return "\\N"
    shown = (_text if wire_format == 0 else _BINARY.get(type_oid, _hex))(value)
    if shown.isprintable() and "\\" not in shown:  # quicker than the pattern, and mostly so
        return shown
    return shown if _SPECIAL.search(shown) is None or shown == _hex(value) else shown.translate(_ESCAPES)


def show_row(values: Sequence[bytes | None], columns: Sequence[ColumnDescription]) -> str:
    """Return one row; without a description, values are shown as text where they are UTF-8."""
    if len(columns) != len(values):
        return "\t".join(show_value(value, 25, 0) for value in values)
    return "\t".join(
        [show_value(value, column.type_oid, column.format) for value, column in zip(values, columns, strict=True)]
    )


def show_header(columns: Sequence[ColumnDescription]) -> str:
    """Return the line of column names."""
    return "\t".join(column.name.translate(_ESCAPES) for column in columns)
