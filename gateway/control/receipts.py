"""Receipts as those see them who sign: what one must say before it is signed, and the files that check it. No I/O.

A person signs bytes that the gateway wrote. Promises that nothing is signed whose approval, operation hash, decision,
reason or period is not what the person was shown and typed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from gateway.errors import GatewayError
from gateway.model import Json

NAMESPACE = "hoop-approval"
"""What a signature of a receipt is for (ssh-keygen(1), -n)."""
COUNTERSIGNED = "hoop-gateway"
"""What the gateway's own signature of a receipt is for: it proves who gave the receipt, and nothing about a person."""
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


class WrongReceipt(GatewayError):
    """The gateway wants another decision signed than the one that was made here."""


def check_receipt(text: str, expected: Mapping[str, Json], *, hash_prefix: str) -> None:
    """Raise WrongReceipt unless the receipt says of each key of `expected` just that, and of the hash so much."""
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("type") != NAMESPACE:
        raise WrongReceipt("what the gateway wants to have signed is no receipt; nothing was signed")
    if not hash_prefix or not str(content.get("operation_hash")).startswith(hash_prefix):
        raise WrongReceipt("the receipt is of another operation than was shown here; nothing was signed")
    for key, value in expected.items():
        if content.get(key) != value:
            raise WrongReceipt(f"the receipt's {key} is not what was decided here; nothing was signed")


def sign_command(key: str) -> list[str]:
    """Return the command that signs its standard input with `key`: a private key, or a public one of an agent's."""
    return ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", key]


def check_command(principal: str, receipt: str, namespace: str = NAMESPACE, beside: str = "") -> str:
    """Return the command that checks a receipt with the files `beside` it, for people to run."""
    place = f"{receipt}{beside}"
    return f"ssh-keygen -Y verify -n {namespace} -f {place}.allowed_signers -I {principal} -s {place}.sig < {receipt}"
