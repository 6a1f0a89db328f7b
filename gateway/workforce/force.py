"""The workers of a gateway, as its supervisor sees them: one in its own process, or several in theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from gateway.archiving import Archived
from gateway.model import Json, LogName, SessionId, SessionInfo

DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LogState:
    """A worker's log, for `status`: why it takes nothing, if so, and its last durable record."""

    log: LogName
    broken: str | None
    head: Json


class Workforce(Protocol):
    """Everything of the gateway that carries sessions."""

    def __len__(self) -> int:
        """Return how many sessions are open."""

    def infos(self) -> Iterable[SessionInfo]:
        """Return who has a session, or is about to."""

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be there until cancelled; starts once the evidence of all workers is open. Raises `EvidenceFault`."""

    async def serve(self, *, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
        """Listen for agents and serve them until `stop`, then drain; starts with the address."""

    def stop(self) -> None:
        """Let nobody in any more, and end."""

    async def sessions(self) -> list[dict[str, Json]]:
        """Return the open sessions, as the control socket shows them."""

    async def catalogs(self) -> list[Json]:
        """Return the catalogs, as `status` shows them."""

    async def cut(self, session: SessionId, words: str, reason: str) -> None:
        """End a session: what the agent is told, and the reason for the record."""

    @property
    def archived(self) -> Sequence[Archived]:
        """Return the workers' logs."""

    async def states(self) -> list[LogState]:
        """Return how the workers' logs are."""

    async def sign(self, *, rotate: LogName | None = None) -> None:
        """Sign the workers' logs as they are now; close the journal file of the one named `rotate`."""

    def reached(self) -> dict[str, int]:
        """Return by log how many records were seen outside, where somebody is configured to look."""

    def witnesses(self) -> list[dict[str, Json]]:
        """Return what each witness knows of the workers' logs, as `Witnessing.describe`."""

    @property
    def refused(self) -> str | None:
        """Return what a witness refuses of a worker's log."""

    def usable(self) -> None:
        """What may be used without waiting changed: approvals, or grants."""

    async def in_force(self) -> None:
        """Return once every worker knows of that."""

    def watched(self, *, records: bool) -> None:
        """Somebody looks at single records from now on, or nobody does any more."""
