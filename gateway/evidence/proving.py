"""`evidence prove` and `evidence check-proof`: one record, shown to somebody who has nothing else of the log.

Promises that a proof file carries all that its check needs, and that the check believes nothing in it but what follows
from the signature of the log's key. Which key that is, the reader compares with the one given on another way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from gateway.errors import ClientFault, EvidenceFault
from gateway.evidence.chain import commitment
from gateway.evidence.checkpoints import sizes
from gateway.evidence.entry import Malformed, parse, parse_line
from gateway.evidence.frontier import Frontier, check_signed
from gateway.evidence.growth import roots_after
from gateway.evidence.memory_database import memory_database
from gateway.evidence.note import Verifier, open_note
from gateway.evidence.proof import audit_path, root_of
from gateway.evidence.segments import frontier_path, numbers_in
from gateway.evidence.sources import log_lines
from gateway.evidence.storage import DiskStorage
from gateway.evidence.tree import TreeState
from gateway.model import Json

LIMIT = 4 << 20
"""Bytes of a proof file, at most."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof shows: the record's exact entry, in which log, under which key, at which size of the log."""

    entry: dict[str, Json]
    log: str
    key: str
    size: int
    payload: str | None


def prove(evidence: Path, record: str, *, payload: bool = False) -> dict[str, Json]:
    """Return the proof of `LOG:SEQ`, or `SEQ` where there is one log; with `payload`, that and its salt come along.

    Raises `ClientFault` for a record that is not there or that no checkpoint covers yet, `EvidenceFault` where the log
    is not what was signed.
    """
    name, _, number = record.rpartition(":")
    directory = _log(evidence, name, record)
    if not number.isascii() or not number.isdecimal():
        raise ClientFault("name a record as LOG:NUMBER, such as gw-1/w1:17", "22023")
    seq, storage = int(number), DiskStorage()
    size = min((one for one in sizes(storage, directory / "checkpoints") if one > seq), default=0)
    if not size:
        raise ClientFault(f"no checkpoint covers record {seq} yet", "22023")
    note, verifier = _signed(directory, size)
    checkpoint, steps = open_note(note, verifier), audit_path(seq, size)
    if "/" in name and name != checkpoint.origin:
        raise ClientFault(f"{record} is of no log here; this one is {checkpoint.origin}", "22023")
    found: list[bytes] = []
    before = _pruned(storage, directory)
    if seq < before.size:
        raise ClientFault(f"record {seq} was pruned; the log begins with {before.size}", "22023")

    def entries() -> Iterator[bytes]:
        with memory_database() as database:
            for at, raw in enumerate(log_lines(database, directory), before.size):
                line = parse_line(raw)
                if at == seq:
                    found.append(raw)
                yield line.entry
                if at == size - 1:
                    return

    try:
        others = roots_after(before, entries(), [(step.low, step.high) for step in steps])
        line = parse_line(found[0])
        if root_of(line.entry, seq, size, others) != checkpoint.root:
            raise Malformed("the records are not those that were signed")  # noqa: TRY301  one place says where
    except (ValueError, IndexError, Malformed, duckdb.Error) as fault:
        raise EvidenceFault(f"{directory}: {fault}; `hoop-gateway evidence verify` says more") from None
    proof: dict[str, Json] = {
        "v": 1,
        "index": seq,
        "entry": line.entry.decode(),
        "path": [one.hex() for one in others],
        "checkpoint": note.decode(),
        "key": str(verifier),
    }
    if payload and line.payload:
        proof |= {"payload": line.payload.decode(), "salt": line.salt.hex()}
    return proof


def _signed(directory: Path, size: int) -> tuple[bytes, Verifier]:
    """Return a checkpoint and the key of the log. Raises `EvidenceFault`."""
    try:
        note, key = directory / "checkpoints" / f"{size}.note", directory / "log.pub"
        verifier = Verifier.parse(DiskStorage().read(key, 0, 4096).decode(errors="replace"))
        return DiskStorage().read(note, 0, 1 << 16), verifier
    except (OSError, Malformed) as fault:
        raise EvidenceFault(f"{directory}: {fault}; `hoop-gateway evidence verify` says more") from None


def _log(evidence: Path, name: str, record: str) -> Path:
    """Return the directory of the log `name`; empty: the only one. Raises `ClientFault`."""
    logs = sorted(path.parent for path in evidence.glob("logs/*/journal"))
    found = [path for path in logs if path.name == name.rpartition("/")[2]] if name else logs
    if not logs:
        raise ClientFault(f"{evidence} holds no log; give the gateway's state_dir/evidence", "22023")
    if not name and len(found) > 1:
        raise ClientFault("there are several logs: name a record as LOG:NUMBER, such as gw-1/w1:17", "22023")
    if not found:
        raise ClientFault(f"{record} is of no log here; there are {', '.join(one.name for one in logs)}", "22023")
    return found[0]


def _pruned(storage: DiskStorage, directory: Path) -> TreeState:
    """Return the tree at the end of what was pruned; an empty one where nothing was."""
    segments, _ = numbers_in(directory)
    path = frontier_path(directory, segments[0] - 1) if segments else directory / "absent"
    if not path.exists():
        return TreeState(0, ())
    frontier = Frontier.parse(path.read_bytes())
    check_signed(storage, directory, frontier.tree)
    return frontier.tree


def check_proof(content: bytes, key: str | None = None) -> Proven:
    """Check a proof file; with `key`, it must be that log's. Raises `EvidenceFault` where it proves nothing."""
    try:
        if len(content) > LIMIT:
            raise Malformed("longer than any proof")  # noqa: TRY301  one place says so
        told = json.loads(content)
        if told["v"] != 1:
            raise Malformed("a proof of another version")  # noqa: TRY301
        verifier = Verifier.parse(str(told["key"]))
        if key is not None and str(verifier) != key.strip():
            raise Malformed(f"signed by {verifier}, which is not the key given")  # noqa: TRY301
        checkpoint = open_note(str(told["checkpoint"]).encode(), verifier)
        encoded, index = str(told["entry"]).encode(), int(told["index"])
        path = [bytes.fromhex(one) for one in told["path"]]
        if root_of(encoded, index, checkpoint.size, path) != checkpoint.root:
            raise Malformed("the record is not in the log that was signed")  # noqa: TRY301
        entry = parse(encoded)
        if entry.get("seq") != index or entry.get("log") != checkpoint.origin:
            raise Malformed("the entry says that it stands elsewhere")  # noqa: TRY301
        payload = told.get("payload")
        if payload is not None and commitment(bytes.fromhex(told["salt"]), payload.encode()) != entry.get("pc"):
            raise Malformed("the payload is not the one that the entry commits to")  # noqa: TRY301
    except Malformed as fault:
        raise EvidenceFault(f"this proves nothing: {fault}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UnicodeEncodeError) as fault:
        raise EvidenceFault(f"this proves nothing: it is no proof ({type(fault).__name__})") from None
    return Proven(entry, checkpoint.origin, str(verifier), checkpoint.size, payload)
