"""The chain and the commitments: what makes a changed, missing or moved entry show.

Pure: bytes in, bytes out; no I/O, no clock, no randomness. The construction is docs/evidence.md, "Chain": it covers the
live tail; what outlives the host is the tree and its witnessed checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

CONTEXT = "hoop-tui 2026-11 evidence chain v1"
KEY = blake3(b"", derive_key_context=CONTEXT).digest()
"""The chain's key: it separates domains and is no secret."""
GENESIS = bytes(32)
"""The value before the first entry."""


class Chain:
    """The running value over a log's entries; one keyed hasher, reset for each link, costs about 1 µs."""

    __slots__ = ("_hasher", "value")

    def __init__(self, value: bytes = GENESIS) -> None:
        self._hasher = blake3(key=KEY)
        self.value = value

    def __reduce__(self) -> tuple[type[Chain], tuple[bytes]]:
        """Pass between processes by its value."""
        return Chain, (self.value,)

    def after(self, entry: bytes) -> bytes:
        """Return what the value would be after `entry`, in lower-case hex, and stay as it is."""
        hasher = self._hasher
        hasher.reset()
        hasher.update(self.value)
        hasher.update(entry)
        return hasher.hexdigest().encode()

    def link(self, entry: bytes) -> bytes:
        """Append `entry` and return the new value, 32 bytes."""
        hasher = self._hasher
        hasher.reset()
        hasher.update(self.value)
        hasher.update(entry)
        self.value = hasher.digest()
        return self.value

    def extend(self, entries: Iterable[bytes]) -> list[bytes]:
        """Append entries in their order and return the value after each, 32 bytes."""
        hasher, value, found = self._hasher, self.value, []
        reset, update, digest = hasher.reset, hasher.update, hasher.digest
        for entry in entries:
            reset()
            update(value)
            update(entry)
            value = digest()
            found.append(value)
        self.value = value
        return found


def linked(value: bytes, entries: Iterable[bytes], chains: str) -> bytes | None:
    """Return the chain's value after `entries`, from `value` on, if theirs are `chains`, with commas between."""
    links, hasher = list[bytes](), blake3(key=KEY)
    reset, update, digest, append = hasher.reset, hasher.update, hasher.digest, links.append
    for entry in entries:
        reset()
        update(value + entry)
        value = digest()
        append(value)
    return value if b"".join(links).hex(",", 32) == chains else None


def commitment(salt: bytes, data: bytes | bytearray | memoryview) -> str:
    """Return the lower-case hex BLAKE3 of `data` keyed with the record's salt (32 bytes): without it, no guessing."""
    return blake3(data, key=salt).digest().hex()  # quicker than `hexdigest`
