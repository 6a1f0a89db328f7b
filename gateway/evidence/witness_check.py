"""What witnesses and sinks kept of the logs, held against the evidence: for `verify --witness FILE`.

Promises that a log that was rewritten with its own key, cut together with its checkpoints, signed anew under another
key, forked, or taken away whole is found, as far as the notes in FILE reach. Believes the file, since it comes from
elsewhere, but for notes whose signature does not hold. Reads that one file and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from gateway.errors import EvidenceFault
from gateway.evidence.cosignature import split_notes
from gateway.evidence.findings import Finding, Grade
from gateway.evidence.note import Checkpoint, Verifier, parse_note

LIMIT = 1 << 30
"""Bytes of a file of notes, at most."""
_Note: TypeAlias = tuple[Checkpoint, tuple[tuple[str, bytes], ...]]


class Seen:
    """What was kept of one log: `roots` by size, of the notes that the log's key signed."""

    def __init__(self, notes: Sequence[_Note], verifier: Verifier | None) -> None:
        self.roots: dict[int, bytes] = {}
        self.forked: set[int] = set()
        """Sizes at which two different roots were signed."""
        self.strange: set[str] = set()
        """Ids of other keys that signed under the log's name."""
        self.false = 0
        """Notes without a signature that holds."""
        for checkpoint, signatures in notes:
            own = [blob for name, blob in signatures if name == checkpoint.origin]
            ours = [blob for blob in own if verifier is None or blob[:4] == verifier.key_id]
            if own and not ours:
                self.strange |= {blob[:4].hex() for blob in own}
            elif verifier is not None and not any(verifier.holds(checkpoint.text(), blob[4:]) for blob in ours):
                self.false += 1
            elif self.roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
                self.forked.add(checkpoint.size)

    @property
    def size(self) -> int:
        """Return how many records were seen; 0 where nothing was."""
        return max(self.roots, default=0)


class Material:
    """The notes of one file."""

    def __init__(self, content: bytes, name: str) -> None:
        notes, self._strange = split_notes(content)
        if not notes:
            raise EvidenceFault(f"{name} holds no signed note; give what a witness or a sink kept")
        self._name = name
        self._notes: dict[str, list[_Note]] = {}
        self._seen: dict[str, Seen] = {}
        for note in notes:
            checkpoint, signatures = parse_note(note)
            self._notes.setdefault(checkpoint.origin, []).append((checkpoint, signatures))

    def of(self, directory: str, verifier: Verifier | None) -> Seen:
        """Return what was seen of the log in `directory`; its key says which log that is, else the directory's name."""
        names = [origin for origin in self._notes if origin.rpartition("/")[2] == directory]
        if verifier is not None:
            names = [verifier.name]
        name = names[0] if len(names) == 1 else ""
        seen = Seen(self._notes.get(name, []), verifier)
        self._seen[name] = seen
        return seen

    def findings(self, compared: Mapping[str, int]) -> Iterator[Finding]:
        """Yield what the file shows beside wrong roots, after `of` was asked for each log.

        `compared` says for each log up to which size its tree was held against what was seen of it.
        """
        if self._strange:
            yield Finding("note", "evidence", None, f"{self._name} holds {self._strange} bytes that are no signed note")
        gateways = {name.rpartition("/")[0] for name in compared}
        for origin in sorted(self._notes.keys() - compared.keys()):
            if origin.rpartition("/")[0] in gateways:
                yield Finding("tampered", origin, 0, "the witness saw this log, and it is not here")
            else:
                yield Finding("note", origin, 0, f"{self._name} tells of this log too, which is none of these")
        for name in compared:
            if name in self._notes and name in self._seen:
                yield from self._of_log(name, self._seen[name], compared[name])
            else:
                yield Finding("incomplete", name, 0, f"{self._name} holds nothing of this log: no witness saw it")

    def _of_log(self, name: str, seen: Seen, compared: int) -> Iterator[Finding]:
        def find(grade: Grade, seq: int | None, what: str) -> Finding:
            return Finding(grade, name, seq, what)

        for size in sorted(seen.forked):
            yield find("tampered", size, f"a fork: {self._name} holds two logs of {size} records, both signed")
        if seen.strange:
            keys = ", ".join(sorted(seen.strange))
            yield find("tampered", 0, f"the witness saw it signed by key {keys}, which is not that of its log.pub")
        if seen.false:
            yield find("note", 0, f"{seen.false} notes in {self._name} were left out: its key did not sign them")
        if compared < seen.size:
            yield find("note", compared, f"not compared with what the witness saw at {seen.size}")


def read_material(path: Path) -> Material:
    """Read the notes in `path`. Raises `EvidenceFault` where it cannot be read or holds none."""
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as fault:
        raise EvidenceFault(f"{path} cannot be read: {fault.strerror or fault}") from None
    if len(content) > LIMIT:
        raise EvidenceFault(f"{path} is larger than {LIMIT >> 30} GiB; give the notes of fewer logs")
    return Material(content, path.name)
