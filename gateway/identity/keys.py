"""The issuer's public keys: fetched once for everybody, kept for a while, asked for again with restraint.

It promises that any number of tokens, also of unknown keys, cause at most one fetch at a time and one in ten
seconds; and that keys which could not be renewed are used for a bounded time only and then nobody is believed.
Where they come from is `gateway.identity.issuer`'s part.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import trio

from gateway.errors import IssuerFault
from gateway.identity.jws import PinnedKey
from gateway.model import Clock

Fetch: TypeAlias = "Callable[[], Awaitable[Mapping[str, PinnedKey]]]"
"""Gets the issuer's keys by `kid`; raises `IssuerFault`."""

FRESH_SECONDS = 300
"""Keys younger than this are used without asking: a key that the issuer withdraws is believed no longer than this."""
USABLE_SECONDS = 900
"""Keys older than this are not used even while the issuer cannot be reached."""
PAUSE_SECONDS = 10
"""The shortest time between two fetches, whatever the tokens say and whether or not the last one succeeded."""
FETCH_SECONDS = 5
"""How long one fetch may take, both requests together."""

_SECOND = 1_000_000


class IssuerKeys:
    """A cache of the issuer's keys over `fetch`; satisfies `verifier.KeyRing`."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = trio.Lock()
        self._keys: Mapping[str, PinnedKey] = {}
        self._fetched: int | None = None
        self._tried: int | None = None
        self._fault: IssuerFault | None = None

    async def find(self, kid: str) -> PinnedKey | None:
        """Return the key named `kid`, or None where the issuer publishes no such key.

        Raises `IssuerFault` where no key set young enough can be had.
        """
        key = self._keys.get(kid)
        if key is not None and self._younger_than(FRESH_SECONDS):
            return key
        await self.refresh()
        if not self._younger_than(USABLE_SECONDS):
            raise self._new_fault()
        key = self._keys.get(kid)
        if key is None and self._fault is not None:
            raise self._new_fault()  # it may be a new key: nobody can tell while the issuer is away
        return key

    async def refresh(self) -> None:
        """Fetch the keys unless that was tried a moment ago; whoever comes during a fetch waits for its result.

        Never raises for an issuer that fails: the keys at hand stay, as long as they are usable.
        """
        async with self._lock:
            if self._tried_within(PAUSE_SECONDS):
                return
            # Shielded for at most FETCH_SECONDS: a client that hangs up must not waste the fetch of all who wait.
            with trio.CancelScope(shield=True):
                await self._try()

    async def check(self) -> None:
        """Raise `IssuerFault` unless usable keys are at hand or can be had now."""
        await self.refresh()
        if not self._younger_than(USABLE_SECONDS):
            raise self._new_fault()

    async def _try(self) -> None:
        try:
            with trio.fail_after(FETCH_SECONDS):
                self._keys = await self._fetch()
            self._fetched = self._clock.monotonic()
            self._fault = None
        except IssuerFault as fault:
            self._fault = fault
        except trio.TooSlowError:
            self._fault = IssuerFault(f"the identity issuer did not answer within {FETCH_SECONDS} s")
        self._tried = self._clock.monotonic()  # from its end: whoever waited for this fetch starts no other

    def _younger_than(self, seconds: int) -> bool:
        return self._fetched is not None and self._clock.monotonic() - self._fetched < seconds * _SECOND

    def _tried_within(self, seconds: int) -> bool:
        return self._tried is not None and self._clock.monotonic() - self._tried < seconds * _SECOND

    def _new_fault(self) -> IssuerFault:
        """Return a fresh exception: one object raised in many tasks would gather all their tracebacks."""
        return IssuerFault(str(self._fault) if self._fault is not None else "the identity issuer's keys are too old")
