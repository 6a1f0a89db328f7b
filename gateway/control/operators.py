"""Operators: the people who watch and decide, and how the control socket recognises them. Pure.

A peer's user id, as the kernel tells it, names an operator. Only a development gateway without configured operators
has an implicit one: the user that runs it, and root. Never the other way round: an unknown user id is nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.approval.ledger import Approver


@dataclass(frozen=True, slots=True)
class Operator:
    """A person as configured in `[[operator]]`."""

    name: str
    uid: int | None
    subject: str | None = None
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ("watch",)
    implicit: bool = False
    """Made up for a development gateway without operators; stands for every reviewer group."""

    def may(self, role: str) -> bool:
        """Whether this operator has `role`; every operator may watch."""
        return role == "watch" or role in self.roles

    def approver(self, assurance: str) -> Approver:
        """Return the operator as the ledger knows people, recognised with `assurance`."""
        return Approver(self.name, self.subject, self.groups, assurance, for_all_groups=self.implicit)


def recognise(
    uid: int, operators: Iterable[Operator], *, development: bool, own_uid: int, user_name: str
) -> Operator | None:
    """Return who the peer with `uid` is, None for nobody. `user_name` is what the system calls that uid."""
    configured = tuple(operators)
    for operator in configured:
        if operator.uid == uid:
            return operator
    if development and not configured and uid in {own_uid, 0}:
        return Operator(user_name, uid, roles=("watch", "decide", "audit", "admin"), implicit=True)
    return None
