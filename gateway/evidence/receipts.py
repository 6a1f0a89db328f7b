"""The receipts of a decision, read from the evidence: live or archived, of a running gateway or a copy.

Promises what the records hold and nothing else: the exact text that was signed, its signature, and the key that was
allowed to sign at that time. Reads only; whether the evidence itself is whole is `evidence verify`'s to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import EvidenceFault
from gateway.evidence.entry import Malformed, parse_line, parse_loosely
from gateway.evidence.memory_database import memory_database
from gateway.evidence.note import Verifier
from gateway.evidence.sources import log_lines

_DECISIONS = ("agreed", "approved", "refused")


@dataclass(frozen=True, slots=True)
class Receipted:
    """One person's decision as its record has it."""

    log: str
    seq: int
    decision: str
    approver: str
    assurance: str
    text: str
    signature: str | None
    signer: str | None
    countersignature: str | None
    """The gateway's own, by the key of its control log."""


def log_key(evidence: Path) -> Verifier | None:
    """Return the control log's public key with its name, None where the evidence has none. Raises `EvidenceFault`."""
    path = evidence / "logs" / "control" / "log.pub"
    try:
        return Verifier.parse(path.read_text())
    except FileNotFoundError:
        return None
    except (Malformed, UnicodeDecodeError):
        raise EvidenceFault(f"{path} holds no key; restore it") from None


def receipts_of(evidence: Path, approval: str) -> tuple[Receipted, ...]:
    """Return the receipts of `approval` in the order of their records. Raises `EvidenceFault` for no evidence."""
    control = evidence / "logs" / "control"
    if not control.is_dir():
        raise EvidenceFault(f"{evidence} holds no log; give the gateway's state_dir/evidence")
    with memory_database() as database:
        return tuple(_found(log_lines(database, control), approval))


def _said(text: str) -> tuple[str, str]:
    """Return who decided and how surely they were known, by the receipt itself: a record may name several people."""
    try:
        content = json.loads(text)
        return str(content["approver"]["name"]), str(content["assurance"])
    except (ValueError, KeyError, TypeError):
        return "nobody that it names", "unknown"


def _found(lines: Iterator[bytes], approval: str) -> Iterator[Receipted]:
    wanted = f'"approval":"{approval}"'.encode()
    for raw in lines:
        if wanted not in raw or b'"kind":"decision"' not in raw:
            continue
        try:
            line = parse_line(raw)
            entry = parse_loosely(line.entry)
            payload = parse_loosely(line.payload) if line.payload else {}
        except Malformed:
            continue
        text, seq = payload.get("receipt"), entry.get("seq")
        if entry.get("approval") != approval or entry.get("decision") not in _DECISIONS or not isinstance(text, str):
            continue
        signature, signer, countersigned = (payload.get(key) for key in ("signature", "signer", "countersignature"))
        said = _said(text)
        yield Receipted(
            log=str(entry.get("log")),
            seq=seq if isinstance(seq, int) else -1,
            decision=str(entry.get("decision")),
            approver=said[0],
            assurance=said[1],
            text=text,
            signature=signature if isinstance(signature, str) else None,
            signer=signer if isinstance(signer, str) else None,
            countersignature=countersigned if isinstance(countersigned, str) else None,
        )
