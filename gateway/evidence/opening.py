"""The first records of a process in its log: that it began, what it found, and which sessions the last one lost.

Pure over an opened journal: returns drafts and appends nothing. The caller appends them before any other record, and
waits until they are durable before it lets anyone in.
"""

from __future__ import annotations

import os

from gateway.evidence.journal import Journal
from gateway.evidence.record import gap, session_end, start
from gateway.model import Draft


def first_records(journal: Journal, gateway: str, version: str, resumed: str | None = None) -> tuple[Draft, ...]:
    """Return `start`, a `gap` where whole records were given up, and a `session_end` with reason `lost` each.

    `resumed`: why this process had to open the log anew.
    """
    drafts = [start(gateway, version, pid=os.getpid(), torn=journal.torn, resumed=resumed)]
    if journal.lost is not None:
        drafts.append(gap(journal.durable + 1, None, journal.lost))
    for one in journal.open_sessions:
        counts = {"statements": one.statements, "denied": one.denied, "held": one.held, "rows": one.rows}
        drafts.append(session_end(one.session, n=one.n + 1, reason="lost", **counts))
    return tuple(drafts)
