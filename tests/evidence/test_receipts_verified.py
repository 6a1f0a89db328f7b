"""`evidence verify` holds the receipts in decisions against the keys of the gateway and of whoever decided."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from evidence_samples import CONTROL, session
from test_archiving import opened, run

from gateway.approval.signatures import public_key, sign
from gateway.control.receipts import COUNTERSIGNED, NAMESPACE
from gateway.evidence import journal, record
from gateway.evidence.checkpoints import load_key
from gateway.evidence.findings import Finding
from gateway.evidence.storage import DiskStorage
from gateway.evidence.verify import verify
from gateway.model import ApprovalId, DecisionKind, HoldRequest, Micros, OperationHash

HASH = OperationHash("0f" * 32)
HOLD = HoldRequest(ApprovalId("a-1"), session(), HASH, "DELETE", (), "delete", "r", "", (), Micros(1), Micros(2))
RECEIPT = json.dumps({"approval": "a-1", "operation_hash": HASH}, sort_keys=True, separators=(",", ":"))
DANA, ELSE = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
SIGNER = public_key(DANA.public_key().public_bytes_raw()).line("dana")


def decided(place: Path, changes: dict[str, str | None], *, archived: bool = False) -> list[Finding]:
    """Write a decision whose receipt is as it should be but for `changes`, and verify."""
    log = opened(place, CONTROL)
    key = load_key(DiskStorage(), place / "keys" / "log-control.pem")
    receipt: dict[str, str | None] = {
        "receipt": RECEIPT,
        "countersignature": sign(RECEIPT.encode(), key, COUNTERSIGNED),
        "signature": sign(RECEIPT.encode(), DANA, NAMESPACE),
        "signer": SIGNER,
        **changes,
    }
    if receipt["countersignature"] == "again":  # the gateway signed what is there, and the person did not
        receipt["countersignature"] = sign(str(receipt["receipt"]).encode(), key, COUNTERSIGNED)
    draft = record.decision(HOLD, DecisionKind.APPROVED, approver="dana", assurance="ssh", reason="", receipt=receipt)
    log.append(draft)
    for number in range(8 * archived):
        log.append(record.alarm(None, None, "test", str(number)))
        log.flush()
    log.append(record.shutdown("asked to"))
    log.close()
    if archived:
        segments = run(place)
        assert segments
        log = opened(place, CONTROL)
        for one in segments:
            digests = one.root, one.blake3, one.payload, one.frontier, one.originals
            log.append(record.archive(one.segment, one.first, one.last, *digests))
        log.close()
    return [one for one in verify(place / "evidence").findings if one.grade != "note"]


OTHER = RECEIPT.replace("a-1", "a-2")
LATER = RECEIPT.replace("}", ',"reason":"other"}')
FORGED = [
    ({"receipt": LATER}, "tampered", "not the one that the gateway signed: the signature is wrong"),
    ({"receipt": LATER, "countersignature": "again"}, "tampered", "not what dana signed: the signature is wrong"),
    ({"receipt": OTHER, "countersignature": "again"}, "tampered", "of another decision"),
    ({"receipt": RECEIPT.replace("0f", "0e", 1), "countersignature": "again"}, "tampered", "of another decision"),
    ({"receipt": "no JSON"}, "tampered", "cannot be read"),
    ({"countersignature": None}, "incomplete", "not signed by the gateway"),
    ({"countersignature": "rubbish"}, "tampered", "not an SSH signature"),
    ({"countersignature": sign(RECEIPT.encode(), ELSE, COUNTERSIGNED)}, "tampered", "a key that is not among yours"),
    ({"signature": sign(RECEIPT.encode(), ELSE, NAMESPACE)}, "tampered", "not what dana signed"),
    ({"signature": sign(RECEIPT.encode(), DANA, COUNTERSIGNED)}, "tampered", "not signed for hoop-approval"),
    ({"signer": None}, "tampered", "not a public key"),
]


@pytest.mark.parametrize("changes", [{}, {"signature": None, "signer": None}])
def test_a_receipt_that_the_gateway_gave_passes(tmp_path: Path, changes: dict[str, str | None]) -> None:
    assert decided(tmp_path, changes) == []


@pytest.mark.parametrize(("changes", "grade", "what"), FORGED, ids=[one[2] for one in FORGED])
def test_each_forged_one_is_found(tmp_path: Path, changes: dict[str, str | None], grade: str, what: str) -> None:
    (finding,) = decided(tmp_path, changes)
    assert (finding.grade, finding.log, finding.seq) == (grade, CONTROL, 1)
    assert what in finding.what


def test_in_a_segment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ROTATE_RECORDS", 4)
    assert decided(tmp_path / "good", {}, archived=True) == []
    (finding,) = decided(tmp_path / "bad", {"receipt": LATER}, archived=True)
    assert (finding.grade, finding.seq) == ("tampered", 1)


def test_a_decision_without_one_passes(tmp_path: Path) -> None:
    log = opened(tmp_path, CONTROL)
    log.append(record.decision(HOLD, DecisionKind.APPROVED, approver="dana", assurance="uid", reason=""))
    log.append(record.shutdown("asked to"))
    log.close()
    assert verify(tmp_path / "evidence").intact
