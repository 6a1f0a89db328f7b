"""Facts and rules in, one verdict out: the strictest rule that matches an act, named, with the fact that matched.

Pure and total. What is not understood is denied; an act that no rule names is denied; `observe` turns what it does not
have to stop into an ALLOW that says what `standard` would have said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gateway.model import Verdict, VerdictKind
from gateway.policy.parameters import judge_setting, judge_showing
from gateway.policy.presets import (
    EMPTY,
    FAILED_TRANSACTION,
    MASKED,
    NOT_UNDERSTOOD,
    STANDARD,
    SYNTAX_ERROR,
    UNKNOWN_NAME,
    Rule,
)
from gateway.policy.rules import RuleSet
from gateway.policy.statement import Act, Facts


@dataclass(frozen=True, slots=True)
class Context:
    """Who asks, and how: what rules may match besides the statement itself."""

    subject: str = ""
    groups: tuple[str, ...] = ()
    in_transaction: bool = False


_BY_ACT: Mapping[str, Rule] = MappingProxyType({act: rule for rule in STANDARD for act in rule.acts})
_ORDER: Mapping[str, int] = MappingProxyType({rule.name: place for place, rule in enumerate(STANDARD)})
_SQLSTATE: Mapping[str, str] = MappingProxyType({"unknown-statement": "26000", "unknown-cursor": "34000"})


def decide(facts: Facts, rules: RuleSet, context: Context) -> Verdict:  # noqa: ARG001  rules by subject and group come with `[[connection.rule]]`
    """Return the verdict on a string an agent sent: its strictest statement's, and within it the strictest act's."""
    verdict, rule = _standard(facts, rules)
    if not rules.observes or verdict.kind in {VerdictKind.ALLOW, VerdictKind.MASK}:
        return verdict
    if rules.has_marks and rule.leaks:
        return replace(verdict, would=verdict.kind)
    fallback = VerdictKind.MASK if _masked(facts) else VerdictKind.ALLOW
    return replace(
        verdict, kind=fallback, rule="observe/allow", would=verdict.kind, hint="", sqlstate="42501", position=None,
        reason=f"standard would {_word(verdict.kind)} it by {verdict.rule}: {verdict.reason}",
    )  # fmt: skip


def _standard(facts: Facts, rules: RuleSet) -> tuple[Verdict, Rule]:
    operation = facts.operation
    if facts.syntax_error is not None:
        fault = facts.syntax_error
        verdict = Verdict(
            VerdictKind.DENY, SYNTAX_ERROR.name, fault.message, operation, sqlstate="42601", position=fault.position
        )
        return verdict, SYNTAX_ERROR
    if facts.not_understood is not None:
        return _verdict(NOT_UNDERSTOOD, Act("", facts.not_understood), operation, rules), NOT_UNDERSTOOD
    if facts.failed_transaction:
        return _verdict(FAILED_TRANSACTION, Act(""), operation, rules), FAILED_TRANSACTION
    if not facts.statements:
        return _verdict(EMPTY, Act(""), operation, rules), EMPTY
    return _strictest(facts, rules)


def _strictest(facts: Facts, rules: RuleSet) -> tuple[Verdict, Rule]:
    best: tuple[int, int, Rule, Act, str] | None = None
    for statement in facts.statements:
        for raw in statement.acts or (Act("not-listed", statement.operation),):
            act = _resolve(raw, rules)
            rule = _BY_ACT.get(act.what) or (UNKNOWN_NAME if act.what in _SQLSTATE else _BY_ACT["not-listed"])
            # the first act of a statement is what it is; it names the rule where nothing is stricter
            order = int(act.what == "function") if rule.action is VerdictKind.ALLOW else _ORDER.get(rule.name, 0)
            rank = (-rule.action.strictness, order)
            if best is None or rank < best[:2]:
                best = (*rank, rule, act, statement.operation)
    if best is None:
        raise AssertionError("a statement has acts")
    _, _, rule, act, operation = best
    if rule.action is VerdictKind.ALLOW and (masked := _masked(facts)):
        return _verdict(MASKED, Act("", ", ".join(masked)), operation, rules), MASKED
    return _verdict(rule, act, operation, rules), rule


def _resolve(act: Act, rules: RuleSet) -> Act:
    """Judge what depends on the connection's lists: settings and user functions."""
    if act.what == "set":
        what = judge_setting(
            act.target,
            act.value,
            search_path=rules.search_path,
            listed=rules.settings,
            read_only=rules.read_only,
        )
        return replace(act, what=what)
    if act.what == "show":
        return replace(act, what=judge_showing(act.target, rules.settings))
    if act.what == "user-function" and act.target in rules.functions:
        return replace(act, what="function")
    return act


def _verdict(rule: Rule, act: Act, operation: str, rules: RuleSet) -> Verdict:
    target = act.target or "it"
    reason = rule.says.format(act=act.what, target=target)
    sqlstate = _SQLSTATE.get(act.what, "42501")
    if act.within and sqlstate == "42501":  # the others are PostgreSQL's own words
        reason = f"{reason} (inside {', '.join(act.within)})"
    reviewers = rules.reviewers if rule.action is VerdictKind.APPROVE else ()
    return Verdict(rule.action, rule.name, reason, operation, rule.hint, reviewers=reviewers, sqlstate=sqlstate)


def _masked(facts: Facts) -> tuple[str, ...]:
    names: set[str] = set()
    for statement in facts.statements:
        if statement.outputs is None:
            names |= set(statement.marks_in_reach) or {"what cannot be decided"}
        else:
            names |= _sources(output.flow.sources or ("what cannot be decided",)
                              for output in statement.outputs if not output.flow.clean)  # fmt: skip
    return tuple(sorted(names))


def _sources(groups: Iterable[Iterable[str]]) -> set[str]:
    return {name for group in groups for name in group}


def _word(kind: VerdictKind) -> str:
    return "hold" if kind is VerdictKind.APPROVE else "deny"
