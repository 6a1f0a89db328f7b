"""Salts of records: random bytes from the kernel, many at a time, since each call costs more than a salt does.

Promises 32 bytes that nobody else was given, also after a fork: a child forgets what its parent drew. Of what was
handed out nothing is kept. Other sources than the kernel are asked each time.
"""

from __future__ import annotations

import os
import weakref

from gateway.evidence.storage import SystemEntropy
from gateway.model import Entropy

SIZE = 32
_TOGETHER = 128
"""Salts drawn together: 4 KiB, a tenth of a microsecond each."""


class Salts:
    """Salts drawn from `entropy`."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._together = _TOGETHER if isinstance(entropy, SystemEntropy) else 1
        self._ready: list[bytes] = []
        _all.add(self)

    def take(self) -> bytes:
        """Return a salt."""
        if not self._ready:
            drawn = self._entropy.bytes(SIZE * self._together)
            self._ready = [drawn[place : place + SIZE] for place in range(0, len(drawn), SIZE)]
        return self._ready.pop()

    def forget(self) -> None:
        """Draw anew the next time."""
        self._ready = []


_all: weakref.WeakSet[Salts] = weakref.WeakSet()


def _forget() -> None:
    for each in list(_all):
        each.forget()


os.register_at_fork(after_in_child=_forget)
