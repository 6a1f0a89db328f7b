"""What is to be recorded of a session: the notes of its machine, frozen, without a place in any log yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from gateway.model import (
    Outcome,
    Statement,
)
from gateway.pgwire.judgement import Judgement


class Preparation(NamedTuple):
    """A Parse is about to be forwarded."""

    n: int
    statement: Statement
    judgement: Judgement


class Request(NamedTuple):
    """A statement is about to be forwarded (Query, Bind), or was denied."""

    n: int
    statement: Statement
    judgement: Judgement


class Execution(NamedTuple):
    """An Execute of the portal that request `of` made is about to be forwarded."""

    n: int
    of: int
    max_rows: int


@dataclass(frozen=True, slots=True)
class CopyChunk:
    """COPY data of request `of`, whole CopyData messages of at most 256 KiB, is about to be forwarded."""

    n: int
    of: int
    data: bytes
    touches_marks: bool
    withheld: bool = False
    """It holds a marked column: it must not be recorded in clear."""


@dataclass(frozen=True, slots=True)
class MaskedColumn:
    """One masked output column of a result and how many values of it were replaced."""

    n: int
    column_name: str
    source_columns: tuple[str, ...]
    style: str
    values: int
    sealed: int = 0
    """Of so many of them the originals were kept, sealed."""


@dataclass(frozen=True, slots=True)
class OriginalColumn:
    """The originals of one masked column over a stretch of rows, as the target sent them; None is NULL."""

    column_name: str
    source_columns: tuple[str, ...]
    type_oid: int
    format: int
    values: tuple[bytes | None, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Originals:
    """A stretch of masked rows of request `of`, rows `first` to `last` of result `index`: what is to be sealed."""

    n: int
    of: int
    index: int
    first: int
    last: int
    columns: tuple[OriginalColumn, ...]


class Answer(NamedTuple):
    """How request `of` ended, and what the agent was sent; `digest` is keyed with `salt` over all its wire bytes."""

    n: int
    of: int
    outcome: Outcome
    sqlstate: str | None
    message: str | None
    rows: int
    size: int
    duration_us: int
    masked: tuple[MaskedColumn, ...]
    text: str
    truncated: bool
    digest: str
    salt: bytes
    touches_marks: bool


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The client asked to cancel; `of` is the request in flight or held, None if there was none."""

    n: int
    of: int | None
    forwarded: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a person should look at."""

    n: int
    alarm: str
    detail: str


Note: TypeAlias = Preparation | Request | Execution | CopyChunk | Originals | Answer | Cancellation | Alarm
