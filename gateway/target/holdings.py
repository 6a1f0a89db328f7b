"""What an agent's session holds at its target: its transaction, its locks, and who waits for it.

Asked on a session of the gateway's own, read-only, about one backend by its process id. Promises an answer within
`SECONDS` or "not known", and never a value of a row: times, names of relations and lock modes alone. A relation that
the session itself is making cannot be seen from outside, and is not among them.
Source: pg_stat_activity, pg_locks, pg_blocking_pids (PostgreSQL documentation, 54.12, 28.2, 9.27).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.errors import ConfigurationFault, TargetFault
from gateway.target.own_session import OwnSession
from gateway.target.query import QueryClient

SECONDS: Final = 2.0
LOCKS: Final = 20
"""Locks that are told, at most."""
_SQL: Final = """BEGIN READ ONLY; SET LOCAL statement_timeout = '1s'; SET LOCAL search_path = '';
SELECT (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000)::bigint, a.backend_xid IS NOT NULL,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity o WHERE a.pid = ANY (pg_catalog.pg_blocking_pids(o.pid)))
  FROM pg_catalog.pg_stat_activity a WHERE a.pid = {pid};
SELECT n.nspname, c.relname, l.mode FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE l.pid = {pid} AND l.granted AND l.locktype = 'relation' AND c.relkind NOT IN ('i', 'I')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
 ORDER BY 1, 2, 3 LIMIT {most};
ROLLBACK"""


@dataclass(frozen=True, slots=True)
class Holdings:
    """One backend's transaction. `age_ms` None: none is open; `locks` are (relation, mode)."""

    age_ms: int | None
    writes: bool
    """It has a transaction id: it changed something that nobody else sees yet."""
    blocks: int
    """Other sessions that wait for it."""
    locks: tuple[tuple[str, str], ...]


async def holdings(session: OwnSession, pid: int) -> Holdings | None:
    """Return what the backend `pid` holds; None where that is not known."""

    async def ask(client: QueryClient) -> Holdings | None:
        results = await client.run(_SQL.format(pid=int(pid), most=LOCKS))
        activity, locks = (result for result in results if result.tag.startswith("SELECT"))
        if not activity.rows:
            return None
        age, writes, blocks = activity.rows[0]
        return Holdings(
            None if age is None else int(age),
            writes == "t",
            int(blocks or 0),
            tuple((f"{schema}.{name}", str(mode)) for schema, name, mode in locks.rows),
        )

    try:
        return await session.ask(ask, SECONDS)
    except (TargetFault, ConfigurationFault, ValueError):
        return None
