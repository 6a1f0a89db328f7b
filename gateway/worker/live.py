"""The sessions that are open now: for lists, for cancels by key, for kills, and for draining.

Holds no I/O of its own. A key names its session only by pid and secret together.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from gateway.model import Json, SessionId, SessionInfo, format_time
from gateway.pgwire.session import Session

SHOWN = 8000
"""Bytes of a statement that are kept to be shown."""
_CHARACTERS = 2000


@dataclass(slots=True)
class LiveSession:
    """One open session, and what may be done to it from outside."""

    info: SessionInfo
    session: Session
    pid: int
    key: bytes = field(repr=False)
    cancel: Callable[[], Awaitable[None]]
    cut: Callable[[str, str], Awaitable[None]]
    """Ends it with (what the agent is told, reason for the record); returns once its FATAL is queued."""
    settle: Callable[[], Awaitable[None]]
    """Takes nothing more from its agent; returns once the target owes it no answer."""
    current: bytes | None = None
    """The beginning of the statement that came last."""

    def describe(self) -> dict[str, Json]:
        """Return the session as the control socket shows it."""
        info, counts, state = self.info, self.session.counts, self.session.state
        return {
            "id": info.id,
            "subject": info.principal.subject,
            "issuer": info.principal.issuer,
            "owner": info.principal.owner,
            "connection": info.connection,
            "target": info.target,
            "client_address": info.client_address,
            "application": info.application,
            "user": info.user,
            "started": format_time(info.started),
            "statements": counts.statements,
            "denied": counts.denied,
            "held": counts.held,
            "rows": counts.rows,
            "state": state,
            "current": self._shown if state != "idle" else None,
        }

    @property
    def _shown(self) -> str | None:
        return None if self.current is None else self.current.decode("utf-8", "replace")[:_CHARACTERS]


class LiveSessions:
    """All open sessions of this process."""

    def __init__(self) -> None:
        self._by_id: dict[SessionId, LiveSession] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(tuple(self._by_id.values()))

    def add(self, live: LiveSession) -> None:
        """A session opened."""
        self._by_id[live.info.id] = live

    def remove(self, live: LiveSession) -> None:
        """A session ended."""
        self._by_id.pop(live.info.id, None)

    def get(self, session: SessionId) -> LiveSession | None:
        """Find a session by its id."""
        return self._by_id.get(session)

    def with_key(self, pid: int, key: bytes) -> LiveSession | None:
        """Find the session that a cancel request proves to belong to."""
        found = None
        for live in self._by_id.values():
            if live.pid == pid and hmac.compare_digest(live.key, key):
                found = live
        return found
