"""How a log stands at the end of a new segment: what `Replay.accept` finds line by line, for many at once.

Promises the same state, at less than half of its price. Chain and tree grow by the exact lines; everything else that a
start needs comes from the segment's columns, which its caller has proved to be what the entries say, and from the
entries of those few records that say more than columns do. Reads the two files of one segment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import duckdb

from gateway.evidence import columns
from gateway.evidence.chain import linked
from gateway.evidence.entry import Malformed, parse_loosely, parse_time
from gateway.evidence.frontier import OpenSession
from gateway.evidence.replay import Replay, begun
from gateway.evidence.views import located

_SALTS = re.compile(rb"(?:[0-9a-f]{64})?(?:\t(?:[0-9a-f]{64})?)*")
_COUNTED = tuple(sorted(set(columns.PLAIN) - {"session_start", "session_end"}))
"""Kinds of which nothing but what stands in columns is needed."""
_COUNTS = ("statements", "denied", "held", "rows")


def link(state: Replay, lines: Sequence[bytes]) -> bool:
    """Let chain and tree grow by lines without their line feeds. False: one does not fit, and nothing was taken."""
    try:
        chains, salts, entries, _ = zip(*(raw.split(b"\t") for raw in lines), strict=True)
        value = linked(state.chain.value, entries, b",".join(chains).decode("ascii"))
    except ValueError:  # fields are missing, or there are too many
        return False
    if value is None or not _SALTS.fullmatch(b"\t".join(salts)):
        return False
    state.chain.value = value
    state.tree.extend([sha256(b"\0" + entry).digest() for entry in entries])
    return True


def settle(state: Replay, database: duckdb.DuckDBPyConnection, entries: Path, payload: Path) -> None:
    """Take what the files of a segment say, whose lines `link` took. Raises `Malformed` where that cannot follow."""
    told = f"(SELECT *, file_row_number AS place FROM read_parquet({located(entries)}, file_row_number = true))"  # noqa: S608  ours
    count, in_order, ts = database.execute(_whole(told, state.seq), [state.origin]).fetchone() or (0, False, "")
    if not in_order or state.seq + count != state.tree.size:
        raise Malformed(f"its records are not those of log {state.origin} from {state.seq} on")
    state.seq, state.records, state.last_ts = state.seq + count, state.records + count, parse_time(ts)
    begun_here = _remembered(state, database, told, payload)
    for sid, began, n, *counts in database.execute(_counted(told)).fetchall():
        session = state.open.get(sid) if began is None else begun_here.get(sid)
        if session is not None:
            more = {name: getattr(session, name) + count for name, count in zip(_COUNTS, counts, strict=True)}
            counted = replace(session, n=session.n if n is None else n, **more)
            (state.open if began is None else begun_here)[sid] = counted
    state.open |= begun_here


def _remembered(state: Replay, database: duckdb.DuckDBPyConnection, told: str, payload: Path) -> dict[str, OpenSession]:
    """Let `state` remember records that say more than columns, and forget sessions that ended; return those begun."""
    paid = f"SELECT seq, encode(payload) FROM read_parquet({located(payload)}) WHERE kind = 'session_start'"  # noqa: S608  ours
    payloads = dict(database.execute(paid).fetchall())
    few = f"SELECT seq, chain, encode(entry) FROM {told} WHERE kind NOT IN {_COUNTED} ORDER BY place"  # noqa: S608  ours
    found = dict[str, OpenSession]()
    for seq, chain, encoded in database.execute(few).fetchall():
        entry = parse_loosely(encoded)
        state.remember(seq, chain, entry)
        if isinstance(sid := entry.get("sid"), str):
            if entry["kind"] == "session_start":
                found[sid] = begun(entry, payloads.get(seq) or b"")
            elif entry["kind"] == "session_end":
                found.pop(sid, None)
                state.open.pop(sid, None)
    return found


def _whole(told: str, first: int) -> str:
    """Return the query for the count of records, whether they follow each other from `first` on, and the last time."""
    return f"""
        SELECT count(*),
            coalesce(bool_and(coalesce(seq = {first} + place AND log = ? AND kind IS NOT NULL, false)), false),
            strftime(arg_max(ts, place), '%Y-%m-%dT%H:%M:%S.%fZ')
        FROM {told}
    """  # noqa: S608  ours


def _counted(told: str) -> str:
    """Return the query for each session's last beginning here, and what `OpenSession.after` counts since then."""
    first = "coalesce(part, 1) = 1"
    return f"""
        SELECT sid, began, arg_max(n, place) FILTER (since), count(*) FILTER (since AND asked),
            count(*) FILTER (since AND asked AND verdict = 'deny'),
            count(*) FILTER (since AND asked AND approval IS NOT NULL),
            coalesce(sum("rows") FILTER (since AND kind = 'result' AND {first}), 0)::BIGINT
        FROM (
            SELECT *, place > coalesce(began, -1) AS since, kind = 'request' AND {first} AS asked
            FROM {told} JOIN (
                SELECT sid, max(place) FILTER (kind = 'session_start') AS began
                FROM {told} WHERE sid IS NOT NULL GROUP BY sid
            ) USING (sid)
        )
        GROUP BY sid, began
    """  # noqa: S608  ours
