"""Turns measured rounds into medians and ratios, and those into Markdown. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """What pgbench was asked for: query mode (simple, extended, prepared) and number of clients."""

    mode: str
    clients: int


Rounds = Mapping[tuple[Case, str], Sequence[float]]
"""Transactions per second of each round, by case and side."""


def ratios(rounds: Rounds, case: Case, side: str) -> float:
    """Return the median over rounds of this side's rate as a part of direct's in the same round."""
    pairs = zip(rounds[case, side], rounds[case, "direct"], strict=True)
    return statistics.median(rate / base for rate, base in pairs)


def table(rounds: Rounds, cases: Sequence[Case], sides: Sequence[str]) -> str:
    """Return a Markdown table: direct's rate, and each side's rate, ratio and added time for each statement."""
    others = [side for side in sides if side != "direct"]
    head = ["clients", "mode", "direct /s", *(f"{side} {what}" for side in others for what in ("/s", "of direct"))]
    lines = [_row(head), _row(["---:", "---", *["---:"] * (len(head) - 2)])]
    for case in cases:
        cells = [str(case.clients), case.mode, f"{statistics.median(rounds[case, 'direct']):,.0f}"]
        for side in others:
            cells += [f"{statistics.median(rounds[case, side]):,.0f}", f"{ratios(rounds, case, side):.2f}"]
        lines.append(_row(cells))
    return "\n".join(lines)


def document(measured: str, facts: Mapping[str, str], command: str) -> str:
    """Return the whole of docs/benchmarks.md."""
    listed = "\n".join(f"* {name}: {value}" for name, value in facts.items())
    return f"""# Benchmarks

Written by `{command}`; do not edit. The same pgbench (`-S`: one SELECT by key a transaction) runs against PostgreSQL
itself, through PgBouncer, which records nothing, and through the gateway, which proves an identity, judges every
statement and has its record on disk before the target sees a byte. Sides take turns within each round, so that each
ratio compares neighbours in time; ratios are medians over the rounds.

{measured}

{listed}
"""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
