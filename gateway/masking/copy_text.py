"""Masking COPY data in the text format, as it streams.

Promises that no byte of a masked field passes, that every other byte passes unchanged, that rows may be cut into
pieces anywhere, and that no more than one field, up to `LONGEST`, is kept. A row that does not have the columns that
were announced is a `CopyFault`.
"""

from __future__ import annotations

import re

from gateway.masking.copy_layout import Layout
from gateway.masking.copying import LONGEST, Copied, CopyFault, Replaced, Stand

_LETTERS = {b"\b": b"b", b"\f": b"f", b"\n": b"n", b"\r": b"r", b"\t": b"t", b"\v": b"v"}
_MEANINGS = {letter: meant for meant, letter in _LETTERS.items()}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class CopyText:
    """Rewrites one COPY; `stands` has what stands in for each column, None for those that pass."""

    def __init__(self, layout: Layout, stands: tuple[Stand | None, ...]) -> None:
        self._layout, self._stands = layout, stands
        delimiter = re.escape(layout.delimiter)
        self._field = re.compile(rb"(?:[^\\\n" + delimiter + rb"]++|\\.)*+", re.DOTALL)
        self._special = re.compile(rb"[\x08\x0c\n\r\t\x0b\\" + delimiter + rb"]")
        self._hidden_delimiter = b"\\" + layout.delimiter
        self._ambiguous = escape(unescape(layout.null), self._special) == layout.null
        """NULL could be an ordinary value: then neither is told apart, lest an agent ask for a guess by it."""
        self._header = layout.header
        self._column = self._rows = 0
        self._carry = b""
        self._midway = self._skipping = False

    def feed(self, data: bytes) -> Copied:
        """Take data of the target; return what the agent may see of it."""
        found: list[Replaced] = []
        data = self._carry + data
        if self._column == 0 and not self._midway and not self._header and _one_row(data):
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

    def end(self) -> None:
        """The target says that the data is complete."""
        if self._column or self._carry or self._midway:
            raise CopyFault("COPY ended within a row")

    def _row(self, fields: list[bytes], found: list[Replaced]) -> Copied:
        """A whole row at once, in which no delimiter is escaped."""
        if len(fields) != len(self._stands):
            raise CopyFault("a row of COPY does not have the columns that were announced")
        for column, stand in enumerate(self._stands):
            if stand is not None:
                fields[column] = self._stood(stand, column, fields[column], found)
        self._carry = b""
        self._rows += 1
        return Copied(self._layout.delimiter.join(fields) + b"\n", tuple(found))

    def _shown(self, raw: bytes, found: list[Replaced]) -> bytes:
        stand = self._stands[self._column]
        if self._skipping:
            return b""
        passes = stand is None or self._header or self._midway
        return raw if passes or stand is None else self._stood(stand, self._column, raw, found)

    def _stood(self, stand: Stand, column: int, raw: bytes, found: list[Replaced]) -> bytes:
        null = self._layout.null
        if raw == null:
            return null
        original = unescape(raw)
        shown = stand.of(original)
        if stand.guard is not None and shown is original:
            return raw
        found.append(Replaced(self._rows, column, original))
        return null if shown is None or self._ambiguous else escape(shown, self._special)

    def _part(self, rest: bytes, whole: int, out: list[bytes], found: list[Replaced]) -> bytes:
        """The data ends within a field, `whole` bytes of it without a half escape: return what must be kept."""
        stand = self._stands[self._column]
        watched = stand is not None and stand.guard is not None
        passes = stand is None or self._header or self._midway or (watched and len(rest) > LONGEST)
        if stand is None or passes or self._skipping:
            if not self._skipping:
                out.append(rest[:whole])
            self._midway = self._midway or whole > 0
            return rest[whole:]
        if len(rest) <= LONGEST:
            return rest
        shown = None if self._ambiguous else stand.constant
        out.append(self._layout.null if shown is None else escape(shown, self._special))
        found.append(Replaced(self._rows, self._column, unescape(rest[:whole]), whole=False))
        self._midway = self._skipping = True
        return rest[whole:]

    def _next(self, *, last: bool) -> None:
        self._midway = self._skipping = False
        if last != (self._column == len(self._stands) - 1):
            raise CopyFault("a row of COPY does not have the columns that were announced")
        if last:
            self._rows += not self._header
            self._column, self._header = 0, False
        else:
            self._column += 1


def _one_row(data: bytes) -> bool:
    return data.endswith(b"\n") and data.find(b"\n") == len(data) - 1


def escape(value: bytes, special: re.Pattern[bytes]) -> bytes:
    """Write a value as COPY's text format has it."""
    return special.sub(lambda match: b"\\" + _LETTERS.get(match[0], match[0]), value)


def unescape(raw: bytes) -> bytes:
    """Read a field that PostgreSQL wrote."""
    return raw if b"\\" not in raw else _ESCAPED.sub(lambda match: _MEANINGS.get(match[1], match[1]), raw)
