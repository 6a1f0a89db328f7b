"""Does a write that restricts by its text restrict in fact? The planner is asked before, the target counts after.

Promises that a write whose estimate passes its bound is judged as one that does not restrict, that every other one
which could pass it carries a guard, and that nothing of it runs to find out. Not knowing an estimate is no refusal:
then the guard alone stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gateway.model import Verdict
from gateway.pgwire.actions import Analyse
from gateway.pgwire.judgement import COUNTED, Bound, Guard
from gateway.policy.catalog import Catalog
from gateway.policy.own import reach
from gateway.policy.statement import Facts
from gateway.policy.weighing import FEWEST, Write, begins_itself, bound, commits_itself, unrestricted, writes
from gateway.target.estimate import Estimate, Question

_CODE = frozenset({"user-function", "user-type", "rewrite-rule", "call", "do"})
"""Acts for which a person is asked: until then the planner must not fold constants through their code."""
_EXPLAINABLE = frozenset({"select", "insert", "update", "delete", "merge", "execute"})


class Estimates(Protocol):
    """Where estimates come from: `gateway.target.estimate.Estimator`."""

    async def estimate(self, question: Question, *, by_shape: bool = False) -> Estimate | None:
        """Return what is expected of a statement; None: not known."""

    async def size_of(self, tables: tuple[int, ...]) -> int | None:
        """Return how many rows some tables (oids) have together, about; None: not known."""

    def forget(self) -> None:
        """Definitions changed."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """The facts as policy is to judge them, and what is to be counted."""

    found: Facts
    guard: Guard | None = None


def must_weigh(found: Facts, verdict_of: Callable[[Facts], Verdict]) -> bool:
    """Say whether a write of the string would be judged stricter if it did not restrict."""
    if not writes(found):
        return False
    strict = verdict_of(unrestricted(found, lambda _: "it is weighed"))
    return strict.kind.strictness > verdict_of(found).kind.strictness


async def weigh(found: Facts, action: Analyse, verdict_of: Callable[[Facts], Verdict], estimates: Estimates) -> Weighed:
    """Ask about the writes of a string for which `must_weigh` holds."""
    limits: dict[Write, int] = {}
    because: dict[Write, str] = {}
    for write in writes(found):
        tables = _oids(write, found.catalog)
        total = await estimates.size_of(tables) if tables else None
        limits[write] = FEWEST if total is None else bound(total)
        because[write] = await _why_not(write, found, action, limits[write], total, estimates)
    judged = unrestricted(found, lambda write: because.get(write, ""))
    guarded = [write for write in limits if not because[write]]
    if not guarded:
        return Weighed(judged)
    over = {write: verdict_of(unrestricted(found, partial(_only, write))) for write in guarded}
    return Weighed(
        judged,
        Guard(
            bounds=tuple(Bound(each.index, limits[each], over[each]) for each in guarded if each.counted),
            counts=tuple(
                Bound(each.index, limits[each], over[each], _oids(each, found.catalog))
                for each in guarded
                if not each.counted
            ),
            wraps=not begins_itself(found),
        ),
    )


def _only(this: Write, other: Write) -> str:
    return COUNTED if this == other else ""


async def _why_not(
    write: Write, found: Facts, action: Analyse, limit: int, total: int | None, estimates: Estimates
) -> str:
    """Say why a write does not restrict; empty: as far as can be told before, it does."""
    if commits_itself(found):
        return "the string ends a transaction itself, before the rows that it changes could be counted"
    if not write.counted and not _oids(write, found.catalog):
        return "the rows that it changes cannot be counted"
    within = write.act.within
    # inside those the statement that runs is not a text of its own
    question = None if "explain" in within or "copy" in within else question_of(write.index, found, action)
    if question is None:
        return ""
    estimate = await estimates.estimate(question, by_shape=write.counted)
    if estimate is not None and estimate.shape and estimate.changed > limit:
        estimate = await estimates.estimate(question)
    if estimate is None or estimate.changed <= limit:
        return ""
    of = f" of {total}" if total is not None else ""
    return f"the planner expects it to change {estimate.changed}{of} rows, and {limit} is the most that restricts"


def question_of(index: int, found: Facts, action: Analyse) -> Question | None:
    """Return what to ask the planner about a statement; None where it must not or cannot be asked."""
    statement = found.statements[index]
    if any(act.what in _CODE for each in found.statements for act in each.acts):
        return None
    if statement.operation not in _EXPLAINABLE:
        return None
    sql = found.text[statement.start : statement.end]
    if statement.operation == "execute":
        name = next((act.target for act in statement.acts if act.what == "execute"), "")
        prepared = action.names.prepared.get(name, b"")
        return Question(sql, (), prepared) if prepared.lstrip()[:7].upper() == b"PREPARE" else None
    return Question(sql, action.statement.parameters)


def _oids(write: Write, catalog: Catalog | None) -> tuple[int, ...]:
    """The tables whose rows the write changes: the relation, its children, and those below a view."""
    known = catalog.find(write.relation) if catalog is not None else ()
    if catalog is None or not known or any(relation.name in catalog.temporary for relation in known):
        return ()
    return tuple(sorted(relation.oid for relation in reach(catalog, known, up=False)))
