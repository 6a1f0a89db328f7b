"""The issuer's back-channel logout: only its own word, for a client of ours, ends anything."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

import pytest
from forging import AUDIENCE, EC_KEY, ISSUER, NOW, OTHER_RSA_KEY, RSA_KEY, HandClock, StaticKeys, jwk, key_set, token

from gateway.errors import EvidenceFault, IssuerFault
from gateway.identity.claims import LOGOUT_EVENT, Logout
from gateway.identity.http_server import Request, Response
from gateway.identity.jws import PinnedKey
from gateway.identity.logout import PATH, LogoutEndpoint
from gateway.identity.verifier import TokenVerifier
from gateway.model import Micros

FORM = {"content-type": "application/x-www-form-urlencoded"}


def claims(**changes: Any) -> dict[str, Any]:
    found = {
        "iss": ISSUER, "aud": "agent-client", "iat": NOW, "exp": NOW + 120, "jti": "l-1", "typ": "Logout",
        "sub": "agent-7", "sid": "s-1", "events": {LOGOUT_EVENT: {}},
    } | changes  # fmt: skip
    return {name: value for name, value in found.items() if value is not ...}


class Away:
    async def find(self, _kid: str) -> PinnedKey | None:
        raise IssuerFault("away")


class House:
    def __init__(self, keys: Any = None) -> None:
        self.struck: list[Logout] = []
        self.fault: Exception | None = None
        ring = keys or StaticKeys(key_set(jwk("k1", RSA_KEY), jwk("ec", EC_KEY)))
        verifier = TokenVerifier(ISSUER, AUDIENCE, "groups", False, HandClock(), ring)
        self.endpoint = LogoutEndpoint(verifier, lambda client: client == "agent-client", self._strike)

    async def _strike(self, logout: Logout) -> None:
        if self.fault is not None:
            raise self.fault
        self.struck.append(logout)

    async def post(
        self, body: bytes | str, path: str = PATH, method: str = "POST", headers: Mapping[str, str] = FORM
    ) -> Response:
        raw = body if isinstance(body, bytes) else urllib.parse.urlencode({"logout_token": body}).encode()
        return await self.endpoint.respond(Request(method, path, headers, raw))


@pytest.mark.parametrize(
    ("presented", "logout"),
    [
        (token(claims()), Logout(("agent-client",), "agent-7", "s-1", Micros(NOW * 1_000_000))),
        (token(claims(), typ="logout+jwt"), Logout(("agent-client",), "agent-7", "s-1", Micros(NOW * 1_000_000))),
        (token(claims(sid=...)), Logout(("agent-client",), "agent-7", None, Micros(NOW * 1_000_000))),
        (token(claims(sub=...)), Logout(("agent-client",), None, "s-1", Micros(NOW * 1_000_000))),
        (
            token(claims(aud=["x", "agent-client"]), kid="ec", key=EC_KEY, algorithm="ES256"),
            Logout(("x", "agent-client"), "agent-7", "s-1", Micros(NOW * 1_000_000)),
        ),
        (token(claims(exp=...)), Logout(("agent-client",), "agent-7", "s-1", Micros(NOW * 1_000_000))),
    ],
)
async def test_a_logout_is_done(presented: str, logout: Logout) -> None:
    house = House()
    assert (await house.post(presented)).status == 200
    assert house.struck == [logout]


@pytest.mark.parametrize(
    "presented",
    [
        pytest.param(token(claims(), key=OTHER_RSA_KEY), id="forged"),
        pytest.param(token(claims(), algorithm="none", key=None), id="unsigned"),
        pytest.param(token(claims(), kid="nobody"), id="unknown key"),
        pytest.param(token(claims(iss="http://other")), id="another issuer"),
        pytest.param(token(claims(aud="somebody-else")), id="another client"),
        pytest.param(token(claims(aud=...)), id="no audience"),
        pytest.param(token(claims(events=...)), id="no events: an access token"),
        pytest.param(token(claims(events={})), id="other events"),
        pytest.param(token(claims(events={LOGOUT_EVENT: 1})), id="malformed event"),
        pytest.param(token(claims(events=[LOGOUT_EVENT])), id="events a list"),
        pytest.param(token(claims(nonce="n")), id="a nonce: an ID token"),
        pytest.param(token(claims(sub=..., sid=...)), id="names nobody"),
        pytest.param(token(claims(jti=...)), id="no id"),
        pytest.param(token(claims(iat=...)), id="no time"),
        pytest.param(token(claims(iat=NOW - 601, exp=...)), id="old"),
        pytest.param(token(claims(iat=NOW + 31)), id="early"),
        pytest.param(token(claims(iat=NOW - 60, exp=NOW - 1)), id="expired"),
        pytest.param(token(claims(), typ="at+jwt"), id="header of an access token"),
        pytest.param(token(claims(sub="a\nb")), id="a name with a line break"),
        pytest.param("", id="empty"),
        pytest.param("x" * 20_000, id="too long"),
    ],
)
async def test_everything_else_is_refused_without_a_reason(presented: str, caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    answer = await house.post(presented)
    assert (answer.status, json.loads(answer.body)) == (400, {"error": "invalid_request"})
    assert house.struck == []
    assert not any(part in caplog.text for part in presented.split(".") if len(part) > 8)


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        ({"path": "/"}, 404),
        ({"method": "GET"}, 405),
        ({"headers": {}}, 400),
        ({"headers": {"content-type": "application/json"}}, 400),
        ({"body": b"logout_token=a&logout_token=b"}, 400),
        ({"body": b"\xff"}, 400),
        ({"body": b"other=1"}, 400),
        ({"body": b"&" * 1000}, 400),
    ],
)
async def test_other_requests(request_of: dict[str, Any], status: int) -> None:
    house = House()
    assert (await house.post(**{"body": token(claims()), **request_of})).status == status
    assert house.struck == []


async def test_where_it_cannot_be_checked_or_done_the_issuer_may_try_again() -> None:
    assert (await House(Away()).post(token(claims()))).status == 503
    house = House()
    house.fault = EvidenceFault("the disk is full")
    assert (await house.post(token(claims()))).status == 503
