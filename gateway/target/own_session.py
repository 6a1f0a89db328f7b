"""The gateway's own session on a connection's target: opened when it is first needed, and again where it was lost.

Promises that one question is asked at a time, that a session which was cut off in an answer is thrown away, and that a
question is asked once more only where an idle session turned out dead. Never carries what an agent sent, except what
`gateway.target.estimate` explains.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from gateway.errors import TargetFault
from gateway.model import Connection
from gateway.target.connect import connect_target
from gateway.target.credentials import obtain
from gateway.target.query import QueryClient

_SETTINGS: Final = {"application_name": "hoop-gateway", "client_encoding": "UTF8"}

T = TypeVar("T")


class OwnSession:
    """One session with `connection`'s target, kept between questions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._client: QueryClient | None = None
        self._alone = trio.Lock()

    async def ask(self, question: Callable[[QueryClient], Awaitable[T]], seconds: float) -> T:
        """Return what `question` finds out, within `seconds`, the time to connect included.

        Raises QueryFailed where the server answers with an error, TargetFault for everything else.
        """
        with trio.move_on_after(seconds):
            async with self._alone:
                try:
                    return await self._once(question, seconds)
                except _WasIdle:
                    return await self._once(question, seconds)
        raise TargetFault(f"no answer within {seconds:g} s")

    async def aclose(self) -> None:
        """Close the session, if there is one."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _once(self, question: Callable[[QueryClient], Awaitable[T]], seconds: float) -> T:
        reused = self._client is not None
        client = self._client = self._client or await self._connect(seconds)
        finished = False
        try:
            found = await question(client)
            finished = True
        except TargetFault as fault:
            if reused and not client.usable:  # also a FATAL that waited to be read
                raise _WasIdle(str(fault)) from fault
            raise
        finally:
            if not finished:  # cancelled, too: the session is in a failed transaction, or cut off in an answer
                with trio.CancelScope(shield=True):
                    await self.aclose()
        return found

    async def _connect(self, seconds: float) -> QueryClient:
        secret = await obtain(self._connection.password) if self._connection.password else None
        deadline = trio.current_time() + seconds
        return QueryClient(await connect_target(self._connection, _SETTINGS, secret, deadline))


class _WasIdle(TargetFault):
    """A session that had answered before is gone."""
