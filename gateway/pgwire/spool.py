"""An answer that is kept back while a person decides: bounded, in memory, and never a part of it outside.

Promises that more than the limit is never kept: the operation is stopped then, and rolled back. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.model import Verdict, VerdictKind
from gateway.pgwire.framing import MessageReader

_RULE = "gateway/effect"


@dataclass(slots=True)
class Spool:
    """Measures what an answer takes; `limit` in bytes."""

    limit: int
    size: int = 0
    _pieces: int = 0

    def count(self, pieces: Sequence[bytes]) -> None:
        """Count the pieces that came since the last time."""
        self.size += sum(len(piece) for piece in pieces[self._pieces :])
        self._pieces = len(pieces)

    @property
    def full(self) -> bool:
        """Whether no more of it can be kept."""
        return self.size > self.limit

    def refusal(self) -> Verdict:
        """Return the refusal of an operation whose answer is too long."""
        return Verdict(
            VerdictKind.DENY,
            _RULE,
            f"Its answer is longer than the {self.limit >> 10} KiB that are kept back while a person decides.",
            "write",
            hint="Return fewer rows.",
        )


def unread(what: str) -> Verdict:
    """Return the refusal of an operation whose effect cannot be shown."""
    return Verdict(
        VerdictKind.DENY, _RULE, f"What it did cannot be shown to a person: {what}.", "write", hint="Try again."
    )


def notified(data: bytes) -> list[bytes]:
    """Return the notifications among whole messages."""
    reader = MessageReader(len(data) + 5)
    reader.feed(data)
    return [found.encode() for found in reader if found.kind == b"A"]
