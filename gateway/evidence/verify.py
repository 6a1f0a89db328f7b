"""Checking evidence again from its bytes alone, without the journal's code that wrote it.

Promises one finding for each thing wrong, with log, sequence number and what: a changed, missing, repeated or moved
entry, a payload that is not the one committed to, a quote that points nowhere, a session without an end, a column of a
segment that is not what its entry says. Reads only, from any copy, and never trusts a value for memory or path. What
was written after the last line it read is not covered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from blake3 import blake3

from gateway.errors import EvidenceFault
from gateway.evidence import columns
from gateway.evidence.entry import Malformed, parse_loosely
from gateway.evidence.findings import Finding, Report
from gateway.evidence.following import Decisions, Following
from gateway.evidence.frontier import Frontier
from gateway.evidence.originals import originals_path
from gateway.evidence.originals_check import Erasures
from gateway.evidence.segments import entries_path, frontier_path, journal_path, numbers_in, payload_path
from gateway.evidence.sources import journal_lines, segment_lines
from gateway.evidence.views import located
from gateway.evidence.witness_check import read_material

if TYPE_CHECKING:
    import duckdb

Progress: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""
_STEP = 1 << 20
_SHOWN = 20
"""Findings of one kind in one segment, at most: a column that is wrong in every row is one fault."""


def verify(
    directory: Path, quick: bool = False, progress: Progress | None = None, witness: Path | None = None
) -> Report:
    """Check the evidence directory, or a copy of it; `witness` is a file of what a witness or a sink kept of it.

    `quick` leaves out commitments to payloads, and takes segments by their digests, as the log recorded them, and by
    the signed tree at their ends. Raises `EvidenceFault` where there is nothing to check or it cannot be read.
    """
    try:
        return _Check(directory, quick, progress, witness).run()
    except OSError as fault:
        raise EvidenceFault(f"{directory} cannot be read: {fault.strerror or fault}") from fault


class _Check:
    def __init__(self, directory: Path, quick: bool, progress: Progress | None, witness: Path | None) -> None:
        self._logs = sorted(path for path in (directory / "logs").glob("*") if path.is_dir())
        if not self._logs:
            raise EvidenceFault(f"{directory} holds no log; give the gateway's state_dir/evidence")
        self._quick, self._progress = quick, progress
        self._report = Report()
        self._material = None if witness is None else read_material(witness)
        self._done = self._total = 0
        self._database: duckdb.DuckDBPyConnection | None = None

    def run(self) -> Report:
        numbers = [numbers_in(directory) for directory in self._logs]
        for directory, (segments, journals) in zip(self._logs, numbers, strict=True):
            paths = [find(directory, one) for one in segments for find in (entries_path, payload_path)]
            paths += [journal_path(directory, one) for one in journals]
            self._total += sum(path.stat().st_size for path in paths if path.exists())
        logs = []
        for directory, (segments, journals) in zip(self._logs, numbers, strict=True):
            log = Following(directory, self._report, quick=self._quick)
            logs.append(log)
            if self._material is not None:
                for size, root in self._material.of(directory.name, log.signatures.verifier).roots.items():
                    log.signatures.witnessed(size, root)
            for number in segments:
                self._segment(log, number)
            for number in journals:
                self._journal(log, journal_path(directory, number), last=number == journals[-1])
            log.finish()
            _check_torn(log)
            if log.signatures.verifier is not None and log.signatures.signed is not None:
                name = log.signatures.verifier.name
                self._report.keys[name], self._report.signed[name] = str(log.signatures.verifier), log.signatures.signed
        decisions = {place: said for log in logs for place, said in log.decisions.items()}
        erasures = Erasures()
        for entry in sorted((one for log in logs for one in log.erasures), key=lambda one: str(one.get("ts"))):
            erasures.take(entry)
        for log, (segments, journals) in zip(logs, numbers, strict=True):
            _check_archives(log, segments, erasures)
            log.explain(erasures)
            log.sealed.finish(erasures, [*segments, *journals])
            _check_quotes(log, decisions, self._report)
        if self._material is not None:
            seen = self._report.witnessed = {log.signatures.origin or log.name: log.signatures.compared for log in logs}
            self._report.findings.extend(self._material.findings(seen))
        return self._report

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _journal(self, log: Following, path: Path, *, last: bool) -> None:
        before, read = self._done, 0
        for raw, whole in journal_lines(path):
            read += len(raw)
            if read > _STEP:
                self._advance(read)
                read = 0
            if whole:
                log.line(raw)
            elif last and b"\n" not in raw:
                what = f"{path.name} ends in a line that is not whole ({len(raw)} bytes): being written, or torn"
                log.find("note", log.expected, what)
            else:
                log.find("tampered", log.expected, f"{path.name} goes on after a broken line")
        log.sealed.close(int(path.stem))
        self._done = before
        self._advance(path.stat().st_size)

    def _segment(self, log: Following, number: int) -> None:
        import duckdb

        entries, payload = entries_path(log.directory, number), payload_path(log.directory, number)
        sizes = sum(path.stat().st_size for path in (entries, payload) if path.exists())
        if self._database is None:
            self._database = duckdb.connect(config={"memory_limit": "2GB", "temp_directory": ""})
        if not payload.exists():
            log.find("tampered", log.expected, f"payload/{payload.name} is missing and no erasure says so")
        log.payloads = payload.exists()
        try:
            if self._quick:
                self._skip(log, number)
            else:
                for raw in segment_lines(self._database, entries, payload if log.payloads else None):
                    log.line(raw)
                log.sealed.close(number)
                segment = f"{log.directory.name}/{number:08}"
                untrue = self._database.execute(columns.untrue(located(entries), segment)).fetchmany(_SHOWN)
                for (seq,) in untrue:
                    log.find("tampered", seq, f"a column of entries/{entries.name} is not what its entry says")
                if log.payloads and self._database.execute(columns.stray(located(payload), segment)).fetchone():
                    log.find("tampered", None, f"payload/{payload.name} says that it is of another segment")
        except (duckdb.Error, Malformed) as fault:
            log.unreadable(f"segment {entries.name} cannot be read: {str(fault).splitlines()[0]}")
        log.payloads = True
        self._advance(sizes)

    def _skip(self, log: Following, number: int) -> None:
        """Take a segment by its frontier, and by the `archive` records in it."""
        path = entries_path(log.directory, number)
        frontier = frontier_path(log.directory, number)
        if not frontier.exists():
            raise Malformed(f"{frontier.name} is missing")
        log.skip(Frontier.parse(frontier.read_bytes()))
        if self._database is not None:
            sql = f"SELECT entry FROM read_parquet({located(path)}) WHERE kind IN ('archive', 'erasure', 'key')"  # noqa: S608  our path
            for (entry,) in self._database.execute(sql).fetchall():
                log.told(parse_loosely(str(entry).encode()))


def _check_archives(log: Following, segments: list[int], erasures: Erasures) -> None:
    """Compare the files of each segment with what the log recorded of them when they were made, or since erased."""
    for number in segments:
        places = {"blake3": entries_path, "payload": payload_path, "frontier": frontier_path}
        places |= {"originals": originals_path}
        told = log.archives.get(entries_path(log.directory, number).stem)
        if told is None:
            if not journal_path(log.directory, number).exists():
                log.find("incomplete", None, f"segment {number} is there and no record says that it was made")
            continue
        for field, place in places.items():
            path = place(log.directory, number)
            file = f"logs/{log.directory.name}/{path.parent.name}/{path.name}"
            digest = blake3().update_mmap(path).hexdigest() if path.exists() else ""
            if digest == erasures.after(file, str(told.get(field) or "")):
                continue
            if not digest:
                if field != "payload":
                    log.find("incomplete", None, f"{path.parent.name}/{path.name} is missing")
            elif erasures.before(file, digest):
                log.find("incomplete", None, f"{path.parent.name}/{path.name} was to be rewritten, as an erasure says")
            else:
                what = f"{path.parent.name}/{path.name} is not the file that was recorded when it was made"
                log.find("tampered", None, what)

    present = {entries_path(log.directory, number).stem for number in segments}
    for name in sorted(set(log.archives) - present):
        if not (log.directory / "journal" / f"{name.removeprefix('seg-')}.tsv").exists():
            log.find("incomplete", None, f"segment {name} was recorded and is not there")


def _check_torn(log: Following) -> None:
    """Check what crashes left behind against what the starts after them said."""
    place = log.directory / "torn"
    for name, (length, digest) in log.torn.items():
        path = place / name
        if path.parent != place or not path.is_file():
            log.find("incomplete", None, f"torn/{name}, which a start names, is not there")
            continue
        content = path.read_bytes()
        if len(content) != length or blake3(content).hexdigest() != digest:
            log.find("tampered", None, f"torn/{name} is not what the start after the crash found")
        elif b"\n" in content and b"\0" not in content.split(b"\n")[0] and not log.gap:
            log.find("tampered", None, f"torn/{name} holds a whole line: a crash leaves only part of one")
        else:
            log.find("note", None, f"a crash left {length} unfinished bytes behind, kept in torn/{name}")
    names = {path.name for path in place.glob("[!.]*")} if place.is_dir() else set()
    for name in sorted(names - set(log.torn)):
        log.find("note", None, f"torn/{name} waits for the next start to name it")


def _check_quotes(log: Following, decisions: Decisions, report: Report) -> None:
    """Check that what was released is what was approved: the quoted entry itself, its approval and its hash."""
    for seq, entry in log.quotes:
        quote = entry["quote"] if isinstance(entry["quote"], dict) else {}
        number = quote.get("seq")
        place = (str(quote.get("log")), number if isinstance(number, int) else -1)
        chain, decision = decisions.get(place, ("", {}))
        if not decision:
            what = f"it quotes the decision {place[0]}:{place[1]}, which is not there"
            report.findings.append(Finding("incomplete", log.name, seq, what))
        elif (
            chain != quote.get("chain")
            or decision.get("decision") != "approved"
            or any(entry.get(name) != decision.get(name) for name in ("approval", "oh") if name in entry)
        ):
            what = f"{place[0]}:{place[1]} is not the approval of what it released"
            report.findings.append(Finding("tampered", log.name, seq, what))
