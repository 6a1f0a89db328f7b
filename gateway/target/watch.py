"""Watches one target's catalog on a session of the gateway's own: a fingerprint every second.

Promises that a change made by anybody is told within `EVERY` seconds of its commit, as long as the target answers;
that whoever asks knows at once when that no longer holds (`up`); and that the watch comes back by itself. Never reads
a row of a user's table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

import trio

from gateway.errors import ConfigurationFault, TargetFault
from gateway.model import Connection
from gateway.target.own_session import OwnSession
from gateway.target.query import QueryClient

EVERY: Final = 1.0
"""Seconds between two fingerprints."""
STALE: Final = 5.0
"""Seconds without one after which the catalog counts as unwatched: a target that hangs answers nothing at all."""
_SETTINGS: Final = (
    "SET search_path = ''; SET default_transaction_read_only = on; "
    "SET statement_timeout = '4s'; SET lock_timeout = '1s';"
)


class CatalogWatch:
    """The watch over one connection's catalog. `changed` is awaited for each change, and once at the beginning."""

    def __init__(
        self, connection: Connection, changed: Callable[[], Awaitable[None]], told: Callable[[str], None]
    ) -> None:
        self._session = OwnSession(connection)
        self._changed, self._told = changed, told
        self._sql = files("gateway.target").joinpath("watch.sql").read_text()
        self._seen = ""
        self._at = float("-inf")
        self._fault = ""
        self._down = False
        self._wanted = trio.Event()
        self._first = trio.Event()

    @property
    def up(self) -> bool:
        """Whether a change would have been seen by now."""
        return not self._fault and trio.current_time() - self._at < STALE

    @property
    def why_down(self) -> str:
        """Why the watch does not stand, for people; empty while it does."""
        return "" if self.up else self._fault or "it has not been looked at for a while"

    def distrust(self) -> None:
        """Take the next look for a change: the catalog was read in between, perhaps while it was another."""
        self._seen = ""

    async def begin(self) -> None:
        """Have the watch looking; returns after its first attempt, whatever came of it."""
        self._wanted.set()
        await self._first.wait()

    async def run(self) -> None:
        """Watch until cancelled, from the first `begin` on."""
        await self._wanted.wait()
        try:
            while True:
                started = trio.current_time()
                await self._look(started)
                self._first.set()
                await trio.sleep(max(0.0, started + EVERY - trio.current_time()))
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await self._session.aclose()

    async def _look(self, started: float) -> None:
        """Take one fingerprint; tell of what is new, of a fault once, and of its end."""
        try:
            seen = await self._session.ask(self._fingerprint, STALE)
            if seen != self._seen:
                await self._changed()
                self._seen = seen
        except (TargetFault, ConfigurationFault) as fault:
            self._seen = ""  # whatever happens until it stands again must be read anew
            self._fault = str(fault)
            if not self._down:
                self._down = True
                self._told(f"the catalog cannot be watched: {fault}")
            return
        self._at, self._fault = started, ""
        if self._down:
            self._down = False
            self._told("the catalog is watched again")

    async def _fingerprint(self, client: QueryClient) -> str:
        results = await client.run(f"{_SETTINGS} {self._sql}")
        value = results[-1].rows[0][0] if results[-1].rows else None
        if value is None:
            raise TargetFault("the target's catalog has no fingerprint")
        return value
