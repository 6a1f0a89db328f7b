"""What a held operation did already: rows in each relation, and some of them before and after. Pure.

Nothing is cut: values come cut by the gateway, which says so by an ellipsis of its own, and wrap here. A change reads
`before → after`; what a row has unchanged stands on one line behind it.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.model import Sample, SampledRow, ShownEffect
from hoop_tui.glyphs import Glyphs
from hoop_tui.known import without_rows
from hoop_tui.lines import BLANK, Line, Span, wrap

NAME = 16
"""Cells of a name's column."""


def paint_effect(effect: ShownEffect, width: int, glyphs: Glyphs) -> list[Line]:
    """Paint the effect below its heading."""
    said = "fetches its rows in parts" if effect.rows is None else f"reported {_rows(effect.rows)}"
    lines = wrap(f"It has run and {said}. Nothing of it counts yet.", width - 1, "wait")
    lines += _counts(effect, width)
    sample = effect.sample
    if without_rows(effect):
        return [*lines, (Span("its rows are asked for", "faint"),)]
    if sample is None or not sample.rows:
        why = effect.no_sample or "no row was read"
        return [*lines, *wrap(f"No sample: {why}.", width - 1, "dim")]
    for number, row in enumerate(sample.rows, 1):
        lines += [BLANK, (Span(f"{_done(row)} row {number} of {len(sample.rows)} shown", "strong"),)]
        lines += _row(sample, row, width, glyphs)
    return lines


def counted(effect: ShownEffect) -> str:
    """Say on one line how many rows were really changed."""
    if effect.relations is None:
        return f"{_rows(effect.rows or 0)} reported, the target does not count them"
    changed = sum(each.inserted + each.updated + each.deleted for each in effect.relations)
    more = f" and {effect.more:,} more" if effect.more else ""
    where = "relation" if len(effect.relations) == 1 else "relations"
    return f"{_rows(changed)} changed in {len(effect.relations)} {where}{more}, not committed"


def _rows(number: int) -> str:
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


def _counts(effect: ShownEffect, width: int) -> list[Line]:
    if effect.relations is None:
        return wrap(
            "The target does not count rows (track_counts is off): how many changed is not known.", width - 1, "bad"
        )
    if not effect.relations:
        return [(Span("No row was changed.", "dim"),)]
    lines: list[Line] = []
    for each in effect.relations:
        words = ((each.inserted, "inserted"), (each.updated, "updated"), (each.deleted, "deleted"))
        told = ", ".join(f"{number:,} {word}" for number, word in words if number)
        lines += wrap(f"  {each.relation}: {told}", width - 1, "text")
    if effect.more:
        lines.append((Span(f"  and {effect.more:,} more relations", "bad"),))
    return lines


def _done(row: SampledRow) -> str:
    if row.before is None:
        return "inserted"
    return "deleted" if row.after is None else "updated"


def _row(sample: Sample, row: SampledRow, width: int, glyphs: Glyphs) -> Iterator[Line]:
    same: list[str] = []
    for place, name in enumerate(sample.columns):
        if sample.masked[place]:
            continue
        before, after = _value(row.before, place), _value(row.after, place)
        if row.before is not None and row.after is not None:
            if before == after:
                same.append(f"{name} {before}")
            else:
                yield from _field(name, f"{before} {glyphs.arrow} {after}", width, "wait")
        else:
            yield from _field(name, after if row.before is None else before, width, "sql")
    if same:
        yield from _field("unchanged", ", ".join(same), width, "dim")
    masked = [name for name, hidden in zip(sample.columns, sample.masked, strict=True) if hidden]
    if masked:
        yield from _field("not shown", ", ".join(masked), width, "dim")


def _field(name: str, value: str, width: int, role: str) -> Iterator[Line]:
    """A name and its value; a long name has a line of its own."""
    label = name if len(name) < NAME else ""
    if not label:
        yield from wrap(f"  {name}", width - 1, "label")
    for place, (piece,) in enumerate(wrap(value, max(8, width - NAME - 3), role)):
        yield (Span(f"  {label if place == 0 else '':<{NAME}}", "label"), piece)


def _value(row: tuple[str | None, ...] | None, place: int) -> str:
    if row is None or place >= len(row):
        return "-"
    value = row[place]
    return "NULL" if value is None else value
