"""Where archived records lie: numbers, names and which file holds what, told from names alone.

Promises one meaning for each number: journal file N becomes segment N, and a segment counts once its entries file has
its name; until the journal file is removed, both hold the same records and the segment is the one that is read. Reads
directories only; never opens a segment, so that the gateway's own process needs no DuckDB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_JOURNAL = re.compile(r"([0-9]{8})\.tsv")
_SEGMENT = re.compile(r"seg-([0-9]{8})\.parquet")


def journal_name(number: int) -> str:
    """Return the name of journal file `number`, from 1; number 0 is the permanent, empty one that views rely on."""
    return f"{number:08}.tsv"


def segment_name(number: int) -> str:
    """Return the name of a segment's file, the same in `entries/` and `payload/`; number 0 is permanent and empty.

    Its name comes after all others: DuckDB takes the first file for the measure of all when it plans a query.
    """
    return f"seg-{number:08}.parquet" if number else "seg-empty.parquet"


def journal_numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of the journal files among `names`, in order, without the permanent one."""
    return _numbers(_JOURNAL, names)


def segment_numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of the segments among the names of `entries/`, in order, without the permanent one."""
    return _numbers(_SEGMENT, names)


def _numbers(form: re.Pattern[str], names: Iterable[str]) -> list[int]:
    found = (form.fullmatch(name) for name in names)
    return sorted(number for one in found if one is not None and (number := int(one[1])) > 0)


def numbers_in(directory: Path) -> tuple[list[int], list[int]]:
    """Return the numbers of the segments of the log in `directory`, and of its journal files that are not archived."""
    segments = segment_numbers(path.name for path in (directory / "entries").glob("*.parquet"))
    archived = set(segments)
    journals = journal_numbers(path.name for path in (directory / "journal").glob("*.tsv"))
    return segments, [number for number in journals if number not in archived]


def entries_path(directory: Path, number: int) -> Path:
    """Return the file with the entries of segment `number` of the log in `directory`."""
    return directory / "entries" / segment_name(number)


def payload_path(directory: Path, number: int) -> Path:
    """Return the file with the salts and payloads of segment `number`."""
    return directory / "payload" / segment_name(number)


def frontier_path(directory: Path, number: int) -> Path:
    """Return the file that says how the log stood at the end of segment `number`."""
    return directory / "entries" / f"seg-{number:08}.json"


def journal_path(directory: Path, number: int) -> Path:
    """Return journal file `number` of the log in `directory`."""
    return directory / "journal" / journal_name(number)
