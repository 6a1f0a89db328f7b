"""The supervisor as a worker in another process sees it: who may come in, and what must be told to everybody.

Promises that nothing is decided here: each question goes to the supervisor, and where that is gone, nobody is let in
and no marked value moves.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from gateway.identity.admission import Credential
from gateway.masking.carried import Carried
from gateway.model import Principal, SessionInfo
from gateway.workforce.channel import Channel
from gateway.workforce.messages import (
    Admit,
    CancelKey,
    Carry,
    Done,
    Enter,
    Left,
    LoggedIn,
    Renewing,
    Stands,
    TurnedAway,
)


class Supervised:
    """See `gateway.worker.supervision.Supervision`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._next = 0

    async def admit(self, token: str, client_address: str, certificate: str | None = None) -> Credential:
        """See `Supervision`."""
        return await self._channel.ask(Admit(token, client_address, certificate), Credential)

    async def stands(self, credential: Credential, max_age: float) -> None:
        """See `Supervision`."""
        await self._channel.ask(Stands(credential, max_age), Done)

    async def renew(self, old: Credential, token: str, client_address: str) -> Credential:
        """See `Supervision`."""
        return await self._channel.ask(Renewing(old, token, client_address), Credential)

    async def enter(self, principal: Principal) -> int:
        """See `Supervision`."""
        self._next += 1
        place = self._next
        try:
            await self._channel.ask(Enter(place, principal), Done)
        except trio.Cancelled:
            self.leave(place)  # it may have been given meanwhile
            raise
        return place

    def leave(self, place: int) -> None:
        """See `Supervision`."""
        self._channel.tell(Left(place))

    async def logged_in(self, place: int, info: SessionInfo, /, *, renewal: bool = False) -> None:
        """See `Supervision`."""
        await self._channel.ask(LoggedIn(place, info, renewal), Done)

    async def turned_away(
        self,
        *,
        client_address: str,
        connection: str,
        reason: str,
        subject: str | None = None,
        issuer: str | None = None,
    ) -> None:
        """See `Supervision`."""
        await self._channel.ask(TurnedAway(client_address, connection, reason, subject, issuer), Done)

    async def promise(self, connection: str, carried: Iterable[Carried], who: str) -> None:
        """See `gateway.worker.supervision.Promise`."""
        await self._channel.ask(Carry(connection, tuple(carried), who), Done)

    async def cancel(self, pid: int, key: bytes) -> None:
        """Have the session cancelled that a CancelRequest names, if another worker has it."""
        await self._channel.ask(CancelKey(pid, key), Done)
