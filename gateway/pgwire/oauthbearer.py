"""OAUTHBEARER as PostgreSQL 18 speaks it, the server's side: the messages that carry a token. Pure.

Promises that only a well-formed message yields a token, that a client which only asks where tokens come from is told,
and that no error repeats what the client sent. Judges no token: that is `gateway.identity`'s work.
Source: RFC 7628 §3, RFC 5801 §4 (the header before the first separator), PostgreSQL 18 "SASL Authentication".
"""

from __future__ import annotations

import json
import re
from typing import Final

from gateway.errors import ClientFault
from gateway.pgwire.framing import INT32, BodyReader, cstring, message

MECHANISM: Final = b"OAUTHBEARER"
_HEADER = re.compile(rb"[ny],,\x01")
"""No channel binding (`y`: the client could, and saw that we do not offer it), and nobody to act for."""
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_KEY = re.compile(rb"[A-Za-z]+")
_OVERHEAD = 256


def offer() -> bytes:
    """Encode AuthenticationSASL with this one mechanism."""
    return message(b"R", INT32.pack(10) + cstring(MECHANISM) + b"\0")


def longest(token_bytes: int) -> int:
    """Return how long a SASLInitialResponse with a token of `token_bytes` may be."""
    return token_bytes + _OVERHEAD


def initial_token(body: bytes) -> str | None:
    """Return the token of a SASLInitialResponse; None where the client asks for the issuer's address first."""
    reader = BodyReader(body)
    if reader.cstring() != MECHANISM:
        raise ClientFault("client selected an invalid SASL authentication mechanism")
    said = reader.value() or b""
    reader.end()
    return _bearer(said)


def _bearer(said: bytes) -> str | None:
    found = _HEADER.match(said)
    if found is None or not said.endswith(b"\x01\x01"):
        raise ClientFault("malformed OAUTHBEARER message")
    authorization = None
    for pair in said[found.end() : -2].split(b"\x01"):
        key, equals, value = pair.partition(b"=")
        if not equals or not _KEY.fullmatch(key) or (key == b"auth" and authorization is not None):
            raise ClientFault("malformed OAUTHBEARER message")
        if key == b"auth":
            authorization = value
    if authorization is None:
        raise ClientFault("malformed OAUTHBEARER message")
    if not authorization:
        return None
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not _TOKEN.fullmatch(token.strip(b" ")):
        raise ClientFault("malformed OAUTHBEARER message")
    return token.strip(b" ").decode("ascii")


def no_token(discovery: str) -> bytes:
    """Encode the AuthenticationSASLContinue that names the issuer's discovery document (RFC 7628 §3.2.2)."""
    said = {"status": "invalid_token", "openid-configuration": discovery, "scope": "openid"}
    return message(b"R", INT32.pack(11) + json.dumps(said).encode())
