"""Entries that are alike, from a form: what is the same in all of them stands encoded, the rest is filled in.

Promises the very bytes that `canonical` gives for the same fields: only whole numbers and words of letters, digits and
a few signs are ever filled in, and nothing that an agent chooses. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from json.encoder import encode_basestring
from operator import itemgetter

from gateway.evidence.entry import encode
from gateway.model import Json

__all__ = ["WORDS", "Form", "Template", "quoted", "template"]

WORDS = frozenset({"digest", "pc", "ts"})
"""Fields that are filled in as words: hexadecimal digits, or a time. All others are whole numbers."""

quoted = encode_basestring
"""A text as it stands in a canonical value."""


class Form:
    """What is the same in many drafts: `fields`, and the names of those that vary.

    A draft of this form gives its fields in the order of `varying`.
    """

    __slots__ = ("fields", "varying")

    def __init__(self, fields: Mapping[str, Json], varying: tuple[str, ...] = ()) -> None:
        self.fields, self.varying = fields, varying


class Template:
    """An entry but for what varies."""

    __slots__ = ("_pick", "_text", "size")

    def __init__(self, text: str, order: tuple[int, ...]) -> None:
        self._text, self._pick = text, itemgetter(*order)
        self.size = len(text.encode())
        """Bytes of an entry, about."""

    def fill(self, values: tuple[Json, ...]) -> bytes:
        """Return the entry with these values, in the order in which the template was told what varies."""
        entry: str = self._text % self._pick(values)
        return entry.encode()


def template(fields: Mapping[str, Json], varying: tuple[str, ...]) -> Template:
    """Return what is filled to the canonical encoding of everything; at least two fields must vary."""
    parts = {name: encode(value).replace("%", "%%") for name, value in fields.items()}
    parts |= {name: '"%s"' if name in WORDS else "%d" for name in varying}
    text = "{" + ",".join(f'"{name}":{parts[name]}' for name in sorted(parts)) + "}"
    return Template(text, tuple(varying.index(name) for name in sorted(varying)))
