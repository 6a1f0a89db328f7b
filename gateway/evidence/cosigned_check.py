"""What `witness` records say, held against the logs and the witnesses' keys: for `verify`.

Promises a finding for a cosignature that does not hold, or that is over another log than the one that is here, and a
note where the witness's clock and the gateway's were far apart. Believes `witness.pub` beside the logs, which a reader
has to compare with the keys that were given on another way.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.evidence.cosignature import CosignerKey
from gateway.evidence.entry import Malformed, parse_time
from gateway.evidence.following import Following
from gateway.evidence.note import Checkpoint
from gateway.evidence.storage import DiskStorage
from gateway.model import Json

_KEYS = 1 << 20
"""Bytes of `witness.pub`, at most."""
APART = 600_000_000
"""Microseconds between the witness's time and the record's that are worth a note."""


def check_cosignatures(
    logs: Iterable[Following], evidence: Path, roots: Mapping[str, Mapping[int, bytes]], sizes: Mapping[str, int]
) -> None:
    """Check the `witness` records of all logs. `roots`: of each log, as they were compared; `sizes`: its records."""
    keys, known = _keys(evidence), set[str]()
    for log in logs:
        for seq, _, entry in log.said.get("witness", ()):
            if "stamp" in entry and str(entry.get("witness")) not in keys:
                continue  # a time stamp: `stamped_check` looks at it
            name, origin, size = str(entry.get("witness")), str(entry.get("origin")), entry.get("size")
            if not isinstance(size, int):
                log.find("tampered", seq, "its size is not a number")
                continue
            if size > sizes.get(origin, size):
                log.find("incomplete", seq, f"a witness signed {size} records of {origin}, which has {sizes[origin]}")
            elif (root := roots.get(origin, {}).get(size)) is not None and root.hex() != entry.get("root"):
                log.find("tampered", seq, f"a witness signed another log of {size} records than {origin} is")
            if name in keys:
                _check(log, seq, entry, keys[name])
            elif name not in known:
                known.add(name)
                log.find("note", seq, f"the key of witness {name} is not in witness.pub: not checked")


def _keys(evidence: Path) -> dict[str, CosignerKey]:
    path = evidence / "witness.pub"
    found = {}
    for line in DiskStorage().read(path, 0, _KEYS).decode("utf-8", "replace").split("\n") if path.exists() else ():
        try:
            key = CosignerKey.parse(line)
        except Malformed:
            continue  # said where a record needs it
        found[key.name] = key
    return found


def _check(log: Following, seq: int, entry: Mapping[str, Json], key: CosignerKey) -> None:
    try:
        root = bytes.fromhex(str(entry.get("root")))
        blob = base64.b64decode(str(entry.get("cosignature")), validate=True)
        at = key.time(Checkpoint(str(entry.get("origin")), int(str(entry.get("size"))), root), blob)
        apart = abs(parse_time(str(entry.get("ts"))) - (at or 0) * 1_000_000)
    except (ValueError, binascii.Error, Malformed):
        at, apart = None, 0
    if at is None:
        log.find("tampered", seq, f"the cosignature of {key.name} does not hold")
    elif apart > APART:
        log.find("note", seq, f"the clock of {key.name} and that of this log were {apart // 1_000_000} s apart")
