"""Plays cases through the gateway and says of each what came of it: its verdict as recorded, and what leaked.

A leak is a canary in any byte that the agent got, of whatever step of the case, as `score.canaries` looks for them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.model import VerdictKind
from score.canaries import leaked
from score.corpus import Case
from score.wire import Answer, Mode, PlayFault, Wire
from score.world import DATABASE, World

_MARKER = "SET application_name = 'case {} {}'"
_OWN = frozenset({"BEGIN", "ROLLBACK", "DISCARD ALL"})
"""What the player sends beside the cases."""
_READS = re.compile(r"\s*(SELECT|WITH|VALUES|TABLE|\(|EXPLAIN|DROP|DELETE)\b", re.IGNORECASE)
ALONE = re.compile(r"\b(BEGIN|COMMIT|VACUUM|CHECKPOINT|DATABASE|TRANSACTION|PREPARED|DISCARD)\b", re.IGNORECASE)
"""What cannot run within a transaction, or ends it."""


@dataclass(frozen=True, slots=True)
class Played:
    """One case in one mode. `verdict` None: it was not recorded as judged (a syntax error of the extended protocol)."""

    case: Case
    mode: Mode
    connection: str
    answers: tuple[Answer, ...]
    verdict: VerdictKind | None = None
    rule: str = ""
    leak: str = ""

    @property
    def too_mild(self) -> bool:
        """More was allowed than should be."""
        return self.verdict is not None and self.verdict.strictness < self.case.expected.strictness

    @property
    def too_strict(self) -> bool:
        """Less was allowed than should be."""
        return self.verdict is not None and self.verdict.strictness > self.case.expected.strictness


def play(
    world: World,
    cases: Sequence[Case],
    modes: Iterable[Mode],
    needles: frozenset[bytes],
    connection: str = DATABASE,
    *,
    undone: bool = False,
) -> list[Played]:
    """Play every case in every mode on one session each; raise PlayFault where a session breaks off.

    `undone`: each within a transaction that is rolled back, where it can be.
    """
    found: list[Played] = []
    run = secrets.token_hex(4)
    for mode in modes:
        with world.through(connection) as wire:
            for place, case in enumerate(cases):
                try:
                    wire.play(_MARKER.format(run, place), Mode.SIMPLE)
                    answers = _steps(wire, case, mode, undone=undone)
                except (PlayFault, OSError) as fault:
                    raise PlayFault(f"{case.name} ({mode}): {fault}; the gateway's log ends {world.log()}") from fault
                seen = b"\n".join(answer.raw for answer in answers)
                leak = leaked(seen, needles, "\n".join(case.steps))
                found.append(Played(case, mode, connection, answers, leak=leak))
    return _judged(found, _groups(world.recorded(), run))


def _steps(wire: Wire, case: Case, mode: Mode, *, undone: bool) -> tuple[Answer, ...]:
    """Play a case and tidy up after it; `undone`: within a transaction that is rolled back, where it can be."""
    if undone and not any(ALONE.search(step) for step in case.steps):
        wire.play("BEGIN", Mode.SIMPLE)
    answers = tuple(wire.play(step, mode) for step in case.steps)
    if answers[-1].status != "I":
        wire.play("ROLLBACK", Mode.SIMPLE)
    if len(case.steps) > 1 or not _READS.match(case.sql):
        wire.play("DISCARD ALL", Mode.SIMPLE)
    return answers


def _judged(played: Sequence[Played], groups: Sequence[list[dict[str, Any]]]) -> list[Played]:
    """Join what was played with what was recorded of it."""
    found = []
    for one, rows in zip(played, groups, strict=True):
        last = rows[-1] if len(rows) >= len(one.case.steps) else None
        verdict = VerdictKind(last["verdict"]) if last is not None else None
        found.append(replace(one, verdict=verdict, rule=last["rule"] if last is not None else ""))
    return found


def _groups(rows: Iterable[dict[str, Any]], run: str) -> list[list[dict[str, Any]]]:
    """Cut a run's statements at its markers, in the order in which they were played."""
    found: list[list[dict[str, Any]]] = []
    marker = _MARKER.partition("{")[0]
    inside = False
    for row in rows:
        if str(row["sql"]).startswith(marker):
            inside = str(row["sql"]).startswith(f"{marker}{run} ")
            if inside:
                found.append([])
        elif inside and row["sql"] not in _OWN:
            found[-1].append(row)
    return found


def plain(world: World, cases: Sequence[Case], mode: Mode) -> list[tuple[Answer, ...]]:
    """Play cases on the server itself, each within a transaction that is rolled back, where it can be."""
    found: list[tuple[Answer, ...]] = []
    with world.direct() as wire:
        found += [_steps(wire, case, mode, undone=True) for case in cases]
    return found
