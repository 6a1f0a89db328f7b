"""Where sealed envelopes and wrapped keys lie: `originals/seg-N.sealed` beside journal file N, `keyring/<sid>.age`.

Promises that both are on disk before `write` returns, that a crash leaves whole envelopes only, and that an envelope is
found by its digest, wherever it stands. Opens nothing: the gateway has no key that could.
A file is envelopes one after the other, each behind its length in four bytes, big-endian.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from blake3 import blake3

from gateway.evidence.storage import File, Storage

_LENGTH = struct.Struct(">I")
_NAME = re.compile(r"seg-([0-9]{8})\.sealed")
_SESSION = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
READ = 1 << 20


def originals_path(directory: Path, number: int) -> Path:
    """Return the file with the envelopes of journal file, later segment, `number` of the log in `directory`."""
    return directory / "originals" / f"seg-{number:08}.sealed"


def keyring_path(directory: Path, session: str) -> Path:
    """Return the file with a session's wrapped key. Raises ValueError for what is no session's id."""
    if not _SESSION.fullmatch(session):
        raise ValueError("no session's id")
    return directory / "keyring" / f"{session}.age"


def originals_numbers(directory: Path) -> list[int]:
    """Return the numbers of the files with envelopes, in order."""
    found = (_NAME.fullmatch(path.name) for path in (directory / "originals").glob("seg-*"))
    return sorted(int(one[1]) for one in found if one is not None)


def envelopes(path: Path) -> Iterator[bytes]:
    """Yield each whole envelope of a file, in order; what is cut at its end is left out. May raise OSError."""
    with path.open("rb") as file:
        size = path.stat().st_size
        while len(header := file.read(_LENGTH.size)) == _LENGTH.size:
            (length,) = _LENGTH.unpack(header)
            if length == 0 or length > size - file.tell():
                return
            yield file.read(length)


def index(path: Path) -> dict[str, tuple[int, int]]:
    """Return offset and length of each envelope of a file by its BLAKE3, in lower-case hex. May raise OSError."""
    found, offset = {}, 0
    for envelope in envelopes(path):
        offset += _LENGTH.size
        found[blake3(envelope).hexdigest()] = (offset, len(envelope))
        offset += len(envelope)
    return found


class SealedFiles:
    """Writes one log's envelopes and wrapped keys."""

    def __init__(self, directory: Path, storage: Storage) -> None:
        self._directory, self._storage = directory, storage
        self._file: File | None = None
        self._number = self._end = 0

    def write(self, number: int, keys: Sequence[tuple[str, bytes]], sealed: Sequence[bytes]) -> None:
        """Put wrapped keys, then envelopes that go with journal file `number`, on disk. May raise OSError."""
        if keys:
            self._storage.make_directory(self._directory / "keyring")
        for session, wrapped in keys:
            self._storage.replace(keyring_path(self._directory, session), wrapped)
        if not sealed:
            return
        if self._file is None or self._number != number:
            self.close()
            self._file, self._number = self._open(number), number
        view = memoryview(b"".join(_LENGTH.pack(len(one)) + one for one in sealed))
        end = self._end + len(view)
        while view:
            written = self._file.write(view, end - len(view))
            if written <= 0:
                raise OSError(0, "the disk took nothing")
            view = view[written:]
        self._file.sync()
        self._end = end

    def close(self) -> None:
        """Close the file. May raise OSError."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, number: int) -> File:
        """Open the file of this number behind its last whole envelope: no record names what a crash cut."""
        path = originals_path(self._directory, number)
        self._storage.make_directory(path.parent)
        file = self._storage.open(path)
        self._end = self._whole(path)
        file.truncate(self._end)
        self._storage.sync_directory(path.parent)
        return file

    def _whole(self, path: Path) -> int:
        size, end = self._storage.size(path), 0
        while len(header := self._storage.read(path, end, _LENGTH.size)) == _LENGTH.size:
            (length,) = _LENGTH.unpack(header)
            if length == 0 or end + _LENGTH.size + length > size:
                break
            end += _LENGTH.size + length
        return end
