"""Rules that a connection brings itself (`[[connection.rule]]`): what they may say, and which acts they match.

A rule that makes things stricter matches wide: through views, partitions and former names, and in doubt. A rule that
relaxes a line of the preset matches narrow: all that the act touches must be named, and in doubt it does not match.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.model import ConnectionRule, Micros, RelationPattern, VerdictKind, format_time
from gateway.policy.catalog import Catalog, Relation
from gateway.policy.presets import NEVER_RELAXED, STANDARD, Rule, line_of
from gateway.policy.statement import ANY, Act, StatementFacts
from gateway.policy.words import words

_WIDER: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "select": words("select copy-out for-update"),
        "insert": words("insert copy-in merge-insert"),
        "update": words("update update-all merge-update"),
        "delete": words("delete delete-all merge-delete"),
        "merge": words("merge merge-all"),
        "create": words("create create-as"),
        "drop": words("drop drop-database"),
        "set": words("set set-not-listed set-computed set-pinned set-read-write set-role"),
        "show": words("show show-not-listed"),
    }
)
OPERATIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {**{act: frozenset({act}) for line in STANDARD for act in line.acts}, **_WIDER}
)
"""What `operation` may say, and the acts that it means."""

CONTROL = words(
    """
    transaction set show reset explain declare fetch move close prepare execute deallocate listen unlisten discard
    function
    """
)
"""What a session needs to go on or to end in order: a rule about people or times alone does not mean these."""

_CALLS = words("user-function builtin-function call sequence notify")
"""Acts whose target is a function, so that `function` can narrow what is relaxed."""
_ON_RELATIONS = words(
    """
    select for-update insert copy-in copy-out update delete merge create alter create-as maintenance drop truncate
    update-all delete-all merge-all rewrite-rule create-trigger create-rule row-policy catalog-read catalog-not-listed
    foreign
    """
)
"""Acts that say which relations they are done to, so that `relation` can narrow what is relaxed."""


_START = Micros(0)


@dataclass(frozen=True, slots=True)
class Situation:
    """Who asks, and when; `redefined`: definitions were changed in this transaction, and the catalog is behind."""

    subject: str = ""
    groups: tuple[str, ...] = ()
    at: Micros = _START
    redefined: bool = False
    exceeded: Mapping[str, str] = field(default_factory=dict)
    """Rules with limits that the subject has passed, or is expected to: name -> words."""


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A rule of the connection, compiled; `line` is the preset's that it replaces."""

    rule: ConnectionRule
    line: Rule | None
    acts: frozenset[str] | None
    """What `operation` means; None: whatever is no session control, or anything where other conditions narrow it."""

    @property
    def leaks(self) -> bool:
        """Whether `observe` keeps it: where it stands for a line that would be kept; others are tried out there."""
        return self.line is not None and self.line.leaks

    @property
    def name(self) -> str:
        """The rule's name, which holds no slash, so that it is nobody else's."""
        return self.rule.name

    @property
    def action(self) -> VerdictKind:
        """What follows."""
        return self.rule.action

    @property
    def where(self) -> str:
        """Where the rule is written."""
        return self.rule.where

    @property
    def counts(self) -> bool:
        """It has a limit: it matches only where that is passed."""
        return self.rule.rows_over is not None or self.rule.bytes_over is not None

    @property
    def effect(self) -> bool:
        """It holds what it matches after that ran."""
        return self.rule.effect

    @property
    def relaxes(self) -> bool:
        """It is milder than the line that it replaces."""
        return self.line is not None and _is_milder(self.rule, self.line)

    def concerns(self, situation: Situation) -> bool:
        """Say whether the rule is about this subject, these groups and this time."""
        rule = self.rule
        return (
            (not rule.subjects or situation.subject in rule.subjects)
            and (not rule.groups or not set(rule.groups).isdisjoint(situation.groups))
            and (not rule.hours or any(hours.covers(situation.at) for hours in rule.hours))
        )

    def matches(self, act: Act, statement: StatementFacts, line: Rule, catalog: Catalog | None, now: Situation) -> bool:
        """Say whether the rule matches an act that the preset's `line` names."""
        if self.line is not None and self.line.name != line.name:
            return False
        if self.acts is not None:
            if act.what not in self.acts:
                return False
        elif self.line is None and act.what in CONTROL and not self._narrowed():
            return False
        if self.relaxes:
            return self._covers(act, catalog, now)
        return self._touches(act, statement, catalog, now)

    def because(self, act: Act, statement: StatementFacts, now: Situation) -> str:
        """Say what beside the act itself matched, to be added to a sentence."""
        rule, more = self.rule, []
        if rule.relations and not (act.relations and any(self._names(name) for name in act.relations)):
            more.append(f"which can reach {' or '.join(map(str, rule.relations))}")
        if rule.functions and act.what not in _CALLS:
            called = [name for name in statement.calls if _calls(name, rule.functions)]
            more.append(f"it calls {', '.join(called)}")
        if rule.columns:
            touched = [name for name in statement.columns if name in {str(column) for column in rule.columns}]
            more.append(f"it mentions {', '.join(touched or ('a column that cannot be decided',))}")
        if rule.subjects:
            more.append(f"the subject is {now.subject}")
        if rule.groups:
            more.append(f"the subject is in {', '.join(sorted(set(rule.groups) & set(now.groups)))}")
        if self.name in now.exceeded:
            more.append(now.exceeded[self.name])
        if rule.hours:
            more.append(f"{format_time(now.at)[11:16]} UTC is within {', '.join(map(str, rule.hours))}")
        return f", {' and '.join(more)}" if more else ""

    def _narrowed(self) -> bool:
        return bool(self.rule.relations or self.rule.functions or self.rule.columns)

    def _covers(self, act: Act, catalog: Catalog | None, now: Situation) -> bool:
        """Everything that the act touches is named, and nothing is in doubt."""
        rule = self.rule
        if rule.functions and not any(act.target == name or _in_schema(act.target, name) for name in rule.functions):
            return False
        if rule.columns and act.target not in {str(column) for column in rule.columns}:
            return False
        if not rule.relations:
            return True
        if catalog is None or now.redefined or not act.relations:
            return False
        making = act.what in {"create", "create-as"}
        return all(self._covers_relation(name, catalog, making=making) for name in act.relations)

    def _covers_relation(self, name: str, catalog: Catalog, *, making: bool) -> bool:
        found = catalog.find(name)
        if len(found) != 1:
            return making and not found and self._names(name)
        if found[0].name in catalog.temporary:
            return False
        return all(
            any(_is(pattern, each) for pattern in self.rule.relations) for each in reach(catalog, found, up=False)
        )

    def _touches(self, act: Act, statement: StatementFacts, catalog: Catalog | None, now: Situation) -> bool:
        """Something that the act touches is named, or may be."""
        rule = self.rule
        called = (*statement.calls, act.target) if act.what in _CALLS else statement.calls
        if rule.functions and not any(_calls(name, rule.functions) for name in called):
            return False
        if rule.columns and not self._mentions(statement, catalog, now):
            return False
        if not rule.relations:
            return True
        if not act.relations:
            return False
        if now.redefined or catalog is None or ANY in act.relations:
            return True
        return any(self._names(name) or self._reaches(name, catalog) for name in act.relations)

    def _mentions(self, statement: StatementFacts, catalog: Catalog | None, now: Situation) -> bool:
        named = {str(column) for column in self.rule.columns}
        if catalog is None or (now.redefined and (statement.relations_read or statement.relations_written)):
            return True
        known = {mark for _, _, mark in catalog.watched_at}
        return any(column in named or column not in known for column in statement.columns)

    def _names(self, name: str) -> bool:
        """Say whether a full name, or a bare one that the catalog does not show, is that of a named relation."""
        return any(
            name == str(pattern)
            or ("." not in name and pattern.name in {None, name})
            or (pattern.name is None and name.startswith(f"{pattern.schema}."))
            for pattern in self.rule.relations
        )

    def _reaches(self, name: str, catalog: Catalog) -> bool:
        found = catalog.find(name)
        bare = name.rpartition(".")[2]
        if bare in catalog.temporary:  # pg_temp is searched before all else
            found += tuple(
                each for (schema, other), each in catalog.by_name.items()
                if other == bare and schema.startswith("pg_temp_")
            )  # fmt: skip
        reached = reach(catalog, found, up=True)
        known = {former for each in reached for former in catalog.known_as.get(each.oid, ())}
        return any(_is(pattern, each) or str(pattern) in known for pattern in self.rule.relations for each in reached)


def reach(catalog: Catalog, start: Iterable[Relation], *, up: bool) -> tuple[Relation, ...]:
    """Return what reading or writing `start` reaches: what views read, and children; with `up` the parents of each."""
    seen = {relation.oid: relation for relation in start}
    stack = list(seen.values())
    while stack:
        relation = stack.pop()
        below = (catalog.relations.get(oid) for oid in (*relation.reads, *relation.children))
        for found in below:
            if found is not None and found.oid not in seen:
                seen[found.oid] = found
                stack.append(found)
    stack = list(seen.values()) if up else []
    while stack:
        for found in (catalog.relations.get(oid) for oid in stack.pop().parents):
            if found is not None and found.oid not in seen:
                seen[found.oid] = found
                stack.append(found)
    return tuple(seen.values())


def compile_own(preset: str, rules: Iterable[ConnectionRule]) -> tuple[OwnRule, ...]:
    """Compile what `faults` found nothing wrong with."""
    return tuple(
        OwnRule(
            rule,
            line_of(preset, rule.replaces) if rule.replaces is not None else None,
            frozenset(act for word in rule.operations for act in OPERATIONS[word]) if rule.operations else None,
        )
        for rule in rules
    )


def faults(preset: str, rules: Iterable[ConnectionRule]) -> Iterator[tuple[int, str, str]]:
    """Yield what is wrong with a connection's rules: the rule's place, the key, and words."""
    seen: set[str] = set()
    for place, rule in enumerate(rules):
        if rule.name in seen:
            yield place, "name", "another rule of this connection has it"
        seen.add(rule.name)
        unknown = [word for word in rule.operations if word not in OPERATIONS]
        if unknown:
            known = "select, insert, update, delete, copy-in, copy-out, create, alter, drop, truncate"
            yield place, "operation", f"no such operation; some are {known} (docs/policies.md has all)"
        if rule.rows_over is not None or rule.bytes_over is not None:
            key = "rows_over" if rule.rows_over is not None else "bytes_over"
            if rule.action is VerdictKind.ALLOW:
                yield place, key, "only an action of approve or deny has a limit"
            if rule.replaces is not None:
                yield place, key, "does not narrow a line of the preset; write a rule of its own"
        if rule.reviewers and rule.action is not VerdictKind.APPROVE:
            yield place, "reviewers", "only an action of approve asks reviewers"
        if rule.replaces is None:
            if rule.accept_risk is not None:
                yield place, "accept_risk", "stands beside replaces, where what the preset denies is allowed"
        else:
            yield from ((place, key, told) for key, told in _replacing(preset, rule))


def _replacing(preset: str, rule: ConnectionRule) -> Iterator[tuple[str, str]]:
    line = line_of(preset, rule.replaces or "")
    if line is None:
        yield "replaces", f"the preset {preset} has no such line; write one of docs/policies.md, such as standard/drop"
        return
    if not _is_milder(rule, line):
        return
    if line.short in NEVER_RELAXED:
        yield "replaces", f"{line.name} is never relaxed"
    if rule.action is VerdictKind.ALLOW and line.action is VerdictKind.DENY and not (rule.accept_risk or "").strip():
        yield "accept_risk", f'missing; allowing what {line.name} denies needs accept_risk = "why"'
    if rule.functions and not line.acts & _CALLS:
        yield "function", f"does not narrow {line.name}, which is not about functions"
    if rule.columns and line.short != "marked-write":
        yield "column", f"does not narrow {line.name}; of the lines to relax only marked-write is about columns"
    if rule.relations and not line.acts & _ON_RELATIONS:
        yield "relation", f"does not narrow {line.name}, which is not about relations"


def _is_milder(rule: ConnectionRule, line: Rule) -> bool:
    """Whether a rule lets more happen than the line: what is approved after it ran has run before."""
    if rule.action.strictness == line.action.strictness:
        return rule.effect
    return rule.action.strictness < line.action.strictness


def _is(pattern: RelationPattern, relation: Relation) -> bool:
    return pattern.schema == relation.schema and pattern.name in {None, relation.name}


def _calls(name: str, functions: Iterable[str]) -> bool:
    """Say whether `name` is, or may be, one of `functions`: one without schema may be in any."""
    return any(
        name == function
        or _in_schema(name, function)
        or ("." not in name and function.rpartition(".")[2] in {"*", name})
        for function in functions
    )


def _in_schema(name: str, function: str) -> bool:
    schema, _, bare = function.rpartition(".")
    return bare == "*" and name.startswith(f"{schema}.")
