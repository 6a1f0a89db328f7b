"""From facts and a result's description to a mask plan: which columns are replaced, by what.

Two votes decide on each column and the stricter wins: lineage over the syntax tree, and the table and column number
that PostgreSQL itself reports in RowDescription. Whatever is undecidable masks every column. A style that shows
something of a value applies only where both votes name the same marked column, uncast. Pure and total.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.masking.explained import scrubbed
from gateway.masking.flow import CLEAN, UNKNOWN, Flow, Output, join
from gateway.masking.pseudonyms import SHORTEST, Pseudonyms
from gateway.masking.styles import BPCHAR, REDACTED, Kind, Shapes, kind, last4, replacement
from gateway.masking.tripwire import trips
from gateway.model import MaskStyle
from gateway.pgwire.backend import ColumnDescription
from gateway.policy.catalog import Catalog
from gateway.policy.statement import Facts


@dataclass(frozen=True, slots=True)
class ColumnMask:
    """How one result column is masked: `replacement` None stands for NULL; a NULL stays NULL.

    `rewrite`, where it is set, makes what stands in for a value from that value. A column with a `guard` is not masked
    but watched: only values that the guard does not give back are replaced.
    """

    column_name: str
    source_columns: tuple[str, ...]
    style: MaskStyle
    replacement: bytes | None
    rewrite: Callable[[bytes], bytes | None] | None = field(default=None, repr=False, compare=False)
    guard: Callable[[bytes, bytes], bytes | None] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """A mask or None for each column of a result, and whether the two votes differed (an alarm)."""

    columns: tuple[ColumnMask | None, ...]
    disagreement: str = ""

    @property
    def masks(self) -> bool:
        """Some column is masked."""
        return any(column is not None and column.guard is None for column in self.columns)


def plan(
    facts: Facts,
    index: int,
    row: Sequence[ColumnDescription],
    pseudonyms: Pseudonyms | None = None,
    encoding: str = "utf-8",
) -> MaskPlan:
    """Return the mask plan for the result of statement `index` of the string, described by `row`.

    Without `pseudonyms`, the connection's, that style is `redact`. `encoding` is Python's name of that of the values.
    """
    catalog = facts.catalog
    if catalog is None or not catalog.flows:
        return MaskPlan((None,) * len(row))
    flows = _by_lineage(facts, index, len(row))
    masks: list[ColumnMask | None] = []
    differing = []
    watch = _watch(facts, index)
    for position, column in enumerate(row):
        origin = _by_origin(catalog, column)
        flow = UNKNOWN if flows is None else flows[position]
        if flows is not None and flow.clean and not origin.clean:
            differing.append(column.name)
        found = _mask(column, _both(flow, origin, column), catalog.shapes, pseudonyms, encoding)
        if found is None and watch is not None and column.table_oid == 0:
            found = watch(column, catalog.shapes)
        masks.append(found)
    return MaskPlan(tuple(masks), _disagreement(differing))


def _watch(facts: Facts, index: int) -> Callable[[ColumnDescription, Shapes], ColumnMask | None] | None:
    """Return what watches the columns of a result that no vote masks; None where they are proven clean.

    Not proven is what a user's function returns that the connection lists, a column of COPY that nobody could describe
    (without a type), and a plan that prints the constants of others.
    """
    catalog = facts.catalog
    if catalog is None or not catalog.has_marks or not 0 <= index < len(facts.statements):
        return None
    statement = facts.statements[index]
    if statement.operation == "explain":
        return _explained if statement.touches_marks else None
    trusted = any(name in catalog.listed for name in statement.functions)
    return partial(_tripped, trusted=trusted) if trusted or statement.copy_out is not None else None


def _explained(column: ColumnDescription, _shapes: Shapes) -> ColumnMask:
    return ColumnMask(column.name, (), MaskStyle.REDACT, REDACTED, guard=scrubbed)


def _tripped(column: ColumnDescription, shapes: Shapes, *, trusted: bool) -> ColumnMask | None:
    undescribed = column.type_oid == 0
    text = kind(column.type_oid, column.type_modifier, shapes).text
    if not (trusted or undescribed) or (column.format and not text):
        return None
    shown = replacement(MaskStyle.REDACT, column.type_oid, column.type_modifier, column.format, shapes)

    def guard(value: bytes, own: bytes) -> bytes | None:
        return shown if trips(value, own) else value

    return ColumnMask(column.name, (), MaskStyle.REDACT, shown, guard=guard)


def _disagreement(names: list[str]) -> str:
    if not names:
        return ""
    return f"lineage called {', '.join(names)} clean, the target reports a marked column"


def _both(flow: Flow, origin: Flow, column: ColumnDescription) -> Flow:
    """Return the stricter of two votes. It is plain where lineage says so and the target does not say otherwise."""
    found = join(each for each in (flow, origin) if not each.clean)
    agreed = column.table_oid == 0 or (origin.plain and origin.sources == flow.sources)
    return found if flow.plain and agreed else found.blurred()


def _by_lineage(facts: Facts, index: int, width: int) -> tuple[Flow, ...] | None:
    if facts.not_understood is not None or not 0 <= index < len(facts.statements):
        return None if facts.catalog is not None and facts.catalog.has_marks else (CLEAN,) * width
    statement = facts.statements[index]
    if not statement.touches_marks:
        return (CLEAN,) * width
    return spread(statement.outputs, width)


def spread(outputs: Sequence[Output] | None, width: int) -> tuple[Flow, ...] | None:
    """Return a flow for each of `width` columns; None where lineage and the target count columns differently."""
    if outputs is None:
        return None
    open_places = [place for place, output in enumerate(outputs) if output.many]
    if not open_places:
        return tuple(output.flow for output in outputs) if len(outputs) == width else None
    first, last = open_places[0], len(outputs) - open_places[-1] - 1
    between = width - first - last
    if between < 0:
        return None
    middle = join(output.flow for output in outputs[first : len(outputs) - last]).blurred()
    head = tuple(output.flow for output in outputs[:first])
    tail = tuple(output.flow for output in outputs[len(outputs) - last :])
    return (*head, *(middle,) * between, *tail)


def _by_origin(catalog: Catalog, column: ColumnDescription) -> Flow:
    if column.table_oid == 0:
        return CLEAN
    if column.table_oid not in catalog.relations:
        return UNKNOWN if catalog.has_marks else CLEAN
    return catalog.flows.get(column.table_oid, {}).get(column.column_number, CLEAN)


def _mask(
    column: ColumnDescription, flow: Flow, shapes: Shapes, pseudonyms: Pseudonyms | None, encoding: str
) -> ColumnMask | None:
    if flow.clean:
        return None
    found = kind(column.type_oid, column.type_modifier, shapes)
    style = _style(flow, found, pseudonyms)
    shown = replacement(style, column.type_oid, column.type_modifier, column.format, shapes)
    sources = tuple(sorted(flow.sources))
    rewrite: Callable[[bytes], bytes | None] | None = None
    if style is MaskStyle.LAST4:
        rewrite = partial(last4, found=found, encoding=encoding)
    elif style is MaskStyle.PSEUDONYM and pseudonyms is not None:
        rewrite = partial(_pseudonym, pseudonyms, sources[0], found)
    return ColumnMask(column.name, sources, style, shown, rewrite)


def _style(flow: Flow, found: Kind, pseudonyms: Pseudonyms | None) -> MaskStyle:
    """Return the style that applies: what shows something of the value, only of one direct reference to a text."""
    if flow.style is MaskStyle.LAST4:
        return flow.style if flow.plain and found.text else MaskStyle.REDACT
    if flow.style is MaskStyle.PSEUDONYM:
        fits = found.length is None or found.length >= SHORTEST
        known = flow.plain and found.text and len(flow.sources) == 1 and pseudonyms is not None
        return flow.style if known and fits else MaskStyle.REDACT
    return flow.style


def _pseudonym(pseudonyms: Pseudonyms, column: str, found: Kind, value: bytes) -> bytes:
    text = value.rstrip(b" ") if found.oid == BPCHAR else value
    return found.fit(pseudonyms.of(column, text))
