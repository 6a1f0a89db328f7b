"""Messages that were not delivered yet, one small file each, so that a restart loses none.

Promises that a message is on disk before anybody tries to deliver it, that it is there until it was delivered or is
given up, and that nobody but the gateway's user reads it. Blocks: call it in a thread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gateway.identity.private_file import write_private
from gateway.model import Micros
from gateway.notify.messages import Message


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way to one destination, by the destination's name."""

    message: Message
    destination: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.message.id}.{self.destination}.json"


class Outbox:
    """The parcels in `directory`, made where absent. Raises OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, parcel: Parcel) -> None:
        """Put a parcel on disk."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        message = parcel.message
        content = {
            "id": message.id,
            "type": message.type,
            "at": message.at,
            "until": message.until,
            "data": dict(message.data),
            "destination": parcel.destination,
        }
        write_private(self._directory / parcel.name, json.dumps(content).encode("ascii"))

    def remove(self, parcel: Parcel) -> None:
        """Take a parcel off the disk; one that is gone already is no fault."""
        (self._directory / parcel.name).unlink(missing_ok=True)

    def left(self) -> list[Parcel]:
        """Return what is there, oldest first. A file that cannot be read as a parcel stays where it is."""
        if not self._directory.is_dir():
            return []
        found = [parcel for path in self._directory.iterdir() if (parcel := self._read(path))]
        return sorted(found, key=lambda parcel: parcel.message.at)

    def _read(self, path: Path) -> Parcel | None:
        try:
            content = json.loads(path.read_bytes())
            message = Message(
                str(content["id"]),
                str(content["type"]),
                Micros(content["at"]),
                Micros(content["until"]),
                content["data"],
            )
            parcel = Parcel(message, str(content["destination"]))
        except (ValueError, KeyError, TypeError):
            return None
        return parcel if parcel.name == path.name and isinstance(message.data, dict) else None
