"""Tokens as an attacker, a confused client or a careless issuer would present them, against the whole verifier."""

from __future__ import annotations

import base64
import contextlib
import json
import traceback
from typing import Any

import pytest
import trio
from forging import (
    AUDIENCE,
    EC384_KEY,
    EC521_KEY,
    EC_KEY,
    ED_KEY,
    ISSUER,
    NOW,
    OTHER_RSA_KEY,
    RSA_KEY,
    WEAK_RSA_KEY,
    HandClock,
    StaticKeys,
    b64,
    good_claims,
    jwk,
    key_set,
    public_pem,
    sign_bytes,
    token,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LoginRefused
from gateway.identity.jws import MAX_TOKEN_BYTES, CompactToken, parse_object, split
from gateway.identity.verifier import TokenVerifier

SHARED_SECRET = b"s" * 32
KEYS = key_set(
    jwk("k1", RSA_KEY),
    jwk("ps", RSA_KEY, alg="PS256"),
    jwk("ec", EC_KEY),
    jwk("ec384", EC384_KEY),
    jwk("ec521", EC521_KEY),
    jwk("ed", ED_KEY),
    jwk("bare-rsa", RSA_KEY, alg=None, use=None),
    jwk("enc", RSA_KEY, use="enc", alg="RSA-OAEP"),
    jwk("weak", WEAK_RSA_KEY),
    jwk("leaked", RSA_KEY, d="AQAB"),
    jwk("twice", RSA_KEY),
    jwk("twice", OTHER_RSA_KEY),
    jwk("oct", SHARED_SECRET),
)
UNKNOWN_KEY = "it is signed with a key that the issuer does not publish"
PARAMETER = "the header holds a parameter that is not accepted"
ALGORITHM = "the algorithm is not the one of the issuer's key"
SIGNATURE = "the signature is wrong"
SHAPE = "it is not a compact signed token"
CLAIMS = "the claims are not a JSON object with unique names"
HEADER = "the header is not a JSON object with unique names"


def verifier(clock: HandClock | None = None, *, development: bool = True) -> TokenVerifier:
    return TokenVerifier(ISSUER, AUDIENCE, "groups", development, clock or HandClock(), StaticKeys(KEYS))


def altered_signature(good: str) -> str:
    head, payload, signature = good.split(".")
    return f"{head}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def short_signature(good: str) -> str:
    signed, _, signature = good.rpartition(".")
    return f"{signed}.{b64(base64.urlsafe_b64decode(signature + '==')[:-1])}"


def foreign_payload(good: str) -> str:
    head, _, signature = good.split(".")
    return f"{head}.{b64(json.dumps(good_claims(sub='mallory')).encode())}.{signature}"


def der_signature() -> str:
    """An ECDSA signature in DER, as X.509 has it and JWS must not."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    signed = ".".join(token(kid="ec", key=EC_KEY, algorithm="ES256").split(".")[:2])
    return f"{signed}.{b64(EC_KEY.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))}"


def stretched_signature() -> str:
    """An ECDSA signature with a zero between its two numbers: the same numbers, another spelling."""
    signed, _, signature = token(kid="ec", key=EC_KEY, algorithm="ES256").rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    return f"{signed}.{b64(raw[:32] + bytes(1) + raw[32:])}"


def json_serialization(*, signatures: int) -> str:
    """The JSON serialization (RFC 7515 §7.2), in which one token may hold several signatures."""
    protected, payload, signature = token().split(".")
    one = {"protected": protected, "signature": signature}
    return json.dumps({"payload": payload, **({"signatures": [one] * signatures} if signatures > 1 else one)})


def non_canonical(good: str) -> str:
    """The same bytes by another spelling: the bits that base64 does not use, set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(good[-1])
    assert last % 16 == 0, "a 256-byte signature leaves four unused bits"
    return good[:-1] + alphabet[last + 1]


def with_header(**members: Any) -> str:
    return token(**members)


OWN_JWK = jwk("k1", OTHER_RSA_KEY)
HOSTILE: list[tuple[str, str, str]] = [
    ("empty", "", SHAPE),
    ("a password", "hunter2", SHAPE),
    ("nul bytes", "\0.\0.\0", SHAPE),
    ("two parts", "e30.e30", SHAPE),
    ("four parts", token() + ".e30", SHAPE),
    ("five parts, as if encrypted", "e30.e30.e30.e30.e30", SHAPE),
    ("white space before", " " + token(), SHAPE),
    ("a newline after", token() + "\n", SHAPE),
    ("padding", token() + "=", SHAPE),
    ("other alphabet", token().replace("-", "+").replace("_", "/") + "+", SHAPE),
    ("digits beyond ASCII", token()[:-1] + "١", SHAPE),
    ("lone surrogate", token()[:-1] + "\ud800", SHAPE),
    ("one signature in JSON", json_serialization(signatures=1), SHAPE),
    ("two signatures in JSON", json_serialization(signatures=2), SHAPE),
    ("not canonical base64", non_canonical(token()), "it is not canonical base64url"),
    ("impossible base64 length", "AAAAA." + token().partition(".")[2], "it is not canonical base64url"),
    ("too long", token(good_claims(x="x" * MAX_TOKEN_BYTES)), "the token is too long"),
    ("alg none, no signature", token(algorithm="none", key=None), SHAPE),
    ("alg none, a signature", token(alg="none"), ALGORITHM),
    ("alg None", token(alg="None"), ALGORITHM),
    ("HS256 with the public key as secret", token(algorithm="HS256", key=public_pem(RSA_KEY)), ALGORITHM),
    ("HS256 with a published secret", token(algorithm="HS256", key=SHARED_SECRET, kid="oct"), UNKNOWN_KEY),
    ("RS512 with an RS256 key", token(algorithm="RS512"), ALGORITHM),
    ("PS256 with an RS256 key", token(algorithm="PS256"), ALGORITHM),
    ("RS256 with a PS256 key", token(kid="ps"), ALGORITHM),
    ("says PS256, is RS256", token(kid="ps", alg="PS256"), SIGNATURE),
    ("ES256 with an RSA key", token(algorithm="ES256", key=EC_KEY), ALGORITHM),
    ("RS256 by another key", token(key=OTHER_RSA_KEY), SIGNATURE),
    ("altered signature", altered_signature(token()), SIGNATURE),
    ("short signature", short_signature(token()), SIGNATURE),
    ("altered claims", foreign_payload(token()), SIGNATURE),
    ("ECDSA in DER", der_signature(), SIGNATURE),
    ("ECDSA with a zero between", stretched_signature(), SIGNATURE),
    ("ECDSA of zeros", token(kid="ec", key=EC_KEY, algorithm="ES256").rpartition(".")[0] + "." + "A" * 86, SIGNATURE),
    ("Ed25519, short", short_signature(token(kid="ed", key=ED_KEY, algorithm="EdDSA")), SIGNATURE),
    ("unknown kid", token(kid="nobody"), UNKNOWN_KEY),
    ("kid as a path", token(kid="../../../dev/null"), UNKNOWN_KEY),
    ("kid as SQL", token(kid="' OR 1=1 --"), UNKNOWN_KEY),
    ("encryption key", token(kid="enc"), UNKNOWN_KEY),
    ("weak key", token(kid="weak", key=WEAK_RSA_KEY), UNKNOWN_KEY),
    ("key whose private part is published", token(kid="leaked"), UNKNOWN_KEY),
    ("a kid that two keys have", token(kid="twice"), UNKNOWN_KEY),
    ("no kid", with_header(kid=...), "the header names no key"),
    ("kid a number", with_header(kid=1), "the header names no key"),
    ("kid empty", with_header(kid=""), "the header names no key"),
    ("kid long", with_header(kid="k" * 257), "the header names no key"),
    ("no alg", with_header(alg=...), "the header names no algorithm"),
    ("alg a list", with_header(alg=["RS256"]), "the header names no algorithm"),
    ("embedded jwk", token(key=OTHER_RSA_KEY, jwk=OWN_JWK), PARAMETER),
    ("jku", token(key=OTHER_RSA_KEY, jku="http://127.0.0.1:1/keys"), PARAMETER),
    ("x5u", token(key=OTHER_RSA_KEY, x5u="http://127.0.0.1:1/cert"), PARAMETER),
    ("x5c", token(key=OTHER_RSA_KEY, x5c=["MIIB"]), PARAMETER),
    ("crit", with_header(crit=["exp"]), PARAMETER),
    ("crit, empty", with_header(crit=[]), PARAMETER),
    ("b64 false", with_header(b64=False), PARAMETER),
    ("zip", with_header(zip="DEF"), PARAMETER),
    ("nested token", with_header(cty="JWT"), PARAMETER),
    ("header of a logout token", with_header(typ="logout+jwt"), "the header names another type of token"),
    ("header of a DPoP proof", with_header(typ="dpop+jwt"), "the header names another type of token"),
    ("header typ a number", with_header(typ=1), "the header names another type of token"),
    ("header not JSON", token(header=b"{"), HEADER),
    ("header a list", token(header=b"[]"), HEADER),
    ("header not UTF-8", token(header=b'{"alg":"\xff"}'), HEADER),
    ("header very deep", token(header=b"[" * 4000), HEADER),
    ("header with alg twice", token(header=b'{"alg":"none","alg":"RS256","kid":"k1"}'), HEADER),
    ("header with escaped alg twice", token(header=rb'{"\u0061lg":"none","alg":"RS256","kid":"k1"}'), HEADER),
    ("claims not JSON", token(b"sub=mallory"), CLAIMS),
    ("claims a list", token(b"[]"), CLAIMS),
    ("claims a string", token(b'"mallory"'), CLAIMS),
    ("claims empty text", token(b" "), CLAIMS),
    ("claims not UTF-8", token(b'{"sub":"\xc3\x28"}'), CLAIMS),
    ("claims with a byte order mark", token(b"\xef\xbb\xbf" + json.dumps(good_claims()).encode()), CLAIMS),
    ("claims with NaN", token(b'{"exp":NaN}'), CLAIMS),
    ("claims with a huge number", token(b'{"exp":' + b"9" * 5000 + b"}"), CLAIMS),
    ("claims very deep", token(b'{"a":' + b"[" * 9000 + b"]" * 9), CLAIMS),
    ("sub twice", token(json.dumps(good_claims()).encode()[:-1] + b',"sub":"mallory"}'), CLAIMS),
    ("a name twice, deep inside", token(json.dumps(good_claims()).encode()[:-1] + b',"x":{"a":1,"a":2}}'), CLAIMS),
    ("another realm", token(good_claims(iss="http://127.0.0.1:20999/realms/prod")), "the issuer is not the one of"),
    ("another audience", token(good_claims(aud="account")), "it is not meant for this gateway (audience)"),
    ("no expiry", token(good_claims(exp=...)), "it has no expiry"),
    ("no token id", token(good_claims(jti=...)), "jti is missing"),
    ("no subject", token(good_claims(sub=...)), "sub is missing"),
    ("expired", token(good_claims(exp=NOW - 1)), "it has expired"),
    ("early", token(good_claims(nbf=NOW + 60)), "it is not valid yet"),
    ("issued in the future", token(good_claims(iat=NOW + 60)), "it was issued in the future"),
    ("ID token", token(good_claims(typ="ID", at_hash="x")), "it is not an access token (typ)"),
    ("refresh token", token(good_claims(typ="Refresh")), "it is not an access token (typ)"),
]


@pytest.mark.parametrize(("hostile", "reason"), [pytest.param(t, r, id=name) for name, t, r in HOSTILE])
async def test_a_hostile_token_is_refused_and_shown_nowhere(
    hostile: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    with pytest.raises(LoginRefused) as refusal:
        await verifier().verify(hostile)
    assert refusal.value.reason.startswith(reason)
    assert refusal.value.sqlstate == "28P01"
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None, "a decoder's exception holds what it failed on"
    shown = "".join(traceback.format_exception(refusal.value)) + repr(refusal.value) + caplog.text
    assert not any(part in shown for part in hostile.split(".") if len(part) > 8)
    assert "mallory" not in shown
    assert "agent-7" not in shown


@pytest.mark.parametrize("name", ["altered signature", "unknown kid", "alg none, a signature", "crit"])
async def test_who_has_no_authentic_token_learns_nothing_about_why(name: str) -> None:
    hostile = next(each for label, each, _ in HOSTILE if label == name)
    with pytest.raises(LoginRefused) as refusal:
        await verifier().verify(hostile)
    assert str(refusal.value) == "hoop: the access token was not accepted"


@pytest.mark.parametrize(
    "good",
    [
        pytest.param(token(), id="RS256"),
        pytest.param(token(kid="bare-rsa"), id="RS256, the key names no algorithm"),
        pytest.param(token(kid="ps", algorithm="PS256"), id="PS256"),
        pytest.param(token(kid="ec", key=EC_KEY, algorithm="ES256"), id="ES256"),
        pytest.param(token(kid="ec384", key=EC384_KEY, algorithm="ES384"), id="ES384"),
        pytest.param(token(kid="ec521", key=EC521_KEY, algorithm="ES512"), id="ES512"),
        pytest.param(token(kid="ed", key=ED_KEY, algorithm="EdDSA"), id="EdDSA"),
        pytest.param(token(typ="at+jwt"), id="typ of RFC 9068"),
        pytest.param(token(typ=...), id="no typ"),
        pytest.param(token(**{"x5t": "abc", "x5t#S256": "abc"}), id="certificate thumbprints"),
    ],
)
async def test_an_honest_token_is_believed(good: str) -> None:
    principal = await verifier().verify(good)
    assert (principal.subject, principal.owner, principal.development) == ("agent-7", "dana", True)


async def test_a_token_of_exactly_the_limit_is_read() -> None:
    spare = MAX_TOKEN_BYTES - len(token(good_claims(x="")))
    whole = max((token(good_claims(x="x" * (spare * 3 // 4 + more))) for more in range(-8, 1)), key=len)
    assert MAX_TOKEN_BYTES - 4 <= len(whole) <= MAX_TOKEN_BYTES
    assert (await verifier().verify(whole)).subject == "agent-7"


async def test_a_token_ends_while_the_clock_runs() -> None:
    clock = HandClock()
    door = verifier(clock)
    assert await door.verify(token())
    clock.pass_seconds(300)
    with pytest.raises(LoginRefused, match="it has expired"):
        await door.verify(token())


async def test_too_long_a_token_costs_no_key_lookup() -> None:
    class Never:
        async def find(self, _kid: str) -> None:
            raise AssertionError("asked for a key")

    door = TokenVerifier(ISSUER, AUDIENCE, "groups", True, HandClock(), Never(), max_token_bytes=100)
    with pytest.raises(LoginRefused) as refusal:
        await door.verify(token())
    assert refusal.value.reason == "the token is too long"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["iss", "aud", "sub", "jti", "exp", "nbf", "iat", "typ", "azp", "groups", "owner", "cnf", "nonce", "alg", "kid"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON_VALUES, max_size=4), st.sampled_from(["claims", "header"]))
def test_whatever_an_issuer_signs_ends_as_a_principal_or_a_refusal(changes: dict[str, Any], place: str) -> None:
    hostile = token(good_claims(**changes)) if place == "claims" else token(**({"kid": "k1"} | changes))
    with contextlib.suppress(LoginRefused):
        principal = trio.run(verifier().verify, hostile)
        assert principal.issuer == ISSUER
        assert principal.expires > NOW * 1_000_000
        assert all(text.isprintable() for text in (principal.subject, principal.token_id, *principal.groups))


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){2}", fullmatch=True))
def test_whatever_a_client_sends_as_a_password_is_refused(hostile: str) -> None:
    with pytest.raises(LoginRefused):
        trio.run(verifier().verify, hostile)


def test_a_token_taken_apart_shows_nothing() -> None:
    compact = split(token())
    assert isinstance(compact, CompactToken)
    assert "k1" not in repr(compact)
    assert compact.signature.hex()[:16] not in repr(compact)
    assert sign_bytes("RS256", RSA_KEY, compact.signing_input) == compact.signature


@pytest.mark.parametrize("raw", [b'{"a":1}', b'{"a":{"a":1}}', b'{"A":1,"a":2}'])
def test_json_with_unique_names_is_read(raw: bytes) -> None:
    assert parse_object(raw) == json.loads(raw)
