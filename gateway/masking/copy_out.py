"""COPY … TO STDOUT of marked columns: what is known of it beforehand, and the rewriter for its data. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.masking.copy_binary import CopyBinary
from gateway.masking.copy_csv import CopyCsv
from gateway.masking.copy_layout import CopyFormat, Layout
from gateway.masking.copy_text import CopyText
from gateway.masking.copying import Copier, Stand
from gateway.pgwire.backend import ColumnDescription
from gateway.pgwire.judgement import Plan, Replacement


@dataclass(frozen=True, slots=True)
class CopyOut:
    """One COPY … TO STDOUT with a marked column in reach.

    COPY announces no names and types. `columns` are those of a table, from the catalog; `query` is the text of the
    query that is copied, which the target can be asked to describe, and `offset` the characters before it.
    """

    layout: Layout
    columns: tuple[ColumnDescription, ...] = ()
    query: bytes = b""
    offset: int = 0


def copier(layout: Layout, plan: Plan, own: bytes = b"") -> Copier:
    """Return what rewrites the data of a COPY that is masked by `plan`; `own` is what the agent itself sent."""
    stands = tuple(None if column is None else _stand(column, own) for column in plan.columns)
    if layout.format is CopyFormat.BINARY:
        return CopyBinary(stands)
    return CopyCsv(layout, stands) if layout.format is CopyFormat.CSV else CopyText(layout, stands)


def _stand(column: Replacement, own: bytes) -> Stand:
    guard = column.guard
    watched = (lambda value: guard(value, own)) if guard is not None else None
    return Stand(column.column_name, column.replacement, column.rewrite, watched)
