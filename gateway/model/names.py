"""Names of things, as types of their own, and what a JSON value may be."""

from __future__ import annotations

from typing import NewType, TypeAlias

SessionId = NewType("SessionId", str)
"""Names one agent session; unique across restarts."""
ApprovalId = NewType("ApprovalId", str)
"""Names one held operation."""
OperationHash = NewType("OperationHash", str)
"""Lower-case hex BLAKE3 of what will run (SEMANTICS.md, "Holding")."""
LogName = NewType("LogName", str)
"""Origin of a log: `gw-1/control`, `gw-1/w1`."""
Micros = NewType("Micros", int)
"""Microseconds since the Unix epoch, UTC."""
Json: TypeAlias = "str | int | bool | None | list[Json] | dict[str, Json]"
"""What an entry or payload may hold: no floats (EVIDENCE.md, "Entry")."""
