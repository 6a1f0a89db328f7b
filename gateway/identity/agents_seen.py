"""Every subject that ever connected as an agent: they decide nothing, ever, and this outlives restarts.

One line a subject in a file that only grows; the evidence holds the same as login records. It promises that a subject
is on disk before its first session opens, that a damaged file stops the start, and that where the file is missing the
subjects are taken from the evidence. Holds no token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.errors import ConfigurationFault, EvidenceFault
from gateway.identity.private_file import write_private

MAX_SUBJECTS = 100_000
_MAX_FILE_BYTES = 64 << 20


class AgentsSeen:
    """The subjects of one gateway's agents. Make it with `load`."""

    def __init__(self, path: Path, subjects: Iterable[str]) -> None:
        self._path = path
        self._subjects = set(subjects)

    @classmethod
    def load(cls, path: Path, recorded: Callable[[], Iterable[str]]) -> AgentsSeen:
        """Read the file at `path`; where there is none, make it of what `recorded` finds in the evidence.

        Raises `ConfigurationFault` where the file is damaged or cannot be read or made.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(_MAX_FILE_BYTES)
        except FileNotFoundError:
            subjects = sorted(set(recorded()))
            try:
                write_private(path, "".join(f"{json.dumps(each)}\n" for each in subjects).encode("ascii"))
            except OSError as error:
                raise ConfigurationFault(f"{path}: {error.strerror}") from None
            return cls(path, subjects)
        except OSError as error:
            raise ConfigurationFault(f"{path}: {error.strerror}") from None
        try:
            # What follows the last line feed was never promised to anybody: a crash cut it.
            found = [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]
        except ValueError:
            found = [None]
        if not all(isinstance(each, str) for each in found):
            raise ConfigurationFault(f"{path}: damaged; remove it, and it is made again from the evidence")
        if not raw.endswith(b"\n") and raw:
            write_private(path, raw[: raw.rfind(b"\n") + 1])
        return cls(path, found)

    def __contains__(self, subject: str) -> bool:
        return subject in self._subjects

    def __len__(self) -> int:
        return len(self._subjects)

    def add(self, subject: str) -> None:
        """Remember a subject, on disk when this returns. Raises `EvidenceFault`: then it may not connect."""
        if subject in self._subjects:
            return
        if len(self._subjects) >= MAX_SUBJECTS:
            raise EvidenceFault(f"{self._path}: {MAX_SUBJECTS} subjects connected; no further one can be remembered")
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                line = f"{json.dumps(subject)}\n".encode("ascii")
                if os.write(descriptor, line) != len(line):
                    raise EvidenceFault(f"{self._path}: cannot be written whole")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise EvidenceFault(f"{self._path}: {error.strerror}") from None
        self._subjects.add(subject)
