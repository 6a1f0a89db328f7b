"""How often is killed, by which random numbers, and whom it is told.

`HOOP_CRASH_ROUNDS` is the number of kills at random moments, set by `just crash`, which also kills at every single
operation; without it a sample of both is taken, always the same. `HOOP_CRASH_SEED` repeats what a failure names.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from dataclasses import dataclass

import pytest

ROUNDS = int(os.environ.get("HOOP_CRASH_ROUNDS") or 0)
SEED = int(os.environ.get("HOOP_CRASH_SEED") or (random.SystemRandom().randrange(1, 1 << 32) if ROUNDS else 1))
counts: Counter[str] = Counter()
"""Kills of tests that passed, by what was killed where."""


@dataclass(frozen=True)
class Kills:
    """What a test may kill, and whom it tells. `everything`: each point, not a sample."""

    request: pytest.FixtureRequest
    seed: int = SEED
    everything: bool = ROUNDS > 0

    def chance(self, *what: object) -> random.Random:
        """Random numbers that depend on the seed and on what they are for alone."""
        return random.Random(f"{self.seed} {what}")

    def count(self, what: str) -> None:
        """Count a kill that was survived."""
        self.request.node.user_properties.append(("kill", what))
        if self.everything and "PYTEST_XDIST_WORKER" not in os.environ:
            done = sum(name == "kill" for name, _ in self.request.node.user_properties)
            told = f"{sum(counts.values()) + done} killed; {self.request.node.name}: {what}"
            capture = self.request.config.pluginmanager.getplugin("capturemanager")
            with capture.global_and_fixture_disabled():
                end = "\r" if sys.stderr.isatty() else "\n"
                sys.stderr.write(f"{told[:119]:119}{end}")
                sys.stderr.flush()
