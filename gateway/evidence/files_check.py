"""The files of a log, held against what its records say of them: segments, what was pruned, and what crashes left.

Promises a finding for each file that is not the one that was recorded, is missing, or that no record explains. Reads
those files and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from blake3 import blake3

from gateway.evidence.checked_log import CheckedLog
from gateway.evidence.following import Following
from gateway.evidence.originals import originals_path
from gateway.evidence.originals_check import Erasures
from gateway.evidence.segments import entries_path, frontier_path, journal_path, payload_path
from gateway.evidence.storage import DiskStorage
from gateway.model import Json

_SEGMENT = re.compile(r"seg-[0-9]{8}")
_TORN = 1 << 30
"""Bytes that a crash leaves, at most: no journal file is as large."""


def check_gaps(log: Following) -> None:
    """Say what records were given up."""
    for seq, _, entry in log.said.get("gap", ()):
        log.find("incomplete", seq, f"records were given up here: {entry.get('why')}")


def check_segments(log: CheckedLog, erasures: Erasures) -> None:
    """Compare the files of each segment with what the log recorded of them when they were made, or since erased."""
    directory, find = log.directory, log.state.find
    archives = {str(one.entry.get("segment")): one.entry for one in log.state.said.get("archive", ())}
    _check_pruned(log, archives, erasures)
    for before, number in pairwise(log.segments):
        if number != before + 1:
            find("incomplete", log.begins(before + 1), f"segments between {before} and {number} are missing")
    for number in log.segments:
        told = archives.get(entries_path(directory, number).stem)
        if told is not None:
            _compare(log, number, told, erasures)
        elif not journal_path(directory, number).exists():
            find("incomplete", log.begins(number), f"segment {number} is there and no record says that it was made")
        elif log.quick:
            find(
                "note", log.begins(number), f"segment {number} is new: no record has its digests yet; only its tree is"
            )
    present = {entries_path(directory, number).stem for number in log.segments}
    for name in sorted(archives.keys() - present):
        first = archives[name].get("first")
        seq = first if isinstance(first, int) else log.first
        number = int(name[4:]) if _SEGMENT.fullmatch(name) else 0
        if not number:
            find("tampered", seq, "a record tells of a segment that no log has")
        elif number > log.pruned and not entries_path(directory, number).exists():  # it may be younger than `present`
            find("incomplete", seq, f"segment {name} is missing")


def _check_pruned(log: CheckedLog, archives: Mapping[str, Mapping[str, Json]], erasures: Erasures) -> None:
    """Check that what is gone, segments at the log's beginning or payloads, went with a record."""
    directory, find = log.directory, log.state.find
    for number in log.state.unpaid:
        path = payload_path(directory, number)
        if not _taken(path, archives.get(path.stem), erasures):
            find("tampered", log.begins(number), f"payload/{path.name} is missing and no erasure says so")
    if log.pruned and not erasures.gone(_name(entries_path(directory, log.pruned))):
        find("incomplete", 0, f"segments up to {log.pruned} are missing, and no record says that they were pruned")
    elif log.pruned:
        find("note", 0, f"segments up to {log.pruned} were pruned; {log.first} records before the first one here")
    for number in log.state.unpaid:
        if erasures.gone(_name(payload_path(directory, number))):
            find("note", log.begins(number), f"payload/{payload_path(directory, number).name} was pruned")


def _name(path: Path) -> str:
    """Return a file of a log as erasures name it: from the evidence directory on."""
    return f"logs/{path.parent.parent.name}/{path.parent.name}/{path.name}"


def _taken(path: Path, told: Mapping[str, Json] | None, erasures: Erasures) -> bool:
    """Say whether erasures account for the absence of the payloads in `path`."""
    return told is not None and not erasures.after(_name(path), str(told.get("payload")))


def _compare(log: CheckedLog, number: int, told: Mapping[str, Json], erasures: Erasures) -> None:
    seq = log.begins(number)
    places = {"blake3": entries_path, "payload": payload_path, "frontier": frontier_path, "originals": originals_path}
    for field, place in places.items():
        path = place(log.directory, number)
        name, digest = f"{path.parent.name}/{path.name}", log.digests.get(path, "")
        if digest == erasures.after(_name(path), str(told.get(field) or "")):
            continue
        if not digest:
            if field != "payload":
                log.state.find("incomplete", seq, f"{name} is missing")
        elif erasures.before(_name(path), digest) and erasures.gone(_name(path)):
            log.state.find("note", seq, f"{name} was to be removed, as an erasure says, and is still there")
        elif erasures.before(_name(path), digest):
            log.state.find("incomplete", seq, f"{name} was to be rewritten, as an erasure says")
        else:
            log.state.find("tampered", seq, f"{name} is not the file that was recorded when it was made")


def check_originals(log: CheckedLog, erasures: Erasures) -> None:
    """Hold payloads that are gone and wrapped keys against what was erased."""
    for seq in log.state.emptied:
        if not erasures.has(log.state.name, seq):
            log.state.find("tampered", seq, "its payload is gone and no erasure says so")
    for seq, _, entry in log.state.said.get("key", ()):
        log.state.sealed.key(seq, entry)
    log.state.sealed.finish(erasures, [*log.segments, *log.journals], log.state.expected)


def check_torn(directory: Path, log: Following) -> None:
    """Check what crashes left behind against what the starts after them said."""
    place, known = directory / "torn", set[str]()
    for seq, _, entry in log.said.get("start", ()):
        torn = entry.get("torn")
        for one in torn if isinstance(torn, list) else []:
            if isinstance(one, dict):
                known.add(str(one.get("file")))
                _check_torn_file(place, log, seq, one)
    names = {path.name for path in place.glob("[!.]*")} if place.is_dir() else set()
    for name in sorted(names - known):
        log.find("note", log.expected, f"torn/{name} waits for the next start to name it")


def _check_torn_file(place: Path, log: Following, seq: int, told: dict[str, Json]) -> None:
    name = str(told.get("file"))
    path = place / name
    if path.parent != place or not path.is_file():
        log.find("incomplete", seq, f"torn/{name}, which this start names, is not there")
        return
    length = told.get("length")
    most = length + 1 if isinstance(length, int) and 0 <= length < _TORN else 1  # one more, to see that it is longer
    content = DiskStorage().read(path, 0, most)
    if len(content) != length or blake3(content).hexdigest() != told.get("blake3"):
        log.find("tampered", seq, f"torn/{name} is not what this start found after the crash")
    elif b"\n" in content and b"\0" not in content.split(b"\n")[0] and not log.said.get("gap"):
        log.find("tampered", seq, f"torn/{name} holds a whole line: a crash leaves only part of one")
    else:
        log.find("note", seq, f"a crash left {len(content)} unfinished bytes behind, kept in torn/{name}")
