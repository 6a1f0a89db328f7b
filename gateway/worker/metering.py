"""Limits of a connection's rules at work: what each subject has had, and what a statement is expected to take.

Promises that what a subject had is counted over all its sessions of this process, whatever it does with them, and that
an operation which is expected to pass a limit is asked about before it runs. Memory is bounded by the subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.model import Clock, Principal
from gateway.pgwire.actions import Analyse
from gateway.policy.limits import Allowance, Limit, Tally
from gateway.policy.own import OwnRule
from gateway.policy.statement import Facts
from gateway.policy.weighing import commits_itself
from gateway.worker.weighing import Estimates, question_of

_MOST = 10_000
"""Tallies kept: beyond that those that stand at nothing are dropped."""
_COMMITS = "the string ends a transaction itself, before what it changes could be counted"


@dataclass(frozen=True, slots=True)
class Metered:
    """What an operation may take, and the limits that it is expected to pass: rule -> words."""

    allowance: Allowance
    exceeded: Mapping[str, str]


class Metering:
    """Keeps the tallies of one connection."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tallies: dict[tuple[str, str, str], Tally] = {}

    async def meter(
        self,
        found: Facts,
        action: Analyse,
        principal: Principal,
        rules: Sequence[OwnRule],
        estimates: Estimates | None,
    ) -> Metered:
        """Hold what a string is expected to take against `rules`, all of which are about it."""
        rows, size = await _expected(found, action, estimates)
        limits = [Limit(rule, self._tally(rule, principal), principal.subject) for rule in rules]
        writes = any(statement.relations_written for statement in found.statements)
        exceeded = {}
        for limit in limits:
            if writes and commits_itself(found):
                exceeded[limit.rule.name] = _COMMITS
            elif limit.passes(max(rows, 1), max(size, 1)):
                exceeded[limit.rule.name] = limit.words(rows, size)
        allowed = tuple(replace(limit, lifted=limit.rule.name in exceeded) for limit in limits)
        return Metered(Allowance(allowed, self._clock.monotonic), exceeded)

    def _tally(self, rule: OwnRule, principal: Principal) -> Tally:
        now = self._clock.monotonic()
        key = (rule.name, principal.issuer, principal.subject)
        if key not in self._tallies and len(self._tallies) >= _MOST:
            for tally in self._tallies.values():
                tally.forget(now)
            self._tallies = {known: tally for known, tally in self._tallies.items() if tally.rows or tally.size}
        tally = self._tallies.setdefault(key, Tally(rule.rule.window))
        tally.forget(now)
        return tally


async def _expected(found: Facts, action: Analyse, estimates: Estimates | None) -> tuple[int, int]:
    """Return the rows and bytes that a string is expected to return or change; what is not known counts as none.

    Asked about the statement itself, never another of its shape: with other constants it may return far fewer.
    """
    rows = size = 0
    for index, statement in enumerate(found.statements):
        question = question_of(index, found, action)
        if estimates is None or question is None or not (statement.relations_read or statement.relations_written):
            continue
        estimate = await estimates.estimate(question)
        if estimate is not None:
            rows += max(estimate.rows, estimate.changed + estimate.inserted)
            size += estimate.size
    return rows, size
