"""Masked values on their way back: what an agent read as `***` or a pseudonym must not overwrite the original.

Finds what a write would put into marked columns (literals, parameters, COPY data) and says whether it is a form that
this gateway gives out in that column's style. A value that is merely part of an expression counts too. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.masking.assigned import Assigned, assigned
from gateway.masking.copy_binary import CopyBinary
from gateway.masking.copy_csv import CopyCsv
from gateway.masking.copy_layout import CopyFormat, Layout
from gateway.masking.copy_text import CopyText
from gateway.masking.copying import Copier, CopyFault, Stand
from gateway.masking.flow import Flow
from gateway.masking.pseudonyms import Pseudonyms
from gateway.masking.styles import REDACTED, Kind, kind
from gateway.model import MaskStyle
from gateway.policy.catalog import Catalog, Column, Relation
from gateway.policy.tree import Node, below, constant_text, kind_of

_LAST4 = re.compile(r"\*\*\*.{1,4}", re.DOTALL)
_FORM = re.compile(r"\*{1,3}.{0,4} *|anon-[a-z2-7]+ *", re.DOTALL)
"""Whatever is no such text is none of our forms, in any style."""
_SOURCES = ("fromClause", "withClause", "sourceRelation")
_CONDITIONS = ("whereClause", "havingClause", "sortClause")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A marked column that is written: what it is called, in which style it is shown, and its type."""

    column: str
    style: MaskStyle
    kind: Kind

    def shows(self, value: bytes, pseudonyms: Pseudonyms | None) -> bool:
        """Say whether `value` is a form in which this column's values are shown."""
        text = value.rstrip(b" ")
        if not text or not self.kind.text:
            return False
        if text == self.kind.fit(REDACTED).rstrip(b" "):
            return True
        if self.style is MaskStyle.LAST4:
            return _LAST4.fullmatch(text.decode("utf-8", "replace")) is not None
        return self.style is MaskStyle.PSEUDONYM and pseudonyms is not None and pseudonyms.made(text)


@dataclass(frozen=True, slots=True)
class Written:
    """A value that a statement puts into a marked column: a constant, or parameter `number` (from 1)."""

    receiver: Receiver
    text: bytes = b""
    number: int = 0


@dataclass(frozen=True, slots=True)
class CopyInto:
    """COPY … FROM STDIN into marked columns: one for each column of the data, None where it is not marked."""

    layout: Layout
    receivers: tuple[Receiver | None, ...]


def receivers(relation: Relation, names: Sequence[str], catalog: Catalog) -> tuple[Receiver | None, ...]:
    """Return the receiver of each named column, None where it is not marked."""
    by_name = {column.name: column for column in relation.columns}
    marked = catalog.flows.get(relation.oid, {})

    def of(column: Column | None) -> Receiver | None:
        flow = marked.get(column.number) if column is not None else None
        if column is None or flow is None or flow.clean:
            return None
        return _receiver(relation, column, flow, catalog)

    return tuple(of(by_name.get(name)) for name in names)


def written(kind_: str, fields: Node, catalog: Catalog, arguments: Sequence[Any] = ()) -> Iterator[Written]:
    """Yield what the statement puts into marked columns and could be a masked value; `arguments` are EXECUTE's."""
    for each in assigned(kind_, fields, catalog):
        if each.relation is None:
            continue
        names = [each.column] if each.column else [column.name for column in each.relation.columns]
        for receiver in filter(None, receivers(each.relation, names, catalog)):
            for text, number in _values(each, fields):
                if 0 < number <= len(arguments):
                    yield from (Written(receiver, found) for found, _ in _constants(arguments[number - 1]) if found)
                elif number or text:
                    yield Written(receiver, text, number)


def _receiver(relation: Relation, column: Column, flow: Flow, catalog: Catalog) -> Receiver:
    name = f"{relation.schema}.{relation.name}.{column.name}"
    return Receiver(name, flow.style, kind(column.type_oid, column.type_modifier, catalog.shapes))


def _values(each: Assigned, fields: Node) -> Iterator[tuple[bytes, int]]:
    """Yield the constants and parameters that may end up in the column."""
    for expression in each.expressions or ():
        yield from _constants(expression)
    if each.expressions is None or any(_selects(expression) for expression in each.expressions):
        yield from _constants({"SelectStmt": {name: fields[name] for name in _SOURCES if name in fields}})
        if "selectStmt" in fields:
            _, select = kind_of(fields["selectStmt"])
            named = each.expressions is not None
            kept = [name for name in select if (name in _SOURCES if named else name not in _CONDITIONS)]
            yield from _constants({"SelectStmt": {name: select[name] for name in kept}})


def _selects(expression: object) -> bool:
    return any(here == "ColumnRef" for here, _ in below(*kind_of(expression)))


def _constants(node: object) -> Iterator[tuple[bytes, int]]:
    for here, found in below(*kind_of(node)):
        if here == "ParamRef":
            yield b"", int(found.get("number", 0))
        elif here == "A_Const" and "sval" in found:
            text = constant_text({"A_Const": found}) or ""
            if _FORM.fullmatch(text):
                yield text.encode(), 0


class CopyScan:
    """Looks through the data of COPY … FROM STDIN for masked values, as it streams; data that it cannot read passes."""

    def __init__(self, into: CopyInto, shows: Callable[[Receiver, bytes], bool]) -> None:
        self._shows, self._found = shows, ""
        stands = tuple(None if each is None else Stand(each.column, None, self._look(each)) for each in into.receivers)
        self._reader: Copier | None = _reader(into.layout, stands)

    def feed(self, data: bytes) -> str:
        """Take data; return the column that would receive a masked value, or the empty text."""
        if self._reader is not None:
            try:
                self._reader.feed(data)
            except CopyFault:
                self._reader = None  # PostgreSQL will say what is wrong with it
        return self._found

    def _look(self, receiver: Receiver) -> Callable[[bytes], bytes | None]:
        def look(value: bytes) -> None:
            if self._shows(receiver, value.removesuffix(b"\r")):
                self._found = self._found or receiver.column

        return look


def _reader(layout: Layout, stands: tuple[Stand | None, ...]) -> Copier:
    if layout.format is CopyFormat.BINARY:
        return CopyBinary(stands)
    return CopyCsv(layout, stands) if layout.format is CopyFormat.CSV else CopyText(layout, stands)
