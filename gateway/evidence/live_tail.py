"""Following the journal files of a log that are not archived: what is live, to the last whole line.

Promises one finding for what stands after a broken line, and a note for a last line that is being written or torn.
Reads those files and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.evidence.entry import Malformed, parse_loosely
from gateway.evidence.following import Following
from gateway.evidence.live_rows import follow_lines
from gateway.evidence.segments import journal_path
from gateway.evidence.skimming import skim_lines
from gateway.evidence.sources import journal_blocks


def follow_journals(log: Following, directory: Path, numbers: Sequence[int], signed: int = 0) -> None:
    """Follow journal files of the log in `directory`, which begin where `log` stands; findings are in `log`.

    The first `signed` records of the log are taken by their bytes: a checkpoint that holds covers them.
    """
    for number in numbers:
        path = journal_path(directory, number)
        for lines, whole in journal_blocks(path):
            if whole:
                skim_lines(log, lines, signed)
            elif number == numbers[-1] and b"\n" not in lines[0] and b"\r" not in lines[0]:
                what = f"{path.name} ends in a line that is not whole ({len(lines[0])} bytes): being written, or torn"
                log.find("note", log.expected, what)
                if _shown(lines[0]):
                    follow_lines(log, lines)
            else:
                log.find("tampered", log.expected, f"{path.name} goes on after a broken line")
        log.sealed.close(number, log.expected - 1)


def _shown(raw: bytes) -> bool:
    """Say whether a last line lacks its line feed alone: views show it, so it has to be what it says.

    One whose payload is not as long as its entry says is what a crash leaves, and views leave it out.
    """
    fields = raw.split(b"\t")
    if len(fields) != 4 or b"\0" in raw:
        return False
    _, salt, encoded, payload = fields
    try:
        entry = parse_loosely(encoded)
    except Malformed:
        return False
    return "seq" in entry and (len(payload) == entry.get("plen", 0) or not (salt or payload))
