"""Trying rules without running anything: one statement in, what the gateway would say of it out.

Pure, and the same functions that judge live statements: `facts` are found by whoever may wait (`gateway.parsing`), in a
fresh session; a verdict here is the verdict there, as long as catalog, subject, groups and time are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model import Connection, ConnectionTest, Verdict, VerdictKind
from gateway.policy.catalog import Catalog
from gateway.policy.decide import Context, decide, limits
from gateway.policy.rules import RuleSet
from gateway.policy.statement import Facts


@dataclass(frozen=True, slots=True)
class Trial:
    """What the gateway would say of a statement."""

    verdict: Verdict
    masked: tuple[str, ...]
    """Result columns that would be masked, by name or by number from 1; `*` where it could be any."""
    relations: tuple[str, ...]
    sets_off: tuple[str, ...] = ()
    """What runs with its writes and is not in its text."""
    limits: tuple[str, ...] = ()
    """Rules with limits that would count what it returns or changes; nothing is counted in a trial."""


def no_catalog(connection: Connection) -> Catalog:
    """Return the catalog of a target that cannot be reached: every relation is unknown."""
    return Catalog(epoch=0, search_path=connection.search_path)


def tried(facts: Facts, rules: RuleSet, context: Context) -> Trial:
    """Judge what was found of a statement."""
    counting = tuple(rule.name for rule in limits(facts, rules, context))
    return Trial(decide(facts, rules, context), _masked(facts), facts.relations, facts.sets_off, counting)


def differs(test: ConnectionTest, verdict: Verdict) -> str:
    """Say how a verdict differs from what a test expects, in one sentence; empty where it does not."""
    if (verdict.kind, verdict.effect) == (test.verdict, test.effect) and test.rule in {None, verdict.rule}:
        return ""
    wanted = word(test.verdict, effect=test.effect)
    expected = f"{wanted} by {test.rule}" if test.rule is not None else wanted
    is_ = word(verdict.kind, effect=verdict.effect)
    return f"expected {expected}, but it is {is_} by {verdict.rule}: {verdict.reason}"


def word(kind: VerdictKind, *, effect: bool) -> str:
    """Return a verdict as configuration writes it."""
    return f"{kind.value}-effect" if effect else kind.value


def _masked(facts: Facts) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for statement in facts.statements:
        if statement.outputs is None:
            found["*"] = None
            continue
        for place, output in enumerate(statement.outputs, 1):
            if not output.flow.clean:
                found["*" if output.many else output.name or str(place)] = None
    return tuple(found)
