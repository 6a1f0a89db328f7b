"""Whether anybody has `evidence.duckdb` open: DuckDB holds a shared lock on a file as long as it has it open to read.

Promises to ask and not to lock, so that no reader is ever turned away. Where the system cannot say, nobody has.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path

_LOCK = "hhqqi4x"
"""`struct flock` of 64-bit Linux: type, whence, start, length, process."""
_KNOWN = sys.platform == "linux" and struct.calcsize("P") == 8


def being_read(path: Path) -> bool:
    """Say whether a process of this host holds a lock on the file, as each DuckDB from 1.0 on does that has it open."""
    if not _KNOWN:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        asked = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return bool(struct.unpack(_LOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(descriptor)
