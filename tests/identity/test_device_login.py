"""People log in by the device flow: at the development issuer over real HTTP, and by tokens that name nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from developing import issuer_in, serving, verifier_of
from forging import HandClock

from gateway.errors import IssuerFault, LoginRefused
from gateway.identity.claims import Expectations
from gateway.identity.development import DevelopmentIssuer
from gateway.identity.development_clients import secret_file
from gateway.identity.development_device import SECONDS
from gateway.identity.device_login import GRANT, DeviceCode, DeviceLogin
from gateway.identity.id_token import MAX_AGE_SECONDS, person
from gateway.identity.issuer import ClientCredentials, Issuer
from gateway.identity.realm import read_representation, realm_of
from gateway.model import Micros

GATEWAY = "hoop-gateway"
DANA = "0d2f6c1e-6a52-4b0e-9a41-52f3d9b6a001"


@dataclass
class World:
    """A running development issuer, and the gateway's way to let people in."""

    issuer: DevelopmentIssuer
    asked: Issuer
    login: DeviceLogin
    clock: HandClock
    url: str

    async def confirm(self, code: DeviceCode | str, who: str, *groups: str) -> int:
        """What `hoop-gateway idp confirm` does."""
        user_code = code if isinstance(code, str) else code.user_code
        signed = self.issuer.confirmation(user_code, who, groups or None)
        return await self.hand_in(signed)

    async def hand_in(self, signed: str) -> int:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.post(f"{self.url}/device", data={"confirmation": signed})).status_code


@asynccontextmanager
async def world(state: Path) -> AsyncIterator[World]:
    clock = HandClock()
    issuer = issuer_in(state, clock, realm=realm_of(read_representation(None)))
    async with serving(issuer) as url:
        secret = secret_file(state, GATEWAY).read_bytes().strip()
        asked = Issuer(url, ClientCredentials(GATEWAY, lambda: secret))
        yield World(issuer, asked, DeviceLogin(asked, verifier_of(issuer, clock)), clock, url)
        await asked.aclose()


async def test_a_person_who_confirmed_the_code_is_known_by_the_issuers_subject_and_groups(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        code = await here.login.start()
        assert code.verification_uri_complete == f"{here.url}/device?user_code={code.user_code}"
        assert await here.confirm(code, "dana") == 200
        found = await here.login.confirmed(code)
        assert (found.person.issuer, found.person.subject, found.person.name) == (here.url, DANA, "dana")
        assert found.person.groups == ("oncall",)
        assert found.token not in repr(found)
        assert code.device_code not in repr(code)
        assert (await here.asked.introspect(found.token))["active"] is True
        with pytest.raises(LoginRefused, match="audience"):
            await verifier_of(here.issuer, here.clock).verify(found.token)
        here.issuer.revoke(found.token)
        assert (await here.asked.introspect(found.token))["active"] is False
        with pytest.raises(LoginRefused, match="the issuer ended the login"):
            await here.login.confirmed(code)  # a code is good once


async def test_a_stranger_to_the_realm_is_whoever_the_confirmation_says(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        code = await here.login.start()
        assert await here.confirm(code, "sub-of-erin", "dba") == 200
        found = (await here.login.confirmed(code)).person
        assert (found.subject, found.groups) == ("sub-of-erin", ("dba",))


async def test_only_the_issuers_own_key_confirms_and_only_a_code_that_waits(tmp_path: Path) -> None:
    async with world(tmp_path) as here, world(tmp_path / "other") as other:
        code = await here.login.start()
        wrong = [
            other.issuer.confirmation(code.user_code, "dana"),
            here.issuer.mint("dana"),
            here.issuer.confirmation("BBBB-BBBB", "dana"),
            here.issuer.confirmation(code.user_code, "dana")[:-4] + "AAAA",
            "junk",
            "",
        ]
        assert [await here.hand_in(signed) for signed in wrong] == [400] * len(wrong)
        good = here.issuer.confirmation(code.user_code, "dana")
        here.clock.pass_seconds(61)
        assert await here.hand_in(good) == 400, "an old confirmation"
        assert await here.confirm(code, "dana") == 200
        assert await here.confirm(code, "erin") == 400, "confirmed already"


async def test_a_code_that_nobody_confirms_in_time_is_over(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        code = await here.login.start()
        here.clock.pass_seconds(SECONDS)
        with pytest.raises(LoginRefused, match="not confirmed in time"):
            await here.login.confirmed(code)
        assert await here.confirm(code, "dana") == 400


async def test_another_client_does_not_collect_the_login(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        code = await here.login.start()
        await here.confirm(code, "dana")
        agent = secret_file(tmp_path, "reporting-agent").read_bytes().strip()
        thief = Issuer(here.url, ClientCredentials("reporting-agent", lambda: agent))
        form = {"grant_type": GRANT, "device_code": code.device_code}
        assert await thief.post("token_endpoint", form) == (400, {"error": "invalid_grant"})
        assert await thief.post("device_authorization_endpoint", {}) == (400, {"error": "unauthorized_client"})
        with pytest.raises(IssuerFault, match="starts no device login"):
            await DeviceLogin(thief, verifier_of(here.issuer, here.clock)).start()
        await thief.aclose()


async def test_the_page_says_what_to_do_and_nothing_of_what_was_sent(tmp_path: Path) -> None:
    async with world(tmp_path) as here, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{here.url}/device", params={"user_code": "<script>"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "idp confirm" in answer.text
        assert "script" not in answer.text


class Scripted(Issuer):
    """An issuer whose answers a test writes."""

    def __init__(self, *answers: Any) -> None:
        super().__init__("https://idp.example/realms/prod", client_id="public")
        self.answers = list(answers)
        self.forms: list[dict[str, str]] = []

    async def post(self, endpoint: str, form: Any) -> tuple[int, dict[str, object]]:  # noqa: ARG002
        self.forms.append(dict(form))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


STARTED: dict[str, object] = {
    "device_code": "d",
    "user_code": "ABCD-EFGH",
    "verification_uri": "https://idp.example/device",
    "expires_in": 600,
}
BAD_STARTS = [
    {**STARTED, "device_code": None},
    {**STARTED, "user_code": "A\x1b[2J"},
    {**STARTED, "user_code": ""},
    {**STARTED, "expires_in": "600"},
    {**STARTED, "expires_in": 0},
    {**STARTED, "interval": -1},
    {**STARTED, "verification_uri": "http://idp.example/device"},
    {**STARTED, "verification_uri": "http://127.0.0.1/device"},
    {**STARTED, "verification_uri": "javascript:alert(1)"},
    {**STARTED, "verification_uri_complete": "http://evil.example/"},
    {},
]


@pytest.mark.parametrize("answer", BAD_STARTS, ids=range(len(BAD_STARTS)))
async def test_a_code_that_could_mislead_a_person_is_refused(answer: dict[str, object]) -> None:
    with pytest.raises(IssuerFault):
        await DeviceLogin(Scripted((200, answer)), None).start()  # type: ignore[arg-type]


CODE = DeviceCode("d", "ABCD-EFGH", "https://idp.example/device", None, 600, 5)
PENDING = (400, {"error": "authorization_pending"})
AWAY = IssuerFault("away")
ENDS: list[tuple[list[Any], str, float]] = [
    ([PENDING, PENDING, (400, {"error": "access_denied"})], "the login was refused at the issuer", 15),
    ([(400, {"error": "slow_down"}), (400, {"error": "access_denied"})], "the login was refused at the issuer", 15),
    ([AWAY, PENDING, AWAY, (400, {"error": "expired_token"})], "the code was not confirmed in time", 20),
    ([(400, {"error": "\x1b[2J" * 99})], "the issuer ended the login", 5),
    ([(500, {})], "the issuer ended the login", 5),
    ([PENDING] * 200, "the code was not confirmed in time", 600),
]


@pytest.mark.parametrize(("answers", "words", "seconds"), ENDS, ids=range(len(ENDS)))
def test_every_login_ends_and_the_issuer_is_asked_as_often_as_it_wants(
    answers: list[Any], words: str, seconds: float
) -> None:
    async def play() -> float:
        with pytest.raises(LoginRefused) as refusal:
            await DeviceLogin(Scripted(*answers), None).confirmed(CODE)  # type: ignore[arg-type]
        assert refusal.value.reason == words
        return trio.current_time()

    clock = trio.testing.MockClock(autojump_threshold=0)
    assert trio.run(play, clock=clock) == pytest.approx(seconds)


@pytest.mark.parametrize("answers", [[AWAY] * 5, [(200, {"access_token": "t"})]])
def test_an_issuer_that_does_not_answer_is_a_fault(answers: list[Any]) -> None:
    async def play() -> None:
        with pytest.raises(IssuerFault):
            await DeviceLogin(Scripted(*answers), None).confirmed(CODE)  # type: ignore[arg-type]

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


ISSUER = "https://idp.example/realms/prod"
NOW = 1_800_000_000
CLAIMS: dict[str, object] = {
    "iss": ISSUER,
    "aud": GATEWAY,
    "azp": GATEWAY,
    "sub": "sub-dana",
    "jti": "j",
    "iat": NOW,
    "exp": NOW + 60,
    "typ": "ID",
    "preferred_username": "dana",
    "groups": ["/oncall"],
}
NOBODY = [
    ({"iss": "https://evil.example"}, "the issuer"),
    ({"aud": "elsewhere"}, "another client"),
    ({"aud": [GATEWAY, "elsewhere"], "azp": None}, "another client"),
    ({"aud": None}, "audience"),
    ({"azp": "elsewhere"}, "another client"),
    ({"typ": "Bearer"}, "not an ID token"),
    ({"typ": "Refresh"}, "not an ID token"),
    ({"events": {}}, "not an ID token"),
    ({"iat": NOW - MAX_AGE_SECONDS - 1}, "just now"),
    ({"iat": NOW + 60}, "just now"),
    ({"iat": None}, "iat"),
    ({"exp": NOW}, "expired"),
    ({"exp": None}, "exp"),
    ({"sub": None}, "sub"),
    ({"sub": "a\x1b[2J"}, "sub"),
    ({"groups": "oncall"}, "groups"),
]


@pytest.mark.parametrize(("changes", "words"), NOBODY, ids=range(len(NOBODY)))
def test_what_names_nobody(changes: dict[str, object], words: str) -> None:
    with pytest.raises(LoginRefused, match=words):
        person({**CLAIMS, **changes}, Expectations(ISSUER, GATEWAY), GATEWAY, Micros(NOW * 1_000_000))


@pytest.mark.parametrize("missing", ["azp", "typ", "jti", "preferred_username", "groups"])
def test_what_an_issuer_may_leave_out(missing: str) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != missing}
    found = person(claims, Expectations(ISSUER, GATEWAY), GATEWAY, Micros(NOW * 1_000_000))
    assert found.subject == "sub-dana"
