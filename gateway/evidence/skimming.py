"""Live records that a checkpoint covers, for a quick check: hashed, and read only where others depend on them.

Promises that each line is the one that was signed, its chain value the one that follows, and its payload there at the
length that the entry says. What such records say of each other the gateway's key vouches for; what they say of other
records, files and logs is followed as ever, and so is everything that no checkpoint covers. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from gateway.evidence.following import Following
from gateway.evidence.live_rows import follow_lines
from gateway.evidence.said import AGAIN

_KIND, _COMMITTED, _PART, _SEALED, _NUMBER = b'"kind":"', b'"pc":"', b'"part":', b'"sc":', b'"seq":'
_READ = tuple(
    f'{kind}"'.encode() for kind in sorted(AGAIN | {"session_start", "session_end", "shutdown", "release", "grant"})
)
"""Kinds that others depend on, or that quote others."""


def skim_lines(log: Following, lines: Sequence[bytes], signed: int) -> None:
    """Follow journal lines; the first `signed` records of the log are covered by a checkpoint that holds."""
    covered = min(len(lines), max(0, signed - log.expected))
    if covered:
        _skim(log, lines[:covered])
    if covered < len(lines):
        follow_lines(log, lines[covered:])


def _skim(log: Following, lines: Sequence[bytes]) -> None:
    fields = [raw.split(b"\t") for raw in lines]
    if not log.expected or {*map(len, fields)} != {4}:
        follow_lines(log, lines)
        return
    closely = [_depended_on(entry, payload) for _, _, entry, payload in fields]
    end = 0
    for depended_on, group in groupby(closely):
        begin, end = end, end + len(list(group))
        these = fields[begin:end]
        if depended_on or not log.skim(these):
            for chain, salt, entry, payload in these:
                log.record(chain, salt, entry, payload)


def _depended_on(entry: bytes, payload: bytes) -> bool:
    """Say whether other records, files or logs depend on this record, or its payload is not as long as it says.

    Looks where its fields stand in an entry that was rightly formed, as everything that was signed: sorted, and in
    texts every quotation mark escaped. So `part` and `parts` come before `pc`, and `sc` and `sealed` before `seq`.
    """
    if entry.startswith(_READ, entry.find(_KIND) + 8):
        return True
    at, end = entry.find(_COMMITTED), entry.rfind(_NUMBER)
    if entry.find(_SEALED, max(end - 120, 0), end) >= 0:
        return True
    if at < 0:
        return payload != b""
    whole = entry.startswith(b'"plen":%d,' % len(payload), at + 72)
    return not payload or not whole or entry.find(_PART, max(at - 40, 0), at) >= 0
