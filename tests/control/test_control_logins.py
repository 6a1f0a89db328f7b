"""Logins over the socket: who they make of a peer, for how long, for which seat, and what every refusal says."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio
from approving import HASH, SECOND, TrioClock, hold
from controlling import House, OpenHouse, Raw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.approval.signatures import public_key, sign
from gateway.control import logins as module
from gateway.control.logins import GOOD_FOR, Logins
from gateway.control.messages import Failure, Refusal, Response
from gateway.control.operators import Operator
from gateway.control.receipts import NAMESPACE
from gateway.control.seat import Seat, eldest_unseen, seat_of
from gateway.errors import EvidenceFault, IssuerFault, LoginRefused
from gateway.identity.device_login import Confirmed, DeviceCode
from gateway.identity.id_token import Person
from gateway.model import Draft

UID = os.geteuid()
ISSUER = "https://idp.example/realms/prod"
OPS = Operator("ops", UID, roles=("watch",))
DANA = Operator("dana", subject="sub-dana", groups=("oncall",), roles=("decide",))
ERIN = Operator("erin", subject="sub-erin", groups=(), groups_from="token", roles=("decide",))
PEOPLE = (OPS, DANA, ERIN, Operator("eve", subject="sub-eve"), Operator("far", UID + 1, "sub-far", roles=("decide",)))


@dataclass
class Door:
    """An issuer whose people a test plays: the next login is `who`, or a fault."""

    who: str | Exception = "sub-dana"
    gone: str | None = None
    asked: list[str] = field(default_factory=list)

    async def start(self) -> DeviceCode:
        if isinstance(self.who, IssuerFault):
            raise self.who
        return DeviceCode("secret-device-code", "ABCD-EFGH", f"{ISSUER}/device", None, 600, 5)

    async def confirmed(self, _: DeviceCode) -> Confirmed:
        await trio.lowlevel.checkpoint()
        if isinstance(self.who, Exception):
            raise self.who
        return Confirmed(Person(ISSUER, self.who, self.who, ("oncall",), "jti"), "secret-access-token")

    async def stands(self, confirmed: Confirmed) -> str | None:
        self.asked.append(confirmed.person.subject)
        return self.gone


def told(message: object) -> tuple[str, str]:
    assert isinstance(message, Failure), message
    return message.code, message.message


def result(message: object) -> Any:
    assert isinstance(message, Response), message
    return message.result


async def log_in(client: Raw) -> Any:
    assert result(await client.ask("login.start"))["user_code"] == "ABCD-EFGH"
    return result(await client.ask("login.wait"))


async def held(house: House) -> None:
    await house.desk.approvals.ask(hold())


APPROVE = {"id": "a1", "hash": HASH[:8], "reason": "fine"}


async def test_a_login_decides_and_every_step_is_on_record(open_house: OpenHouse) -> None:
    door = Door()
    async with open_house(PEOPLE, assurance="oidc", door=door) as house:
        await held(house)
        client = await house.client()
        assert told(await client.ask("approvals.approve", **APPROVE))[1].startswith("deciding needs a login")
        login = await log_in(client)
        assert (login["operator"], login["roles"], login["groups"]) == ("dana", ["decide"], ["oncall"])
        shown = result(await client.ask("login.show"))
        assert (shown["operator"], shown["login"]["operator"], shown["assurance"]) == ("ops", "dana", "oidc")
        other = await house.client()
        assert result(await other.ask("login.show"))["login"] is not None, "the same seat"
        done = result(await client.ask("approvals.approve", **APPROVE))
        assert (done["approver"], done["assurance"]) == ("dana", "oidc")
        assert door.asked == ["sub-dana"], "the issuer is asked before each decision"
        assert result(await client.ask("login.end")) == {"ended": True}
        assert result(await client.ask("login.show"))["login"] is None
        journal = house.desk.journal()
        assert journal.count(b'"kind":"login"') == 2
        assert b"secret" not in journal.replace(b"secret_", b"")


REFUSED: list[tuple[str | Exception, str]] = [
    ("sub-nobody", 'no operator has your subject; an [[operator]] entry with subject = "sub-nobody" makes one'),
    ("sub-far", f"far logs in as user id {UID + 1} of this host, and you are {UID}"),
    (LoginRefused("x", "28P01", "the code was not confirmed in time"), "the code was not confirmed in time"),
]


@pytest.mark.parametrize(("who", "words"), REFUSED, ids=range(len(REFUSED)))
async def test_who_is_not_let_in_is_told_why_and_recorded(
    open_house: OpenHouse, who: str | Exception, words: str
) -> None:
    async with open_house(PEOPLE, assurance="oidc", door=Door(who)) as house:
        client = await house.client()
        result(await client.ask("login.start"))
        assert told(await client.ask("login.wait")) == ("forbidden", f"not logged in: {words}")
        assert result(await client.ask("login.show"))["login"] is None
        assert b'"kind":"login_refused"' in house.desk.journal()


async def test_an_issuer_that_is_away_lets_nobody_in(open_house: OpenHouse) -> None:
    async with open_house(PEOPLE, assurance="oidc", door=Door(IssuerFault("the identity issuer is away"))) as house:
        client = await house.client()
        assert told(await client.ask("login.start")) == ("unavailable", "the identity issuer is away")
        assert told(await client.ask("login.wait"))[0] == "bad_request"


async def test_without_a_way_to_log_in_that_is_said(open_house: OpenHouse) -> None:
    async with open_house(PEOPLE, assurance="oidc") as house:
        client = await house.client()
        assert told(await client.ask("login.start"))[0] == "unavailable"


MAY_NOT = [
    ("sub-eve", None, "eve lacks the role `decide`"),
    ("sub-dana", "the issuer says that it is no longer active", "your login is no longer good"),
    ("sub-dana", "the issuer could not be asked", "your login is no longer good: the issuer could not be asked"),
]


@pytest.mark.parametrize(("who", "gone", "words"), MAY_NOT, ids=range(len(MAY_NOT)))
async def test_a_login_that_is_not_enough(open_house: OpenHouse, who: str, gone: str | None, words: str) -> None:
    door = Door(who)
    async with open_house(PEOPLE, assurance="oidc", door=door) as house:
        await held(house)
        client = await house.client()
        await log_in(client)
        door.gone = gone
        for method in ("approvals.approve", "approvals.deny"):
            code, said = told(await client.ask(method, **APPROVE))
            assert (code, said.startswith(words)) == ("forbidden", True), said
        assert len(house.desk.approvals.pending()) == 1


async def test_groups_come_from_the_token_where_that_is_said(open_house: OpenHouse) -> None:
    async with open_house(PEOPLE, assurance="oidc", door=Door("sub-erin")) as house:
        assert (await log_in(await house.client()))["groups"] == ["oncall"]


async def test_a_subject_that_was_an_agent_is_told_so(open_house: OpenHouse) -> None:
    async with open_house(PEOPLE, assurance="oidc", door=Door(), agents=("sub-dana",)) as house:
        await held(house)
        client = await house.client()
        await log_in(client)
        for method, words in (("approvals.approve", "agents approve nothing"), ("approvals.deny", "decide nothing")):
            assert words in told(await client.ask(method, **APPROVE))[1]


async def test_at_signed_an_approval_without_a_signature_does_not_count(open_house: OpenHouse) -> None:
    async with open_house(PEOPLE, assurance="signed", door=Door()) as house:
        await held(house)
        client = await house.client()
        await log_in(client)
        assert "needs your signature" in told(await client.ask("approvals.approve", **APPROVE))[1]
        assert "no key signs for dana" in told(await client.ask("approvals.receipt", **APPROVE))[1]
        words = told(await client.ask("approvals.approve", **APPROVE, signature="x"))[1]
        assert "no receipt of yours waits to be signed" in words
        assert result(await client.ask("approvals.deny", id="a1", reason="no"))["state"] == "refused"


async def test_a_login_that_ends_while_the_issuer_is_asked_decides_nothing(open_house: OpenHouse) -> None:
    class Slow(Door):
        async def stands(self, confirmed: Confirmed) -> str | None:
            house.logins.strike(lambda person: person.subject == confirmed.person.subject)
            return None

    async with open_house(PEOPLE, assurance="oidc", door=Slow()) as house:
        await held(house)
        client = await house.client()
        await log_in(client)
        assert "it ended a moment ago" in told(await client.ask("approvals.approve", **APPROVE))[1]
        assert len(house.desk.approvals.pending()) == 1


def signed(text: str, key: Ed25519PrivateKey) -> str:
    return sign(text.encode(), key, NAMESPACE)


async def test_a_receipt_counts_for_who_its_person_is_when_it_comes_back_signed_and_once(open_house: OpenHouse) -> None:
    """Between the receipt and its signature the subject connected as an agent: nothing may come of it."""
    key = Ed25519PrivateKey.generate()
    line = public_key(key.public_key().public_bytes_raw())
    signer = f"{line.kind} {base64.b64encode(line.blob).decode()}"
    agents: set[str] = set()
    people = (OPS, replace(DANA, signers=(signer,)))
    async with open_house(people, assurance="signed", door=Door(), agents=agents) as house:
        await held(house)
        client = await house.client()
        await log_in(client)
        text = result(await client.ask("approvals.receipt", **APPROVE))["receipt"]
        agents.add("sub-dana")
        late = told(await client.ask("approvals.approve", **APPROVE, signature=signed(text, key)))[1]
        assert "you are known otherwise" in late
        agents.clear()
        again = told(await client.ask("approvals.approve", **APPROVE, signature=signed(text, key)))[1]
        assert "no receipt of yours waits" in again, "a receipt is signed once, also in vain"
        text = result(await client.ask("approvals.receipt", **APPROVE))["receipt"]
        glass = told(await client.ask("approvals.approve", **APPROVE, signature=signed(text, key), break_glass=True))[1]
        assert "what was signed is another decision" in glass
        text = result(await client.ask("approvals.receipt", **APPROVE))["receipt"]
        done = result(await client.ask("approvals.approve", **APPROVE, signature=signed(text, key)))
        assert (done["state"], done["assurance"], done["break_glass"]) == ("approved", "signed", False)
        replayed = told(await client.ask("approvals.approve", **APPROVE, signature=signed(text, key)))
        assert "no receipt of yours waits" in replayed[1]


@pytest.mark.parametrize("value", ["true", 1, None, []])
async def test_the_glass_is_not_broken_by_a_slip(open_house: OpenHouse, value: object) -> None:
    async with open_house(PEOPLE, assurance="oidc", door=Door()) as house:
        await held(house)
        client = await house.client()
        await log_in(client)
        code, words = told(await client.ask("approvals.approve", **APPROVE, break_glass=value))
        assert (code, words) == ("bad_request", "break_glass: true or false, of an approval")
        refused = told(await client.ask("approvals.approve", **APPROVE, break_glass=True))
        assert refused == ("forbidden", "nobody may break the glass here: [approvals.break_glass] names nobody")


# --- the logins themselves, on a jumping clock ---------------------------------------------------------------------


def play(body: Any) -> None:
    trio.run(body, clock=trio.testing.MockClock(autojump_threshold=0))


def desk(door: Door) -> tuple[Logins, list[Draft]]:
    written: list[Draft] = []

    async def write(draft: Draft) -> None:
        written.append(draft)

    return Logins(door, PEOPLE, TrioClock(), write), written


HERE, THERE = Seat(UID, 7, 1), Seat(UID, 8, 1)


def test_a_login_is_good_for_ten_minutes_and_one_seat() -> None:
    async def body() -> None:
        logins, _ = desk(Door())
        await logins.start(HERE)
        login = await logins.wait(HERE)
        assert "secret" not in repr(login)
        others = (THERE, Seat(UID, 7, 2), Seat(UID + 1, 7, 1))
        assert (logins.of(HERE), [logins.of(each) for each in others]) == (login, [None] * 3)
        await trio.sleep(GOOD_FOR / SECOND - 1)
        assert logins.of(HERE) is login
        await trio.sleep(1)
        assert logins.of(HERE) is None

    play(body)


def test_whoever_is_struck_is_logged_out() -> None:
    async def body() -> None:
        logins, _ = desk(Door())
        await logins.start(HERE)
        await logins.wait(HERE)
        logins.strike(lambda person: person.subject == "sub-erin")
        assert logins.of(HERE) is not None
        logins.strike(lambda person: person.subject == "sub-dana")
        assert logins.of(HERE) is None

    play(body)


def test_a_code_is_waited_for_once_and_logins_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LOGINS", 2)

    async def body() -> None:
        logins, written = desk(Door())
        await logins.start(HERE)
        await logins.wait(HERE)
        with pytest.raises(Refusal, match="no login was begun here"):
            await logins.wait(HERE)
        await logins.start(THERE)
        with pytest.raises(Refusal, match="under way or open already"):
            await logins.start(Seat(UID, 9, 1))
        await trio.sleep(GOOD_FOR / SECOND)
        await logins.start(Seat(UID, 9, 1))
        assert [draft.kind for draft in written] == ["login"]

    play(body)


def test_a_newer_login_takes_the_place_of_one_that_waits() -> None:
    class Slow(Door):
        async def confirmed(self, code: DeviceCode) -> Confirmed:
            if self.who == "nobody yet":
                await trio.sleep_forever()
            return await super().confirmed(code)

    async def body() -> None:
        door = Slow("nobody yet")
        logins, _ = desk(door)
        refused: list[str] = []

        async def first() -> None:
            await logins.start(HERE)
            try:
                await logins.wait(HERE)
            except Refusal as refusal:
                refused.append(str(refusal))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            door.who = "sub-dana"
            await logins.start(HERE)
            assert (await logins.wait(HERE)).operator.name == "dana"
        assert refused == ["not logged in: a newer login was begun here"]
        assert logins.of(HERE) is not None

    play(body)


def test_a_login_that_cannot_be_recorded_does_not_count() -> None:
    async def body() -> None:
        async def write(_: Draft) -> None:
            raise EvidenceFault("the disk is full")

        logins = Logins(Door(), PEOPLE, TrioClock(), write)
        await logins.start(HERE)
        with pytest.raises(EvidenceFault):
            await logins.wait(HERE)
        assert logins.of(HERE) is None

    play(body)


@pytest.mark.parametrize(
    ("parents", "sessions", "eldest"),
    [
        ({9: 5, 5: 1, 1: 0}, {9: 0, 5: 0, 1: 0}, 1),
        ({9: 5, 5: 0}, {9: 0, 5: 0}, 5),
        ({9: 5, 5: 1}, {9: 0, 5: 5, 1: 0}, 9),
        ({9: 5}, {9: 0, 5: 0}, 0),
    ],
    ids=["entered by the first process", "entered from outside", "the parent leads a session", "a parent that is gone"],
)
def test_a_session_led_from_outside_is_told_by_its_eldest_process(
    parents: dict[int, int], sessions: dict[int, int], eldest: int
) -> None:
    def parent(pid: int) -> int:
        if pid not in parents:
            raise ProcessLookupError(pid)
        return parents[pid]

    assert eldest_unseen(9, parent, lambda pid: sessions[pid]) == eldest


def parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


def test_a_seat_is_told_by_the_kernel_and_an_unknown_one_is_like_no_other() -> None:
    import socket
    import struct

    first, second = socket.socketpair(socket.AF_UNIX)
    with first, second:
        assert seat_of(first) == seat_of(second)
        assert seat_of(first).uid == UID
        assert seat_of(first).session == (os.getsid(0) or eldest_unseen(os.getpid(), parent, os.getsid))

    class Elsewhere:
        def getsockopt(self, *_: int) -> bytes:
            return struct.pack("3i", 0, UID, UID)

    assert seat_of(Elsewhere()) != seat_of(Elsewhere())
