"""The files of a log, held against what its records say of them: segments, what was pruned, and what crashes left.

Promises a finding for each file that is not the one that was recorded, is missing, or that no record explains. Reads
those files and nothing else.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from blake3 import blake3

from gateway.evidence.checked_log import CheckedLog
from gateway.evidence.following import Following
from gateway.evidence.segments import entries_path, frontier_path, journal_path, payload_path
from gateway.model import Json


def check_gaps(log: Following) -> None:
    """Say what records were given up."""
    for seq, _, entry in log.said.get("gap", ()):
        log.find("incomplete", seq, f"records were given up here: {entry.get('why')}")


def check_segments(log: CheckedLog) -> None:
    """Compare the files of each segment with what the log recorded of them when they were made."""
    directory, find = log.directory, log.state.find
    archives = {str(one.entry.get("segment")): one.entry for one in log.state.said.get("archive", ())}
    for seq in log.state.emptied:
        find("tampered", seq, "its payload is gone and no erasure says so")
    for number in log.state.unpaid:
        find("tampered", None, f"payload/{payload_path(directory, number).name} is missing and no erasure says so")
    if log.pruned and not _pruned(log):
        find("incomplete", 0, f"segments up to {log.pruned} are missing, and no record says that they were pruned")
    for before, number in pairwise(log.segments):
        if number != before + 1:
            find("incomplete", None, f"segments between {before} and {number} are missing")
    for number in log.segments:
        told = archives.get(entries_path(directory, number).stem)
        if told is not None:
            _compare(log, number, told)
        elif not journal_path(directory, number).exists():
            find("incomplete", None, f"segment {number} is there and no record says that it was made")
    present = {entries_path(directory, number).stem for number in log.segments}
    for name in sorted(archives.keys() - present):
        number = int(name[4:]) if name[4:].isdecimal() else 0
        if number > log.pruned and not journal_path(directory, number).exists():
            first = archives[name].get("first")
            find("incomplete", first if isinstance(first, int) else None, f"segment {name} is missing")


def _pruned(log: CheckedLog) -> bool:
    """Say whether a record says that the last segment before those that are there was taken away."""
    name = f"logs/{log.directory.name}/entries/{entries_path(log.directory, log.pruned).name}"
    for one in log.state.said.get("erasure", ()):
        files = one.entry.get("files")
        for file in files if isinstance(files, list) else []:
            if isinstance(file, dict) and file.get("file") == name and file.get("new") == "":
                log.state.find("note", one.seq, f"segments up to {log.pruned} were pruned; the tree proves the rest")
                return True
    return False


def _compare(log: CheckedLog, number: int, told: dict[str, Json]) -> None:
    first = told.get("first")
    seq = first if isinstance(first, int) else None
    for field, place in {"blake3": entries_path, "payload": payload_path, "frontier": frontier_path}.items():
        path = place(log.directory, number)
        if path not in log.digests:
            if field != "payload":
                log.state.find("incomplete", seq, f"{path.parent.name}/{path.name} is missing")
        elif log.digests[path] != told.get(field):
            what = f"{path.parent.name}/{path.name} is not the file that was recorded when it was made"
            log.state.find("tampered", seq, what)


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
        log.find("note", None, f"torn/{name} waits for the next start to name it")


def _check_torn_file(place: Path, log: Following, seq: int, told: dict[str, Json]) -> None:
    name = str(told.get("file"))
    path = place / name
    if path.parent != place or not path.is_file():
        log.find("incomplete", seq, f"torn/{name}, which this start names, is not there")
        return
    content = path.read_bytes()
    if len(content) != told.get("length") or blake3(content).hexdigest() != told.get("blake3"):
        log.find("tampered", seq, f"torn/{name} is not what this start found after the crash")
    elif b"\n" in content and b"\0" not in content.split(b"\n")[0] and not log.said.get("gap"):
        log.find("tampered", seq, f"torn/{name} holds a whole line: a crash leaves only part of one")
    else:
        log.find("note", seq, f"a crash left {len(content)} unfinished bytes behind, kept in torn/{name}")
