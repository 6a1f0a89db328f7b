"""Who may approve and who may refuse what, as a table; and whose approvals are still missing."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from approving import NOON, hold, of

from gateway.approval.people import Approver, Vote, may_approve, may_refuse, missing, weakest
from gateway.model import Ask, HoldRequest


def person(name: str, *groups: str, **more: object) -> Approver:
    known = {"subject": f"sub-{name}", "groups": groups, "assurance": "oidc", **more}
    return Approver(name, **known)  # type: ignore[arg-type]


DANA, ERIN = person("dana", "oncall"), person("erin", "oncall")
DBA, BOTH = person("dora", "dba"), person("bo", "oncall", "dba")
OLGA, SALES = person("olga", "oncall"), person("sam", "sales")
ONE = hold(reviewers=("group:oncall", "sub:sub-ruth"))
OWNERLESS = of(ONE, owner=None)
PAIR = hold(asks=(Ask(("group:oncall",), 2),))
EACH = hold(asks=(Ask(("group:oncall",)), Ask(("group:dba",))))
FREE = hold(reviewers=())

REQUESTER = "you asked for this operation yourself"
OWNER = "this agent acts for you"
AGENT = "your subject connected as an agent, and agents approve nothing"
UNKNOWN = "the agent's token names no owner"
AGAIN = "you approved it already"
WRONG = "only "

TABLE: list[tuple[str, HoldRequest, tuple[Approver, ...], Approver, str | None]] = [
    # what it shows, request, who approved already, who wants to, why not
    ("a reviewer by group", ONE, (), DANA, None),
    ("a reviewer by group, written with Keycloak's slash", ONE, (), person("dana", "/oncall"), None),
    ("a reviewer by subject", ONE, (), person("ruth"), None),
    ("known by the user id alone", ONE, (), person("dana", "oncall", subject=None, assurance="uid"), None),
    ("in another group", ONE, (), SALES, "only group:oncall, sub:sub-ruth may decide"),
    ("in no group", ONE, (), person("nobody"), WRONG),
    ("anyone, where nobody is named", FREE, (), SALES, None),
    ("the requester", ONE, (), person("x", "oncall", subject="agent-7"), REQUESTER),
    ("the requester, by name", ONE, (), person("agent-7", "oncall"), REQUESTER),
    ("the requester, signed", ONE, (), person("x", "oncall", subject="agent-7", assurance="signed"), REQUESTER),
    ("the agent's owner", ONE, (), OLGA, OWNER),
    ("the agent's owner, by name", ONE, (), person("sub-olga", "oncall"), OWNER),
    ("the agent's owner, in every group", ONE, (), replace(OLGA, for_all_groups=True), OWNER),
    ("another agent", ONE, (), person("dana", "oncall", was_agent=True), AGENT),
    ("an owner that nobody knows", OWNERLESS, (), DANA, UNKNOWN),
    ("an owner that nobody knows, signed", OWNERLESS, (), replace(DANA, assurance="signed"), UNKNOWN),
    ("an owner that nobody knows, by the user id, which is weak anyway", OWNERLESS, (), replace(DANA, assurance="uid"),
     None),
    ("the second of two", PAIR, (DANA,), ERIN, None),
    ("the same person twice", PAIR, (DANA,), DANA, AGAIN),
    ("the same person by another name", PAIR, (DANA,), replace(DANA, name="d"), AGAIN),
    ("the same name without a subject", PAIR, (DANA,), replace(DANA, subject=None), AGAIN),
    ("one of the other group, where two of one are asked", PAIR, (DANA,), DBA, WRONG),
    ("each group's", EACH, (DANA,), DBA, None),
    ("a second of the first group", EACH, (DANA,), ERIN, "what is missing is the approval of group:dba"),
    ("the same person for two groups", EACH, (BOTH,), BOTH, AGAIN),
    ("after a person of both groups, the first group's", EACH, (BOTH,), DANA, None),
    ("after a person of both groups, the second group's", EACH, (BOTH,), DBA, None),
    ("the implicit operator of a trial, once", EACH, (), person("root", for_all_groups=True), None),
    ("the implicit operator of a trial, twice", EACH, (person("root", for_all_groups=True),),
     person("root", for_all_groups=True), AGAIN),
    ("the owner as the second of two", PAIR, (DANA,), OLGA, OWNER),
]  # fmt: skip


def votes(*people: Approver) -> tuple[Vote, ...]:
    return tuple(Vote(each, NOON, "fine") for each in people)


@pytest.mark.parametrize(
    ("request_", "already", "who", "why_not"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_who_may_approve_what(
    request_: HoldRequest, already: tuple[Approver, ...], who: Approver, why_not: str | None
) -> None:
    answer = may_approve(who, request_, votes(*already))
    assert (answer is None) == (why_not is None), answer
    assert answer is None or answer.startswith(why_not or "")


REFUSING = [
    (DANA, True),
    (OLGA, True),  # a person may always stop what acts for them
    (SALES, False),
    (person("x", "oncall", subject="agent-7"), False),
    (person("dana", "oncall", was_agent=True), False),
]


@pytest.mark.parametrize(("who", "may"), REFUSING)
def test_who_may_refuse(who: Approver, may: bool) -> None:
    assert (may_refuse(who, OWNERLESS if who is DANA else ONE) is None) == may


@pytest.mark.parametrize("order", list(permutations([DANA, DBA, BOTH])))
def test_people_of_two_groups_take_the_place_that_is_left_in_any_order(order: tuple[Approver, ...]) -> None:
    three = hold(asks=(Ask(("group:oncall",), 2), Ask(("group:dba",))))
    given: tuple[Vote, ...] = ()
    for place, each in enumerate(order):
        assert may_approve(each, three, given) is None
        given = (*given, *votes(each))
        assert len(missing(three, given)) == 2 - place
    assert missing(three, given) == ()


def test_what_is_missing_is_said_of_each_group() -> None:
    assert [str(ask) for ask in missing(EACH, votes(DANA))] == ["group:dba"]
    assert [str(ask) for ask in missing(PAIR, ())] == ["group:oncall", "group:oncall"]


def test_the_weakest_of_the_approvers_counts() -> None:
    assert weakest(votes(replace(DANA, assurance="signed"), ERIN)) == "oidc"
    assert weakest(votes(replace(DANA, assurance="signed"), replace(ERIN, assurance="uid"))) == "uid"
