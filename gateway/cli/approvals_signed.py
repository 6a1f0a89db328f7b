"""Signatures that go with a decision: a reviewer's over its receipt; and receipts, written out for who keeps them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.control.client import ControlClient
    from gateway.evidence.note import Verifier
    from gateway.model import Json


def run_receipt(args: argparse.Namespace) -> int:
    """Write the receipts; exit 1 where the evidence has none of this approval."""
    from gateway.control.receipts import check_command
    from gateway.evidence.receipts import log_key, receipts_of
    from gateway.settings import load

    evidence = args.evidence if args.evidence is not None else load(args.config).evidence_dir
    found = receipts_of(evidence, args.id)
    if not found:
        print(f"hoop-gateway: the evidence has no decision by a person about {args.id!r}", file=sys.stderr)
        return 1
    key = log_key(evidence)
    args.out.mkdir(parents=True, exist_ok=True)
    for place, each in enumerate(found, 1):
        path = args.out / f"receipt-{place}.json"
        path.write_bytes(each.text.encode())
        print(f"{path}: {each.decision} by {each.approver} ({each.assurance}), record {each.log}:{each.seq}")
        if each.signature is None or each.signer is None:
            print("  not signed by a person: a login was their proof")
        else:
            path.with_name(f"{path.name}.sig").write_text(each.signature)
            path.with_name(f"{path.name}.allowed_signers").write_text(f"{each.signer}\n")
            print(f"  {check_command(each.signer.split()[0], str(path))}")
        if each.countersignature is not None and key is not None:
            _write_countersignature(path, each.countersignature, key)
    return 0


def _write_countersignature(path: Path, signature: str, key: Verifier) -> None:
    """Write the gateway's own signature beside a receipt, and say how it is checked."""
    from gateway.approval.signatures import public_key
    from gateway.control.receipts import COUNTERSIGNED, check_command

    beside = ".gateway"
    path.with_name(f"{path.name}{beside}.sig").write_text(signature)
    signers = public_key(key.key).line(key.name, COUNTERSIGNED)
    path.with_name(f"{path.name}{beside}.allowed_signers").write_text(f"{signers}\n")
    print(f"  given by the gateway: {check_command(key.name, str(path), COUNTERSIGNED, beside)}")


async def signature_for(client: ControlClient, params: Mapping[str, Json], key: str) -> str:
    """Have the gateway write the receipt, see that it says what is decided here, and sign exactly its bytes."""
    import trio

    from gateway.control.receipts import check_receipt, sign_command

    answer = (await client.call("approvals.receipt", params)).result
    text = answer.get("receipt") if isinstance(answer, dict) else None
    if not isinstance(text, str):
        raise ConfigurationFault("the gateway wrote no receipt to sign")
    leave = {"seconds": params["seconds"], "scope": params["scope"]} if "seconds" in params else None
    expected: dict[str, Json] = {
        "approval": params["id"],
        "decision": "approved",
        "reason": " ".join(str(params["reason"]).split()),
        "leave": leave,
        "break_glass": params.get("break_glass", False),
    }
    check_receipt(text, expected, hash_prefix=str(params["hash"]))
    print("signing; touch the key if it asks", file=sys.stderr, flush=True)
    done = await trio.run_process(sign_command(key), stdin=text.encode(), capture_stdout=True, stderr=None, check=False)
    if done.returncode != 0:
        raise ConfigurationFault("ssh-keygen did not sign; what it said stands above")
    signature: str = done.stdout.decode()
    return signature
