"""Held operations, approvers, and approvals over a real journal: for every test in which people decide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from gateway.approval.ledger import Ledger
from gateway.approval.people import Approver, Terms
from gateway.approval.settling import Publish
from gateway.approval.waiting import Approvals
from gateway.errors import EvidenceFault
from gateway.evidence import record
from gateway.evidence.commit import GroupCommit
from gateway.evidence.journal import Journal
from gateway.evidence.storage import DiskStorage, File, SystemEntropy
from gateway.model import (
    ApprovalId,
    Ask,
    HoldRequest,
    Json,
    LogName,
    Micros,
    OperationHash,
    Principal,
    SessionId,
    SessionInfo,
)

SECOND = 1_000_000
NOON = Micros(1_790_000_000_000_000)
DANA = Approver("dana", "sub-dana", ("oncall",), "uid")
HASH = OperationHash("deadbeef" * 8)


def hold(
    name: str = "a1",
    *,
    at: int = NOON,
    seconds: int = 900,
    operation_hash: str = HASH,
    reviewers: tuple[str, ...] = ("group:oncall",),
    subject: str = "agent-7",
    owner: str | None = "sub-olga",
    statement: str = "DELETE FROM orders WHERE id = 1",
    token_seconds: int = 3600,
    asks: tuple[Ask, ...] = (),
    sessions: tuple[str, ...] = (),
) -> HoldRequest:
    principal = Principal(
        issuer="https://idp.example/realms/prod",
        subject=subject,
        token_id="jti-1",
        expires=Micros(at + token_seconds * SECOND),
        owner=owner,
    )
    session = SessionInfo(
        id=SessionId("s1"),
        principal=principal,
        connection="orders",
        target="10.0.0.5:5432/orders",
        client_address="10.0.0.9:40000",
        user="reporter",
        application="psql",
        started=Micros(at),
        target_role="app",
    )
    return HoldRequest(
        approval=ApprovalId(name),
        session=session,
        operation_hash=OperationHash(operation_hash),
        statement=statement,
        parameters=(),
        operation="delete",
        rule="standard/delete",
        reason="it deletes rows of public.orders",
        reviewers=reviewers,
        requested=Micros(at),
        expires=Micros(at + seconds * SECOND),
        asks=asks,
        policy="ab" * 32,
        sessions=sessions,
    )


def of(request: HoldRequest, **principal: object) -> HoldRequest:
    """The same request by somebody else."""
    changed = replace(request.session.principal, **principal)  # type: ignore[arg-type]
    return replace(request, session=replace(request.session, principal=changed))


class TrioClock:
    """A wall clock that stands at NOON when it is made and follows Trio's."""

    def __init__(self) -> None:
        self._began = trio.current_time()

    def now(self) -> Micros:
        return Micros(NOON + self.monotonic())

    def monotonic(self) -> int:
        return round((trio.current_time() - self._began) * 1_000_000)


class _BadFile:
    """A file whose sync fails once it is told to."""

    def __init__(self, inner: File, disk: BadDisk) -> None:
        self._inner, self._disk = inner, disk
        self.write, self.truncate, self.close = inner.write, inner.truncate, inner.close

    def sync(self) -> None:
        if self._disk.full:
            raise OSError(28, "No space left on device")
        self._inner.sync()


class BadDisk(DiskStorage):
    """The real storage, until `full`."""

    full = False

    def open(self, path: Path) -> File:
        return _BadFile(super().open(path), self)


@dataclass
class Desk:
    """Approvals that run, the log behind them, and what was published with the log's content at that moment."""

    approvals: Approvals
    log: GroupCommit
    disk: BadDisk
    directory: Path
    published: list[tuple[str, dict[str, Json], bytes]] = field(default_factory=list)
    listeners: list[Publish] = field(default_factory=list)

    def journal(self) -> bytes:
        """What is in the journal file now."""
        return (self.directory / "journal" / "00000001.tsv").read_bytes().rstrip(b"\0")


@asynccontextmanager
async def open_desk(
    directory: Path,
    *,
    linger: int = 0,
    objection: Callable[[Approver], str | None] = lambda _: None,
    terms: Terms | None = None,
) -> AsyncIterator[Desk]:
    """Start approvals over a journal in `directory`; leaving stops them."""
    disk, clock = BadDisk(), TrioClock()
    journal = Journal.open(directory, LogName("gw-1/control"), disk, clock, SystemEntropy())
    log = GroupCommit(journal, timer=lambda: 0.0)
    await log.record(record.start("gw-1", "0"))  # the first sync is a thread's; a jumping clock cannot see threads

    def publish(event: str, data: Any) -> None:
        desk.published.append((event, dict(data), desk.journal()))
        for listener in desk.listeners:
            listener(event, data)

    async def run() -> None:
        with suppress(EvidenceFault):
            await desk.approvals.run()

    ledger = Ledger(terms=terms or Terms())
    desk = Desk(Approvals(ledger, log, clock, publish, linger=linger, objection=objection), log, disk, directory)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(log.run)
        yield desk
        nursery.cancel_scope.cancel()
    if journal.broken is None:
        journal.close()
