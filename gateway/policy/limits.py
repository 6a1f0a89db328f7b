"""What rules with `rows_over` and `bytes_over` count: rows and bytes of one subject under one rule in a sliding window.

Pure; time is an argument. A window is kept in `_STEPS` steps, so that it forgets a little too late and never too early.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from gateway.model import Verdict, VerdictKind
from gateway.policy.own import OwnRule
from gateway.policy.statement import Facts, StatementFacts

_STEPS = 64
_SILENT = frozenset({"declare", "prepare", "create-view", "move"})
"""Statements that neither return nor change rows of what they hold: FETCH and EXECUTE do."""


@dataclass(slots=True)
class Tally:
    """Rows and bytes in the last `window` microseconds."""

    window: int
    rows: int = 0
    size: int = 0
    _steps: deque[list[int]] = field(default_factory=deque)

    def forget(self, now: int) -> None:
        """Drop what is older than the window at `now` (monotonic microseconds)."""
        while self._steps and self._steps[0][0] + self.window + self.window // _STEPS <= now:
            _, rows, size = self._steps.popleft()
            self.rows -= rows
            self.size -= size

    def add(self, now: int, rows: int, size: int) -> None:
        """Count what passes at `now`."""
        self.rows += rows
        self.size += size
        if self._steps and now - self._steps[-1][0] < self.window // _STEPS:
            self._steps[-1][1] += rows
            self._steps[-1][2] += size
        else:
            self._steps.append([now, rows, size])


@dataclass(frozen=True, slots=True)
class Limit:
    """One rule's limit for one subject, as it stands; `lifted`: a person said yes to more, which is counted only."""

    rule: OwnRule
    tally: Tally
    subject: str
    lifted: bool = False

    def passes(self, rows: int, size: int) -> bool:
        """Say whether so many more would pass it."""
        most, bytes_ = self.rule.rule.rows_over, self.rule.rule.bytes_over
        return (most is not None and self.tally.rows + rows > most) or (
            bytes_ is not None and self.tally.size + size > bytes_
        )

    def words(self, rows: int | None, size: int | None) -> str:
        """Say where it stands, and what is expected."""
        rule, said = self.rule.rule, []
        for most, used, more, unit in (
            (rule.rows_over, self.tally.rows, rows, "rows"),
            (rule.bytes_over, self.tally.size, size, "bytes"),
        ):
            if most is not None:
                expected = f", {more} more are expected" if more else ""
                said.append(f"{used} {unit} within {_span(rule.window)}{expected}, and {most} is the most")
        return f"{self.subject} has had {'; '.join(said)}"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one operation may still take under its limits."""

    limits: tuple[Limit, ...]
    now: Callable[[], int]
    """Monotonic microseconds."""

    def take(self, rows: int, size: int) -> Verdict | None:
        """Count rows and bytes that are about to pass; where they may not, count nothing and return the refusal."""
        now = self.now()
        for limit in self.limits:
            limit.tally.forget(now)
            if not limit.lifted and limit.passes(rows, size):
                return _refusal(limit)
        for limit in self.limits:
            limit.tally.add(now, rows, size)
        return None

    def lifted(self) -> Allowance:
        """Return the same, which only counts: a person said yes, or nothing is to be stopped."""
        return Allowance(tuple(replace(limit, lifted=True) for limit in self.limits), self.now)


def counting(
    found: Facts, rules: Iterable[OwnRule], matches: Callable[[OwnRule, StatementFacts], bool]
) -> tuple[OwnRule, ...]:
    """Return the rules with limits that are about a statement which returns or changes rows."""
    about = [
        statement
        for statement in found.statements
        if statement.operation not in _SILENT and (statement.operation != "explain" or statement.analyses)
    ]
    return tuple(rule for rule in rules if rule.counts and any(matches(rule, statement) for statement in about))


def _refusal(limit: Limit) -> Verdict:
    asks = limit.rule.action is VerdictKind.APPROVE
    return Verdict(
        VerdictKind.DENY,
        limit.rule.name,
        f"It was stopped before the row that would pass the limit: {limit.words(None, None)}.",
        "limited",
        hint="Send it again: a person is asked before it runs."
        if asks
        else f"More may be had once some of it is {_span(limit.rule.rule.window)} ago.",
        where=limit.rule.where,
    )


def _span(window: int) -> str:
    """Write a duration as configuration does."""
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        if window % size == 0:
            return f"{window // size}{unit}"
    return f"{window // 1000}ms"
