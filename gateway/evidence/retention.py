"""What archived evidence may go by age and size, and its removal: entries, payloads and sealed originals apart.

With what was sealed go the wrapped keys of the sessions that have nothing else.

Promises to name only what is archived, whose journal file is gone, and which, where a witness is configured, somebody
outside has seen; that the newest segment of a log stays, and with each that goes the tree that proves the rest. Removes
nothing by itself: the gateway records an `erasure` first. A short process of its own, at low priority.

`python -P -m gateway.evidence.retention DIR`, with the terms or the files to remove as JSON on standard input; prints a
removal as JSON a line.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Literal, TypeAlias

from blake3 import blake3

from gateway.errors import EvidenceFault
from gateway.evidence.checkpoints import sizes
from gateway.evidence.entry import Malformed
from gateway.evidence.frontier import Frontier
from gateway.evidence.originals import originals_path
from gateway.evidence.segments import entries_path, frontier_path, journal_path, numbers_in, payload_path
from gateway.evidence.storage import DiskStorage, Storage, SystemClock
from gateway.model import Micros

Part: TypeAlias = Literal["entries", "payloads", "originals", "keys"]
PLACES = {"entries": entries_path, "payloads": payload_path, "originals": originals_path}
AT_ONCE = 100
"""Segments of a log that go at once: the names of their files stand in one record."""
KEYS_AT_ONCE = 300
"""Wrapped keys of a log that go at once, likewise."""
_FILE = re.compile(
    r"logs/[^/]+/((entries|payload)/seg-[0-9]{8}\.parquet|originals/seg-[0-9]{8}\.sealed|keyring/[0-9A-Za-z-]{1,64}\.age)"
)


@dataclass(frozen=True, slots=True)
class Term:
    """How long one part is kept: microseconds since a segment's last record, bytes of the newest that stay."""

    part: Part
    age: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes of one log: from which record to which, why, and each file with its BLAKE3."""

    log: str
    part: Part
    first: int
    last: int
    why: str
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Segment:
    directory: Path
    number: int
    frontier: Frontier
    first: int

    def size(self, part: Part) -> int:
        path = PLACES[part](self.directory, self.number)
        return path.stat().st_size if path.exists() else 0


def plan(
    evidence: Path, terms: Sequence[Term], now: Micros, witnessed: Mapping[str, int] | None = None
) -> list[Removal]:
    """Return what may go. `witnessed`: by log, how many records were seen outside; None: nobody is configured to look.

    Raises `EvidenceFault` where a segment does not say how it ends.
    """
    logs = [path for path in sorted((evidence / "logs").glob("*")) if path.is_dir()]
    kept = {directory: _settled(directory, witnessed) for directory in logs}
    found: list[Removal] = []
    for term in sorted(terms, key=lambda one: one.part != "entries"):
        for directory, due in _due(term, [one for segments in kept.values() for one in segments], now).items():
            gone = due
            if term.part == "entries":  # from the beginning on, and never the last
                gone = list(takewhile(lambda one: one in due, kept[directory][:-1]))  # noqa: B023  used at once
                kept[directory] = kept[directory][len(gone[:AT_ONCE]) :]
            if gone:
                found.append(_removal(evidence, term, gone[:AT_ONCE]))
    if all(term.part == "payloads" for term in terms):
        return found
    going = {file for one in found for file, _ in one.files}
    settled = {directory: _settled(directory, witnessed) for directory in logs}
    return [one for directory in logs for one in _keys(evidence, settled[directory], going)] + found


def _keys(evidence: Path, segments: Sequence[_Segment], going: Collection[str]) -> Iterator[Removal]:
    """Yield the wrapped keys of sessions of which nothing sealed is left, or will be once `going` went.

    They go first: a run that is cut in between leaves envelopes that nobody opens, for the next to remove.
    """
    from gateway.evidence.pruned_keys import useless  # it loads DuckDB, and the supervisor loads this module

    def emptied(one: _Segment) -> bool:
        path = originals_path(one.directory, one.number)
        return not path.exists() or str(path.relative_to(evidence)) in going

    gone = list(takewhile(emptied, segments))
    if not gone:
        return
    paths = useless(gone[0].directory, [(one.number, one.frontier) for one in gone])
    for begin in range(0, len(paths), KEYS_AT_ONCE):
        some = paths[begin : begin + KEYS_AT_ONCE]
        files = tuple((str(path.relative_to(evidence)), _digest(path)) for path in some)
        why = "retention: all that they open is gone"
        yield Removal(gone[0].frontier.log, "keys", gone[0].first, gone[-1].frontier.size - 1, why, files)


def _settled(directory: Path, witnessed: Mapping[str, int] | None) -> list[_Segment]:
    """Return the segments of a log whose journal files are gone, and that were seen outside; the oldest first."""
    segments, _ = numbers_in(directory)
    found, size = [], 0
    for number in segments:
        try:
            frontier = Frontier.parse(frontier_path(directory, number).read_bytes())
        except (OSError, Malformed) as fault:
            raise EvidenceFault(f"segment {number} of {directory} does not say how it ends: {fault}") from None
        first = size or _begin(directory, number)
        size = frontier.size
        settled = witnessed is None or witnessed.get(frontier.log, 0) >= size
        if not settled or journal_path(directory, number).exists():
            break
        found.append(_Segment(directory, number, frontier, first))
    return found


def _begin(directory: Path, number: int) -> int:
    path = frontier_path(directory, number - 1)
    return Frontier.parse(path.read_bytes()).size if path.exists() else 0


def _due(term: Term, segments: Sequence[_Segment], now: Micros) -> dict[Path, list[_Segment]]:
    """Return what a term gives up, by log; the oldest first."""
    found: dict[Path, list[_Segment]] = {}
    total = 0
    for one in sorted(segments, key=lambda one: (one.frontier.ts, one.number), reverse=True):
        size = one.size(term.part)
        total += size
        old = term.age is not None and now - one.frontier.ts > term.age
        if size and (old or (term.size is not None and total > term.size)):
            found.setdefault(one.directory, []).insert(0, one)
    return found


def _removal(evidence: Path, term: Term, gone: Sequence[_Segment]) -> Removal:
    parts: tuple[Part, ...] = ("entries", "payloads", "originals") if term.part == "entries" else (term.part,)
    paths = [PLACES[part](one.directory, one.number) for one in gone for part in parts]
    files = tuple((str(path.relative_to(evidence)), _digest(path)) for path in paths if path.exists())
    first = 0 if term.part == "entries" else gone[0].first
    terms = [("age", term.age), ("size", term.size)]
    told = ", ".join(f"{term.part}_{name} {value}" for name, value in terms if value is not None)
    return Removal(gone[0].frontier.log, term.part, first, gone[-1].frontier.size - 1, f"retention: {told}", files)


def _digest(path: Path) -> str:
    return blake3(max_threads=1).update_mmap(path).hexdigest()


def remove(evidence: Path, files: Iterable[str], storage: Storage) -> None:
    """Remove files that an `erasure` record names, and what nothing needs any more once they are gone.

    Raises `EvidenceFault` for what is no file of a segment.
    """
    named = list(files)
    if any(_FILE.fullmatch(name) is None or ".." in name for name in named):
        raise EvidenceFault("only files of segments are removed")
    logs = {evidence / "logs" / name.split("/")[1] for name in named}
    for name in sorted(named):  # entries first: the rest is not looked for without them
        if (evidence / name).exists():
            storage.remove(evidence / name)
    for directory in logs:
        _tidy(directory, storage)


def tidy(evidence: Path, storage: Storage) -> None:
    """Take up where a removal was cut: the rest of a segment whose entries are gone goes too."""
    for directory in sorted((evidence / "logs").glob("*/")):
        _tidy(directory, storage)


def _tidy(directory: Path, storage: Storage) -> None:
    """Keep of what was pruned only how the log stood at its end, and the checkpoint that says so."""
    segments, _ = numbers_in(directory)
    end = frontier_path(directory, segments[0] - 1) if segments else directory / "absent"
    if not end.exists():
        return
    frontier = Frontier.parse(end.read_bytes())
    size = frontier.size
    if frontier.again:  # it stays for the tree, and not for what its records said
        storage.replace(end, replace(frontier, again=()).encode())
    for path in sorted((directory / "entries").glob("seg-*.json")):
        if path.name < end.name:
            storage.remove(path)
    for place in ("payload", "originals"):
        for path in sorted((directory / place).glob("seg-*")):
            if "seg-00000000" < path.stem <= end.stem:
                storage.remove(path)
    for one in sizes(storage, directory / "checkpoints"):
        if 0 < one < size:
            storage.remove(directory / "checkpoints" / f"{one}.note")
    for path in sorted((directory / "checkpoints").glob("*.tsr")):
        if path.stem.isdecimal() and int(path.stem) < size:
            storage.remove(path)


def main(arguments: Sequence[str]) -> int:
    """Print what may go, or remove what was recorded, in the evidence directory named by the one argument."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -P -m gateway.evidence.retention DIR\n")
        return 2
    os.nice(15)
    evidence, asked = Path(arguments[0]), json.load(sys.stdin)
    storage = DiskStorage()
    try:
        with storage.lock(evidence / "archive.lock"):
            if "remove" in asked:
                remove(evidence, map(str, asked["remove"]), storage)
            else:
                tidy(evidence, storage)
                terms = [Term(**one) for one in asked["terms"]]
                for one in plan(evidence, terms, SystemClock().now(), asked.get("witnessed")):
                    sys.stdout.write(json.dumps(asdict(one)) + "\n")
    except (EvidenceFault, Malformed, OSError) as fault:
        sys.stderr.write(f"{' '.join(str(fault).split())}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
