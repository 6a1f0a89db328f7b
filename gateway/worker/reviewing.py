"""What a worker asks of people, in this process or through its supervisor's.

Promises nothing of its own: `gateway.approval.waiting.Approvals` is one, `gateway.workforce.reviewers` the other. What
answers at once may be a moment old where the approvals are in another process; what is awaited is as of now.
"""

from __future__ import annotations

from typing import Protocol

from gateway.approval.grants import Grant
from gateway.approval.holding import Waitable
from gateway.model import ApprovalId, Decision, HoldRequest, Impact, Micros, OperationHash, Outcome, Principal


class OpenApproval(Protocol):
    """An approval that was asked for and not used yet."""

    @property
    def id(self) -> ApprovalId:
        """Return its name."""

    @property
    def expires(self) -> Micros:
        """Return until when it may be used."""


class Reviewing(Protocol):
    """The way to people. Methods as `gateway.approval.waiting.Approvals` has them."""

    def claim(self, operation_hash: OperationHash, principal: Principal) -> Decision | None:
        """Take an approval of this very operation that was asked for without waiting; `confirmed` before it is used."""

    async def confirmed(self, claimed: Decision, principal: Principal) -> Decision | None:
        """Return what was claimed, once it is used up by this; None: it is not to be had any more."""

    def open_for(self, operation_hash: OperationHash, principal: Principal) -> ApprovalId | None:
        """Return the approval that this very question of this identity has already."""

    def granted(self, principal: Principal, connection: str, rules: tuple[str, ...]) -> Grant | None:
        """Return the leave that lets a statement through which `rules` would hold."""

    async def granted_now(self, principal: Principal, connection: str, rules: tuple[str, ...]) -> Grant | None:
        """As `granted`, as of now."""

    async def hold(self, request: HoldRequest, cancelled: Waitable, gone: Waitable | None = None) -> Decision:
        """Ask people and wait."""

    async def ask(self, request: HoldRequest) -> OpenApproval:
        """Ask people without waiting. Raises `Refusal`."""

    async def opened(self, approval: ApprovalId) -> None:
        """Return once people can see it."""

    def weigh(self, approval: ApprovalId, impact: Impact) -> None:
        """Show reviewers what became known."""

    async def speaks_against(self, approval: ApprovalId) -> str | None:
        """Say why an approval that was given is worth nothing any more."""

    def executed(
        self, approval: ApprovalId, executed_hash: OperationHash, outcome: Outcome, rows: int, duration_us: int
    ) -> None:
        """Tell how the operation ended."""

    def abandoned(self, approval: ApprovalId, why: str) -> None:
        """Tell that it was not forwarded after all."""
