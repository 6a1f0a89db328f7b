"""Masking COPY data in the text format, as it streams.

Promises that no byte of a masked field passes, that every other byte passes unchanged, that rows may be cut into
pieces anywhere, and that no more than one field, up to `LONGEST`, is kept. A row that does not have the columns that
were announced is a `CopyFault`.
"""

from __future__ import annotations

import re

from gateway.masking.copy_layout import Layout
from gateway.masking.copy_lines import CopyLines
from gateway.masking.copying import Copied, Replaced, Stand

_LETTERS = {b"\b": b"b", b"\f": b"f", b"\n": b"n", b"\r": b"r", b"\t": b"t", b"\v": b"v"}
_MEANINGS = {letter: meant for meant, letter in _LETTERS.items()}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class CopyText(CopyLines):
    """Rewrites one COPY in the text format."""

    def __init__(self, layout: Layout, stands: tuple[Stand | None, ...]) -> None:
        super().__init__(layout, stands)
        delimiter = re.escape(layout.delimiter)
        self._field = re.compile(rb"(?:[^\\\n" + delimiter + rb"]++|\\.)*+", re.DOTALL)
        self._special = re.compile(rb"[\x08\x0c\n\r\t\x0b\\" + delimiter + rb"]")
        self._hidden_delimiter = b"\\" + layout.delimiter
        self._ambiguous = escape(unescape(layout.null), self._special) == layout.null
        """NULL could be an ordinary value: then neither is told apart, lest an agent ask for a guess by it."""

    def feed(self, data: bytes) -> Copied:
        """Take data of the target; return what the agent may see of it."""
        found: list[Replaced] = []
        data = self._carry + data
        if self._between_rows and _one_row(data):
            fields = data[:-1].split(self._layout.delimiter)
            if self._hidden_delimiter not in data:
                return self._row(fields, found)
        out: list[bytes] = []
        place = 0
        while place < len(data):
            match = self._field.match(data, place)
            end = match.end() if match is not None else place
            if end >= len(data) or data[end : end + 1] == b"\\":
                self._carry, place = self._part(data[place:], end - place, out, found), len(data)
                return Copied(b"".join(out), tuple(found))
            out.append(self._shown(data[place:end], found))
            out.append(data[end : end + 1])
            self._next(last=data[end] == 0x0A)
            place = end + 1
        self._carry = b""
        return Copied(b"".join(out), tuple(found))

    def _read(self, raw: bytes) -> bytes:
        return unescape(raw)

    def _written(self, _: Stand, shown: bytes | None) -> bytes:
        return self._layout.null if shown is None or self._ambiguous else escape(shown, self._special)


def _one_row(data: bytes) -> bool:
    return data.endswith(b"\n") and data.find(b"\n") == len(data) - 1


def escape(value: bytes, special: re.Pattern[bytes]) -> bytes:
    """Write a value as COPY's text format has it."""
    return special.sub(lambda match: b"\\" + _LETTERS.get(match[0], match[0]), value)


def unescape(raw: bytes) -> bytes:
    """Read a field that PostgreSQL wrote."""
    return raw if b"\\" not in raw else _ESCAPED.sub(lambda match: _MEANINGS.get(match[1], match[1]), raw)
