"""Receipts in decisions, held against the keys that signed them: for `verify`.

Promises a finding for a receipt that the gateway did not sign with the key of its log, that is of another decision than
its record, or that is not what the person signed who is said to have. Believes `log.pub` and the allowed signer in the
record, which a reader has to compare with the keys that were given on another way. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.approval.signatures import BadSignature, public_key, read_key, verify
from gateway.control.receipts import COUNTERSIGNED
from gateway.evidence.entry import Malformed, parse_loosely
from gateway.evidence.findings import Grade
from gateway.evidence.following import Following
from gateway.evidence.note import Verifier
from gateway.model import Json


def check_receipts(log: Following, key: Verifier | None) -> None:
    """Check the receipts in the decisions of a log; `key` is its own. Without a key it can have signed none."""
    if key is None:
        return
    for seq, entry, payload in log.receipts:
        try:
            told = parse_loosely(payload)
            fault = _fault(entry, told, str(told.get("receipt")), key)
        except Malformed as malformed:
            fault = ("tampered", f"its receipt cannot be read: {malformed}")
        if fault is not None:
            log.find(fault[0], seq, fault[1])


def _fault(entry: Mapping[str, Json], told: Mapping[str, Json], text: str, key: Verifier) -> tuple[Grade, str] | None:
    """Return what is wrong with a receipt, if anything. Raises `Malformed` for what is none."""
    content = parse_loosely(text.encode())
    if (content.get("approval"), content.get("operation_hash")) != (entry.get("approval"), entry.get("oh")):
        return "tampered", "its receipt is of another decision"
    countersigned = told.get("countersignature")
    if not isinstance(countersigned, str):
        return "incomplete", "its receipt is not signed by the gateway"
    try:
        verify(text.encode(), countersigned, [public_key(key.key)], COUNTERSIGNED)
    except BadSignature as bad:
        return "tampered", f"its receipt is not the one that the gateway signed: {bad}"
    signature, signer = told.get("signature"), str(told.get("signer")).split(" ", 2)
    if signature is None:
        return None
    try:
        verify(text.encode(), str(signature), [read_key(signer[-1])])
    except BadSignature as bad:
        return "tampered", f"its receipt is not what {signer[0]} signed: {bad}"
    return None
