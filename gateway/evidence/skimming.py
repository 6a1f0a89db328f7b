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

_READ = frozenset(kind.encode() for kind in AGAIN | {"session_start", "session_end", "shutdown", "release"})
_NESTED = (b'"part":', b'"sc":', b'"quote":')
"""Fields of a record that others depend on, whatever its kind."""


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
    together = b"".join(lines)
    fields_to_find = [name for name in _NESTED if name in together]
    for closely, group in groupby(fields, key=lambda line: _depended_on(line[2], fields_to_find)):
        these = list(group)
        if closely or not log.skim(these):
            for chain, salt, entry, payload in these:
                log.record(chain, salt, entry, payload)


def _depended_on(entry: bytes, names: Sequence[bytes]) -> bool:
    """Say whether other records, files or logs depend on this entry; a text cannot hold a quotation mark unescaped."""
    at = entry.find(b'"kind":"') + 8
    return entry[at : entry.find(b'"', at)] in _READ or any(name in entry for name in names)
