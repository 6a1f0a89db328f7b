"""What `witness` records say of time stamps, held against the stamps and the authority's certificates: for `verify`.

Promises a finding for a stamp that was changed or taken away, that does not hold, or that is over another log than the
one that is here. Believes `tsa.pem` beside the logs, which a reader has to compare with the certificates that were
given on another way. Without the extra `rfc3161` a stamp's bytes are compared with the record, and a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from blake3 import blake3
from cryptography import x509

from gateway.errors import ConfigurationFault
from gateway.evidence import stamp
from gateway.evidence.checked_log import CheckedLog
from gateway.evidence.entry import Malformed
from gateway.evidence.following import Following
from gateway.evidence.storage import DiskStorage
from gateway.model import Json, format_time

_LIMIT = 1 << 20
"""Bytes of a stamp, of a checkpoint and of certificates, at most."""


def check_stamps(logs: Sequence[CheckedLog], evidence: Path, roots: Mapping[str, Mapping[int, bytes]]) -> None:
    """Check the stamps that the `witness` records of all logs tell of. `roots`: of each log, as they were compared."""
    told = [(log.state, said) for log in logs for said in log.state.said.get("witness", ()) if "stamp" in said.entry]
    if not told:
        return
    of, certificates = {log.state.name: log for log in logs}, _certificates(evidence, told[0][0])
    for log, (seq, _, entry) in told:
        origin, size = str(entry.get("origin")), entry.get("size")
        if not isinstance(size, int) or origin not in of:
            log.find("tampered", seq, "a time stamp of no checkpoint of these logs")
        elif size > of[origin].state.expected:
            have = of[origin].state.expected
            log.find("incomplete", seq, f"{size} records of {origin} were stamped, which has {have}")
        elif (root := roots.get(origin, {}).get(size)) is not None and root.hex() != entry.get("root"):
            log.find("tampered", seq, f"what was stamped is another log of {size} records than {origin} is")
        elif size >= of[origin].first:
            _check(log, seq, entry, of[origin].directory / "checkpoints" / f"{size}.tsr", certificates)


def _certificates(evidence: Path, log: Following) -> tuple[x509.Certificate, ...]:
    """Return what stamps are checked with; a note where that cannot be done."""
    try:
        stamp.must_have_client()
        return stamp.read_certificates(DiskStorage().read(evidence / "tsa.pem", 0, _LIMIT))
    except ConfigurationFault:
        log.find("note", None, "time stamps: only their digests were checked; pip install 'hoop-tui[rfc3161]' for more")
    except (OSError, Malformed):
        log.find("note", None, "time stamps: only their digests were checked; tsa.pem holds no certificate to do more")
    return ()


def _check(
    log: Following, seq: int, entry: Mapping[str, Json], path: Path, certificates: Sequence[x509.Certificate]
) -> None:
    place = f"checkpoints/{path.name} of {entry.get('origin')}"
    try:
        found, note = DiskStorage().read(path, 0, _LIMIT), DiskStorage().read(path.with_suffix(".note"), 0, _LIMIT)
    except OSError:
        log.find("incomplete", seq, f"the time stamp {place}, or its checkpoint, is gone")
        return
    if blake3(found).hexdigest() != entry.get("stamp"):
        log.find("tampered", seq, f"the time stamp {place} is not the one that was recorded")
    elif certificates:
        try:
            at = stamp.check(found, note, certificates)
        except Malformed as fault:
            log.find("tampered", seq, f"{place}: {fault}")
        else:
            if format_time(at) != entry.get("at"):
                log.find("tampered", seq, f"{place} was made at {format_time(at)}, which is not what is recorded")
