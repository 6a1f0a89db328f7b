"""Which operations may be approved after they ran, and what a rollback would not undo. Pure.

Promises that what cannot run in a transaction of the gateway's, may end one itself, or changes no rows that could be
shown, is held before it runs; and that whatever a rollback leaves behind is said in words, as far as the text and the
catalog tell. What code does outside the database nobody can tell from here: it is named, and that is all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.policy.sampling import SamplePlan, plan_sample
from gateway.policy.statement import Facts, StatementFacts, Transaction

_RUNS_FIRST = frozenset({"insert", "update", "delete", "merge", "select", "execute"})
"""Operations that may run before anybody decided: they change rows, run in any transaction, and cannot end one."""
_OUTSIDE = "what it does outside this database has happened already"


@dataclass(frozen=True, slots=True)
class EffectPlan:
    """How an effect is shown: by a sample of its rows, or why there is none; and what stays after a rollback."""

    sample: SamplePlan | None
    no_sample: str
    lasting: tuple[str, ...]


def why_before(found: Facts) -> str:
    """Say why an operation must be held before it runs; empty where it may run first."""
    if any(statement.transaction is not Transaction.NONE for statement in found.statements):
        return "it controls the transaction itself"
    kinds = {statement.operation for statement in found.statements}
    if "call" in kinds or "do" in kinds:
        return "a procedure may commit"
    if "copy-in" in kinds or "copy-out" in kinds:
        return "COPY data cannot be taken back"
    others = kinds - _RUNS_FIRST
    if others:
        return f"{', '.join(sorted(others))} is nothing that changes rows, or may not run inside a transaction"
    if not any(statement.relations_written for statement in found.statements):
        return "it changes no rows"
    return ""


def effect_plan(found: Facts) -> EffectPlan:
    """Return how the effect of what may run first is shown."""
    lasting = tuple(dict.fromkeys(words for statement in found.statements for words in _lasting(statement)))
    plan = plan_sample(found)
    if isinstance(plan, str):
        return EffectPlan(None, plan, lasting)
    return EffectPlan(plan, "", lasting)


def _lasting(statement: StatementFacts) -> Iterator[str]:
    for words in statement.sets_off:
        if words.startswith("trigger "):
            yield f"{words}: {_OUTSIDE}"
    for act in statement.acts:
        if act.what in {"user-function", "user-type", "rewrite-rule"}:
            yield f"{act.what.replace('-', ' ')} {act.target}: {_OUTSIDE}".replace("  ", " ")
    listed = {name for name in statement.functions if "." in name and not name.startswith("pg_catalog.")}
    for name in sorted(listed - {act.target for act in statement.acts}):
        yield f"function {name}: {_OUTSIDE}"
    called = {name.rpartition(".")[2] for name in statement.calls}
    if {"nextval", "setval"} & called or any(act.what in {"nextval", "sequence"} for act in statement.acts):
        yield "values taken from sequences are not given back"
    elif any("nextval" in words for words in statement.sets_off) or any(a.what == "insert" for a in statement.acts):
        yield "values that defaults or identity columns took from sequences are not given back"
    if any("advisory" in name for name in called):
        yield "advisory locks of the session are kept"
