"""What a masked value looks like, by style, type and wire format: the bytes that stand in for it.

Promises a stand-in that a client's driver can read as a value of the column's type. `redact`, `zero` and `null` never
depend on the value; `last4` and `pseudonym` do, and are chosen only by `gateway.masking.plan`, where a column is one
direct reference. Arrays, ranges, composites and types that nobody knows become NULL.
Source: SEMANTICS.md, "Masking".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.masking.zeros import zero
from gateway.model import MaskStyle
from gateway.policy.catalog import TypeShape

REDACTED = b"***"

TEXT, BPCHAR, VARCHAR, NAME = 25, 1042, 1043, 19
UNKNOWN_TYPE = 705
"""Type of an untyped literal; the wire shows it as text."""

_TEXT_TYPES = frozenset({TEXT, BPCHAR, VARCHAR, NAME, UNKNOWN_TYPE})
_VARHDRSZ = 4
_DEEPEST = 32
"""Domains over domains that are followed."""
_LAST, _SHORT = 4, 8
Shapes = Mapping[int, TypeShape]
NO_SHAPES: Shapes = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Kind:
    """A column's type as masking sees it: domains are what they stand over."""

    oid: int
    modifier: int = -1
    text: bool = False
    """text, varchar, char, name, citext, and domains over them."""
    label: bytes | None = None
    """The first label of an enumeration."""

    @property
    def length(self) -> int | None:
        """The declared length in characters of varchar(n) and char(n)."""
        declared = self.oid in {VARCHAR, BPCHAR} and self.modifier >= _VARHDRSZ
        return self.modifier - _VARHDRSZ if declared else None

    def fit(self, shown: bytes) -> bytes:
        """Cut ASCII text to the declared length, and pad it as char(n) is."""
        if self.length is None:
            return shown
        cut = shown[: self.length]
        return cut.ljust(self.length) if self.oid == BPCHAR else cut


def kind(type_oid: int, modifier: int, shapes: Shapes = NO_SHAPES) -> Kind:
    """Return what a type is, with the catalog's `shapes` of those outside pg_catalog."""
    for _ in range(_DEEPEST):
        shape = shapes.get(type_oid)
        if shape is None:
            return Kind(type_oid, modifier, type_oid in _TEXT_TYPES)
        if shape.kind != "d":
            label = shape.label.encode() if shape.label is not None else None
            return Kind(type_oid, modifier, text=shape.extension == "citext" and shape.category == "S", label=label)
        modifier = shape.modifier if modifier < 0 else modifier
        type_oid = shape.base
    return Kind(0)


def replacement(
    style: MaskStyle, type_oid: int, modifier: int, wire_format: int = 0, shapes: Shapes = NO_SHAPES
) -> bytes | None:
    """Return what stands in for every non-NULL value; None: NULL. A NULL stays NULL whatever the style.

    `***` has the same bytes in both wire formats; it is cut to the declared length of varchar(n) and char(n), and
    char(n) is padded as PostgreSQL pads it. `last4` and `pseudonym` are answered as `redact`.
    """
    if style is MaskStyle.NULL:
        return None
    found = kind(type_oid, modifier, shapes)
    if style is MaskStyle.ZERO:
        if found.text:
            return found.fit(b"")
        return found.label if found.label is not None else zero(found.oid, found.modifier, wire_format)
    return found.fit(REDACTED) if found.text else None


def last4(value: bytes, found: Kind, encoding: str = "utf-8") -> bytes:
    """Return a text that shows at most the last four characters, a quarter at most, and nothing of values under 8."""
    try:
        text = value.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return found.fit(REDACTED)
    text = text.rstrip(" ") if found.oid == BPCHAR else text
    shown = min(_LAST, len(text) // _LAST) if len(text) >= _SHORT else 0
    if not shown:
        return found.fit(REDACTED)
    short = REDACTED.decode() + text[-shown:]
    return (short.ljust(found.length or 0) if found.oid == BPCHAR else short).encode(encoding)
