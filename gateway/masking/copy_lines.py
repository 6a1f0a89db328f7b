"""What the formats of COPY whose rows are lines share: columns counted, rows ended, fields that may be cut anywhere.

Promises that a masked field is shown by nothing but what stands in for it, that a field is kept only until its end or
`LONGEST`, and that a row without the columns that were announced is a `CopyFault`. Knows no format: how a value is read
and written is the subclass's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from gateway.masking.copy_layout import Layout
from gateway.masking.copying import LONGEST, Copied, CopyFault, Replaced, Stand


class CopyLines(ABC):
    """Rewrites one COPY; `stands` has what stands in for each column, None for those that pass."""

    def __init__(self, layout: Layout, stands: tuple[Stand | None, ...]) -> None:
        self._layout, self._stands = layout, stands
        self._header = layout.header
        self._column = self._rows = 0
        self._carry = b""
        self._midway = self._skipping = False

    @abstractmethod
    def feed(self, data: bytes) -> Copied:
        """Take data of the target; return what the agent may see of it."""

    def end(self) -> None:
        """The target says that the data is complete."""
        if self._column or self._carry or self._midway:
            raise CopyFault("COPY ended within a row")

    @abstractmethod
    def _read(self, raw: bytes) -> bytes:
        """Read a field that PostgreSQL wrote."""

    @abstractmethod
    def _written(self, stand: Stand, shown: bytes | None) -> bytes:
        """Write what stands in for a field; None: NULL."""

    @property
    def _between_rows(self) -> bool:
        """Whether the next byte begins a row of values."""
        return self._column == 0 and not self._midway and not self._header

    def _row(self, fields: list[bytes], found: list[Replaced]) -> Copied:
        """Take a whole row at once, in which nothing hides a delimiter."""
        if len(fields) != len(self._stands):
            raise CopyFault("a row of COPY does not have the columns that were announced")
        for column, stand in enumerate(self._stands):
            if stand is not None:
                fields[column] = self._stood(stand, column, fields[column], found)
        self._carry = b""
        self._rows += 1
        return Copied(self._layout.delimiter.join(fields) + b"\n", tuple(found))

    def _shown(self, raw: bytes, found: list[Replaced]) -> bytes:
        """Return what is shown of a field, or of its end where its beginning went on before."""
        stand = self._stands[self._column]
        if self._skipping:
            return b""
        passes = stand is None or self._header or self._midway
        return raw if passes or stand is None else self._stood(stand, self._column, raw, found)

    def _stood(self, stand: Stand, column: int, raw: bytes, found: list[Replaced]) -> bytes:
        if raw == self._layout.null:
            return raw
        original = self._read(raw)
        shown = stand.of(original)
        if stand.guard is not None and shown is original:
            return raw
        found.append(Replaced(self._rows, column, original))
        return self._written(stand, shown)

    def _part(self, rest: bytes, whole: int, out: list[bytes], found: list[Replaced]) -> bytes:
        """Take data that ends within a field, `whole` bytes of it without a half escape; return what must be kept."""
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
        out.append(self._written(stand, stand.constant))
        found.append(Replaced(self._rows, self._column, self._read(rest[:whole]), whole=False))
        self._midway = self._skipping = True
        return rest[whole:]

    def _next(self, *, last: bool) -> None:
        """The field ended; `last`: so did its row."""
        self._midway = self._skipping = False
        if last != (self._column == len(self._stands) - 1):
            raise CopyFault("a row of COPY does not have the columns that were announced")
        if last:
            self._rows += not self._header
            self._column, self._header = 0, False
        else:
            self._column += 1
