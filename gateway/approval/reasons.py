"""The words that go with a decision.

Promises one line, short, without control characters, since agents are shown it and it stands in the evidence.
"""

from __future__ import annotations

import unicodedata

from gateway.control.messages import Refusal

REASON = 1_000
"""Characters of a decision's reason at most."""


def clean_reason(reason: str) -> str:
    """Return a decision's reason on one line. Raises Refusal: it is shown to agents and stands in the evidence."""
    line = " ".join(reason.split())
    if not line:
        raise Refusal("bad_request", "a decision needs a reason")
    if len(line) > REASON or any(unicodedata.category(character) in {"Cc", "Cs"} for character in line):
        raise Refusal("bad_request", f"a reason is at most {REASON} characters, without control characters")
    return line
