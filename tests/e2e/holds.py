"""A hold as a test meets it on the wire: the notice, and what is in the table behind it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from operating import pending
from running import RunningGateway
from wire_client import Wire, notices

from gateway.pgwire.frontend import query

NOTICE = re.compile(r"hoop: held for approval: (ap-[0-9a-f]+) until (\S+Z)$")


def ids(admin: Wire) -> list[int]:
    return [int(row[0] or 0) for row in admin.rows("SELECT id FROM scratch ORDER BY id")]


def held(wire: Wire) -> str:
    """Read to the notice of a hold; return the approval's id."""
    (said,) = notices(wire.until("N"))
    found = NOTICE.match(said.get("M") or "")
    assert found, said
    assert (said.severity, said.sqlstate) == ("NOTICE", "00000")
    left = (datetime.fromisoformat(found[2]) - datetime.now(UTC)).total_seconds()
    assert 0 < left < 15 * 60 + 1
    return found[1]


def ask_for(gateway: RunningGateway, wire: Wire, row: int) -> dict[str, Any]:
    """Have an agent ask to delete a row; return the approval that waits."""
    wire.send(query(f"DELETE FROM scratch WHERE id = {row}".encode()))
    found = pending(gateway, held(wire))
    assert found is not None
    return found
