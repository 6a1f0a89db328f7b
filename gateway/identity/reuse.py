"""By whom a token may be used more than once: a stolen token is worth little on another machine.

It promises that a token is bound to the first host that logged in with it (`host`), or used once (`once`), until it
expires, and that memory stays bounded: where it is full, nobody new is let in. Forgotten at a restart. Keeps token
ids, never tokens.
"""

from __future__ import annotations

import heapq
from typing import Literal, TypeAlias

from gateway.identity.claims import refused
from gateway.model import Clock, Principal

Reuse: TypeAlias = Literal["any", "host", "once"]
MAX_TOKENS = 65_536


class TokenUse:
    """Remembers who used which token."""

    def __init__(self, reuse: Reuse, clock: Clock) -> None:
        self._reuse, self._clock = reuse, clock
        self._hosts: dict[str, str] = {}
        self._expiries: list[tuple[int, str]] = []

    def use(self, principal: Principal, host: str) -> None:
        """Note that `host` logs in with `principal`'s token. Raises `LoginRefused` (28P01) where it may not."""
        if self._reuse == "any":
            return
        self._forget_expired()
        first = self._hosts.get(principal.token_id)
        if first is None:
            if len(self._hosts) >= MAX_TOKENS:
                raise refused("too many tokens are in use to remember one more", tell=True)
            self._hosts[principal.token_id] = host
            heapq.heappush(self._expiries, (principal.expires, principal.token_id))
        elif self._reuse == "once":
            raise refused("it was used before (replay)", tell=True)
        elif first != host:
            raise refused("it was used from another host before (replay)", tell=True)

    def _forget_expired(self) -> None:
        now = self._clock.now()
        while self._expiries and self._expiries[0][0] <= now:
            self._hosts.pop(heapq.heappop(self._expiries)[1], None)


def host_of(client_address: str) -> str:
    """Return the host of `127.0.0.1:5432` or `[::1]:5432`."""
    host, mark, _ = client_address.rpartition(":")
    return host if mark else client_address
