"""What an agent asks to run, what that does to the names of its session, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Parameter:
    """One bound value: its type (0: unspecified), wire format (0 text, 1 binary) and bytes; None is NULL."""

    type_oid: int
    format: int
    value: bytes | None


class WireProtocol(StrEnum):
    """By which PostgreSQL sub-protocol a statement came (`statements.protocol`)."""

    SIMPLE = "simple"
    EXTENDED = "extended"


@dataclass(frozen=True, slots=True)
class Statement:
    """What an agent asks to run: exact bytes as sent, and bound parameters once they are known."""

    sql: bytes
    protocol: WireProtocol
    parameters: tuple[Parameter, ...] = ()
    name: str = ""
    """Prepared statement's name in the extended protocol."""


class Outcome(StrEnum):
    """How a recorded operation ended."""

    OK = "ok"
    ERROR = "error"
    DENIED = "denied"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Prepared:
    """PREPARE succeeded, or is to: `name` stands for `sql`."""

    name: str
    sql: bytes


@dataclass(frozen=True, slots=True)
class Declared:
    """DECLARE succeeded, or is to: cursor `name` reads `sql`; `hold`: it outlives its transaction."""

    name: str
    sql: bytes
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Deallocated:
    """DEALLOCATE of one prepared statement; None: of all."""

    name: str | None


@dataclass(frozen=True, slots=True)
class Closed:
    """CLOSE of one cursor; None: of all."""

    name: str | None


NameEffect: TypeAlias = Prepared | Declared | Deallocated | Closed
"""What a statement does to the names of its session, where it succeeds."""
