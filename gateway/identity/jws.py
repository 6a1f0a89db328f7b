"""Compact JWS as an access token may use it: taking it apart, the keys that may sign it, and the signature itself.

Pure: no I/O, no clock. It promises that nothing in a token chooses how the token is checked: the header's `kid` only
names one of the issuer's keys, and that key alone decides the algorithm. Symmetric algorithms and `none` do not exist
here. JSON with duplicate names is refused. Nothing here shows a token: reprs hide it, refusals are fixed words, and
no refusal carries a decoder's exception (those hold the text they failed on).
Sources: RFC 7515 §5.2 and §7.1, RFC 7517, RFC 7518 §3, RFC 8037, RFC 8725 §3.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.identity.claims import refused

MAX_TOKEN_BYTES = 16 * 1024
"""The longest token that is looked at, in bytes."""
MAX_KEY_SET = 64
"""Keys read from one key set; an issuer has a handful."""

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
# Everything else in a header either carries a key of the sender's choice (jwk, jku, x5c, x5u) or changes what the
# bytes mean (crit, b64, enc, zip, cty); x5t only names a certificate and is not used.
_HEADER_NAMES = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
ACCESS_TOKEN_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
"""What `typ` in the header of an access token may be, in lower case (RFC 9068 §2.1)."""
LOGOUT_TOKEN_TYPES = frozenset({"jwt", "logout+jwt", "application/logout+jwt"})
"""The same of a logout token (OpenID Connect Back-Channel Logout §2.4)."""

_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "P-256": ("ES256", ec.SECP256R1()),
    "P-384": ("ES384", ec.SECP384R1()),
    "P-521": ("ES512", ec.SECP521R1()),
}
_EDWARDS_ALGORITHMS = ("EdDSA", "Ed25519")
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """One of the issuer's public keys with the only algorithm it may be used with."""

    kid: str
    algorithm: str
    public: PublicKey = field(repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class CompactToken:
    """A token taken apart, nothing of it believed yet. Its repr shows nothing."""

    kid: str
    algorithm: str
    signing_input: bytes
    payload: bytes
    signature: bytes


def split(token: str, limit: int = MAX_TOKEN_BYTES, types: frozenset[str] = ACCESS_TOKEN_TYPES) -> CompactToken:
    """Take a compact token of at most `limit` bytes apart; raise `LoginRefused` where its shape or header is wrong."""
    if len(token) > limit:
        raise refused("the token is too long")
    match = _COMPACT.fullmatch(token)
    if match is None:
        raise refused("it is not a compact signed token")
    header, payload, signature = (_decode(part) for part in match.groups())
    if header is None or payload is None or signature is None:
        raise refused("it is not canonical base64url")
    fields = parse_object(header)
    if fields is None:
        raise refused("the header is not a JSON object with unique names")
    kid, algorithm = _read_header(fields, types)
    return CompactToken(kid, algorithm, token[: match.start(3) - 1].encode("ascii"), payload, signature)


def _decode(part: str) -> bytes | None:
    """Return what canonical, unpadded base64url stands for, else None."""
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return None
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=") == part.encode("ascii") else None


def _read_header(header: Mapping[str, object], types: frozenset[str]) -> tuple[str, str]:
    """Return `kid` and `alg`. The latter is only ever compared with the key's own."""
    if not header.keys() <= _HEADER_NAMES:
        raise refused("the header holds a parameter that is not accepted")
    kid, algorithm, typ = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        raise refused("the header names no key")
    if not isinstance(algorithm, str):
        raise refused("the header names no algorithm")
    if not isinstance(typ, str) or typ.lower() not in types:
        raise refused("the header names another type of token")
    return kid, algorithm


def parse_object(raw: bytes) -> dict[str, object] | None:
    """Return the JSON object that `raw` is, or None: not UTF-8, not JSON, not an object, a name twice, too deep."""
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_names, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _refuse_constant(_name: str) -> object:
    raise ValueError  # NaN and Infinity are not JSON


def check_signature(token: CompactToken, key: PinnedKey) -> None:
    """Raise `LoginRefused` unless `key`, by its own algorithm, signed `token` and the header says so too."""
    if token.algorithm != key.algorithm:
        raise refused("the algorithm is not the one of the issuer's key")
    try:
        _verify(key, token.signature, token.signing_input)
        good = True
    except InvalidSignature:
        good = False
    if not good:
        raise refused("the signature is wrong")


def _verify(key: PinnedKey, signature: bytes, signed: bytes) -> None:
    """Check by the key's algorithm (RFC 7518 §3.3–3.5, RFC 8037 §3.1); raise `InvalidSignature`."""
    public = key.public
    if isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(signature, signed)
        return
    digest = _HASHES[key.algorithm[2:]]()
    if isinstance(public, ec.EllipticCurvePublicKey):
        size = (public.curve.key_size + 7) // 8
        if len(signature) != 2 * size:
            raise InvalidSignature
        r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
        public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
    elif key.algorithm.startswith("PS"):
        public.verify(signature, signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    else:
        public.verify(signature, signed, padding.PKCS1v15(), digest)


def pinned_keys(key_set: Mapping[str, object]) -> dict[str, PinnedKey]:
    """Return the usable signature keys of a JWK set by `kid`.

    Left out without a word, because Keycloak publishes such beside its signature keys or because no token may be
    believed for them: encryption keys, symmetric keys, keys whose private part is published, weak or malformed keys,
    unknown algorithms, and every key whose `kid` is not its own.
    """
    listed = key_set.get("keys")
    if not isinstance(listed, list):
        return {}
    entries = [entry for entry in listed[:MAX_KEY_SET] if isinstance(entry, dict)]
    kids = [entry.get("kid") for entry in entries]
    found = (_pin(entry) for entry in entries if kids.count(entry.get("kid")) == 1)
    return {key.kid: key for key in found if key is not None}


def _pin(entry: Mapping[str, object]) -> PinnedKey | None:
    kid = entry.get("kid")
    if not isinstance(kid, str) or not kid or entry.get("use", "sig") != "sig" or entry.keys() & _PRIVATE_MEMBERS:
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        match entry.get("kty"):
            case "RSA":
                return _pin_rsa(kid, entry)
            case "EC":
                return _pin_elliptic(kid, entry)
            case "OKP":
                return _pin_edwards(kid, entry)
    except ValueError:
        return None
    return None


def _pin_rsa(kid: str, entry: Mapping[str, object]) -> PinnedKey | None:
    algorithm = entry.get("alg", "RS256")
    modulus, exponent = _number(entry, "n"), _number(entry, "e")
    if not isinstance(algorithm, str) or algorithm not in _RSA_ALGORITHMS:
        return None
    if not _MIN_RSA_BITS <= modulus.bit_length() <= _MAX_RSA_BITS or not 65537 <= exponent < 1 << 32:
        return None
    return PinnedKey(kid, algorithm, rsa.RSAPublicNumbers(exponent, modulus).public_key())


def _pin_elliptic(kid: str, entry: Mapping[str, object]) -> PinnedKey | None:
    algorithm, curve = _CURVES.get(str(entry.get("crv")), (None, None))
    if algorithm is None or curve is None or entry.get("alg", algorithm) != algorithm:
        return None
    numbers = ec.EllipticCurvePublicNumbers(_number(entry, "x"), _number(entry, "y"), curve)
    return PinnedKey(kid, algorithm, numbers.public_key())  # refuses points off the curve


def _pin_edwards(kid: str, entry: Mapping[str, object]) -> PinnedKey | None:
    algorithm = entry.get("alg", "EdDSA")
    if entry.get("crv") != "Ed25519" or not isinstance(algorithm, str) or algorithm not in _EDWARDS_ALGORITHMS:
        return None
    return PinnedKey(kid, algorithm, ed25519.Ed25519PublicKey.from_public_bytes(_member(entry, "x")))


def _member(entry: Mapping[str, object], name: str) -> bytes:
    value = entry.get(name)
    raw = _decode(value) if isinstance(value, str) and value.isascii() else None
    if raw is None:
        raise ValueError(name)
    return raw


def _number(entry: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_member(entry, name), "big")
