"""Sinks: places outside the evidence that keep checkpoints and judge nothing.

A file that is only ever appended to (`chattr +a`, another account's, another host's), or a directory with a file for
each checkpoint (the mount of an object store under Object Lock). Promises that a note is on disk when `take` returns,
that nothing kept is rewritten, and that a directory which keeps another log of the same size is said to. Blocking: the
caller runs it in a thread, with a deadline.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from gateway.evidence.entry import Malformed
from gateway.evidence.note import parse_note


class Contradiction(Exception):
    """What is kept elsewhere and what is sent cannot both be true."""


class Sink(Protocol):
    """Somewhere that keeps notes."""

    def take(self, note: bytes) -> None:
        """Keep the note, durably. Raises OSError, and `Contradiction`."""


class FileSink:
    """Notes one after the other, as `verify --witness` takes them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, note: bytes) -> None:
        """Append the note. A line that a crash left unfinished ends first, so that it spoils nothing but itself."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            data = memoryview(note if self._ends_a_line() else b"\n" + note)
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _ends_a_line(self) -> bool:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) == 0:
                    return True
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except PermissionError:
            return False  # may be appended to and not be read: an empty line more does no harm


class DirectorySink:
    """A file for each checkpoint: `<directory>/<log>/<size>.note`, made once and never opened for writing again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, note: bytes) -> None:
        """Make the note's file; object stores that are mounted know neither renames nor appending."""
        checkpoint, _ = parse_note(note)
        place = self._path / checkpoint.origin
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{checkpoint.size:016}.note"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        except FileExistsError:
            self._must_agree(path, note)
            return
        try:
            data = memoryview(note)
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _must_agree(self, path: Path, note: bytes) -> None:
        checkpoint, _ = parse_note(note)
        try:
            kept, _ = parse_note(path.read_bytes())
        except Malformed:
            raise OSError(0, f"{path.name} is there and is not whole; the next checkpoint will be kept") from None
        if kept != checkpoint:
            raise Contradiction(f"it keeps another log of {checkpoint.size} records")
