"""Writes whose WHERE restricts by its text: which of them the planner is asked about, and what follows from its answer.

A write that may change more than `bound` rows does not restrict, whatever its text says (`standard/update-all` and the
like). Some prove by a key that they cannot; of the others the planner's estimate is asked for, and the rows really
changed are counted before they may be committed. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.policy.statement import Act, Facts, StatementFacts, Transaction

FEWEST = 1000
"""Rows that a write which restricts may always change."""
_WRITES = frozenset({"update", "delete", "merge"})
_COUNTED = frozenset({(), ("execute",), ("copy",)})
"""Wrappers whose command tag counts the rows changed: of COPY (… RETURNING) it counts those returned, which are all."""
_IDLE = frozenset({"prepare", "view"})
"""Wrappers that do not run what they hold."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write to be weighed: statement `index` of the string changes `relation` (full name) by `act`.

    `counted`: the command tag says how many rows it changed.
    """

    index: int
    act: Act
    relation: str
    counted: bool


def bound(rows: float) -> int:
    """Return how many rows of a relation of `rows` rows a write may change that restricts: SEMANTICS.md, "Policy"."""
    return max(FEWEST, int(rows) // 10)


def writes(found: Facts) -> tuple[Write, ...]:
    """Return the writes of a string that restrict by text, run, and may change more than `FEWEST` rows."""
    return tuple(
        Write(index, act, act.relations[0] if act.relations else act.target, act.within in _COUNTED)
        for index, statement in enumerate(found.statements)
        for act in statement.acts
        if act.what in _WRITES and _runs(act, statement) and (act.most is None or act.most > FEWEST)
    )


def unrestricted(found: Facts, which: Callable[[Write], str]) -> Facts:
    """Return the facts as they are where those writes do not restrict for which `which` says why; others stay."""
    because = {(write.index, write.act): why for write in writes(found) if (why := which(write))}
    if not because:
        return found
    return replace(
        found,
        statements=tuple(
            replace(statement, acts=tuple(_all(act, because.get((index, act), "")) for act in statement.acts))
            for index, statement in enumerate(found.statements)
        ),
    )


def commits_itself(found: Facts) -> bool:
    """Say whether the string ends a transaction itself: then nobody can count before its writes are committed."""
    ends = {Transaction.COMMIT, Transaction.ROLLBACK, Transaction.TWO_PHASE}
    return len(found.statements) > 1 and any(statement.transaction in ends for statement in found.statements)


def begins_itself(found: Facts) -> bool:
    """Say whether the string says itself where its transaction begins or ends."""
    return any(statement.transaction is not Transaction.NONE for statement in found.statements)


def _runs(act: Act, statement: StatementFacts) -> bool:
    return not _IDLE & set(act.within) and ("explain" not in act.within or statement.analyses)


def _all(act: Act, why: str) -> Act:
    return replace(act, what=f"{act.what}-all", because=why) if why else act
