"""Sealing what only auditors may read: one key a session, moved on with each envelope, wrapped to them once.

Promises that the key of an envelope is gone from memory once the envelope is made, so that a gateway taken over later
cannot open it; that an envelope opens only in its own place; and that nothing outside it lets its content be guessed:
the salt of `oc` stands inside. Knows no files: the journal writes what is sealed, before the record that names it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pyrage
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.evidence.chain import commitment
from gateway.evidence.entry import Malformed
from gateway.model import Entropy, LogName, Sealed, SessionId

ENVELOPE_KEY = "hoop-tui 2026-11 original envelope v1"
NEXT_KEY = "hoop-tui 2026-11 original ratchet v1"
VERSION = b"\x01"
_NONCE, _SALT = 12, 32
_FAST = 1
"""zlib's level: sealing stands between a row and the agent."""
LARGEST = 256 << 20
"""Bytes of an envelope's content, at most, when it is opened."""

Seal = Callable[[LogName, int], Sealed]


class Ratchet:
    """A session's key, as far as it has moved: whoever has it now cannot have those before."""

    __slots__ = ("_state", "step")

    def __init__(self, secret: bytes) -> None:
        self._state = bytearray(secret)
        self.step = 0
        """Envelopes whose keys were taken."""

    def take(self) -> bytes:
        """Return the key of the next envelope and move on; the old state is overwritten."""
        key: bytes = blake3(self._state, derive_key_context=ENVELOPE_KEY).digest()
        self._state[:] = blake3(self._state, derive_key_context=NEXT_KEY).digest()
        self.step += 1
        return key

    def __repr__(self) -> str:
        return f"Ratchet(step={self.step})"


class Sealer:
    """Seals for one session. `wrapped` is the age file of its key, which must be on disk before any envelope."""

    __slots__ = ("_entropy", "_ratchet", "_session", "digest", "wrapped")

    def __init__(self, session: SessionId, recipients: tuple[str, ...], entropy: Entropy) -> None:
        """Make the key and wrap it to `recipients`, age public keys."""
        secret = entropy.bytes(32)
        keys = [pyrage.x25519.Recipient.from_str(one) for one in recipients]
        self.wrapped: bytes = pyrage.encrypt(secret, keys)
        self.digest: str = blake3(self.wrapped).hexdigest()
        self._session, self._entropy, self._ratchet = session, entropy, Ratchet(secret)

    def seal(self, content: bytes) -> Seal:
        """Return what makes the envelope of `content` once the record has its place; to be called in that order."""

        def made(log: LogName, seq: int) -> Sealed:
            step, key = self._ratchet.step, self._ratchet.take()
            salt, nonce = self._entropy.bytes(_SALT), self._entropy.bytes(_NONCE)
            inside = salt + zlib.compress(content, _FAST)
            envelope = VERSION + nonce + AESGCM(key).encrypt(nonce, inside, place(log, seq, self._session))
            kid = f"{self.digest[:16]}/{step}"
            return Sealed(commitment(salt, content), blake3(envelope).hexdigest(), kid, envelope)

        return made


def place(log: str, seq: int, session: str) -> bytes:
    """Return the associated data of an envelope: where it belongs."""
    return f"{log}|{seq}|{session}".encode()


def unwrap(wrapped: bytes, identities: list[object]) -> bytes:
    """Return a session's first key. Raises `Malformed` where none of the age identities opens it."""
    try:
        secret: bytes = pyrage.decrypt(wrapped, identities)
    except pyrage.DecryptError:
        raise Malformed("it is not wrapped to this identity") from None
    return secret


def unseal(envelope: bytes, key: bytes, log: str, seq: int, session: str) -> tuple[bytes, str]:
    """Open an envelope with its own key; return its content and the `oc` that follows from it. Raises `Malformed`."""
    if envelope[:1] != VERSION or len(envelope) < 1 + _NONCE + 16:
        raise Malformed("no envelope of version 1")
    nonce = envelope[1 : 1 + _NONCE]
    try:
        inside = AESGCM(key).decrypt(nonce, envelope[1 + _NONCE :], place(log, seq, session))
        unpacked = zlib.decompressobj()
        content = unpacked.decompress(inside[_SALT:], LARGEST)
    except (InvalidTag, zlib.error):
        raise Malformed("it does not open with its session's key, in its place") from None
    if not unpacked.eof:
        raise Malformed(f"its content has more than {LARGEST} bytes")
    return content, commitment(inside[:_SALT], content)
