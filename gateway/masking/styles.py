"""What a masked value looks like, by style and type: the bytes that replace it, the same in text and binary format.

Promises a replacement that the client's driver can read as a value of the column's type, and never one that depends on
the value. Knows PostgreSQL's built-in types only; every other type becomes NULL.
Source: SEMANTICS.md, "Masking".
"""

from __future__ import annotations

from gateway.model import MaskStyle

REDACTED = b"***"

TEXT, BPCHAR, VARCHAR, NAME = 25, 1042, 1043, 19
UNKNOWN_TYPE = 705
"""Type of an untyped literal; the wire shows it as text."""

_TEXT_TYPES = frozenset({TEXT, BPCHAR, VARCHAR, NAME, UNKNOWN_TYPE})
_VARHDRSZ = 4


def replacement(style: MaskStyle, type_oid: int, type_modifier: int) -> bytes | None:
    """Return what stands instead of a non-NULL value; None: NULL. A NULL stays NULL whatever the style.

    Text types have the same bytes in both wire formats. `***` is cut to the declared length of varchar(n) and char(n),
    and char(n) is padded as PostgreSQL pads it. Styles that are not built fall back to `redact`.
    """
    if style is MaskStyle.NULL or type_oid not in _TEXT_TYPES:
        return None
    if type_oid in {VARCHAR, BPCHAR} and type_modifier >= _VARHDRSZ:
        length = type_modifier - _VARHDRSZ
        cut = REDACTED[:length]
        return cut.ljust(length) if type_oid == BPCHAR else cut
    return REDACTED
