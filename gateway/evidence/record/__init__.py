"""One constructor for each kind of record; the only place that knows the field names of entries and payloads.

An entry holds names, numbers, hashes and words from fixed vocabularies. Free text (statements, parameters, messages,
reasons, names that an agent chose) goes into the payload, which is committed to and can be erased without breaking
the entry. Pure: values in, `Draft` out. Never refuses an agent's text: what the format cannot hold is replaced.
"""

from __future__ import annotations

from gateway.evidence.record.decisions import (
    access,
    agreed,
    decision,
    escalated,
    executed,
    grant,
    grant_ended,
    requested,
)
from gateway.evidence.record.judged import judged_pieces
from gateway.evidence.record.process import PolicyInForce, Torn, alarm, config, shutdown, start, struck
from gateway.evidence.record.sessions import (
    kill,
    login,
    login_refused,
    operator_login,
    operator_logout,
    session_end,
    session_fields,
    session_info,
    session_start,
)
from gateway.evidence.record.statements import (
    cancel,
    data,
    execute,
    masked,
    originals,
    own,
    prepare,
    release,
    request,
    result,
)
from gateway.evidence.record.upkeep import archive, erasure, gap, key, stamp, witness

KINDS = frozenset(
    {
        "start", "shutdown", "config", "login", "login_refused", "session_start", "session_end", "prepare",
        "request", "execute", "data", "decision", "release", "result", "masked", "cancel", "kill", "grant",
        "alarm", "archive", "key", "erasure", "witness", "access", "gap",
    }
)  # fmt: skip
"""Every kind of entry in version 1."""

__all__ = [
    "KINDS",
    "PolicyInForce",
    "Torn",
    "access",
    "agreed",
    "alarm",
    "archive",
    "cancel",
    "config",
    "data",
    "decision",
    "erasure",
    "escalated",
    "execute",
    "executed",
    "gap",
    "grant",
    "grant_ended",
    "judged_pieces",
    "key",
    "kill",
    "login",
    "login_refused",
    "masked",
    "operator_login",
    "operator_logout",
    "originals",
    "own",
    "prepare",
    "release",
    "request",
    "requested",
    "result",
    "session_end",
    "session_fields",
    "session_info",
    "session_start",
    "shutdown",
    "stamp",
    "start",
    "struck",
    "witness",
]
