"""Where a connection's marks stand, kept over restarts: (relation oid, column number) as they were first seen.

Beside them the columns that received values of marked ones since. One small file a connection. Promises that a place is
on disk before a statement is judged by it, that a damaged file stops the connection (nobody guesses where a mark
stood), and that places of another database, where the numbers mean something else, are not taken over. Holds names and
numbers only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from gateway.errors import TargetFault
from gateway.identity.private_file import write_private
from gateway.masking.carried import Carried
from gateway.model import Connection, MaskStyle
from gateway.policy.catalog import Catalog

_MAX_FILE_BYTES = 16 << 20


class KeptMarks:
    """The file of one connection; `directory` is made when something is first kept."""

    def __init__(self, directory: Path, connection: Connection) -> None:
        self._path = directory / f"{connection.name}.json"
        self._target = str(connection.target)
        self._kept: bytes | None = None

    def load(self, database: str) -> Catalog | None:
        """Return what `gateway.masking.marks.bind` takes as the catalog bound before; None: nothing was kept.

        `database` is the identity of the target's database now. Raises TargetFault for a damaged file.
        """
        try:
            with self._path.open("rb") as file:
                raw = file.read(_MAX_FILE_BYTES)
            found = json.loads(raw)
            if (found["target"], found["database"]) != (self._target, database):
                return None
            self._kept = raw
            return Catalog(
                epoch=0,
                search_path=(),
                bound=frozenset(_place(each) for each in found["marks"]),
                descended=frozenset(_place(each) for each in found.get("children", ())),
                watched_at=frozenset(_place(each) for each in found["columns"]),
                carried=tuple(_carried(each) for each in found.get("carried", [])),
                known_as={int(oid): frozenset(map(str, names)) for oid, names in found["relations"].items()},
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TargetFault(f"{self._path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TargetFault(
                f"{self._path}: it is damaged; put back a good copy, or remove it if no marked column was renamed"
            ) from None

    def keep(self, bound: Catalog, database: str) -> None:
        """Put where everything stands on disk, unless it is there. Raises TargetFault where that fails."""
        content = json.dumps(
            {
                "version": 1,
                "target": self._target,
                "database": database,
                "marks": sorted(map(list, bound.bound)),
                "children": sorted(map(list, bound.descended)),
                "carried": sorted(map(_written, bound.carried), key=str),
                "columns": sorted(map(list, bound.watched_at)),
                "relations": {str(oid): sorted(names) for oid, names in sorted(bound.known_as.items())},
            },
            indent=1,
        ).encode()
        if content == self._kept:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._path, content)
        except OSError as error:
            raise TargetFault(f"{self._path}: the places of marks cannot be kept: {error.strerror}") from None
        self._kept = content

    def carried(self) -> tuple[str, ...]:
        """Return the names of the columns that received values of marked ones, as they were last kept."""
        try:
            found = json.loads(self._path.read_bytes())
            return tuple(str(_carried(each)) for each in found["carried"]) if found["target"] == self._target else ()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ()


def _written(carried: Carried) -> dict[str, object]:
    return {**asdict(carried), "sources": sorted(carried.sources), "style": carried.style.value}


def _carried(found: dict[str, Any]) -> Carried:
    if set(found) != {each.name for each in fields(Carried)}:
        raise TypeError("no mark")
    return Carried(**{**found, "sources": frozenset(map(str, found["sources"])), "style": MaskStyle(found["style"])})


def _place(found: object) -> tuple[int, int, str]:
    if not isinstance(found, list):
        raise TypeError("no place")
    oid, number, mark = found
    return int(oid), int(number), str(mark)
