"""Facts and rules in, one verdict out: the strictest rule that matches an act, named, with the fact that matched.

Pure and total. What is not understood is denied; an act that no rule names is denied; `observe` turns what it does not
have to stop into an ALLOW that says what `standard` and the connection's rules would have said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gateway.model import Ask, Verdict, VerdictKind
from gateway.policy.effects import why_before
from gateway.policy.limits import counting
from gateway.policy.own import OwnRule, Situation
from gateway.policy.parameters import judge_setting, judge_showing
from gateway.policy.presets import (
    EMPTY,
    FAILED_TRANSACTION,
    MASKED,
    NOT_UNDERSTOOD,
    SYNTAX_ERROR,
    UNKNOWN_NAME,
    Rule,
)
from gateway.policy.rules import RuleSet
from gateway.policy.statement import Act, Facts, StatementFacts


@dataclass(frozen=True, slots=True)
class Context(Situation):
    """Who asks, when, and how: what rules may match besides the statement itself."""

    in_transaction: bool = False


@dataclass(frozen=True, slots=True)
class _Match:
    """A rule that matches one act of one statement, and how it ranks."""

    rule: Rule | OwnRule
    act: Act
    statement: StatementFacts
    line: Rule
    """The preset's line for the act: its sentence says what the act is."""
    rank: tuple[int, bool, int, int]


_SQLSTATE: Mapping[str, str] = MappingProxyType({"unknown-statement": "26000", "unknown-cursor": "34000"})
_OUTSIDE = "a procedure that is called outside of a transaction may begin one that writes, so send BEGIN before it"
_BESIDE = frozenset({"function", "nextval", "for-update"})
"""Acts that name a verdict only where nothing else does: they come with what the statement is."""


def decide(facts: Facts, rules: RuleSet, context: Context) -> Verdict:
    """Return the verdict on a string an agent sent: its strictest statement's, and within it the strictest act's."""
    verdict, leak = _judged(facts, rules, context)
    if not rules.observes or verdict.kind in {VerdictKind.ALLOW, VerdictKind.MASK}:
        return verdict
    if leak is not None and leak.kind in {VerdictKind.APPROVE, VerdictKind.DENY}:
        return replace(leak, would=verdict.kind)
    fallback = VerdictKind.MASK if _masked(facts) else VerdictKind.ALLOW
    return replace(
        verdict, kind=fallback, rule="observe/allow", where="preset observe", would=verdict.kind, hint="",
        sqlstate="42501", position=None, reviewers=(), effect=False,
        reason=f"standard would {_word(verdict.kind)} it by {verdict.rule}: {verdict.reason}",
    )  # fmt: skip


def limits(facts: Facts, rules: RuleSet, context: Context) -> tuple[OwnRule, ...]:
    """Return the rules with limits that count what this string returns or changes."""
    own = [rules.own[place] for place in rules.concerned(context)]
    if not any(rule.counts for rule in own) or not facts.statements or facts.failed_transaction:
        return ()

    def about(rule: OwnRule, statement: StatementFacts) -> bool:
        acts = (_resolve(raw, rules, context) for raw in statement.acts)
        lines = ((act, rules.by_act.get(act.what) or rules.by_act["not-listed"]) for act in acts)
        return any(rule.matches(act, statement, line, facts.catalog, context) for act, line in lines)

    return counting(facts, own, about)


def _judged(facts: Facts, rules: RuleSet, context: Context) -> tuple[Verdict, Verdict | None]:
    """Return the verdict, and the strictest of those that stop a leak: what `observe` keeps."""
    operation = facts.operation
    if facts.syntax_error is not None:
        fault = facts.syntax_error
        verdict = Verdict(
            VerdictKind.DENY, SYNTAX_ERROR.name, fault.message, operation, sqlstate="42601", position=fault.position,
            where=SYNTAX_ERROR.where,
        )  # fmt: skip
        return verdict, None
    if facts.not_understood is not None:
        verdict = _verdict(NOT_UNDERSTOOD, Act("", facts.not_understood), operation)
        return verdict, verdict if rules.has_marks else None
    if facts.failed_transaction:
        return _verdict(FAILED_TRANSACTION, Act(""), operation), None
    if not facts.statements:
        return _verdict(EMPTY, Act(""), operation), None
    matches = tuple(_matches(facts, rules, context))
    verdict = _strictest(matches, facts, rules, context)
    if not (rules.observes and rules.has_marks):
        return verdict, None
    leaks = tuple(match for match in matches if match.rule.leaks)
    return verdict, _strictest(leaks, facts, rules, context) if leaks else None


def _matches(facts: Facts, rules: RuleSet, context: Context) -> Iterator[_Match]:
    """Yield every rule that matches an act: the connection's own, and the preset's line unless one replaces it."""
    own = [rules.own[place] for place in rules.concerned(context)]
    for statement in facts.statements:
        for raw in statement.acts or (Act("not-listed", statement.operation),):
            act = _resolve(raw, rules, context)
            line = rules.by_act.get(act.what) or (UNKNOWN_NAME if act.what in _SQLSTATE else rules.by_act["not-listed"])
            replaced = False
            for place, rule in enumerate(own):
                if rule.counts and rule.name not in context.exceeded:
                    continue
                if rule.matches(act, statement, line, facts.catalog, context):
                    replaced = replaced or rule.line is not None
                    yield _Match(rule, act, statement, line, (-rule.action.strictness, rule.effect, 0, place))
            if not replaced:
                # the first act of a statement is what it is; it names the rule where nothing is stricter
                allowed = line.action is VerdictKind.ALLOW
                order = int(act.what in _BESIDE) if allowed else rules.order.get(line.name, 0)
                yield _Match(line, act, statement, line, (-line.action.strictness, False, 1, order))


def _strictest(matches: tuple[_Match, ...], facts: Facts, rules: RuleSet, context: Context) -> Verdict:
    best = min(matches, key=lambda match: match.rank)
    operation = best.statement.operation
    if best.rule.action is VerdictKind.ALLOW and (masked := _masked(facts)):
        return _verdict(MASKED, Act("", ", ".join(masked)), operation)
    verdict = _verdict(best.line, best.act, operation)
    if isinstance(best.rule, OwnRule):
        reason = verdict.reason.rstrip(".") + best.rule.because(best.act, best.statement, context)
        verdict = replace(
            verdict, kind=best.rule.action, rule=best.rule.name, where=best.rule.where, reason=f"{reason}.",
            hint=_HINTS[best.rule.action],
        )  # fmt: skip
    if verdict.kind is not VerdictKind.APPROVE:
        return verdict
    asking = [match for match in matches if match.rule.action is VerdictKind.APPROVE]
    return _after(_asking(verdict, asking, rules), asking, facts)


def _after(verdict: Verdict, matches: list[_Match], facts: Facts) -> Verdict:
    """Hold it after it ran, where every rule that holds it says so, and it can be undone as a whole."""
    if not all(match.rule.effect for match in matches):
        return verdict
    why_not = why_before(facts)
    if why_not:
        reason = f"{verdict.reason.rstrip('.')}. It is held before it runs, not after: {why_not}."
        return replace(verdict, reason=reason)
    return replace(verdict, effect=True, hint="It runs in a transaction that a person lets commit, or rolls back.")


def _asking(verdict: Verdict, matches: list[_Match], rules: RuleSet) -> Verdict:
    """Name the reviewers that every matching rule asks for, and the rules under which leave for a period suffices.

    Rules whose reviewers overlap are satisfied by the same people, the others each by people of their own.
    """
    asked: dict[tuple[int, Act], list[OwnRule]] = {}
    for match in matches:
        named = asked.setdefault((id(match.statement), match.act), [])
        if isinstance(match.rule, OwnRule):
            named.append(match.rule)
    asks: list[Ask] = []
    for own in asked.values():
        for wanted in [ask for rule in own for ask in _asks(rule, rules)] or [Ask(rules.reviewers)]:
            _join(asks, wanted)
    reviewers = tuple(dict.fromkeys(name for ask in asks for name in ask.reviewers))
    sessions = [match.rule.name for match in matches if isinstance(match.rule, OwnRule) and match.rule.rule.session]
    simple = len(asks) == 1 and asks[0].count == 1
    return replace(
        verdict,
        reviewers=reviewers,
        asks=() if simple else tuple(asks),
        sessions=tuple(dict.fromkeys(sessions)) if len(sessions) == len(matches) else (),
    )


def _asks(rule: OwnRule, rules: RuleSet) -> Iterator[Ask]:
    people, count = rule.rule.reviewers or rules.reviewers, rule.rule.approvals
    if count == 0:
        yield from (Ask((name,)) for name in people)
    elif rule.rule.reviewers or count > 1 or rule.rule.session:
        yield Ask(people, count)


def _join(asks: list[Ask], wanted: Ask) -> None:
    """Add what one rule asks for; where some of its reviewers are asked already, only those count."""
    for place, ask in enumerate(asks):
        both = _both(ask.reviewers, wanted.reviewers)
        if both is not None:
            asks[place] = Ask(both, max(ask.count, wanted.count))
            return
    asks.append(wanted)


def _both(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return who is named by both, None where nobody is; an empty list names everybody."""
    if not first or not second:
        return first or second
    return tuple(name for name in first if name in second) or None


_HINTS: Mapping[VerdictKind, str] = MappingProxyType(
    {
        VerdictKind.ALLOW: "",
        VerdictKind.APPROVE: "A person decides; the statement waits until then.",
        VerdictKind.DENY: "This connection has a rule against it; ask an operator of this gateway.",
    }
)


def _resolve(act: Act, rules: RuleSet, context: Context) -> Act:
    """Judge what depends on the connection's lists: settings and user functions; and CALL where nothing is written."""
    if act.what == "set":
        what = judge_setting(
            act.target,
            act.value,
            search_path=rules.search_path,
            listed=rules.settings,
            read_only=rules.read_only,
            statement_timeout=rules.statement_timeout,
        )
        return replace(act, what=what)
    if act.what == "show":
        return replace(act, what=judge_showing(act.target, rules.settings))
    if act.what == "call" and rules.read_only and not context.in_transaction:
        return replace(act, what="set-read-write", because=_OUTSIDE)
    if act.what == "user-function" and act.target in rules.functions:
        return replace(act, what="function")
    return act


def _verdict(rule: Rule, act: Act, operation: str) -> Verdict:
    target = act.target or ("no relation" if act.what == "select" else "it")
    reason = rule.says.format(act=act.what, target=target)
    sqlstate = _SQLSTATE.get(act.what, "42501")
    if act.because:
        reason = f"{reason.rstrip('.')}: {act.because}."
    if act.within and sqlstate == "42501":  # the others are PostgreSQL's own words
        reason = f"{reason.rstrip('.')} (inside {', '.join(act.within)})."
    return Verdict(rule.action, rule.name, reason, operation, rule.hint, sqlstate=sqlstate, where=rule.where)


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
