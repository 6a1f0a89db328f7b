"""Rewriting DataRow messages by a mask plan.

Promises that a masked column's original bytes never stand in what it returns, and that unmasked values are copied
byte for byte. A row that does not fit its plan is masked whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.pgwire.judgement import Plan


@dataclass(frozen=True, slots=True)
class MaskedRow:
    """A rewritten row, and the indexes of the values that were replaced."""

    values: tuple[bytes | None, ...]
    replaced: tuple[int, ...]


def mask_row(values: Sequence[bytes | None], plan: Plan, own: bytes = b"") -> MaskedRow:
    """Replace the values of masked columns; NULL stays NULL. `own` is what the agent itself sent, for watched ones."""
    if len(plan.columns) != len(values):
        return MaskedRow((None,) * len(values), tuple(range(len(values))))
    masked = list(values)
    replaced = []
    for index, column in enumerate(plan.columns):
        value = values[index]
        if column is not None and value is not None:
            if column.guard is not None:
                shown = column.guard(value, own)
                if shown is value:
                    continue
            else:
                shown = column.replacement if column.rewrite is None else column.rewrite(value)
            masked[index] = shown
            replaced.append(index)
    return MaskedRow(tuple(masked), tuple(replaced))


def masks_anything(plan: Plan) -> bool:
    """Whether any column of the plan is masked or watched."""
    return any(column is not None for column in plan.columns)
