"""Tokens of one client, fetched by client credentials and renewed in good time.

Promises that a token handed out lasts for at least half of its life more, where the issuer can be asked; that any
number of askers cause one fetch; and that a token is kept in memory only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from gateway.errors import IssuerFault
from gateway.identity.issuer import Granted

RETRY_SECONDS = 5.0
"""How long to wait after a failed fetch before the next, while the token at hand is still good."""


@dataclass(frozen=True, slots=True)
class Held:
    """A token with the times (of Trio's clock) from which it should be, and must be, replaced; the repr hides it."""

    token: str = field(repr=False)
    stale: float
    ends: float


class Tokens:
    """The tokens of one client; `grant` fetches a fresh one or raises `IssuerFault`."""

    def __init__(self, grant: Callable[[], Awaitable[Granted]]) -> None:
        self._grant = grant
        self._held: Held | None = None
        self._lock = trio.Lock()

    async def current(self) -> Held:
        """Return a token to use now. Raises `IssuerFault` where there is none that is still good."""
        async with self._lock:
            held, now = self._held, trio.current_time()
            if held is not None and now < held.stale:
                return held
            try:
                granted = await self._grant()
            except IssuerFault:
                if held is None or now >= held.ends:
                    raise
                self._held = Held(held.token, now + RETRY_SECONDS, held.ends)
                return held
            now = trio.current_time()
            self._held = Held(granted.token, now + granted.seconds / 2, now + granted.seconds)
            return self._held
