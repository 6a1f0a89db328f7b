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
from gateway.evidence.places_check import no_files
from gateway.evidence.receipts_check import check_receipts
from gateway.evidence.segment_rows import connect
from gateway.evidence.segment_tasks import worked
from gateway.evidence.stamped_check import check_stamps
from gateway.evidence.strays_check import check_strays
from gateway.evidence.witness_check import read_material


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
        if found := no_files(directory):
            return Report(found)
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

    def run(self) -> Report:
        for log in self._logs:
            if self._material is not None:
                for size, root in self._material.of(log.directory.name, log.signatures.verifier).roots.items():
                    log.signatures.witnessed(size, root)
            log.begin()
        tasks = [(log, task) for log in self._logs for task in log.tasks()]
        total, done = sum(task.size for _, task in tasks), 0
        with closing(worked([task for _, task in tasks], self._jobs)) as results:
            for log, task in tasks:
                log.take(task, next(results))
                done += task.size
                if self._progress is not None:
                    self._progress(min(done, total), total)
        return self._report()

    def _report(self) -> Report:
        """Check what lies beside the records, and what one log says of another."""
        decisions = gathered(log.state for log in self._logs)
        erasures = erased(log.state for log in self._logs)
        pruned = {log.state.name: log.first for log in self._logs}
        with connect() as database:  # one for all: to open it takes as long as to check a quick log
            for log in self._logs:
                check_gaps(log.state)
                check_segments(log, erasures)
                check_originals(log, erasures)
                check_torn(log.directory, log.state)
                check_strays(log, database)
                log.finish()
                check_quotes(log.state, decisions, pruned)
                check_receipts(log.state, log.signatures.verifier)
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
