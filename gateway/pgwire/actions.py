"""What a session asks its driver to do, and what it is told: frozen values between the state machine and the I/O.

The machine never waits and never does I/O. A driver performs the actions in the order in which they came:
whatever stands after a `Record` that must be durable may leave the process only once that record is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, NewType, TypeAlias

from gateway.model import (
    Decision,
    OperationHash,
    Outcome,
    Parameter,
    ShownEffect,
    Statement,
)
from gateway.pgwire.backend import Report
from gateway.pgwire.judgement import Judgement, Names
from gateway.pgwire.notes import Note, Preparation, Request

Token = NewType("Token", int)
"""Names one question of the machine; its answer comes by `Session.resume(token, …)`."""


class Source(Enum):
    """Which side of the session bytes came from."""

    CLIENT = "client"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class SendToClient:
    """Bytes for the agent."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendToTarget:
    """Bytes for the target."""

    data: bytes


LARGE = 1 << 20
"""Bytes of a statement with its parameters from which on its record is made in pieces, between the turns of others."""


class Record(NamedTuple):
    """A note for the journal; `wait`: what follows leaves only once it is durable.

    `large`: its record takes time to make, and other sessions should not have to wait for that.
    """

    note: Note
    wait: bool = True
    large: bool = False


def recorded(note: Request | Preparation) -> Record:
    """Return the record of a statement that came message by message, of whatever size."""
    statement = note.statement
    size = len(statement.sql) + sum([len(each.value or b"") for each in statement.parameters])
    return Record(note, large=size >= LARGE)


@dataclass(frozen=True, slots=True)
class Analyse:
    """Judge a statement; answer with a `Judgement`."""

    token: Token
    statement: Statement
    names: Names


@dataclass(frozen=True, slots=True)
class Hold:
    """Ask a person; answer with `Granted` or `Refused`. The driver records the request and the release."""

    token: Token
    n: int
    statement: Statement
    judgement: Judgement
    names: Names
    effect: ShownEffect | None = None
    """What it did, where it was announced and ran."""


@dataclass(frozen=True, slots=True)
class Announce:
    """A statement is about to run whose effect a person is to see: record the request, with its hash and approval.

    What follows leaves only once that is on disk.
    """

    n: int
    statement: Statement
    judgement: Judgement
    names: Names


@dataclass(frozen=True, slots=True)
class OwnStatement:
    """A statement of the gateway's own around such a one, of request `of`: record it; what follows waits for that."""

    n: int
    of: int
    sql: bytes


@dataclass(frozen=True, slots=True)
class ReadBefore:
    """Read, on a session that does not see what request `of` did, rows that it changed; answer with `Before`."""

    token: Token
    n: int
    of: int
    sql: bytes
    parameters: tuple[Parameter, ...]
    settings: tuple[tuple[str, str], ...]
    """Settings of the agent's session by which values become text."""


@dataclass(frozen=True, slots=True)
class Before:
    """Rows as they were; None: they cannot be read."""

    rows: tuple[tuple[str | None, ...], ...] | None


@dataclass(frozen=True, slots=True)
class Renew:
    """Go on with a new access token; answer with `Renewed` or `Refused`. The repr hides the token."""

    token: Token
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EndHold:
    """The held operation is no longer wanted: cancelled by the client, or a side is gone."""

    token: Token
    cause: str
    gone: bool = False
    """The client merely hung up: the request may linger."""


@dataclass(frozen=True, slots=True)
class CancelTarget:
    """Cancel what the target runs now, then call `Session.cancel_delivered()`."""


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """A statement that may have changed the catalog succeeded."""


@dataclass(frozen=True, slots=True)
class Close:
    """The session is over; send what is queued, then close both sides."""

    reason: str


Action: TypeAlias = (
    SendToClient
    | SendToTarget
    | Record
    | Analyse
    | Hold
    | Announce
    | OwnStatement
    | ReadBefore
    | Renew
    | EndHold
    | CancelTarget
    | CatalogChanged
    | Close
)


@dataclass(frozen=True, slots=True)
class Granted:
    """A held operation may run: its release is durable, and it was judged again just now."""

    judgement: Judgement
    decision: Decision
    executed_hash: OperationHash


@dataclass(frozen=True, slots=True)
class Refused:
    """A held operation must not run; `report` is what the agent is told."""

    outcome: Outcome
    report: Report


@dataclass(frozen=True, slots=True)
class Renewed:
    """The session goes on with the new token; `words` are what the agent is told."""

    words: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What a session did, for its end record and for lists."""

    statements: int = 0
    denied: int = 0
    held: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one session; sizes in bytes."""

    statement: int = 1 << 20
    message: int = (64 << 20) + 1024
    copy_chunk: int = 256 << 10
    payload: int = 64 << 10
    flight: int = 256
    """Answers that the target may owe: before more is forwarded, these are awaited."""
    turn: int = 64
    """Messages taken from the client before other sessions have their turn."""
    names: int = 4096
    """Prepared statements, portals and cursors together: whoever wants more closes some first."""
    names_size: int = 64 << 20
    """Bytes of their texts and parameters, likewise."""
    spool: int = 8 << 20
    """Bytes of an answer that is kept back while a person decides about it."""
    sampled: int = 5
    """Rows that a person is shown of it."""
    originals: int | None = 0
    """Rows of each result whose originals are kept; None: of all."""
