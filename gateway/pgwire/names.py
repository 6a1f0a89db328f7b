"""The session's names as the target has them: prepared statements and portals or cursors, one name space each.

Entries change only when the target confirmed the change, so that a name never stands for a text that the target does
not have under it. Source: PostgreSQL 18, "Extended Query" and PREPARE, DECLARE, DEALLOCATE, CLOSE.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.model import Closed, Deallocated, Declared, NameEffect, Prepared, Statement
from gateway.pgwire.backend import ColumnDescription
from gateway.pgwire.flight import Operation
from gateway.pgwire.judgement import Judgement, Names

_NONE: frozenset[int] = frozenset()
_PARAMETER, _TYPE, _COLUMN = 100, 36, 200
"""Bytes in memory beside the agent's own, roughly."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a prepared statement's name stands for; `types` are its parameters' (0: not known yet)."""

    sql: bytes
    types: tuple[int, ...] = ()
    columns: tuple[ColumnDescription, ...] = ()
    """What a Describe of the statement said, formats not yet chosen."""

    @property
    def size(self) -> int:
        """Bytes that it keeps, as far as an agent chooses them."""
        return len(self.sql) + _TYPE * len(self.types) + _COLUMN * len(self.columns)


@dataclass(slots=True)
class NameTable:
    """Prepared statements, portals made by Bind, and cursors made by DECLARE."""

    prepared: dict[bytes, Known] = field(default_factory=dict)
    portals: dict[bytes, Operation] = field(default_factory=dict)
    cursors: dict[bytes, Declared] = field(default_factory=dict)
    epochs: dict[bytes, int] = field(default_factory=dict)
    """The catalog's epoch of each cursor that was declared with marked columns in reach."""
    _shown: dict[str, bytes] | None = None
    """The prepared statements as `view` shows them, until one changes."""
    _last: Names | None = None
    """What `view` gave last where prepared statements are all there is."""
    size: int = 0
    """Bytes that all of it keeps, as far as an agent chooses them."""

    def view(self, status: str, *, redefined: bool = False) -> Names:
        """Return what a judgement may see, detached from later changes."""
        if self.cursors or self.portals or self.epochs:
            return self._view(status, redefined=redefined)
        last = self._last
        if last is None or last.prepared is not self._shown or (last.status, last.redefined) != (status, redefined):
            last = self._last = self._view(status, redefined=redefined)
        return last

    def _view(self, status: str, *, redefined: bool) -> Names:
        cursors: dict[str, bytes] = {}
        if self.cursors or self.portals:
            cursors = {name.decode("utf-8", "replace"): cursor.sql for name, cursor in self.cursors.items()}
            for name, operation in self.portals.items():
                cursors[name.decode("utf-8", "replace")] = operation.statement.sql
        if self._shown is None:
            self._shown = {name.decode("utf-8", "replace"): known.sql for name, known in self.prepared.items()}
        return Names(self._shown, cursors, status, redefined, frozenset(self.epochs.values()) if self.epochs else _NONE)

    @property
    def count(self) -> int:
        """How many names there are."""
        return len(self.prepared) + len(self.portals) + len(self.cursors)

    def parsed(self, name: bytes, statement: Statement, types: tuple[int, ...]) -> None:
        """A Parse succeeded."""
        known = self.prepared.get(name)
        if known is not None and known.sql == statement.sql and known.types == types and not known.columns:
            return
        self._prepare(name, Known(statement.sql, types))

    def forget(self, name: bytes) -> None:
        """A prepared statement is gone, if there was one."""
        known = self.prepared.pop(name, None)
        if known is not None:
            self._shown = None
            self.size -= known.size

    def described(self, name: bytes, columns: tuple[ColumnDescription, ...]) -> None:
        """A Describe of a prepared statement was answered."""
        known = self.prepared.get(name)
        if known is not None:
            self._prepare(name, replace(known, columns=columns))

    def takes(self, name: bytes, types: tuple[int, ...]) -> None:
        """The target told the types of a prepared statement's parameters."""
        known = self.prepared.get(name)
        if known is not None:
            self._prepare(name, replace(known, types=types))

    def bound(self, name: bytes, operation: Operation) -> None:
        """A Bind succeeded."""
        self.unbound(name)
        self.portals[name] = operation
        self.size += _size(operation)

    def unbound(self, name: bytes) -> list[Operation]:
        """A portal is gone, if there was one. Returns its operation."""
        found = self.portals.pop(name, None)
        if found is None:
            return []
        self.size -= _size(found)
        return [found]

    def undeclared(self, name: bytes) -> None:
        """A cursor is gone, if there was one."""
        cursor = self.cursors.pop(name, None)
        self.epochs.pop(name, None)
        self.size -= len(cursor.sql) if cursor is not None else 0

    def apply(self, effect: NameEffect, judgement: Judgement) -> list[Operation]:
        """A statement with this effect succeeded. Returns the operations of portals that are gone by it.

        CLOSE reaches portals too, and a DECLARE that succeeded proves that no portal has its name any more.
        """
        match effect:
            case Prepared(name, sql):
                self._prepare(name.encode(), Known(sql))
            case Declared(name):
                key = name.encode()
                gone = self.unbound(key)
                self.undeclared(key)
                self.cursors[key] = effect
                self.size += len(effect.sql)
                if judgement.touches_marks:
                    self.epochs[key] = judgement.epoch
                return gone
            case Deallocated(None):
                for known in [known for known in self.prepared if known]:
                    self.forget(known)
            case Deallocated(str() as name):
                self.forget(name.encode())
            case Closed(None):
                for cursor in list(self.cursors):
                    self.undeclared(cursor)
                return self._without_portals()
            case Closed(str() as name):
                self.undeclared(name.encode())
                return self.unbound(name.encode())
        return []

    def _prepare(self, name: bytes, known: Known) -> None:
        self.forget(name)
        self._shown = None
        self.prepared[name] = known
        self.size += known.size

    def _without_portals(self) -> list[Operation]:
        return [operation for name in list(self.portals) for operation in self.unbound(name)]

    def transaction_ended(self) -> list[Operation]:
        """No transaction is open: portals and most cursors are gone. Returns the portals' operations."""
        if self.cursors:
            for name in [name for name, cursor in self.cursors.items() if not cursor.hold]:
                self.undeclared(name)
        return self._without_portals() if self.portals else []


def _size(operation: Operation) -> int:
    """Bytes that a portal keeps, as far as an agent chooses them."""
    statement = operation.statement
    return len(statement.sql) + sum(_PARAMETER + len(each.value or b"") for each in statement.parameters)
