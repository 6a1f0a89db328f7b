"""Pseudonyms: a stable name for each value of one column, so that grouping and joining by it still work.

Promises that nobody without the connection's secret can tell the value from its pseudonym or find out whether a guess
is right, that two columns have nothing in common, and that a pseudonym is recognised as one of this gateway's without
any list of those that were given out: it carries a check. The secret stands in no record and in no repr.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from functools import lru_cache

from blake3 import blake3

PREFIX = b"anon-"
_TOKEN, _CHECK = 16, 4
"""Characters of base32: 80 bits of the value's keyed hash, 20 bits that prove whose it is."""
WHOLE = len(PREFIX) + _TOKEN + _CHECK
SHORTEST = 12
"""Cut shorter, pseudonyms of different values would meet, and could be tried out one by one."""
_SHAPE = re.compile(rb"anon-[a-z2-7]{%d,%d}" % (SHORTEST - len(PREFIX), _TOKEN + _CHECK))
_KEYS = 1024


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """The pseudonyms of one connection; `secret` are its 32 bytes."""

    secret: bytes = field(repr=False)

    def of(self, column: str, value: bytes) -> bytes:
        """Return the pseudonym of a value of the marked column `column`, 25 ASCII characters."""
        token = _letters(blake3(value, key=_key(self.secret, b"column " + column.encode())).digest(10))
        return PREFIX + token + self._check(token)

    def made(self, shown: bytes) -> bool:
        """Say whether `shown` is a pseudonym of this connection. One that was cut is taken for one by its shape."""
        if _SHAPE.fullmatch(shown) is None:
            return False
        token, check = shown[len(PREFIX) :][:_TOKEN], shown[len(PREFIX) + _TOKEN :]
        return len(shown) < WHOLE or check == self._check(token)

    def _check(self, token: bytes) -> bytes:
        return _letters(blake3(token, key=_key(self.secret, b"check")).digest(5))[:_CHECK]


def of_connection(secret: bytes, connection: str) -> Pseudonyms:
    """Return a connection's pseudonyms; `secret` is the gateway's, 32 bytes."""
    return Pseudonyms(blake3(b"pseudonyms " + connection.encode(), key=secret).digest())


@lru_cache(maxsize=_KEYS)
def _key(secret: bytes, use: bytes) -> bytes:
    return blake3(use, key=secret).digest()


def _letters(digest: bytes) -> bytes:
    return base64.b32encode(digest).lower().rstrip(b"=")
