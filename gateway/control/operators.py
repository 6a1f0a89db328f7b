"""Operators: the people who watch and decide, and how the control socket recognises them. Pure.

A peer's user id, as the kernel tells it, names an operator who watches. Who decides is known by the issuer's subject of
a login (`gateway.control.logins`). Only a development gateway without configured operators has an implicit one: the
user that runs it, and root. Never the other way round: an unknown user id is nobody, and so is an unknown subject.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operator:
    """A person, as configured; `uid`, `subject` or both recognise them."""

    name: str
    uid: int | None = None
    subject: str | None = None
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ("watch",)
    implicit: bool = False
    groups_from: str = "file"
    """`token`: the groups of their own login count, and none from the file."""
    signers: tuple[str, ...] = ()
    """Public keys that sign for them, as lines of an authorized_keys file."""

    def may(self, role: str) -> bool:
        """Whether this operator has `role`; every operator may watch."""
        return role == "watch" or role in self.roles


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


def by_subject(subject: str, uid: int, operators: Iterable[Operator]) -> Operator | str:
    """Return the operator whose login this is, else why there is none, in words for the person who logged in."""
    for operator in operators:
        if operator.subject == subject:
            if operator.uid not in {None, uid}:
                return f"{operator.name} logs in as user id {operator.uid} of this host, and you are {uid}"
            return operator
    return f'no operator has your subject; an [[operator]] entry with subject = "{subject}" makes one'
