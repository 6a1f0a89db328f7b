"""What stands in a file's place and is none, a pipe, a device or a folder: for `verify`.

Promises that whoever checks evidence from elsewhere waits for no pipe and reads no endless device. Reads names and
kinds of files, and opens nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from gateway.evidence.findings import Finding

_FOLDERS = ("journal", "entries", "payload", "checkpoints", "originals", "keyring", "torn")


def no_files(evidence: Path) -> list[Finding]:
    """Return a finding for whatever stands in a file's place and is none.

    Who opened it might wait, or read, for ever: where there is any, nothing else is to be looked at. May raise OSError.
    """
    found = [
        Finding("tampered", "evidence", 0, f"{name} is no file; nothing was checked")
        for name in ("witness.pub", "tsa.pem")
        if _is_none(evidence / name)
    ]
    for log in sorted(path for path in (evidence / "logs").glob("*") if path.is_dir()):
        names = ["log.pub"] if _is_none(log / "log.pub") else []
        for folder in _FOLDERS:
            if (log / folder).is_dir():
                with os.scandir(log / folder) as there:  # ten thousand names, which it need not ask about one by one
                    names += sorted(f"{folder}/{one.name}" for one in there if not one.is_file() and _stays(one))
            elif _is_none(log / folder):
                names.append(folder)
        found += [Finding("tampered", log.name, 0, f"{name} is no file; nothing was checked") for name in names]
    return found


def _is_none(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _stays(entry: os.DirEntry[str]) -> bool:
    """Say whether it is still there, and none: the gateway may have taken a file away meanwhile."""
    return _is_none(Path(entry.path)) or entry.is_symlink()
