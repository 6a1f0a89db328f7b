"""A connection's policy, compiled: the rules in force, what the connection lists, and the hash that names it all.

Frozen and pure. The canonical text is what evidence keeps of the policy; it holds no secret. Same text, same hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from blake3 import blake3

from gateway.errors import ConfigurationFault
from gateway.model import Connection, ConnectionRule, Json
from gateway.policy.own import OwnRule, Situation, compile_own, faults
from gateway.policy.presets import PRESETS, Rule


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What decides on one connection's statements."""

    connection: str
    preset: str
    lines: tuple[Rule, ...]
    """The preset's."""
    own: tuple[OwnRule, ...]
    """The connection's, in the order of the file."""
    functions: frozenset[str]
    """User functions that may run, as `schema.name`."""
    settings: frozenset[str]
    search_path: tuple[str, ...]
    reviewers: tuple[str, ...]
    """Who decides where a rule names nobody."""
    has_marks: bool
    read_only: bool
    statement_timeout: int | None
    """Milliseconds that `statement_timeout` may be set to at most; None: any."""
    text: str
    """Canonical JSON of everything above."""
    hash: str
    """Lower-case hex BLAKE3 of `text`."""
    by_act: Mapping[str, Rule] = field(repr=False, compare=False)
    """Act -> the preset's line that names it."""
    order: Mapping[str, int] = field(repr=False, compare=False)
    """Line -> its place: the first of two that are equally strict names the verdict."""

    @property
    def rules(self) -> tuple[Rule | OwnRule, ...]:
        """Every rule in force: the connection's own, then the preset's lines."""
        return (*self.own, *self.lines)

    @property
    def observes(self) -> bool:
        """The preset is `observe`."""
        return self.preset == "observe"

    @property
    def pins(self) -> bool:
        """Settings that decide how a statement is read are pinned."""
        return not self.observes or self.has_marks

    def concerned(self, situation: Situation) -> tuple[int, ...]:
        """Return the places of the own rules that are about this subject and time: equal ones, equal verdicts."""
        if not self.own:
            return ()
        return tuple(place for place, rule in enumerate(self.own) if rule.concerns(situation))


def compile_rules(connection: Connection) -> RuleSet:
    """Compile a connection's policy; raise ConfigurationFault for a preset or rule that cannot be."""
    if connection.policy not in PRESETS:
        raise ConfigurationFault(f"connection {connection.name}: there is no policy {connection.policy!r}")
    for place, key, words in faults(connection.policy, connection.rules):
        raise ConfigurationFault(f"connection {connection.name}: rule.{place}.{key}: {words}")
    lines = PRESETS[connection.policy]
    text = json.dumps(
        {
            "version": 2,
            "connection": connection.name,
            "policy": connection.policy,
            "rules": [[rule.name, rule.action.value, sorted(rule.acts)] for rule in lines],
            "own": [_written(rule) for rule in connection.rules],
            "functions": sorted(connection.functions),
            "settings": sorted(setting.lower() for setting in connection.settings),
            "search_path": list(connection.search_path),
            "reviewers": list(connection.reviewers),
            "marks": [[str(mark), mark.style.value] for mark in connection.marks],
            "access": connection.access,
            **({"statement_timeout": connection.statement_timeout} if connection.statement_timeout else {}),
            "agents": sorted(connection.agents),
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return RuleSet(
        connection=connection.name,
        preset=connection.policy,
        lines=lines,
        own=compile_own(connection.policy, connection.rules),
        functions=frozenset(connection.functions),
        settings=frozenset(setting.lower() for setting in connection.settings),
        search_path=connection.search_path,
        reviewers=connection.reviewers,
        has_marks=bool(connection.marks),
        read_only=connection.access == "read-only",
        statement_timeout=connection.statement_timeout,
        text=text,
        hash=blake3(text.encode()).hexdigest(),
        by_act={act: line for line in lines for act in line.acts},
        order={line.name: place for place, line in enumerate(lines)},
    )


def _written(rule: ConnectionRule) -> dict[str, Json]:
    """A rule as the canonical text has it: what it says, without the place where it stands."""
    lists = {
        "operation": rule.operations,
        "relation": map(str, rule.relations),
        "function": rule.functions,
        "column": map(str, rule.columns),
        "hours": map(str, rule.hours),
        "subject": rule.subjects,
        "group": rule.groups,
        "reviewers": rule.reviewers,
    }
    found: dict[str, Json] = {"name": rule.name, "action": rule.action.value}
    found |= {"session": True} if rule.session else {}
    found |= {"effect": True} if rule.effect else {}
    found |= {"approvals": rule.approvals or "each"} if rule.approvals != 1 else {}
    found |= {key: list(values) for key, values in ((key, [*values]) for key, values in lists.items()) if values}
    found |= {key: value for key, value in (("rows_over", rule.rows_over), ("bytes_over", rule.bytes_over))
              if value is not None}  # fmt: skip
    found |= {"window": rule.window} if rule.rows_over is not None or rule.bytes_over is not None else {}
    found |= {key: value for key, value in (("replaces", rule.replaces), ("accept_risk", rule.accept_risk)) if value}
    return found
