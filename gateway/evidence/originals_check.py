"""What `verify` asks of sealed originals and erasures: that each envelope named is there, and each gap is explained.

Promises a finding for an envelope that was changed or is missing, for a wrapped key likewise, and for a payload that is
gone without its `erasure` record. Needs no key: an envelope's record holds its digest. Reads originals and keyring of
the log it was given, and nothing of what stands inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from gateway.evidence.findings import Grade
from gateway.evidence.originals import index, keyring_path, originals_numbers, originals_path
from gateway.model import Json

Find = Callable[[Grade, int | None, str], None]
_SHOWN = 20
SESSION = "session:"
"""Stands before a session's id where an erasure names all its originals; a record is named `LOG:SEQ`."""


@dataclass(slots=True)
class Erasures:
    """What the `erasure` records of all logs say was taken away."""

    records: set[str] = field(default_factory=set)
    files: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """By file, below the evidence directory: its digests before and after, in the order of the records."""

    def take(self, entry: Mapping[str, Json]) -> None:
        """Take one `erasure` record; what is not of its form explains nothing."""
        records, files = entry.get("records"), entry.get("files")
        self.records.update(str(one) for one in (records if isinstance(records, list) else ()))
        for one in files if isinstance(files, list) else []:
            if isinstance(one, dict):
                self.files.setdefault(str(one.get("file")), []).append((str(one.get("old")), str(one.get("new"))))

    def after(self, file: str, digest: str) -> str:
        """Return the digest that a file must have now, which had `digest` when it was made; empty: it must be gone."""
        for old, new in self.files.get(file, ()):
            if old == digest:
                digest = new
        return digest

    def before(self, file: str, digest: str) -> bool:
        """Say whether `digest` is one that an erasure took away: the record is there, the deed is not."""
        return any(old == digest for old, _ in self.files.get(file, ()))

    def gone(self, file: str) -> bool:
        """Say whether this file was to be taken away."""
        return any(not new for _, new in self.files.get(file, ()))

    def has(self, log: str, seq: int) -> bool:
        """Say whether the payload of this record was erased."""
        return f"{log}:{seq}" in self.records

    def shredded(self, session: str) -> bool:
        """Say whether this session's originals were erased."""
        return f"{SESSION}{session}" in self.records


class SealedCheck:
    """One log's envelopes and keys, as its records name them; `close` after each file of records."""

    def __init__(self, directory: Path, find: Find) -> None:
        self._directory, self._find = directory, find
        self._named: dict[str, int] = {}
        self._keys: list[tuple[int, str, str]] = []
        self.missing: list[tuple[int, int]] = []
        """Files of envelopes that are not there, by number, and the first record that names one of each."""

    def named(self, seq: int, entry: Mapping[str, Json]) -> None:
        """Take a record that has an envelope; the parts of one name the same."""
        self._named.setdefault(str(entry.get("sc")), seq)

    def key(self, seq: int, entry: Mapping[str, Json]) -> None:
        """Take a `key` record."""
        self._keys.append((seq, str(entry.get("sid")), str(entry.get("blake3"))))

    def close(self, number: int, last: int) -> None:
        """Compare what the records of file `number`, the last of them `last`, name with the envelopes beside it."""
        named, self._named = self._named, {}
        path = originals_path(self._directory, number)
        there = index(path) if path.is_file() else {}
        if named and not path.is_file():
            self.missing.append((number, min(named.values())))
            return
        gone = [seq for digest, seq in named.items() if digest not in there]
        for seq in gone[:_SHOWN]:
            self._find("tampered", seq, "its sealed original was changed or is missing")
        if len(gone) > _SHOWN:
            self._find("tampered", gone[_SHOWN], f"{len(gone) - _SHOWN} more of originals/{path.name} are not there")
        if len(there) > len(named) - len(gone):
            more = len(there) - len(named) + len(gone)
            self._find("note", last, f"originals/{path.name} holds {more} envelopes that no record names: a crash")

    def finish(self, erasures: Erasures, numbers: Iterable[int], size: int) -> None:
        """Check the wrapped keys, and that files of envelopes are where records are (`numbers`), unless erased.

        `size` is how many records the log has.
        """
        for number, seq in self.missing:
            name = f"originals/{originals_path(self._directory, number).name}"
            if not erasures.gone(f"logs/{self._directory.name}/{name}"):
                self._find("tampered", seq, f"{name} is missing and no erasure says so")
            else:
                self._find("note", seq, f"{name} was let go")
        let_go: list[int] = []
        for seq, session, digest in self._keys:
            try:
                path = keyring_path(self._directory, session)
            except ValueError:
                self._find("tampered", seq, "it names a key of no session")
                continue
            name = f"logs/{self._directory.name}/keyring/{path.name}"
            if not path.is_file():
                if erasures.gone(name) and not erasures.shredded(session):
                    let_go.append(seq)
                elif not erasures.shredded(session):
                    self._find("tampered", seq, f"keyring/{path.name} is missing and no erasure says so")
            elif erasures.shredded(session):
                self._find("incomplete", seq, f"keyring/{path.name} was erased, as is recorded, and is still there")
            elif blake3().update_mmap(path).hexdigest() != digest:
                self._find("tampered", seq, f"keyring/{path.name} is not the key that was recorded")
            elif erasures.gone(name):
                self._find(
                    "note", seq, f"keyring/{path.name} was to be removed, as an erasure says, and is still there"
                )
        if let_go:
            self._find("note", let_go[0], f"{len(let_go)} wrapped keys were let go: nothing is left that they open")
        for number in sorted(set(originals_numbers(self._directory)) - set(numbers)):
            self._find("note", size, f"originals/{originals_path(self._directory, number).name} belongs to no records")
