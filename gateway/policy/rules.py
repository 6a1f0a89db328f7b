"""A connection's policy, compiled: the rules in force, what the connection lists, and the hash that names it all.

Frozen and pure. The canonical text is what evidence keeps of the policy; it holds no secret. Same text, same hash.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from blake3 import blake3

from gateway.errors import ConfigurationFault
from gateway.model import Connection
from gateway.policy.presets import PRESETS, STANDARD, Rule


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What decides on one connection's statements."""

    connection: str
    preset: str
    rules: tuple[Rule, ...]
    functions: frozenset[str]
    """User functions that may run, as `schema.name`."""
    settings: frozenset[str]
    search_path: tuple[str, ...]
    reviewers: tuple[str, ...]
    has_marks: bool
    read_only: bool
    text: str
    """Canonical JSON of everything above."""
    hash: str
    """Lower-case hex BLAKE3 of `text`."""

    @property
    def observes(self) -> bool:
        """The preset is `observe`."""
        return self.preset == "observe"

    @property
    def pins(self) -> bool:
        """Settings that decide how a statement is read are pinned."""
        return not self.observes or self.has_marks


def compile_rules(connection: Connection) -> RuleSet:
    """Compile a connection's policy; raise ConfigurationFault for a preset that does not exist."""
    if connection.policy not in PRESETS:
        raise ConfigurationFault(f"connection {connection.name}: policy {connection.policy!r} is not built yet")
    text = json.dumps(
        {
            "version": 1,
            "connection": connection.name,
            "policy": connection.policy,
            "rules": [[rule.name, rule.action.value, sorted(rule.acts)] for rule in STANDARD],
            "functions": sorted(connection.functions),
            "settings": sorted(setting.lower() for setting in connection.settings),
            "search_path": list(connection.search_path),
            "reviewers": list(connection.reviewers),
            "marks": [[str(mark), mark.style.value] for mark in connection.marks],
            "access": connection.access,
            "agents": sorted(connection.agents),
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return RuleSet(
        connection=connection.name,
        preset=connection.policy,
        rules=STANDARD,
        functions=frozenset(connection.functions),
        settings=frozenset(setting.lower() for setting in connection.settings),
        search_path=connection.search_path,
        reviewers=connection.reviewers,
        has_marks=bool(connection.marks),
        read_only=connection.access == "read-only",
        text=text,
        hash=blake3(text.encode()).hexdigest(),
    )
