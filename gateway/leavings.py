"""Files that a killed process left half-written beside their place: removed by the next start.

Whatever is put in place at once is written as `.NAME.12345678` first, and renamed. Promises to remove nothing but
ordinary files of such a name, where NAME is one of the gateway's own, in directories that are the gateway's own, never
by way of a link, and none that somebody may be writing: of a log, only by whoever holds it; of what commands write too,
only what has lain for a while. What cannot be removed stays: it does no harm.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from gateway.model import Micros

LAIN = 60_000_000
"""Microseconds after which nobody writes a small file any more."""
_NAME = re.compile(r"\.(?P<name>[^.].*)\.[0-9a-z_]{8}")
_STATE = (
    ("", ("kill-list.json", "agents-seen.jsonl")),
    ("keys", ("log-*.pem",)),
    ("vault", ("*",)),
    ("masking", ("pseudonyms.key",)),
    ("masking/marks", ("*",)),
    ("outbox", ("*.json",)),
    ("development-issuer", ("key.pem", "issuer.json")),
    ("development-issuer/clients", ("*",)),
    ("evidence", ("evidence.duckdb", "verify.py", "VERIFY.md", "witness.pub")),
)
"""Directories below `state_dir`, and the names of files in them that are put in place at once."""
_LOG = (
    ("", ("log.pub",)),
    ("checkpoints", ("[0-9]*.note",)),
    ("keyring", ("*.age",)),
    ("torn", ("*",)),
)
"""The same of a log; what the archiver left goes with its next run (`gateway.evidence.archiver`)."""


def clear_state(state_dir: Path, now: Micros) -> list[Path]:
    """Remove what was left in `state_dir`, logs apart, at least `LAIN` before `now`; return what was."""
    return _clear(state_dir, _STATE, now - LAIN)


def clear_log(directory: Path) -> list[Path]:
    """Remove what was left in a log; return what was. The caller holds the log, and writes nothing meanwhile."""
    return _clear(directory, _LOG, None)


def _clear(top: Path, places: Sequence[tuple[str, Sequence[str]]], before: int | None) -> list[Path]:
    gone: list[Path] = []
    for place, names in places:
        with contextlib.suppress(OSError), _opened(top, place) as directory:
            for name in sorted(os.listdir(directory)):  # noqa: PTH208  by descriptor
                found = _NAME.fullmatch(name)
                if found is None or not any(fnmatchcase(found["name"], each) for each in names):
                    continue
                with contextlib.suppress(OSError):
                    known = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    if stat.S_ISREG(known.st_mode) and (before is None or known.st_mtime_ns // 1000 < before):
                        os.unlink(name, dir_fd=directory)
                        gone.append(top / place / name)
    return gone


@contextlib.contextmanager
def _opened(top: Path, place: str) -> Iterator[int]:
    """Open a directory below `top`; none of the names below it may be a link. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    directory = os.open(top, flags)
    try:
        for part in Path(place).parts:
            below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = below
        yield directory
    finally:
        os.close(directory)
