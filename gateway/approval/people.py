"""Four eyes: who may decide about what, and whose approvals are still missing. Pure.

Promises that nobody approves what they asked for themselves, or what an agent of theirs asked for; that an agent never
decides; that where it is not known whose agent asked, nobody who is known by more than a user id approves; and that one
person counts once, however many groups they are in. Breaking the glass puts one person in the place of all who are
missing, and changes nothing else of this. People are compared by the issuer's subject, and by name besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gateway.model import Ask, HoldRequest, Micros

ASSURANCES = ("uid", "oidc", "signed")
"""How surely an approver is known, the weakest first."""


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who decides: as the gateway recognised them, and how surely."""

    name: str
    subject: str | None
    groups: tuple[str, ...]
    assurance: str
    for_all_groups: bool = False
    """The one implicit operator of a development gateway, who stands for every reviewer group."""
    issuer: str | None = None
    was_agent: bool = False
    """This subject connected as an agent at some time."""

    def is_same(self, other: Approver) -> bool:
        """Whether both are one person, by subject or by name."""
        return self.name == other.name or (self.subject is not None and self.subject == other.subject)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was decided, as canonical JSON, and where the person signed it, their signature and their key."""

    text: str
    signature: str | None = None
    """Armored, as `ssh-keygen -Y sign` writes it, over `text`."""
    signer: str | None = None
    """The public key, a line of an allowed signers file (ssh-keygen(1), ALLOWED SIGNERS)."""
    countersignature: str | None = None
    """The gateway's own over `text`, armored: that it gave this receipt; it says nothing of the person."""


@dataclass(frozen=True, slots=True)
class Leave:
    """What an approval gives beyond this one operation: `seconds` of it, for the rule that asked or the connection."""

    seconds: int
    scope: str = "rule"


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's approval, and the leave that they gave with it."""

    approver: Approver
    at: Micros
    reason: str
    receipt: Receipt | None = field(default=None, repr=False)
    leave: Leave | None = None
    break_glass: bool = False
    """They put themselves in the place of everybody who was missing."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What `[approvals]` says of whatever is held, beside what its rule says. Reviewers: `group:…`, `sub:…`."""

    escalate_after: int | None = None
    """Microseconds after which `escalate_to` may decide too, and others are told; None: never."""
    escalate_to: tuple[str, ...] = ()
    break_glass: tuple[str, ...] = ()
    """Who may break the glass; empty: nobody."""
    break_glass_reason: int = 20
    """Characters of a reason for that, at least."""


def may_refuse(approver: Approver, request: HoldRequest) -> str | None:
    """Return None where `approver` may refuse `request`, else why not, as a sentence for them."""
    if approver.was_agent or request.session.principal.subject in _names(approver):
        return "your subject connected as an agent, and agents decide nothing"
    if not any(_counts(approver, ask) for ask in request.asked):
        return f"only {_wanted(request.asked)} may decide about this operation"
    return None


def may_approve(approver: Approver, request: HoldRequest, votes: Sequence[Vote] = ()) -> str | None:
    """Return None where `approver` may approve `request`, which `votes` approved already, else why not."""
    barred = _barred(approver, request)
    if barred is not None:
        return barred
    if not any(_counts(approver, ask) for ask in request.asked):
        return f"only {_wanted(request.asked)} may decide about this operation"
    if any(approver.is_same(vote.approver) for vote in votes):
        return "you approved it already; another person must do so too"
    people = [vote.approver for vote in votes]
    if len(_matching([*people, approver], request)) == len(_matching(people, request)):
        return f"what is missing is the approval of {_wanted(missing(request, votes))}"
    return None


def may_break_glass(approver: Approver, request: HoldRequest, reviewers: Sequence[str]) -> str | None:
    """Return None where `approver` may approve `request` in the place of everybody who is missing, else why not.

    Only whom `reviewers` names, and never who could not approve it in any group: the requester, an agent, the owner.
    """
    if not reviewers:
        return "nobody may break the glass here: [approvals.break_glass] names nobody"
    barred = _barred(approver, request)
    if barred is not None:
        return barred
    if not _counts(approver, Ask(tuple(reviewers))):
        return f"only {', '.join(reviewers)} may break the glass"
    return None


def widened(request: HoldRequest, reviewers: Sequence[str]) -> HoldRequest:
    """Return the request with `reviewers` among those who may decide; as many people as before must approve."""
    asks = tuple(
        replace(ask, reviewers=tuple(dict.fromkeys((*ask.reviewers, *reviewers)))) if ask.reviewers else ask
        for ask in request.asked
    )
    return replace(request, asks=asks)


def missing(request: HoldRequest, votes: Sequence[Vote]) -> tuple[Ask, ...]:
    """Return the approvals that `request` still waits for."""
    places = _places(request)
    taken = _matching([vote.approver for vote in votes], request)
    return tuple(ask for place, ask in enumerate(places) if place not in taken)


def agreed_leave(votes: Sequence[Vote]) -> Leave | None:
    """Return the leave that all of `votes` gave: the shortest, and the connection's only where everybody said so."""
    given = [vote.leave for vote in votes if vote.leave is not None]
    if not given or len(given) < len(votes):
        return None
    scope = "connection" if all(each.scope == "connection" for each in given) else "rule"
    return Leave(min(each.seconds for each in given), scope)


def weakest(votes: Iterable[Vote]) -> str:
    """Return the assurance of the approver who is known least surely."""
    return min((vote.approver.assurance for vote in votes), key=ASSURANCES.index)


def _barred(approver: Approver, request: HoldRequest) -> str | None:
    """Say why nothing lets `approver` approve `request`, None where only their groups matter."""
    principal = request.session.principal
    if principal.subject in _names(approver):
        return "you asked for this operation yourself; somebody else must decide"
    if approver.was_agent:
        return "your subject connected as an agent, and agents approve nothing"
    if principal.owner in _names(approver):
        return "this agent acts for you; somebody else must decide"
    if principal.owner is None and approver.assurance != ASSURANCES[0]:
        return "the agent's token names no owner, so nobody knows that it does not act for you; it cannot be approved"
    return None


def _places(request: HoldRequest) -> tuple[Ask, ...]:
    """One entry for each approval that is needed."""
    return tuple(Ask(ask.reviewers) for ask in request.asked for _ in range(ask.count))


def _matching(people: Sequence[Approver], request: HoldRequest) -> dict[int, int]:
    """Give as many people as possible a place of their own; returns place -> person (augmenting paths)."""
    places = _places(request)
    taken: dict[int, int] = {}

    def seat(person: int, seen: set[int]) -> bool:
        for place, ask in enumerate(places):
            if place in seen or not _counts(people[person], ask):
                continue
            seen.add(place)
            if place not in taken or seat(taken[place], seen):
                taken[place] = person
                return True
        return False

    for person in range(len(people)):
        seat(person, set())
    return taken


def _counts(approver: Approver, ask: Ask) -> bool:
    """Whether the approver is one of those whom `ask` names."""
    if not ask.reviewers or approver.for_all_groups:
        return True
    mine = {f"group:{group.removeprefix('/')}" for group in approver.groups}
    if approver.subject is not None:
        mine.add(f"sub:{approver.subject}")
    return not mine.isdisjoint(ask.reviewers)


def _names(approver: Approver) -> set[str]:
    return {approver.name} | ({approver.subject} if approver.subject is not None else set())


def _wanted(asks: Iterable[Ask]) -> str:
    return " and ".join(str(ask) for ask in asks)
