"""The session's names as the target has them: prepared statements and portals or cursors, one name space each.

Entries change only when the target confirmed the change, so that a name never stands for a text that the target does
not have under it. Source: PostgreSQL 18, "Extended Query" and PREPARE, DECLARE, DEALLOCATE, CLOSE.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.model import Statement
from gateway.pgwire.actions import Closed, Deallocated, Declared, Judgement, NameEffect, Names, Prepared
from gateway.pgwire.backend import ColumnDescription
from gateway.pgwire.flight import Operation


@dataclass(frozen=True, slots=True)
class Known:
    """What a prepared statement's name stands for; `types` are its parameters' (0: not known yet)."""

    sql: bytes
    types: tuple[int, ...] = ()
    columns: tuple[ColumnDescription, ...] = ()
    """What a Describe of the statement said, formats not yet chosen."""


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

    def view(self, status: str, *, redefined: bool = False) -> Names:
        """Return what a judgement may see, detached from later changes."""
        cursors = {name.decode("utf-8", "replace"): cursor.sql for name, cursor in self.cursors.items()}
        for name, operation in self.portals.items():
            cursors[name.decode("utf-8", "replace")] = operation.statement.sql
        if self._shown is None:
            self._shown = {name.decode("utf-8", "replace"): known.sql for name, known in self.prepared.items()}
        return Names(self._shown, cursors, status, redefined, frozenset(self.epochs.values()))

    def parsed(self, name: bytes, statement: Statement, types: tuple[int, ...]) -> None:
        """A Parse succeeded."""
        self._shown = None
        self.prepared[name] = Known(statement.sql, types)

    def forget(self, name: bytes) -> None:
        """A prepared statement is gone, if there was one."""
        self._shown = None
        self.prepared.pop(name, None)

    def described(self, name: bytes, columns: tuple[ColumnDescription, ...]) -> None:
        """A Describe of a prepared statement was answered."""
        known = self.prepared.get(name)
        if known is not None:
            self.prepared[name] = replace(known, columns=columns)

    def takes(self, name: bytes, types: tuple[int, ...]) -> None:
        """The target told the types of a prepared statement's parameters."""
        known = self.prepared.get(name)
        if known is not None:
            self.prepared[name] = replace(known, types=types)

    def apply(self, effect: NameEffect, judgement: Judgement) -> list[Operation]:
        """A statement with this effect succeeded. Returns the operations of portals that are gone by it.

        CLOSE reaches portals too, and a DECLARE that succeeded proves that no portal has its name any more.
        """
        gone: list[Operation] = []
        self._shown = None
        match effect:
            case Prepared(name, sql):
                self.prepared[name.encode()] = Known(sql)
            case Declared(name):
                gone = self._without_portal(name.encode())
                self.cursors[name.encode()] = effect
                self.epochs.pop(name.encode(), None)
                if judgement.touches_marks:
                    self.epochs[name.encode()] = judgement.epoch
            case Deallocated(None):
                self.prepared = {name: known for name, known in self.prepared.items() if not name}
            case Deallocated(str() as name):
                self.prepared.pop(name.encode(), None)
            case Closed(None):
                gone = list(self.portals.values())
                self.portals.clear()
                self.cursors.clear()
                self.epochs.clear()
            case Closed(str() as name):
                gone = self._without_portal(name.encode())
                self.cursors.pop(name.encode(), None)
                self.epochs.pop(name.encode(), None)
        return gone

    def _without_portal(self, name: bytes) -> list[Operation]:
        found = self.portals.pop(name, None)
        return [] if found is None else [found]

    def transaction_ended(self) -> list[Operation]:
        """No transaction is open: portals and most cursors are gone. Returns the portals' operations."""
        gone = list(self.portals.values())
        self.portals.clear()
        if self.cursors:
            self.cursors = {name: cursor for name, cursor in self.cursors.items() if cursor.hold}
            self.epochs = {name: epoch for name, epoch in self.epochs.items() if name in self.cursors}
        return gone
