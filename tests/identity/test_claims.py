"""The claims of an authentic token: each one that is missing, malformed or wrong refuses the whole token."""

from __future__ import annotations

from typing import Any

import pytest
from forging import AUDIENCE, ISSUER, NOW, good_claims

from gateway.errors import LoginRefused
from gateway.identity.claims import LEEWAY_SECONDS, MAX_NAME_LENGTH, Expectations, principal
from gateway.model import Micros, Principal

EXPECTED = Expectations(ISSUER, AUDIENCE)
AT = Micros(NOW * 1_000_000)


def check(claims: dict[str, Any], expected: Expectations = EXPECTED, at: int = AT) -> Principal:
    return principal(claims, expected, Micros(at))


def test_a_principal_carries_what_the_claims_say_and_nothing_else() -> None:
    assert check(good_claims()) == Principal(
        issuer=ISSUER,
        subject="agent-7",
        token_id="onrtcc:0a1b",
        expires=Micros((NOW + 300) * 1_000_000),
        groups=("reporting", "oncall"),
        owner="dana",
        development=False,
        issued=Micros((NOW - 10) * 1_000_000),
        client="agent-client",
    )


def test_development_comes_from_the_configuration_never_from_the_token() -> None:
    assert check(good_claims(development=True)).development is False
    assert check(good_claims(development=False), Expectations(ISSUER, AUDIENCE, development=True)).development is True


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"iss": ...}, "the issuer is not the one of this gateway", id="no-issuer"),
        pytest.param({"iss": ISSUER + "/"}, "the issuer is not the one of this gateway", id="issuer-with-slash"),
        pytest.param({"iss": [ISSUER]}, "the issuer is not the one of this gateway", id="issuer-in-a-list"),
        pytest.param({"iss": ISSUER.upper()}, "the issuer is not the one of this gateway", id="issuer-in-capitals"),
        pytest.param({"aud": ...}, "the audience is missing or malformed", id="no-audience"),
        pytest.param({"aud": None}, "the audience is missing or malformed", id="null-audience"),
        pytest.param({"aud": {AUDIENCE: 1}}, "the audience is missing or malformed", id="audience-object"),
        pytest.param({"aud": [AUDIENCE, 1]}, "the audience is missing or malformed", id="audience-mixed"),
        pytest.param({"aud": []}, "it is not meant for this gateway (audience)", id="empty-audience"),
        pytest.param({"aud": "account"}, "it is not meant for this gateway (audience)", id="another-audience"),
        pytest.param({"aud": AUDIENCE + "2"}, "it is not meant for this gateway (audience)", id="longer-audience"),
        pytest.param({"sub": ...}, "sub is missing or not text", id="no-subject"),
        pytest.param({"sub": ""}, "sub is missing or not text", id="empty-subject"),
        pytest.param({"sub": 7}, "sub is missing or not text", id="subject-number"),
        pytest.param(
            {"sub": "a\x1b[2J"}, "sub is too long or holds characters that cannot be shown", id="subject-escapes"
        ),
        pytest.param(
            {"sub": "a\ud800"}, "sub is too long or holds characters that cannot be shown", id="subject-surrogate"
        ),
        pytest.param(
            {"sub": "a\u202eb"}, "sub is too long or holds characters that cannot be shown", id="subject-bidi"
        ),
        pytest.param({"sub": " a"}, "sub is too long or holds characters that cannot be shown", id="subject-padded"),
        pytest.param(
            {"sub": "a" * (MAX_NAME_LENGTH + 1)},
            "sub is too long or holds characters that cannot be shown",
            id="subject-long",
        ),
        pytest.param({"jti": ...}, "jti is missing or not text", id="no-token-id"),
        pytest.param({"jti": None}, "jti is missing or not text", id="null-token-id"),
        pytest.param({"jti": "a\nb"}, "jti is too long or holds characters that cannot be shown", id="jti-newline"),
        pytest.param({"exp": ...}, "it has no expiry", id="no-expiry"),
        pytest.param({"exp": None}, "exp is not a time in whole seconds", id="null-expiry"),
        pytest.param({"exp": str(NOW + 300)}, "exp is not a time in whole seconds", id="expiry-text"),
        pytest.param({"exp": float(NOW + 300)}, "exp is not a time in whole seconds", id="expiry-float"),
        pytest.param({"exp": True}, "exp is not a time in whole seconds", id="expiry-true"),
        pytest.param({"exp": 10**18}, "exp is not a time in whole seconds", id="expiry-absurd"),
        pytest.param({"exp": -1}, "exp is not a time in whole seconds", id="expiry-negative"),
        pytest.param({"exp": NOW}, "it has expired", id="expires-now"),
        pytest.param({"exp": NOW - 1}, "it has expired", id="expired"),
        pytest.param({"nbf": NOW + LEEWAY_SECONDS + 1}, "it is not valid yet", id="early"),
        pytest.param({"nbf": "0"}, "nbf is not a time in whole seconds", id="nbf-text"),
        pytest.param({"nbf": None}, "nbf is not a time in whole seconds", id="nbf-null"),
        pytest.param({"iat": NOW + LEEWAY_SECONDS + 1}, "it was issued in the future", id="from-the-future"),
        pytest.param({"iat": None}, "iat is not a time in whole seconds", id="iat-null"),
        pytest.param({"typ": "ID"}, "it is not an access token (typ)", id="keycloak-id-token"),
        pytest.param({"typ": "Refresh"}, "it is not an access token (typ)", id="keycloak-refresh-token"),
        pytest.param({"typ": "Offline"}, "it is not an access token (typ)", id="keycloak-offline-token"),
        pytest.param({"typ": "DPoP"}, "it is not an access token (typ)", id="keycloak-dpop"),
        pytest.param({"typ": None}, "it is not an access token (typ)", id="typ-null"),
        pytest.param({"typ": "bearer"}, "it is not an access token (typ)", id="typ-other-case"),
        pytest.param({"typ": ["Bearer"]}, "it is not an access token (typ)", id="typ-list"),
        pytest.param({"at_hash": "x"}, "it is an ID token", id="at-hash"),
        pytest.param({"typ": ..., "azp": AUDIENCE}, "it looks like an ID token", id="untyped-for-its-own-client"),
        pytest.param({"typ": ..., "nonce": "n"}, "it looks like an ID token", id="untyped-with-nonce"),
        pytest.param({"events": {}}, "it is a security event, not an access token", id="logout-token"),
        pytest.param({"cnf": {"jkt": "x"}}, "it is bound to a key in a way that this gateway cannot check", id="bound"),
        pytest.param({"azp": ""}, "the authorized party is malformed", id="empty-azp"),
        pytest.param({"azp": ["a"]}, "the authorized party is malformed", id="azp-list"),
        pytest.param({"groups": "oncall"}, "the groups are not a list", id="groups-text"),
        pytest.param({"groups": {"oncall": 1}}, "the groups are not a list", id="groups-object"),
        pytest.param({"groups": ["a", 1]}, "a group is missing or not text", id="group-number"),
        pytest.param({"groups": ["/"]}, "a group is missing or not text", id="group-slash-only"),
        pytest.param(
            {"groups": ["a\u0000"]}, "a group is too long or holds characters that cannot be shown", id="group-nul"
        ),
        pytest.param({"owner": ""}, "owner is missing or not text", id="owner-empty"),
        pytest.param({"owner": ["dana"]}, "owner is missing or not text", id="owner-list"),
    ],
)
def test_wrong_claims_are_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(LoginRefused) as refusal:
        check(good_claims(**changes))
    assert refusal.value.reason == reason
    assert refusal.value.sqlstate == "28P01"
    assert str(refusal.value) == f"hoop: the access token was not accepted: {reason}"


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"aud": AUDIENCE}, "subject", "agent-7"),
        ({"typ": ..., "azp": "agent-client"}, "subject", "agent-7"),
        ({"azp": AUDIENCE}, "subject", "agent-7"),
        ({"azp": ...}, "subject", "agent-7"),
        ({"sub": "müller-агент"}, "subject", "müller-агент"),
        ({"exp": NOW + 1}, "expires", (NOW + 1) * 1_000_000),
        ({"nbf": NOW + LEEWAY_SECONDS, "iat": NOW + LEEWAY_SECONDS}, "subject", "agent-7"),
        ({"iat": ...}, "subject", "agent-7"),
        ({"groups": ...}, "groups", ()),
        ({"groups": None}, "groups", ()),
        ({"groups": []}, "groups", ()),
        ({"groups": ["/a/b", "//c", "x", "/x"]}, "groups", ("a/b", "/c", "x")),
        ({"owner": ...}, "owner", None),
        ({"owner": None}, "owner", None),
    ],
)
def test_what_issuers_differ_in_is_accepted(changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(check(good_claims(**changes)), field) == value


def test_expiry_is_exact_to_the_microsecond() -> None:
    claims = good_claims(exp=NOW + 1)
    assert check(claims, at=AT + 999_999).subject == "agent-7"
    with pytest.raises(LoginRefused, match="it has expired"):
        check(claims, at=AT + 1_000_000)


def test_groups_come_from_the_configured_claim_alone() -> None:
    claims = good_claims(roles=["/admin"])
    assert check(claims, Expectations(ISSUER, AUDIENCE, groups_claim="roles")).groups == ("admin",)
