"""A record before it has its place in a log, and what may go with it. Built by `gateway.evidence.record` alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

from gateway.model.agents import SessionInfo
from gateway.model.names import Json, LogName


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed envelope, and what its record says of it: `oc`, `sc` and `kid` (EVIDENCE.md, "Entry")."""

    content: str
    digest: str
    key: str
    envelope: bytes = field(repr=False)


class Alike(Protocol):
    """What is the same in many drafts."""

    @property
    def fields(self) -> Mapping[str, Json]:
        """The fields that are the same."""

    @property
    def varying(self) -> tuple[str, ...]:
        """The names of those that are not."""


class Draft(NamedTuple):
    """A record before the journal gives it its place.

    `fields` holds what the kind needs beyond the session's own fields; built only by `gateway.evidence.record`.
    `payload` is stored beside the entry and committed to by `pc`; `salt` is given where a digest was keyed with it
    before the record was complete. `seal` makes the envelope that belongs to the record, from log and sequence number;
    `wrapped` is the session's wrapped key, where this record tells of it. Both are on disk before the record is.
    A `form` holds the rest of the fields where many records have them alike; a payload of bytes is in canonical form
    already.
    """

    kind: str
    session: SessionInfo | None = None
    n: int | None = None
    fields: Mapping[str, Json] = MappingProxyType({})
    payload: Mapping[str, Json] | bytes | bytearray | None = None
    salt: bytes | None = None
    form: Alike | None = None
    seal: Callable[[LogName, int], Sealed] | None = None
    wrapped: bytes | None = None

    def __repr__(self) -> str:
        return f"<Draft {self.kind} n={self.n}>"
