"""Makes tokens, good and hostile, and the pieces that verifying them needs; independent of the code under test."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.identity.jws import PinnedKey, pinned_keys
from gateway.model import Micros

ISSUER = "http://127.0.0.1:20999/realms/hoop"
AUDIENCE = "hoop-gateway"
NOW = 1_800_000_000  # seconds

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC384_KEY = ec.generate_private_key(ec.SECP384R1())
EC521_KEY = ec.generate_private_key(ec.SECP521R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | bytes | None


@dataclass
class HandClock:
    """A clock that only the test moves."""

    seconds: float = float(NOW)
    booted: float = 1000.0

    def now(self) -> Micros:
        return Micros(int(self.seconds * 1_000_000))

    def monotonic(self) -> int:
        return int(self.booted * 1_000_000)

    def pass_seconds(self, seconds: float) -> None:
        self.seconds += seconds
        self.booted += seconds


@dataclass
class CountingEntropy:
    """Distinct bytes, never the same twice."""

    used: int = field(default=0)

    def bytes(self, count: int) -> bytes:
        self.used += 1
        return self.used.to_bytes(count, "big")


@dataclass(frozen=True)
class StaticKeys:
    """A key ring without an issuer behind it."""

    keys: Mapping[str, PinnedKey]

    async def find(self, kid: str) -> PinnedKey | None:
        return self.keys.get(kid)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(kid: str, key: Private, **members: Any) -> dict[str, Any]:
    """Return the public JWK of `key`, with more `members` or, where None, without one."""
    entry: dict[str, Any] = {"kid": kid, "use": "sig"}
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        entry |= {"kty": "RSA", "alg": "RS256", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        size = (key.curve.key_size + 7) // 8
        names = {256: ("P-256", "ES256"), 384: ("P-384", "ES384"), 521: ("P-521", "ES512")}[key.curve.key_size]
        entry |= {"kty": "EC", "crv": names[0], "alg": names[1]}
        entry |= {"x": number(point.x, size), "y": number(point.y, size)}
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        entry |= {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": b64(key.public_key().public_bytes_raw())}
    elif isinstance(key, bytes):
        entry |= {"kty": "oct", "alg": "HS256", "k": b64(key)}
    entry |= members
    return {name: value for name, value in entry.items() if value is not None}


def sign_bytes(algorithm: str, key: Private, signed: bytes) -> bytes:
    digest = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}.get(algorithm[2:], hashes.SHA256)()
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
        return key.sign(signed, pss if algorithm.startswith("PS") else padding.PKCS1v15(), digest)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        return b"".join(part.to_bytes(size, "big") for part in decode_dss_signature(key.sign(signed, ec.ECDSA(digest))))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    if isinstance(key, bytes):
        return hmac.digest(key, signed, "sha256")
    return b""


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip


def good_claims(**changes: Any) -> dict[str, Any]:
    """Return claims as Keycloak writes them, with `changes`; a change to `...` takes the claim away."""
    claims = {
        "iss": ISSUER, "aud": [AUDIENCE, "account"], "sub": "agent-7", "jti": "onrtcc:0a1b", "typ": "Bearer",
        "azp": "agent-client", "iat": NOW - 10, "exp": NOW + 300, "groups": ["/reporting", "oncall"], "owner": "dana",
    } | changes  # fmt: skip
    return {name: value for name, value in claims.items() if value is not ...}


def token(
    claims: Mapping[str, Any] | bytes | None = None,
    *,
    key: Private = RSA_KEY,
    algorithm: str = "RS256",
    header: Mapping[str, Any] | bytes | None = None,
    kid: str = "k1",
    **header_changes: Any,
) -> str:
    """Return a compact token signed with `key` by `algorithm`, whatever header and claims say."""
    fields = header if header is not None else {"alg": algorithm, "typ": "JWT", "kid": kid} | header_changes
    if isinstance(fields, Mapping):
        fields = json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()
    if claims is None:
        claims = good_claims()
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64(fields)}.{b64(payload)}"
    return f"{signed}.{b64(sign_bytes(algorithm, key, signed.encode()))}"


def key_set(*entries: dict[str, Any]) -> dict[str, PinnedKey]:
    return pinned_keys({"keys": list(entries)})
