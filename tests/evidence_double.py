"""A storage double for every test that must know what is on the disk: it delays, shortens and fails writes and syncs.

It writes through to real files, so that readers see what a running gateway's page cache would show, and keeps beside
them what completed syncs cover: `power_cut` leaves exactly that. `log` is the order of what happened.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.evidence.storage import DiskStorage, File
from gateway.model import Micros


class DoubleStorage(DiskStorage):
    """`DiskStorage` with faults to switch on; all off, it behaves as the real one."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        """What happened, in order: (`write` | `sync` | `sync failed` | …, file name)."""
        self.write_at_most: int | None = None
        """Bytes that one write takes."""
        self.room: int | None = None
        """Bytes that all writes together still take before the disk is full."""
        self.sync_error: OSError | None = None
        """What the next sync raises."""
        self.sync_gate: threading.Event | None = None
        """Syncs wait until it is set."""
        self.on_sync: Callable[[], None] = lambda: None
        """Called in the middle of each sync, before it covers anything."""
        self.syncs = 0
        self._images: dict[Path, bytearray] = {}
        self._unsynced: dict[Path, list[tuple[int, bytes | None]]] = {}

    def open(self, path: Path) -> File:
        self._images.setdefault(path, bytearray(path.read_bytes()) if path.exists() else bytearray())
        self._unsynced.setdefault(path, [])
        return _DoubleFile(self, path, super().open(path))

    def covered(self, path: Path) -> bytes:
        """Return what completed syncs cover of the file."""
        return bytes(self._images[path])

    def power_cut(self, keep: Callable[[list[bytes]], int] | None = None) -> None:
        """Leave on disk what syncs cover; `keep` says how many bytes of the unsynced writes made it too."""
        for path, image in self._images.items():
            content = bytearray(image)
            pending = [(at, data) for at, data in self._unsynced[path] if data is not None]
            left = keep([data for _, data in pending]) if keep is not None else 0
            for at, data in pending:
                _put(content, at, data[:left])
                left -= min(left, len(data))
            path.write_bytes(content)


class _DoubleFile:
    def __init__(self, storage: DoubleStorage, path: Path, file: File) -> None:
        self._storage, self._path, self._file = storage, path, file

    def write(self, data: bytes | memoryview, offset: int) -> int:
        storage = self._storage
        taken = bytes(data)[: storage.write_at_most]
        if storage.room is not None:
            taken = taken[: storage.room]
            if not taken:
                storage.log.append(("write failed", self._path.name))
                raise OSError(errno.ENOSPC, "No space left on device")
            storage.room -= len(taken)
        written = self._file.write(taken, offset)
        storage._unsynced[self._path].append((offset, taken[:written]))
        storage.log.append(("write", self._path.name))
        return written

    def sync(self) -> None:
        storage = self._storage
        covers = list(storage._unsynced[self._path])
        storage.on_sync()
        if storage.sync_gate is not None:
            assert storage.sync_gate.wait(10)
        if storage.sync_error is not None:
            fault, storage.sync_error = storage.sync_error, None
            storage.log.append(("sync failed", self._path.name))
            storage._unsynced[self._path].clear()  # as Linux does: the next sync succeeds without what was lost
            raise fault
        self._file.sync()
        image = storage._images[self._path]
        for at, data in covers:
            if data is None:
                del image[at:]
            else:
                _put(image, at, data)
        del storage._unsynced[self._path][: len(covers)]
        storage.syncs += 1
        storage.log.append(("sync", self._path.name))

    def truncate(self, size: int) -> None:
        self._file.truncate(size)
        self._storage._unsynced[self._path].append((size, None))

    def close(self) -> None:
        self._file.close()


def _put(image: bytearray, at: int, data: bytes) -> None:
    if not data:
        return
    image.extend(bytes(max(0, at + len(data) - len(image))))
    image[at : at + len(data)] = data


class StepClock:
    """A clock that stands still unless told otherwise."""

    def __init__(self, now: int = 1_767_225_600_000_000, step: int = 0) -> None:
        self.at, self.step = now, step

    def now(self) -> Micros:
        self.at += self.step
        return Micros(self.at)

    def monotonic(self) -> int:
        return self.at - 1_767_000_000_000_000


class CountedEntropy:
    """Bytes that are different each time and the same in each run."""

    def __init__(self) -> None:
        self._given = 0

    def bytes(self, count: int) -> bytes:
        self._given += 1
        return self._given.to_bytes(count, "big")


@contextlib.contextmanager
def held_syncs(storage: DoubleStorage) -> Iterator[threading.Event]:
    """Hold every sync inside the block until the event is set; it is set at the end in any case."""
    gate = storage.sync_gate = threading.Event()
    try:
        yield gate
    finally:
        gate.set()
        storage.sync_gate = None
