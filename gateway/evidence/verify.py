"""Checking evidence again from its bytes alone, without the journal's code that wrote it.

Promises one finding for each thing wrong, with log, sequence number and what: a changed, missing, repeated or moved
entry, a payload that is not the one committed to, a quote that points nowhere, a session without an end, a column of a
segment that is not what its entry says. Reads only, from any copy, and never trusts a value for memory or path. What
was written after the last line it read is not covered.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from gateway.errors import EvidenceFault
from gateway.evidence.between_logs import check_quotes, erased, gathered
from gateway.evidence.checked_log import CheckedLog
from gateway.evidence.cosigned_check import check_cosignatures
from gateway.evidence.files_check import check_gaps, check_originals, check_segments, check_torn
from gateway.evidence.findings import Progress, Report
from gateway.evidence.live_rows import AT_ONCE
from gateway.evidence.segment_tasks import worked
from gateway.evidence.segments import journal_path
from gateway.evidence.skimming import skim_lines
from gateway.evidence.sources import journal_lines
from gateway.evidence.stamped_check import check_stamps
from gateway.evidence.witness_check import read_material

_STEP = 4 << 20
"""Bytes of lines followed together, at most."""


def verify(
    directory: Path,
    quick: bool = False,
    progress: Progress | None = None,
    witness: Path | None = None,
    jobs: int | None = None,
) -> Report:
    """Check the evidence directory, or a copy of it; `witness` is a file of what a witness or a sink kept of it.

    `quick` leaves out commitments to payloads, takes segments by their digests, as the log recorded them, and by the
    signed tree at their ends, and live records that a checkpoint covers by their bytes. `jobs` processes share the
    segments, one for each core unless told otherwise. Raises `EvidenceFault` where there is nothing to check or it
    cannot be read.
    """
    try:
        return _Check(directory, quick, progress, witness, jobs).run()
    except OSError as fault:
        raise EvidenceFault(f"{directory} cannot be read: {fault.strerror or fault}") from fault


class _Check:
    def __init__(
        self, directory: Path, quick: bool, progress: Progress | None, witness: Path | None, jobs: int | None
    ) -> None:
        paths = sorted(path for path in (directory / "logs").glob("*") if path.is_dir())
        if not paths:
            raise EvidenceFault(f"{directory} holds no log; give the gateway's state_dir/evidence")
        self._directory, self._quick, self._progress, self._jobs = directory, quick, progress, jobs
        self._material = None if witness is None else read_material(witness)
        self._logs = [CheckedLog(path, quick=quick) for path in paths]
        self._done = self._total = 0

    def run(self) -> Report:
        for log in self._logs:
            if self._material is not None:
                for size, root in self._material.of(log.directory.name, log.signatures.verifier).roots.items():
                    log.signatures.witnessed(size, root)
            log.begin()
        tasks = [task for log in self._logs for task in log.tasks()]
        journals = [journal_path(log.directory, number) for log in self._logs for number in log.journals]
        self._total = sum(task.size for task in tasks) + sum(path.stat().st_size for path in journals)
        with closing(worked(tasks, self._jobs)) as results:
            for log in self._logs:
                for task in log.tasks():
                    log.take(task, next(results))
                    self._advance(task.size)
                for number in log.journals:
                    self._journal(log, journal_path(log.directory, number), last=number == log.journals[-1])
                    log.reached()
        return self._report()

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _journal(self, checked: CheckedLog, path: Path, *, last: bool) -> None:
        before, log = self._done, checked.state
        signed = (checked.signatures.signed or 0) if self._quick else 0
        lines, gathered = list[bytes](), 0
        for raw, whole in journal_lines(path):
            if whole:
                lines.append(raw)
                gathered += len(raw)
                if len(lines) == AT_ONCE or gathered > _STEP:
                    skim_lines(log, lines, signed)
                    self._advance(gathered)
                    lines, gathered = [], 0
                continue
            skim_lines(log, lines, signed)
            lines = []
            if last and b"\n" not in raw:
                what = f"{path.name} ends in a line that is not whole ({len(raw)} bytes): being written, or torn"
                log.find("note", log.expected, what)
            else:
                log.find("tampered", log.expected, f"{path.name} goes on after a broken line")
        skim_lines(log, lines, signed)
        log.sealed.close(int(path.stem), log.expected - 1)
        self._done = before
        self._advance(path.stat().st_size)

    def _report(self) -> Report:
        """Check what lies beside the records, and what one log says of another."""
        decisions = gathered(log.state for log in self._logs)
        erasures = erased(log.state for log in self._logs)
        pruned = {log.state.name: log.first for log in self._logs}
        for log in self._logs:
            check_gaps(log.state)
            check_segments(log, erasures)
            check_originals(log, erasures)
            check_torn(log.directory, log.state)
            log.finish()
            check_quotes(log.state, decisions, pruned)
        roots = {log.state.name: log.signatures.held for log in self._logs}
        sizes = {log.state.name: log.state.expected for log in self._logs}
        check_cosignatures([log.state for log in self._logs], self._directory, roots, sizes)
        check_stamps(self._logs, self._directory, roots)
        report = Report()
        for log in self._logs:
            state, signatures = log.state, log.signatures
            named = {log.directory.name: state.name}  # what was found before the log said its name
            report.findings += [replace(one, log=named.get(one.log, one.log)) for one in state.findings]
            report.records += state.records
            report.heads[state.name] = (state.expected, state.chain.value.hex())
            if signatures.verifier is not None and signatures.signed is not None:
                name = signatures.verifier.name
                report.keys[name], report.signed[name] = str(signatures.verifier), signatures.signed
        if self._material is not None:
            compared = {log.signatures.origin or log.state.name: log.signatures.compared for log in self._logs}
            report.witnessed = compared
            report.findings.extend(self._material.findings(compared))
        return report
