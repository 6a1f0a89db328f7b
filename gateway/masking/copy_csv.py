"""Masking COPY data in the CSV format, as it streams: quotes, escapes and newlines within values included.

Promises what `copy_text` promises. What stands in is quoted wherever PostgreSQL would quote it.
"""

from __future__ import annotations

import re

from gateway.masking.copy_layout import Layout
from gateway.masking.copy_lines import CopyLines
from gateway.masking.copying import Copied, Replaced, Stand


class CopyCsv(CopyLines):
    """Rewrites one COPY in the CSV format."""

    def __init__(self, layout: Layout, stands: tuple[Stand | None, ...]) -> None:
        super().__init__(layout, stands)
        quote, delimiter = re.escape(layout.quote), re.escape(layout.delimiter)
        self._plain = re.compile(rb"[^\n" + quote + delimiter + rb"]*+")
        self._quoted = re.compile(rb"[^" + quote + re.escape(layout.escape) + rb"]*+")
        self._needs_quotes = re.compile(rb"[\r\n" + quote + delimiter + rb"]")
        self._special = re.compile(rb"[" + quote + re.escape(layout.escape) + rb"]")
        self._escapes = layout.escape != layout.quote
        self._open = False
        """Within quotes, as of the carry's beginning."""

    def feed(self, data: bytes) -> Copied:
        """Take data of the target; return what the agent may see of it."""
        found: list[Replaced] = []
        data = self._carry + data
        if not data:
            return Copied(b"")
        if self._between_rows and self._layout.quote not in data and data.find(b"\n") == len(data) - 1:
            return self._row(data[:-1].split(self._layout.delimiter), found)
        out: list[bytes] = []
        place = 0
        while place < len(data):
            end, opened = self._end(data, place)
            if end >= len(data) or opened:
                rest = data[place:]
                self._carry = self._part(rest, end - place, out, found)
                if len(self._carry) < len(rest):
                    self._open = opened
                return Copied(b"".join(out), tuple(found))
            out.append(self._shown(data[place:end], found))
            out.append(data[end : end + 1])
            self._next(last=data[end] == 0x0A)
            place = end + 1
        self._carry = b""
        return Copied(b"".join(out), tuple(found))

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

    def _written(self, stand: Stand, shown: bytes | None) -> bytes:
        layout = self._layout
        if shown is None:
            return layout.null
        forced = layout.force_quote is None or stand.name in layout.force_quote
        if not forced and shown not in {layout.null, b"\\."} and self._needs_quotes.search(shown) is None:
            return shown
        inner = self._special.sub(lambda match: layout.escape + match[0], shown)
        return layout.quote + inner + layout.quote

    def _read(self, raw: bytes) -> bytes:
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

    def _next(self, *, last: bool) -> None:
        super()._next(last=last)
        self._open = False
