"""What masking keeps in `state_dir/masking` over restarts: the secret behind pseudonyms, and where marks stand.

Promises private files (0600 in a 0700 directory), written whole, and that the secret appears nowhere else.
"""

from __future__ import annotations

from pathlib import Path

from gateway.errors import ConfigurationFault
from gateway.identity.private_file import write_private
from gateway.masking.pseudonyms import Pseudonyms, of_connection
from gateway.model import Connection, Entropy
from gateway.worker.kept_marks import KeptMarks

_DIRECTORY, _FILE, _MARKS = "masking", "pseudonyms.key", "marks"
_LENGTH = 32


class Keeping:
    """Reads and writes the files of one gateway; synchronous, for files of a few kilobytes that seldom change."""

    def __init__(self, state_dir: Path, entropy: Entropy) -> None:
        """Open the directory, and make it and the secret where they are missing. Raises `ConfigurationFault`."""
        self._directory = state_dir / _DIRECTORY
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._directory / _FILE
            if not path.exists():
                write_private(path, entropy.bytes(_LENGTH))
            self._secret = path.read_bytes()
        except OSError as fault:
            raise ConfigurationFault(f"{self._directory}: {fault.strerror}; masking keeps its secret there") from None
        if len(self._secret) != _LENGTH:
            raise ConfigurationFault(f"{path}: not a secret of {_LENGTH} bytes; restore it, or remove it for new ones")

    def pseudonyms(self, connection: str) -> Pseudonyms:
        """Return the pseudonyms of a connection."""
        return of_connection(self._secret, connection)

    def marks(self, connection: Connection) -> KeptMarks:
        """Return the places of a connection's marks."""
        return KeptMarks(self._directory / _MARKS, connection)


def carried_marks(state_dir: Path, connection: Connection) -> tuple[str, ...]:
    """Return the names of the columns of a connection that are marked because values moved there."""
    return KeptMarks(state_dir / _DIRECTORY / _MARKS, connection).carried()
