"""Wrapped keys that open nothing any more: their sessions have ended, and all that was sealed in them was let go.

Promises to name no key of a session that goes on, or of which any envelope may be left. Reads frontiers and, where
these are from before they told of keys, the segments themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb

from gateway.errors import EvidenceFault
from gateway.evidence.frontier import Frontier
from gateway.evidence.memory_database import memory_database
from gateway.evidence.originals import keyring_path
from gateway.evidence.segments import entries_path, frontier_path
from gateway.evidence.views import located


def useless(directory: Path, segments: Iterable[tuple[int, Frontier]]) -> list[Path]:
    """Return the wrapped keys in the log's keyring that belong to these segments alone, its oldest ones, in order.

    `segments`: number and frontier of each; no envelope of theirs is left. Raises `EvidenceFault` where one cannot be
    read.
    """
    known = list(segments)
    if not known:
        return []
    sessions = {sid for number, frontier in known for sid in _keyed(directory, number, frontier)}
    before = frontier_path(directory, known[0][0] - 1)
    if before.exists():  # they began in what was pruned earlier
        sessions |= set(_open(Frontier.parse(before.read_bytes())))
    return sorted(path for sid in sessions - set(_open(known[-1][1])) for path in _files(directory, sid))


def _open(frontier: Frontier) -> Iterator[str]:
    return (one.session.id for one in frontier.open)


def _keyed(directory: Path, number: int, frontier: Frontier) -> list[str]:
    """Return the sessions whose keys a segment tells of."""
    if frontier.again is not None:
        return [str(one.entry.get("sid")) for one in frontier.again if one.entry.get("kind") == "key"]
    path = entries_path(directory, number)
    sql = f"SELECT sid FROM read_parquet({located(path)}) WHERE kind = 'key' AND sid IS NOT NULL"  # noqa: S608  ours
    try:
        with memory_database({"threads": 1}) as database:
            return [str(sid) for (sid,) in database.execute(sql).fetchall()]
    except duckdb.Error as fault:
        raise EvidenceFault(f"{path.name} cannot be read: {str(fault).splitlines()[0]}") from None


def _files(directory: Path, sid: str) -> Iterator[Path]:
    try:
        path = keyring_path(directory, sid)
    except ValueError:
        return
    if path.is_file():
        yield path
