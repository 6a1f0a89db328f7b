"""The tables of `gateway.toml` about approvals: how long, by whom, who else is asked, who is told. Reads nothing.

Frozen pydantic models, unknown keys refused, durations in microseconds once read, as in `gateway.settings.tables`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.approval.people import Terms
from gateway.settings.values import (
    MINUTE,
    Duration,
    PositiveDuration,
    Reference,
    Reviewer,
    Table,
    https,
)

MOST_REASON = 1_000
"""Characters that a reason may have to have."""


class WebhookTable(Table):
    """`[[approvals.webhook]]`: a URL that is told of requests and decisions, signed as Standard Webhooks are."""

    url: Annotated[str, AfterValidator(https)]
    secret: Reference


class EscalationTable(Table):
    """`[approvals.escalation]`: whom else to tell of what still waits, and who may decide about it then too."""

    after: PositiveDuration
    notify: tuple[Reference, ...] = ()
    reviewers: tuple[Reviewer, ...] = ()


def _somebody(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("name one at least; without the table nobody may break the glass")
    return value


class BreakGlassTable(Table):
    """`[approvals.break_glass]`: who may approve in the place of all who are missing, and how much reason it takes."""

    reviewers: Annotated[tuple[Reviewer, ...], AfterValidator(_somebody)]
    reason: Annotated[int, Field(ge=1, le=MOST_REASON)] = 20
    """Characters of it, at least."""


class ApprovalsTable(Table):
    """`[approvals]`: how long and by whom a held operation may be decided."""

    timeout: PositiveDuration = 15 * MINUTE
    in_transaction_timeout: PositiveDuration = MINUTE
    effect_rows: Annotated[int, Field(ge=0, le=10)] = 5
    linger: Duration = 5 * MINUTE
    assurance: Literal["uid", "oidc", "signed"] | None = None
    reviewers: tuple[Reviewer, ...] = ()
    grant_limit: PositiveDuration = 8 * 60 * MINUTE
    notify: tuple[Reference, ...] = ()
    webhook: tuple[WebhookTable, ...] = ()
    escalation: EscalationTable | None = None
    break_glass: BreakGlassTable | None = None

    def terms(self) -> Terms:
        """Return what holds for whatever is held, beside its rule."""
        escalation, glass = self.escalation, self.break_glass
        return Terms(
            escalate_after=None if escalation is None else escalation.after,
            escalate_to=() if escalation is None else escalation.reviewers,
            break_glass=() if glass is None else glass.reviewers,
            break_glass_reason=MOST_REASON if glass is None else glass.reason,
        )
