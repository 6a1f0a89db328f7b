"""Tokens bound to a TLS client certificate (RFC 8705): who may present them, as a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from forging import AUDIENCE, ISSUER, NOW, RSA_KEY, HandClock, StaticKeys, good_claims, jwk, key_set, token

from gateway.errors import LoginRefused
from gateway.identity.admission import Admission, thumbprint
from gateway.identity.kill_list import KillList
from gateway.identity.reuse import TokenUse
from gateway.identity.verifier import TokenVerifier

OURS, THEIRS = thumbprint(b"our certificate"), thumbprint(b"their certificate")
HERE = "127.0.0.1:5"


def door(directory: Path, *, bound_only: bool = False) -> Admission:
    clock = HandClock()
    verifier = TokenVerifier(ISSUER, AUDIENCE, "groups", False, clock, StaticKeys(key_set(jwk("k1", RSA_KEY))))
    kills = KillList.load(directory / "kills", clock)
    return Admission(verifier, None, kills, TokenUse("any", clock), bound_only=bound_only)


def bound(to: str | None, **claims: object) -> str:
    more = {} if to is None else {"cnf": {"x5t#S256": to}}
    return token(good_claims(**more, **claims))


@pytest.mark.parametrize(
    ("to", "shown", "required", "words"),
    [
        (None, None, False, None),
        (None, OURS, False, None),
        (OURS, OURS, False, None),
        (OURS, OURS, True, None),
        (OURS, None, False, "which was not shown"),
        (OURS, THEIRS, False, "which was not shown"),
        (None, OURS, True, "bound to no client certificate"),
        (None, None, True, "bound to no client certificate"),
    ],
)
async def test_who_may_present_it(
    tmp_path: Path, to: str | None, shown: str | None, required: bool, words: str | None
) -> None:
    asked = door(tmp_path, bound_only=required).admit(bound(to), HERE, shown)
    if words is None:
        assert (await asked).principal.bound_to == to
        return
    with pytest.raises(LoginRefused, match=words):
        await asked


async def test_a_renewal_is_held_to_its_sessions_certificate(tmp_path: Path) -> None:
    house = door(tmp_path)
    old = await house.admit(bound(OURS), HERE, OURS)
    renewed = await house.renew(old, bound(OURS, jti="2", exp=NOW + 900), HERE)
    assert renewed.certificate == OURS
    with pytest.raises(LoginRefused, match="which was not shown"):
        await house.renew(renewed, bound(THEIRS, jti="3", exp=NOW + 1800), HERE)


@pytest.mark.parametrize(
    "confirmation",
    [{}, {"jkt": "x"}, {"x5t#S256": OURS, "jkt": "x"}, {"x5t#S256": OURS[:-1]}, {"x5t#S256": 1}, "x", None],
)
async def test_other_bindings_are_refused(tmp_path: Path, confirmation: object) -> None:
    with pytest.raises(LoginRefused, match="bound"):
        await door(tmp_path).admit(token(good_claims(cnf=confirmation)), HERE, OURS)
