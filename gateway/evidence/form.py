"""Entries that are alike, from a form: what is the same in all of them stands encoded, the rest is filled in.

Promises the very bytes that `canonical` gives for the same fields: only whole numbers and words of letters, digits and
a few signs are ever filled in, and nothing that an agent chooses. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring

from gateway.evidence.entry import encode
from gateway.model import Json

__all__ = ["WORDS", "Form", "quoted", "template"]

WORDS = frozenset({"digest", "pc", "ts"})
"""Fields that are filled in as words: hexadecimal digits, or a time. All others are whole numbers."""

quoted = encode_basestring
"""A text as it stands in a canonical value."""


class Form:
    """What is the same in many drafts: `fields`, and the names of those that `varying` from one to the next."""

    __slots__ = ("fields", "varying")

    def __init__(self, fields: Mapping[str, Json], varying: tuple[str, ...] = ()) -> None:
        self.fields, self.varying = fields, varying


def template(fields: Mapping[str, Json], varying: Iterable[str]) -> str:
    """Return a text whose `%` with a mapping of what varies is the canonical encoding of everything."""
    parts = {name: encode(value).replace("%", "%%") for name, value in fields.items()}
    parts |= {name: f'"%({name})s"' if name in WORDS else f"%({name})d" for name in varying}
    return "{" + ",".join(f'"{name}":{parts[name]}' for name in sorted(parts)) + "}"
