"""Signing a receipt with the operator's SSH key, by the stock program: the console never reads a private key.

Promises that nothing is signed but a receipt of the very decision that was made here. `ssh-keygen` gets no terminal:
keys are in an ssh-agent, on hardware, or in a file without passphrase, or `SSH_ASKPASS` asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from gateway.control.receipts import WrongReceipt, check_receipt, sign_command
from hoop_tui.known import Approval

SIGN_SECONDS: Final = 90.0
"""Time to find the key and touch it; the gateway waits for two minutes."""


class NotSigned(Exception):
    """The receipt was not signed; the words say why."""


async def sign(answer: object, approval: Approval, decision: Mapping[str, Any], key: str | None) -> str:
    """Return the signature over the receipt in the gateway's `answer`, made with `key`. Raises NotSigned."""
    if key is None:
        raise NotSigned("approving here needs your signature: start hoop-tui with --key FILE, or set HOOP_SIGNING_KEY")
    text = answer.get("receipt") if isinstance(answer, dict) else None
    leave = {"seconds": decision["seconds"], "scope": decision["scope"]} if "seconds" in decision else None
    reason = " ".join(str(decision["reason"]).split())
    expected = {
        "approval": approval.id,
        "decision": "approved",
        "reason": reason,
        "leave": leave,
        "break_glass": decision.get("break_glass", False),
    }
    try:
        check_receipt(str(text), expected, hash_prefix=approval.hash)
    except WrongReceipt as wrong:
        raise NotSigned(str(wrong)) from None
    return await _signed(str(text).encode(), key)


async def _signed(message: bytes, key: str) -> str:
    pipe = asyncio.subprocess.PIPE
    try:
        # A session of its own: without a terminal the program cannot ask in the middle of the screen.
        process = await asyncio.create_subprocess_exec(
            *sign_command(key), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
    except OSError:
        raise NotSigned("ssh-keygen is missing: install OpenSSH's client") from None
    try:
        async with asyncio.timeout(SIGN_SECONDS):
            signature, words = await process.communicate(message)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise NotSigned("the key did not sign in time") from None
    if process.returncode != 0:
        said = " ".join(words.decode(errors="replace").split())
        raise NotSigned(f"ssh-keygen did not sign: {said}"[:300])
    return signature.decode()
