"""Rows as they were before an operation that is not committed: read on a session of the gateway's own, read-only.

Promises that nothing of the agent's session is touched, that an answer comes within `SECONDS` or is "not known", and
that only the columns that the plan shows are read. Values become text by the settings of the agent's session, so that
they compare with what that says of the same rows.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import ConfigurationFault, TargetFault
from gateway.model import Connection, Parameter
from gateway.pgwire.actions import ReadBefore
from gateway.policy.parameters import join_search_path
from gateway.target.own_session import OwnSession
from gateway.target.query import QueryClient, Row

SECONDS: Final = 3.0
_SET: Final = b"SELECT pg_catalog.set_config($1, $2, true)"


class Sampler:
    """Reads rows of one connection's target."""

    def __init__(self, connection: Connection) -> None:
        self._session = OwnSession(connection)
        path = join_search_path(connection.search_path)
        self._begin = (
            "BEGIN READ ONLY; SET LOCAL statement_timeout = '1s'; SET LOCAL lock_timeout = '100ms';"
            f" SET LOCAL search_path = {path or _NOWHERE}"
        )

    async def rows(self, asked: ReadBefore) -> tuple[Row, ...] | None:
        """Return the rows that `asked` reads, as all but the agent's session see them; None: they cannot be read."""

        async def read(client: QueryClient) -> tuple[Row, ...]:
            await client.run(self._begin)
            for name, value in asked.settings:
                await client.run_one(_SET, [Parameter(0, 0, name.encode()), Parameter(0, 0, value.encode())])
            result = await client.run_one(asked.sql, asked.parameters)
            await client.run("ROLLBACK")
            return result.rows

        try:
            return await self._session.ask(read, SECONDS)
        except (TargetFault, ConfigurationFault):
            return None

    async def aclose(self) -> None:
        """Close the session, if there is one."""
        await self._session.aclose()


_NOWHERE: Final = "''"
