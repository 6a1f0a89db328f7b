"""Masking COPY data in the CSV format, as it streams: quotes, escapes and newlines within values included.

Promises what `copy_text` promises. What stands in is quoted wherever PostgreSQL would quote it.
"""

from __future__ import annotations

import re

from gateway.masking.copy_layout import Layout
from gateway.masking.copying import LONGEST, Copied, CopyFault, Replaced, Stand


class CopyCsv:
    """Rewrites one COPY; `stands` has what stands in for each column, None for those that pass."""

    def __init__(self, layout: Layout, stands: tuple[Stand | None, ...]) -> None:
        self._layout, self._stands = layout, stands
        quote, delimiter = re.escape(layout.quote), re.escape(layout.delimiter)
        self._plain = re.compile(rb"[^\n" + quote + delimiter + rb"]*+")
        self._quoted = re.compile(rb"[^" + quote + re.escape(layout.escape) + rb"]*+")
        self._needs_quotes = re.compile(rb"[\r\n" + quote + delimiter + rb"]")
        self._special = re.compile(rb"[" + quote + re.escape(layout.escape) + rb"]")
        self._escapes = layout.escape != layout.quote
        self._header = layout.header
        self._column = self._rows = 0
        self._carry = b""
        self._open = False
        """Within quotes, as of the carry's beginning."""
        self._midway = self._skipping = False

    def feed(self, data: bytes) -> Copied:
        """Take data of the target; return what the agent may see of it."""
        found: list[Replaced] = []
        data = self._carry + data
        if not data:
            return Copied(b"")
        fresh = self._column == 0 and not self._midway and not self._header
        if fresh and self._layout.quote not in data and data.find(b"\n") == len(data) - 1:
            return self._row(data[:-1].split(self._layout.delimiter), found)
        out: list[bytes] = []
        place = 0
        while place < len(data):
            end, opened = self._end(data, place)
            if end >= len(data) or opened:
                self._carry = self._part(data[place:], end - place, opened, out, found)
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

    def _end(self, data: bytes, place: int) -> tuple[int, bool]:
        """Return where the field ends, and whether it is still within quotes there; its end may not be in `data`.

        A doubled quote closes and opens again, which comes to the same. A half escape at the end is left out.
        """
        layout, opened = self._layout, self._open
        while True:
            pattern = self._quoted if opened else self._plain
            match = pattern.match(data, place)
            place = match.end() if match is not None else place
            here = data[place : place + 1]
            if not here:
                return place, opened
            if opened and self._escapes and here == layout.escape:
                follows = data[place + 1 : place + 2]
                if not follows:
                    return place, opened
                place += 2 if follows in {layout.escape, layout.quote} else 1
            elif here == layout.quote:
                opened = not opened
                place += 1
            else:
                return place, opened

    def _row(self, fields: list[bytes], found: list[Replaced]) -> Copied:
        """A whole row at once, without any quote."""
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
        if raw == self._layout.null:
            return raw
        original = self._value(raw)
        shown = stand.of(original)
        if stand.guard is not None and shown is original:
            return raw
        found.append(Replaced(self._rows, column, original))
        return self._written(stand, shown)

    def _written(self, stand: Stand, shown: bytes | None) -> bytes:
        layout = self._layout
        if shown is None:
            return layout.null
        forced = layout.force_quote is None or stand.name in layout.force_quote
        if not forced and shown not in {layout.null, b"\\."} and self._needs_quotes.search(shown) is None:
            return shown
        inner = self._special.sub(lambda match: layout.escape + match[0], shown)
        return layout.quote + inner + layout.quote

    def _value(self, raw: bytes) -> bytes:
        """Read a field."""
        layout = self._layout
        if layout.quote not in raw:
            return raw
        out, place, opened = bytearray(), 0, False
        while place < len(raw):
            here, follows = raw[place : place + 1], raw[place + 1 : place + 2]
            if opened and here == layout.escape and follows and follows in {layout.escape, layout.quote}:
                out += follows
                place += 2
                continue
            if here == layout.quote:
                opened = not opened
            else:
                out += here
            place += 1
        return bytes(out)

    def _part(self, rest: bytes, whole: int, opened: bool, out: list[bytes], found: list[Replaced]) -> bytes:
        """The data ends within a field: return what must be kept."""
        stand = self._stands[self._column]
        watched = stand is not None and stand.guard is not None
        passes = stand is None or self._header or self._midway or (watched and len(rest) > LONGEST)
        if stand is None or passes or self._skipping:
            if not self._skipping:
                out.append(rest[:whole])
            self._midway, self._open = self._midway or whole > 0, opened
            return rest[whole:]
        if len(rest) <= LONGEST:
            return rest
        out.append(self._written(stand, stand.constant))
        found.append(Replaced(self._rows, self._column, self._value(rest[:whole]), whole=False))
        self._midway = self._skipping = True
        self._open = opened
        return rest[whole:]

    def _next(self, *, last: bool) -> None:
        self._midway = self._skipping = self._open = False
        if last != (self._column == len(self._stands) - 1):
            raise CopyFault("a row of COPY does not have the columns that were announced")
        if last:
            self._rows += not self._header
            self._column, self._header = 0, False
        else:
            self._column += 1
