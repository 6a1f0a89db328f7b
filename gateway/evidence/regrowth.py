"""Proofs that a log only grew, read from its files: after a restart, or where a witness was away for long.

Promises to read no more than from the last segment's end before the old size on. A short process of its own, at low
priority: DuckDB never runs in one that carries traffic.

`python -P -m gateway.evidence.regrowth DIR OLD NEW` prints the proof for the log in DIR, a base64 line a hash.
"""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import duckdb

from gateway.errors import EvidenceFault
from gateway.evidence.entry import Malformed, parse_line
from gateway.evidence.frontier import Frontier
from gateway.evidence.growth import whole_subtrees
from gateway.evidence.memory_database import memory_database
from gateway.evidence.proof import consistency_path, roots
from gateway.evidence.segments import entries_path, frontier_path, journal_path, numbers_in
from gateway.evidence.sources import journal_lines, segment_lines
from gateway.evidence.tree import Tree


def prove_growth(directory: Path, old: int, size: int) -> list[bytes]:
    """Return the proof for the log in `directory` from its files. Raises `EvidenceFault`."""
    try:
        with memory_database({"memory_limit": "512MB", "temp_directory": ""}) as database:
            tree, entries = _from_frontier(database, directory, old)
            for entry in islice(entries, old - tree.size):
                tree.append(entry)
            if tree.size != old:
                raise EvidenceFault(f"{directory} holds {tree.size} records, and {old} were signed")
            whole, path = whole_subtrees(tree.state()), consistency_path(old, size)
            new = [one for one in path if one[1] > old]
            later = dict(zip(new, roots(entries, new, old), strict=True))
            return [whole[one] if one in whole else later[one] for one in path]
    except (ValueError, KeyError, Malformed, duckdb.Error, OSError) as fault:
        raise EvidenceFault(f"{directory}: no proof from {old} to {size}: {str(fault).splitlines()[0]}") from None


def _from_frontier(database: duckdb.DuckDBPyConnection, directory: Path, size: int) -> tuple[Tree, Iterator[bytes]]:
    """Return the tree at the end of the last segment before `size`, and the entries from there on."""
    segments, journals = numbers_in(directory)
    tree, after = Tree(), 0
    for number in segments:
        path = frontier_path(directory, number)
        frontier = Frontier.parse(path.read_bytes()) if path.exists() else None
        if frontier is None or frontier.size > size:
            break
        tree, after = Tree(frontier.tree), number

    def entries() -> Iterator[bytes]:
        for number in segments:
            if number > after:
                for raw in segment_lines(database, entries_path(directory, number), None):
                    yield parse_line(raw).entry
        for number in journals:
            for raw, whole in journal_lines(journal_path(directory, number)):
                if not whole:
                    return
                yield parse_line(raw).entry

    return tree, entries()


def main(arguments: Sequence[str]) -> int:
    """Print the proof, at low priority."""
    if len(arguments) != 3 or not (arguments[1].isdecimal() and arguments[2].isdecimal()):
        sys.stderr.write("usage: python -P -m gateway.evidence.regrowth DIR OLD NEW\n")
        return 2
    os.nice(10)
    try:
        found = prove_growth(Path(arguments[0]), int(arguments[1]), int(arguments[2]))
    except EvidenceFault as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    sys.stdout.write("".join(f"{b64encode(one).decode()}\n" for one in found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
