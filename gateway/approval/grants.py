"""Leave for a period: what a reviewer let one agent do for a while, by rules with `action = "approve-session"`. Pure.

Promises that a grant is good for one issuer's subject on one connection, for the rules it names, and not a moment after
it expired or was withdrawn; and that memory is bounded. It never reads a clock; `gateway.approval.waiting` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.approval.people import Approver
from gateway.model import ApprovalId, Json, Micros, Principal, Quote, SessionInfo, format_time

MAX_GRANTS = 500
CONNECTION = "connection"
RULE = "rule"


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave that one decision gave; named by that approval's id."""

    approval: ApprovalId
    session: SessionInfo
    """Of the agent that asked; its subject has the leave, in this session and in others."""
    rules: tuple[str, ...]
    """Empty: every rule of the connection that asks for such leave."""
    since: Micros
    expires: Micros
    by: str
    reason: str
    assurance: str
    quote: Quote
    """The decision's record."""
    people: tuple[Approver, ...]
    """Who gave it, all of them: it is worth what they are."""

    def covers(self, principal: Principal, connection: str, rules: tuple[str, ...], now: Micros) -> bool:
        """Say whether a statement that `rules` would hold is let through."""
        own = self.session.principal
        return (
            bool(rules)
            and (principal.issuer, principal.subject) == (own.issuer, own.subject)
            and connection == self.session.connection
            and (not self.rules or set(rules) <= set(self.rules))
            and self.since <= now < self.expires
        )

    def describe(self) -> dict[str, Json]:
        """Return it as the control socket shows it."""
        principal = self.session.principal
        return {
            "id": self.approval,
            "subject": principal.subject,
            "issuer": principal.issuer,
            "owner": principal.owner,
            "connection": self.session.connection,
            "scope": RULE if self.rules else CONNECTION,
            "rules": list(self.rules),
            "since": format_time(self.since),
            "expires": format_time(self.expires),
            "by": self.by,
            "assurance": self.assurance,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Grants:
    """Every grant that is in force, by id."""

    held: Mapping[ApprovalId, Grant] = field(default_factory=dict)

    def given(self, grant: Grant) -> Grants:
        """Return the grants with one more."""
        return Grants({**self.held, grant.approval: grant})

    def without(self, approval: ApprovalId) -> Grants:
        """Return the grants without one."""
        return Grants({name: each for name, each in self.held.items() if name != approval})

    def covering(self, principal: Principal, connection: str, rules: tuple[str, ...], now: Micros) -> Grant | None:
        """Return a grant that lets a statement through which `rules` would hold, the longest one."""
        found = [each for each in self.held.values() if each.covers(principal, connection, rules, now)]
        return max(found, key=lambda each: each.expires, default=None)

    def over(self, now: Micros) -> tuple[Grant, ...]:
        """Return those whose time is over."""
        return tuple(each for each in self.held.values() if each.expires <= now)
