"""What a log's key and its witness signed, held against the tree as the log is read.

Promises that a log that was rewritten, cut, or forked from what was signed is found, once. Reads the notes of one log;
follows the tree that it is told of and keeps no records.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gateway.evidence.entry import Malformed, parse_time
from gateway.evidence.findings import Grade
from gateway.evidence.note import Checkpoint, Verifier, open_note
from gateway.evidence.storage import DiskStorage

UNSIGNED = 60_000_000
"""Microseconds after which records without a checkpoint are a finding; one is due after five seconds."""
Find = Callable[[Grade, int | None, str], None]


class Signatures:
    """The signed checkpoints of one log; those that the log reached are taken out.

    `quick`: but for the newest, a checkpoint is read where its size is reached, and else not at all.
    """

    def __init__(self, directory: Path, find: Find, *, quick: bool = False) -> None:
        self._directory, self.find, self._quick = directory, find, quick
        self._unread: dict[int, Path] = {}
        self.verifier: Verifier | None = None
        self._due: dict[int, Checkpoint] = {}
        self._witnessed: dict[int, bytes] = {}
        self.signed: int | None = None
        """Records that the newest checkpoint covers; None where the log has no key."""
        self.held: dict[int, bytes] = {}
        """Roots that were found to be those that were signed, by size."""
        self.compared = 0
        """Records up to which the log was held against what a witness saw."""
        self.broken = False
        """The tree is not known any more, or was found wrong already: no checkpoint after it can hold."""
        self._nobody = False
        """Nothing shows that anybody ever signed this log: whoever could take that away could write it, too."""
        self._load()

    def _load(self) -> None:
        public, place = self._directory / "log.pub", self._directory / "checkpoints"
        names = os.listdir(place) if place.is_dir() else []  # noqa: PTH208  ten thousand names, and paths of a few
        notes = sorted(name for name in names if name.endswith(".note") and name != "0.note")
        if not public.exists():
            if notes:
                self.find("incomplete", 0, "log.pub is missing: nothing shows who signed its checkpoints")
            self._nobody = not notes
            return
        self.signed = 0
        try:
            self.verifier = Verifier.parse(DiskStorage().read(public, 0, 4096).decode(errors="replace"))
        except Malformed as fault:
            self.find("tampered", 0, f"log.pub: {fault}")
            return
        if self.verifier.name.rpartition("/")[2] != self._directory.name:
            self.find("tampered", 0, f"logs/{self._directory.name}/log.pub is the key of {self.verifier.name}")
        for name in sorted(notes, key=_size, reverse=True):
            if self._quick and self.signed:
                self._unread[_size(name)] = place / name
            elif (checkpoint := self._opened(place / name, self.verifier)) is not None:
                self._due[checkpoint.size] = checkpoint
                self.signed = max(self.signed, checkpoint.size)

    def _opened(self, path: Path, verifier: Verifier) -> Checkpoint | None:
        try:
            checkpoint = open_note(DiskStorage().read(path, 0, 1 << 16), verifier)
            if path.name != f"{checkpoint.size}.note":
                raise Malformed(f"it is of size {checkpoint.size}")  # noqa: TRY301  one place says where
        except Malformed as fault:
            self.find("tampered", _size(path.name), f"checkpoints/{path.name}: {fault}")
            return None
        return checkpoint

    @property
    def origin(self) -> str:
        """Return the name that the log's key signs under, empty where the log has no key."""
        return "" if self.verifier is None else self.verifier.name

    def witnessed(self, size: int, root: bytes) -> None:
        """Take what a witness saw of this log: it must be there too."""
        self._witnessed[size] = root

    @property
    def sizes(self) -> frozenset[int]:
        """Return the sizes at which the root is to be compared."""
        return frozenset(self._due.keys() | self._unread.keys() | self._witnessed.keys())

    def reach(self, size: int, root: bytes) -> None:
        """Compare the tree's root at `size` with what was signed there."""
        checkpoint, seen = self._due.pop(size, None), self._witnessed.pop(size, None)
        path = self._unread.pop(size, None)
        if path is not None and self.verifier is not None:
            checkpoint = self._opened(path, self.verifier)
        if self.broken:
            return
        if seen is not None:
            self.compared = size
        if checkpoint is not None and checkpoint.root != root:
            what = f"the records before it are not those that checkpoint {size} was signed over"
            self.find("tampered", size, what)
            self.broken = True  # later ones would say the same
        elif seen is not None and seen != root:
            self.find("tampered", size, f"the records before it are not those that the witness saw at {size}")
            self.broken = True
        else:
            self.held[size] = root

    def finish(self, size: int, first_unsigned: str, last: str, *, closed: bool) -> None:
        """Check that a log of `size` records is as long as was signed, and that signatures go as far as the log."""
        for whose, sizes in (("checkpoint", self._due), ("the witness's", self._witnessed)):
            beyond = [one for one in sizes if one > size]
            if beyond and sizes is self._witnessed:
                self.compared = max(beyond)
            if beyond and not self.broken:
                self.find(
                    "tampered",
                    size,
                    f"the log has {size} records, and {whose} {max(beyond)} covers more: its end is cut off",
                )
                self.broken = True
        if self._nobody and size:
            self.find("incomplete", 0, "nobody signed this log: log.pub is missing, and so are all checkpoints")
        if self.signed is None or self.signed >= size or self.broken:
            return
        late = closed or parse_time(last) - parse_time(first_unsigned or last) > UNSIGNED
        what = f"{size - self.signed} records at the end are covered by no checkpoint"
        self.find("incomplete" if late else "note", self.signed, what)


def _size(name: str) -> int:
    """Return the size that the name of a note says; 0 where it says none."""
    stem = name.removesuffix(".note")
    return int(stem) if stem.isdecimal() and len(stem) < 16 else 0
