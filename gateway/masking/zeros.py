"""A valid value of each of PostgreSQL's own types, in text and in binary: what style `zero` shows.

Text is as PostgreSQL prints it under its defaults (ISO dates). Types that are missing here (arrays, ranges, composites,
internal ones) have none. Pure.
Source: PostgreSQL 18, pg_type.dat, and the types' send and output functions.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

_INET4 = 2
"""PGSQL_AF_INET: the family byte of an IPv4 address."""


_ZEROS: Mapping[int, tuple[bytes, bytes]] = MappingProxyType(
    {
        16: (b"f", b"\0"),
        17: (b"\\x", b""),
        18: (b"0", b"0"),
        20: (b"0", bytes(8)),
        21: (b"0", bytes(2)),
        23: (b"0", bytes(4)),
        26: (b"0", bytes(4)),
        27: (b"(0,0)", bytes(6)),
        28: (b"0", bytes(4)),
        29: (b"0", bytes(4)),
        114: (b"{}", b"{}"),
        142: (b"", b""),
        600: (b"(0,0)", bytes(16)),
        601: (b"[(0,0),(0,0)]", bytes(32)),
        602: (b"((0,0))", b"\1" + struct.pack("!i", 1) + bytes(16)),
        603: (b"(0,0),(0,0)", bytes(32)),
        604: (b"((0,0))", struct.pack("!i", 1) + bytes(16)),
        628: (b"{1,0,0}", struct.pack("!ddd", 1, 0, 0)),
        650: (b"0.0.0.0/0", bytes((_INET4, 0, 1, 4, 0, 0, 0, 0))),
        700: (b"0", bytes(4)),
        701: (b"0", bytes(8)),
        718: (b"<(0,0),0>", bytes(24)),
        774: (b"00:00:00:00:00:00:00:00", bytes(8)),
        790: (b"$0.00", bytes(8)),
        829: (b"00:00:00:00:00:00", bytes(6)),
        869: (b"0.0.0.0", bytes((_INET4, 32, 0, 4, 0, 0, 0, 0))),
        1082: (b"2000-01-01", bytes(4)),
        1083: (b"00:00:00", bytes(8)),
        1114: (b"2000-01-01 00:00:00", bytes(8)),
        1184: (b"2000-01-01 00:00:00+00", bytes(8)),
        1186: (b"00:00:00", bytes(16)),
        1266: (b"00:00:00+00", bytes(12)),
        1562: (b"", bytes(4)),
        1700: (b"0", bytes(8)),
        1790: (b"", b""),
        2205: (b"-", bytes(4)),
        2206: (b"-", bytes(4)),
        2950: (b"00000000-0000-0000-0000-000000000000", bytes(16)),
        3220: (b"0/0", bytes(8)),
        3614: (b"", bytes(4)),
        3615: (b"", bytes(4)),
        3734: (b"-", bytes(4)),
        3769: (b"-", bytes(4)),
        3802: (b"{}", b"\1{}"),
        4072: (b'$', b"\1$"),
        4089: (b"-", bytes(4)),
        4096: (b"-", bytes(4)),
        5069: (b"0", bytes(8)),
    }
)  # fmt: skip
"""Type oid -> text and binary form."""

_BIT = 1560


def zero(type_oid: int, modifier: int, wire_format: int) -> bytes | None:
    """Return a valid value of the type in wire format 0 (text) or 1 (binary); None where the type has none here."""
    if type_oid == _BIT:
        width = max(modifier, 1)
        return struct.pack("!i", width) + bytes((width + 7) // 8) if wire_format else b"0" * width
    found = _ZEROS.get(type_oid)
    return None if found is None else found[1 if wire_format else 0]
