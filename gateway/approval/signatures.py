"""Signatures that people make with their SSH keys (`ssh-keygen -Y sign`), verified, and the gateway's own. Pure.

Promises, without any process, the answers of stock `ssh-keygen -Y verify` for the keys that may sign here: Ed25519,
ECDSA over NIST curves, RSA of 2048 bits and more with SHA-2, and the two hardware kinds (sk-…), where the key
must have asked for presence. The namespace, the key and the bytes must all be the expected ones. Nothing in a signature
chooses how it is checked beyond its hash (SHA-256 or SHA-512). Source: OpenSSH, PROTOCOL.sshsig and PROTOCOL.u2f.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.control.receipts import BEGIN, END, NAMESPACE
from gateway.errors import GatewayError

MAX_BYTES = 16 * 1024
_MAGIC, _ED25519 = b"SSHSIG", b"ssh-ed25519"
_HASHES: dict[bytes, Callable[[bytes], bytes]] = {
    b"sha256": lambda data: hashlib.sha256(data).digest(),
    b"sha512": lambda data: hashlib.sha512(data).digest(),
}
_CURVES: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
    b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA: dict[bytes, hashes.HashAlgorithm] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 16_384
_PRESENT = 0x01
"""Flag of a hardware key's signature: somebody touched it (PROTOCOL.u2f)."""


class BadSignature(GatewayError):
    """The signature is not one of the expected person's over the expected bytes."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key that may sign for somebody."""

    kind: str
    blob: bytes

    def line(self, principal: str, namespace: str = NAMESPACE) -> str:
        """Return the line of an allowed signers file that lets it sign receipts for `principal`."""
        encoded = base64.b64encode(self.blob).decode()
        return f'{principal} namespaces="{namespace}" {self.kind} {encoded}'


def read_key(line: str) -> SigningKey:
    """Read a public key as `ssh-keygen` writes it (`KIND BASE64 COMMENT`). Raises BadSignature for any other."""
    kind, _, rest = line.strip().partition(" ")
    encoded = rest.split()[0] if rest.split() else ""
    try:
        blob = base64.b64decode(encoded, validate=True)
        _verifier(_Reader(blob))
    except (binascii.Error, ValueError):
        raise BadSignature("not a public key that can sign here: write a line of a .pub file") from None
    if _Reader(blob).string() != kind.encode():
        raise BadSignature("the public key is not of the kind that it says")
    return SigningKey(kind, blob)


def verify(message: bytes, armored: str, keys: Iterable[SigningKey], namespace: str = NAMESPACE) -> SigningKey:
    """Return the one of `keys` that signed `message` for `namespace`. Raises BadSignature."""
    reader = _Reader(_unarmored(armored))
    try:
        if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != 1:
            raise BadSignature("not an SSH signature of version 1")
        blob, named, reserved, hashed, signature = (reader.string() for _ in range(5))
        reader.end()
        key = next((each for each in keys if each.blob == blob), None)
        if key is None:
            raise BadSignature("it was signed with a key that is not among yours")
        if named != namespace.encode():
            raise BadSignature(f"it was not signed for {namespace}")
        if hashed not in _HASHES:
            raise BadSignature("it uses a hash that is not accepted")
        signed = _MAGIC + _strings(named, reserved, hashed, _HASHES[hashed](message))
        _verifier(_Reader(blob))(_Reader(signature), signed)
    except (ValueError, InvalidSignature):
        raise BadSignature("the signature is wrong") from None
    return key


def sign(message: bytes, key: ed25519.Ed25519PrivateKey, namespace: str) -> str:
    """Return a signature over `message` for `namespace`, armored, as `ssh-keygen -Y sign` writes it."""
    hashed, reserved = b"sha512", b""
    parts = (namespace.encode(), reserved, hashed)
    signature = _strings(_ED25519, key.sign(_MAGIC + _strings(*parts, _HASHES[hashed](message))))
    blob = public_key(key.public_key().public_bytes_raw()).blob
    whole = _MAGIC + (1).to_bytes(4, "big") + _strings(blob, *parts, signature)
    lines = textwrap.wrap(base64.b64encode(whole).decode(), 70)
    return "\n".join([BEGIN, *lines, END, ""])


def public_key(raw: bytes) -> SigningKey:
    """Return an Ed25519 public key, 32 bytes, as SSH writes it."""
    return SigningKey(_ED25519.decode(), _strings(_ED25519, raw))


def _strings(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class _Reader:
    """Reads SSH's binary encoding (RFC 4251 §5). Raises ValueError where it ends too soon or goes on too long."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise ValueError(count)
        taken, self._data = bytes(self._data[:count]), self._data[count:]
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def integer(self) -> int:
        raw = self.string()
        if raw[:1] >= b"\x80":  # negative
            raise ValueError
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        if self._data:
            raise ValueError


def _unarmored(armored: str) -> bytes:
    text = armored.strip()
    if len(text) > MAX_BYTES or not text.startswith(BEGIN) or not text.endswith(END):
        raise BadSignature("not an SSH signature: it begins with " + BEGIN)
    try:
        return base64.b64decode("".join(text[len(BEGIN) : -len(END)].split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("not an SSH signature: its base64 is damaged") from None


def _verifier(key: _Reader) -> Callable[[_Reader, bytes], None]:
    """Return what checks a signature by `key` over bytes. Raises ValueError for a key that may not sign."""
    kind = key.string()
    hardware = kind in {b"sk-ssh-ed25519@openssh.com", b"sk-ecdsa-sha2-nistp256@openssh.com"}
    plain = kind.removeprefix(b"sk-").removesuffix(b"@openssh.com") if hardware else kind
    check = _primitive(plain, key)
    application = hashlib.sha256(key.string()).digest() if hardware else b""
    key.end()
    names = _RSA.keys() if kind == b"ssh-rsa" else {kind}

    def checked(signature: _Reader, signed: bytes) -> None:
        name, blob = signature.string(), signature.string()
        if name not in names:
            raise ValueError(name)
        if hardware:
            flags, counter = signature.take(1), signature.take(4)
            if not flags[0] & _PRESENT:
                raise BadSignature("the hardware key did not ask for presence")
            signed = application + flags + counter + hashlib.sha256(signed).digest()
        signature.end()
        check(name, blob, signed)

    return checked


def _primitive(kind: bytes, key: _Reader) -> Callable[[bytes, bytes, bytes], None]:
    """Read a public key; return what checks (name of the algorithm, signature, bytes) by it."""
    if kind == _ED25519:
        edwards = ed25519.Ed25519PublicKey.from_public_bytes(key.string())
        return lambda _, blob, signed: edwards.verify(blob, signed)
    if kind.startswith(b"ecdsa-sha2-"):
        curve = key.string()
        if curve not in _CURVES or kind != b"ecdsa-sha2-" + curve:
            raise ValueError(curve)
        group, hashed = _CURVES[curve]
        point = ec.EllipticCurvePublicKey.from_encoded_point(group, key.string())
        return lambda _, blob, signed: point.verify(_numbers(blob), signed, ec.ECDSA(hashed))
    if kind != b"ssh-rsa":
        raise ValueError(kind)
    exponent, modulus = key.integer(), key.integer()
    if not _MIN_RSA_BITS <= modulus.bit_length() <= _MAX_RSA_BITS:
        raise ValueError(modulus.bit_length())
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    size = (modulus.bit_length() + 7) // 8
    return lambda name, blob, signed: public.verify(blob.rjust(size, b"\0"), signed, padding.PKCS1v15(), _RSA[name])


def _numbers(blob: bytes) -> bytes:
    """Return an ECDSA signature as X.509 encodes it; SSH writes two integers (RFC 5656 §3.1.2)."""
    reader = _Reader(blob)
    first, second = reader.integer(), reader.integer()
    reader.end()
    return encode_dss_signature(first, second)
