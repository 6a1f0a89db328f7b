"""Masking COPY data in the binary format, as it streams.

Promises what `copy_text` promises: only a masked field, up to `LONGEST`, is kept until it is whole.
Source: PostgreSQL 18, COPY, "Binary Format".
"""

from __future__ import annotations

import struct

from gateway.masking.copying import LONGEST, Copied, CopyFault, Replaced, Stand

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEAD = len(_SIGNATURE) + 8
_LONGEST_EXTENSION = 1 << 16
_COUNT, _SIZE = struct.Struct("!h"), struct.Struct("!i")
_TRAILER = -1


class CopyBinary:
    """Rewrites one COPY; `stands` has what stands in for each column, None for those that pass."""

    def __init__(self, stands: tuple[Stand | None, ...]) -> None:
        self._stands = stands
        self._pending = b""
        self._begun = self._over = False
        self._rows = 0
        self._column = -1
        """-1: between rows."""
        self._passing = self._dropping = 0
        """Bytes of the present field that still pass, or are dropped."""

    def feed(self, data: bytes) -> Copied:
        """Take data of the target; return what the agent may see of it."""
        data = self._pending + data
        out: list[bytes] = []
        found: list[Replaced] = []
        place = 0
        while (step := self._step(data, place, out, found)) > 0:
            place += step
        self._pending = data[place:]
        return Copied(b"".join(out), tuple(found))

    def end(self) -> None:
        """The target says that the data is complete."""
        if not self._over or self._pending:
            raise CopyFault("COPY ended within a row")

    def _step(self, data: bytes, place: int, out: list[bytes], found: list[Replaced]) -> int:
        """Take one piece at `place` and return its length; 0: more data is needed."""
        left = len(data) - place
        if self._passing or self._dropping:
            size = min(left, self._passing or self._dropping)
            if self._passing:
                self._passing -= size
                out.append(data[place : place + size])
            else:
                self._dropping -= size
            return size
        if self._over and left:
            raise CopyFault("the data of COPY goes on behind its end")
        if not self._begun:
            return self._head(data, out)
        if self._column < 0:
            return self._row(data, place, out) if left >= _COUNT.size else 0
        return self._field(data, place, out, found) if left >= _SIZE.size else 0

    def _head(self, data: bytes, out: list[bytes]) -> int:
        if len(data) < _HEAD:
            return 0
        flags, extension = struct.unpack_from("!Ii", data, len(_SIGNATURE))
        if not data.startswith(_SIGNATURE) or flags or not 0 <= extension <= _LONGEST_EXTENSION:
            raise CopyFault("the data of COPY does not begin as the binary format does")
        size = _HEAD + int(extension)
        if len(data) < size:
            return 0
        self._begun = True
        out.append(data[:size])
        return size

    def _row(self, data: bytes, place: int, out: list[bytes]) -> int:
        (count,) = _COUNT.unpack_from(data, place)
        out.append(data[place : place + _COUNT.size])
        if count == _TRAILER:
            self._over = True
        elif count != len(self._stands):
            raise CopyFault("a row of COPY does not have the columns that were announced")
        elif count:
            self._rows += 1
            self._column = 0
        return _COUNT.size

    def _field(self, data: bytes, place: int, out: list[bytes], found: list[Replaced]) -> int:
        size = int(_SIZE.unpack_from(data, place)[0])
        if size < -1:
            raise CopyFault("a field of COPY has a negative length")
        stand = self._stands[self._column]
        head = data[place : place + _SIZE.size]
        if stand is None or size < 0 or (stand.guard is not None and size > LONGEST):
            out.append(head)
            self._passing = max(size, 0)
        elif size > LONGEST:
            out.append(_encoded(stand.constant))
            found.append(Replaced(self._rows - 1, self._column, b"", whole=False))
            self._dropping = size
        else:
            start = place + _SIZE.size
            if len(data) < start + size:
                return 0
            original = data[start : start + size]
            shown = stand.of(original)
            out.append(_encoded(shown))
            if stand.guard is None or shown is not original:
                found.append(Replaced(self._rows - 1, self._column, original))
            self._advance()
            return _SIZE.size + size
        self._advance()
        return _SIZE.size

    def _advance(self) -> None:
        self._column = self._column + 1 if self._column + 1 < len(self._stands) else -1


def _encoded(value: bytes | None) -> bytes:
    return _SIZE.pack(-1) if value is None else _SIZE.pack(len(value)) + value
