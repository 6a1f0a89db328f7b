"""Whether tokens are still good, by the issuer's own word, asked no more often than needed.

It promises that any number of sessions with one token cause one question at a time and at most one in the age that
they accept, that "no" is final, that an issuer which failed a moment ago is left alone for a second, and that memory
stays bounded. Remembers tokens by their SHA-256 only.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import trio

from gateway.errors import IssuerFault
from gateway.model import Clock, Principal

Ask: TypeAlias = Callable[[str], Awaitable[Mapping[str, object]]]
"""Asks the issuer about a token (RFC 7662); raises `IssuerFault`."""

MAX_ANSWERS = 4096
"""Tokens whose answers are remembered; the least recently used is forgotten first."""
AT_ONCE = 8
"""Questions that may be under way at the same time."""
PAUSE_SECONDS = 1
"""For so long after a failure nothing is asked, and the failure is everybody's answer."""
_SECOND = 1_000_000


class _Answer:
    """What is known of one token."""

    __slots__ = ("active", "asked", "lock")

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.active: bool | None = None
        self.asked = 0


class Introspection:
    """A cache of the issuer's answers over `ask`."""

    def __init__(self, ask: Ask, clock: Clock) -> None:
        self._ask, self._clock = ask, clock
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._at_once = trio.CapacityLimiter(AT_ONCE)
        self._fault: tuple[int, str] | None = None

    async def active(self, token: str, principal: Principal, max_age: float) -> bool:
        """Say whether `token`, verified to be `principal`'s, is good by an answer at most `max_age` seconds old.

        Raises `IssuerFault` where there is no such answer.
        """
        answer = self._of(token)
        async with answer.lock:
            if answer.active is False:
                return False
            if answer.active is None or self._clock.monotonic() - answer.asked > max_age * _SECOND:
                asked = self._clock.monotonic()
                answer.active = await self._question(token, principal)
                answer.asked = asked
            return answer.active

    def forget(self, token: str) -> None:
        """No session needs the answer about `token` any more."""
        self._answers.pop(_digest(token), None)

    async def _question(self, token: str, principal: Principal) -> bool:
        self._raise_recent_fault()
        async with self._at_once:
            self._raise_recent_fault()
            try:
                found = await self._ask(token)
                return _is_active(found, principal)
            except IssuerFault as fault:
                self._fault = (self._clock.monotonic(), str(fault))
                raise

    def _raise_recent_fault(self) -> None:
        if self._fault is not None and self._clock.monotonic() - self._fault[0] < PAUSE_SECONDS * _SECOND:
            raise IssuerFault(self._fault[1])

    def _of(self, token: str) -> _Answer:
        digest = _digest(token)
        answer = self._answers.setdefault(digest, _Answer())
        self._answers.move_to_end(digest)
        while len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)
        return answer


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _is_active(found: Mapping[str, object], principal: Principal) -> bool:
    """Read the answer; one that speaks of another token than the one asked about is no answer."""
    if found.get("active") is not True:
        return False
    expected = {"iss": principal.issuer, "sub": principal.subject, "jti": principal.token_id}
    for name, value in expected.items():
        if found.get(name, value) != value:
            raise IssuerFault("the identity issuer's answer is about another token")
    return True
