"""What an agent did before it asked, and what became of the same text before: for the card of a held operation.

Promises the same answer before and after a restart, since it comes from the evidence alone; no more of a statement than
its record shows (withheld literals stay withheld); and bounds on how far it looks back, how many it names and how
long each text is. Run by `gateway.evidence.reader`, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from gateway.errors import ClientFault
from gateway.evidence.entry import parse_time
from gateway.evidence.rows import rows_of
from gateway.model import Json, Micros, format_time

SHOWN = 8
"""Statements, and earlier requests, that are named at most."""
TEXT = 500
"""Characters of a statement's text."""
LATELY = 24 * 3600 * 1_000_000
EARLIER = 30 * LATELY
"""How far back it looks, in microseconds."""
LOOKED_AT = 500
"""Held statements that are compared with the text, the newest."""
_LATELY = """
    SELECT log, seq, ts, session_id, n, "connection", verdict, rule, json_extract_string(entry, '$.op') AS operation
    FROM records
    WHERE kind = 'request' AND subject = $subject AND issuer = $issuer AND ts BETWEEN $since AND $before
        AND coalesce(json_extract_string(entry, '$.part'), '1') = '1'
        AND coalesce(json_extract_string(entry, '$.approval'), '') <> $approval
    ORDER BY ts DESC, seq DESC
    LIMIT $limit
"""
_OUTCOMES = """
    SELECT session_id, CAST(json_extract_string(entry, '$.of') AS BIGINT) AS n,
        json_extract_string(entry, '$.outcome') AS outcome
    FROM records
    WHERE kind = 'result' AND list_contains($sessions, session_id) AND ts >= $since
"""
_HELD = """
    SELECT log, seq, session_id, json_extract_string(entry, '$.approval') AS approval
    FROM records
    WHERE kind = 'request' AND verdict = 'approve' AND ts BETWEEN $since AND $before
        AND json_extract_string(entry, '$.approval') <> $approval
    ORDER BY ts DESC, seq DESC
    LIMIT $limit
"""
_TEXTS = """
    SELECT log, seq, text
    FROM transcript
    WHERE direction = 'in' AND list_contains($sessions, session_id) AND list_contains($places, log || ':' || seq)
"""
_DECISIONS = """
    SELECT approval_id AS id, requested, subject, decision AS state, decided, approver, reason
    FROM approvals
    WHERE list_contains($approvals, approval_id)
    ORDER BY requested DESC
    LIMIT $limit
"""


def history(database: duckdb.DuckDBPyConnection, params: Mapping[str, Json]) -> dict[str, Json]:
    """Return `{"lately", "earlier"}` for the request `approval` of `subject` at `issuer` with this `statement`.

    `database` has the views. `lately` are the agent's other statements of the day up to `before`, the newest first;
    `earlier` are other requests with the very same text, of whomever, in thirty days. Raises `ClientFault`.
    """
    names = ("subject", "issuer", "approval", "statement", "before")
    asked = {name: value for name in names if isinstance(value := params.get(name), str)}
    if len(asked) < len(names):
        raise ClientFault(f"history needs {', '.join(names)}", "22023")
    before = parse_time(asked["before"])
    return {"lately": _lately(database, asked, before), "earlier": _earlier(database, asked, before)}


def _lately(database: duckdb.DuckDBPyConnection, asked: Mapping[str, str], before: Micros) -> list[Json]:
    bound: dict[str, object] = {name: asked[name] for name in ("subject", "issuer", "approval")}
    found = rows_of(database, _LATELY, {**bound, **_span(before, LATELY), "limit": SHOWN})
    texts = _texts(database, found)
    sessions = sorted({str(one["session_id"]) for one in found})
    since = min((str(one["ts"]) for one in found), default="")[:-1]
    outcomes = rows_of(database, _OUTCOMES, {"sessions": sessions, "since": since}) if found else []
    ended = {(one["session_id"], one["n"]): one["outcome"] for one in outcomes}
    return [
        {
            "at": one["ts"],
            "connection": one["connection"],
            "verdict": one["verdict"],
            "rule": one["rule"],
            "operation": one["operation"],
            "outcome": ended.get((one["session_id"], one["n"])),
            "text": texts.get(_place(one), "")[:TEXT],
        }
        for one in found
    ]


def _earlier(database: duckdb.DuckDBPyConnection, asked: Mapping[str, str], before: Micros) -> list[Json]:
    bound = {"approval": asked["approval"], **_span(before, EARLIER), "limit": LOOKED_AT}
    held = rows_of(database, _HELD, bound)
    texts = _texts(database, held)
    same = [str(one["approval"]) for one in held if texts.get(_place(one)) == asked["statement"]]
    if not same:
        return []
    return [dict(one) for one in rows_of(database, _DECISIONS, {"approvals": sorted({*same}), "limit": SHOWN})]


def _texts(database: duckdb.DuckDBPyConnection, found: list[dict[str, Json]]) -> dict[str, str]:
    """Return the text of each record, by its place."""
    if not found:
        return {}
    sessions, places = sorted({str(one["session_id"]) for one in found}), [_place(one) for one in found]
    texts = rows_of(database, _TEXTS, {"sessions": sessions, "places": places})
    return {_place(one): str(one["text"] or "") for one in texts}


def _place(one: Mapping[str, Json]) -> str:
    return f"{one['log']}:{one['seq']}"


def _span(before: Micros, length: int) -> dict[str, str]:
    """The two ends of a stretch of time, as DuckDB reads them."""
    return {"since": format_time(Micros(before - length))[:-1], "before": format_time(before)[:-1]}
