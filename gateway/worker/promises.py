"""What other processes must know before values of marked columns go where no mark is yet.

Promises that columns are marked, in every process that judges, before a statement that fills them is forwarded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from gateway.errors import OurBug
from gateway.masking.carried import Carried
from gateway.model import VerdictKind
from gateway.pgwire.judgement import Judgement

Carry = Callable[[Iterable[Carried], str], None]
"""Marks columns of this process: (columns, who fills them)."""
Tell = Callable[[Iterable[Carried], str], Awaitable[None]]
"""The same, once every other process marked them too."""


class Promises:
    """Of one session. `promise` is awaited before `carry` would be called, where there are other processes."""

    def __init__(self, carry: Carry, promise: Tell | None) -> None:
        self.carry = carry if promise is None else self._was_promised
        """Marks what is about to receive values of marked columns."""
        self._promise, self._promised = promise, frozenset[Carried]()

    def owed(self, judgement: Judgement) -> bool:
        """Say whether other processes must first mark what is about to receive values of marked columns."""
        if self._promise is None:
            return False
        verdict = judgement.verdict
        held = verdict.kind is VerdictKind.APPROVE and not verdict.effect  # then it is time once somebody said yes
        return not held and not self._promised.issuperset(judgement.carries)

    async def make(self, judgement: Judgement, who: str) -> None:
        """Have other processes mark them."""
        if self._promise is not None and not self._promised.issuperset(judgement.carries):
            await self._promise(judgement.carries, who)
            self._promised |= set(judgement.carries)

    def _was_promised(self, carried: Iterable[Carried], _who: str) -> None:
        """Take the place of `carry`, which would be too late now."""
        if not self._promised.issuperset(carried):
            raise OurBug("columns would receive marked values, and not every worker knows")
