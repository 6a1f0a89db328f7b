"""The operating system, as much of it as evidence needs: files that sync, a lock, the clock and randomness.

`Storage` is an argument everywhere, so that tests can delay, shorten and fail each call. The real one promises files of
mode 0600 in directories of 0700, and never retries a failed sync: after one, the kernel may have dropped the pages and
a second sync would succeed without them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from gateway.errors import EvidenceFault
from gateway.model import Micros


class InUse(EvidenceFault):
    """Another process holds it."""


class File(Protocol):
    """One open file, written by place; each method may raise OSError."""

    def write(self, data: bytes | memoryview, offset: int) -> int:
        """Write `data` at `offset`; return how many bytes were taken, which may be fewer."""

    def sync(self) -> None:
        """Return once everything written is on the disk."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""

    def close(self) -> None:
        """Close the file."""


class Storage(Protocol):
    """Files as the journal uses them; each method may raise OSError."""

    def make_directory(self, path: Path) -> None:
        """Make `path` and its parents, for the gateway's own user alone; an existing one stays."""

    def names(self, path: Path) -> list[str]:
        """Return the names in directory `path`, in order."""

    def open(self, path: Path) -> File:
        """Open `path` for writing by place, made empty where absent."""

    def size(self, path: Path) -> int:
        """Return the size of the file, in bytes."""

    def read(self, path: Path, offset: int, count: int) -> bytes:
        """Return up to `count` bytes of the file from `offset`."""

    def replace(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Put `data` in place of `path` at once and durably: written beside it, synced, renamed, directory synced."""

    def remove(self, path: Path) -> None:
        """Remove the file `path`, durably."""

    def sync_directory(self, path: Path) -> None:
        """Return once the names in directory `path` are on the disk."""

    def lock(self, path: Path) -> contextlib.AbstractContextManager[None]:
        """Hold `path` for this process alone. Raises `EvidenceFault` where another holds it."""


class _OpenFile:
    """A descriptor of the real file system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(self._descriptor, data, offset)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)


class DiskStorage:
    """The real file system."""

    def make_directory(self, path: Path) -> None:
        """Make `path` and its parents with mode 0700 and sync each new name."""
        for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
            self.sync_directory(missing.parent)

    def names(self, path: Path) -> list[str]:
        """Return the names in directory `path`, in order."""
        return sorted(os.listdir(path))  # noqa: PTH208  names, not paths

    def open(self, path: Path) -> File:
        """Open `path` with mode 0600, made empty where absent."""
        return _OpenFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))

    def size(self, path: Path) -> int:
        """Return the size of the file, in bytes."""
        return path.stat().st_size

    def read(self, path: Path, offset: int, count: int) -> bytes:
        """Return up to `count` bytes of the file from `offset`."""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(count)

    def replace(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Put `data` in place of `path` at once and durably."""
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            beside.rename(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        self.sync_directory(path.parent)

    def remove(self, path: Path) -> None:
        """Remove the file `path`, durably."""
        path.unlink()
        self.sync_directory(path.parent)

    def sync_directory(self, path: Path) -> None:
        """Return once the names in directory `path` are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        """Hold `path` for this process alone; the kernel lets go when the process ends, however it ends."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InUse(f"{path.parent} is in use by another gateway; stop it first") from None
            yield
        finally:
            os.close(descriptor)


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Micros:
        """Return the wall clock, UTC, in microseconds."""
        return Micros(time.time_ns() // 1000)

    def monotonic(self) -> int:
        """Return microseconds since boot, sleep included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class SystemEntropy:
    """The kernel's random numbers."""

    def bytes(self, count: int) -> bytes:
        """Return `count` unpredictable bytes."""
        return os.urandom(count)
