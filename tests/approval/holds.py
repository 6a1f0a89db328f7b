"""Held operations and approvers to test with."""

from __future__ import annotations

from dataclasses import replace

from gateway.approval.ledger import Approver
from gateway.model import ApprovalId, HoldRequest, Micros, OperationHash, Principal, SessionId, SessionInfo

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
    )


def of(request: HoldRequest, **principal: object) -> HoldRequest:
    """The same request by somebody else."""
    changed = replace(request.session.principal, **principal)  # type: ignore[arg-type]
    return replace(request, session=replace(request.session, principal=changed))
