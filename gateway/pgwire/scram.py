"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS as a client, and the md5 response; pure.

Promises: the server is believed only after it proved that it knows the password's verifier; its numbers are bounded
before work is done on them; password and keys never appear in an error or a repr.
Source: RFC 5802, RFC 7677, RFC 5929 (tls-server-end-point), RFC 4013 (SASLprep) as PostgreSQL applies it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata
from collections.abc import Sequence
from typing import Final

from gateway.errors import TargetFault

SCRAM: Final = "SCRAM-SHA-256"
SCRAM_PLUS: Final = "SCRAM-SHA-256-PLUS"
MIN_ITERATIONS: Final = 4096
"""RFC 7677's least; a false server that asks for fewer wants to guess the password from our answer."""
MAX_ITERATIONS: Final = 2_000_000
NONCE_BYTES: Final = 18
_SALT_LIMIT: Final = 1024


class ScramClient:
    """One exchange: `first()`, then `final(server_first)`, then `finish(server_final)`; anything odd is a TargetFault.

    `offered` are the server's mechanisms; `binding` is the channel binding data of tls-server-end-point, or None
    without TLS (or where the certificate's signature has no hash to bind with). `nonce` is NONCE_BYTES of randomness.
    """

    __slots__ = ("_binding", "_first_bare", "_gs2", "_nonce", "_password", "_server_signature", "finished", "mechanism")

    def __init__(self, password: bytes, offered: Sequence[str], nonce: bytes, binding: bytes | None = None) -> None:
        if binding is not None and SCRAM_PLUS in offered:
            self.mechanism, self._gs2 = SCRAM_PLUS, b"p=tls-server-end-point,,"
        elif SCRAM in offered:
            # "y": we could have bound the channel and were not offered it; a server that did offer it knows by this
            # that somebody in between took the offer away.
            self.mechanism, self._gs2 = SCRAM, b"n,," if binding is None else b"y,,"
        else:
            raise TargetFault(f"no SASL mechanism of {', '.join(map(repr, offered)) or 'none'} is supported")
        self._binding = binding if binding is not None and self.mechanism == SCRAM_PLUS else b""
        self._password = saslprep(password)
        self._nonce = base64.b64encode(nonce)
        self._first_bare = b"n=,r=" + self._nonce  # the name is empty: PostgreSQL takes it from the StartupMessage
        self._server_signature: bytes | None = None
        self.finished = False
        """Whether the server proved itself."""

    def first(self) -> bytes:
        """Return the client-first-message."""
        return self._gs2 + self._first_bare

    def final(self, server_first: bytes) -> bytes:
        """Return the client-final-message. Costs as much time as the server's iterations ask (4,096: about 2 ms)."""
        nonce, salt, iterations = self._read_first(server_first)
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, iterations)
        client_key = _hmac(salted, b"Client Key")
        without_proof = b"c=" + base64.b64encode(self._gs2 + self._binding) + b",r=" + nonce
        signed = self._first_bare + b"," + server_first + b"," + without_proof
        signature = _hmac(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_signature = _hmac(_hmac(salted, b"Server Key"), signed)
        return without_proof + b",p=" + base64.b64encode(proof)

    def finish(self, server_final: bytes) -> None:
        """Check the server's proof."""
        fields = _fields(server_final, b"v")
        if self._server_signature is None or not hmac.compare_digest(_decode(fields[0]), self._server_signature):
            raise TargetFault("the target did not prove that it knows the password (SCRAM server signature is wrong)")
        self.finished = True

    def _read_first(self, server_first: bytes) -> tuple[bytes, bytes, int]:
        nonce, salt_text, count = _fields(server_first, b"r", b"s", b"i")
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise TargetFault("the target's SCRAM nonce is not an extension of ours")
        salt = _decode(salt_text)
        if not 0 < len(salt) <= _SALT_LIMIT or not count.isdigit() or len(count) > 9:
            raise TargetFault("the target's SCRAM salt or iteration count is malformed")
        iterations = int(count)
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise TargetFault(
                f"the target asks for {iterations} SCRAM iterations; {MIN_ITERATIONS} to {MAX_ITERATIONS} are accepted"
            )
        return nonce, salt, iterations


def md5_response(user: bytes, password: bytes, salt: bytes) -> bytes:
    """Return the answer to AuthenticationMD5Password: `md5` and hex of md5(md5(password + user) + salt)."""
    inner = hashlib.md5(password + user, usedforsecurity=False).hexdigest().encode()
    return b"md5" + hashlib.md5(inner + salt, usedforsecurity=False).hexdigest().encode()


def saslprep(password: bytes) -> bytes:
    """Normalise a password as PostgreSQL does: SASLprep where that is possible, else the bytes as they are."""
    try:
        text = password.decode()
    except UnicodeDecodeError:
        return password
    prepared = None if text.isascii() else _prepare(text)
    return password if prepared is None else prepared.encode()


def _prepare(text: str) -> str | None:
    """RFC 4013, section 2; None where it prohibits the text. PostgreSQL checks before it normalises, and so do we."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    if not mapped or any(table(char) for char in mapped for table in _PROHIBITED):
        return None
    if any(map(stringprep.in_table_d1, mapped)) and (
        any(map(stringprep.in_table_d2, mapped))
        or not stringprep.in_table_d1(mapped[0])
        or not stringprep.in_table_d1(mapped[-1])
    ):
        return None
    return unicodedata.normalize("NFKC", mapped)


_PROHIBITED: Final = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _fields(text: bytes, *keys: bytes) -> list[bytes]:
    """Return the values of exactly these leading attributes; extensions after them are ignored (RFC 5802, 5.1)."""
    parts = text.split(b",")
    if parts[0].startswith(b"e="):
        raise TargetFault("the target ended the SCRAM exchange with an error")
    if len(parts) < len(keys) or any(part[:2] != key + b"=" for part, key in zip(parts, keys, strict=False)):
        raise TargetFault("the target's SCRAM message is malformed")
    return [part[2:] for part in parts[: len(keys)]]


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise TargetFault("the target's SCRAM message is malformed") from None


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
