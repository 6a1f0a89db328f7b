"""The second reader: sqlglot's tree of the same statement, walked by itself, votes on each column of the result.

A vote is "holds something of a marked column" or "nothing seen", by position; it never makes a column cleaner. It says
nothing (None) of what it cannot read whole, and where it counts columns otherwise it is not heard. Bounded: by the
text's length, by the parser's steps (some forms cost it exponential time) and by the steps of the walk; sqlglot's
compiled core, which crashes on deep nesting, is never used. Pure.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from gateway.masking.flow import Flow, Level
from gateway.masking.scope import Columns, is_open
from gateway.masking.second_tree import Unread, Walk
from gateway.policy.catalog import Catalog

LONGEST = 16 << 10
"""Characters of a statement that is read a second time."""
_MOST_STEPS = 10_000
"""Moves of the parser over its tokens; an ordinary statement of that length takes about half."""


def votes(text: str, catalog: Catalog) -> tuple[bool, ...] | None:
    """Return for each result column of `text` whether a marked column flows into it; None where it cannot be read."""
    if len(text) > LONGEST:
        return None
    try:
        tree = _parse(text)
        return None if tree is None else tuple(dirty for _, dirty in Walk(catalog).statement(tree))
    except (Unread, RecursionError):
        return None
    except Exception:  # noqa: BLE001  another reader's fault is no verdict: the first reader's stands
        return None


def prepare() -> None:
    """Import the library now: it takes a tenth of a second, which no agent should wait for."""
    _reader()


def _parse(text: str) -> Any:
    found = _reader()
    if found is None:
        return None
    dialect, reader, level = found
    trees: Sequence[Any] = reader(level, dialect=dialect).parse(dialect.tokenize(text), text)
    whole = [tree for tree in trees if tree is not None]
    return whole[0] if len(whole) == 1 else None


@cache
def _reader() -> tuple[Any, Any, Any] | None:
    """Return sqlglot's dialect, a parser with a limit, and its level of errors; None for a compiled core."""
    import sqlglot.parser
    from sqlglot.dialects.postgres import Postgres
    from sqlglot.errors import ErrorLevel

    if not str(sqlglot.parser.__file__).endswith(".py"):
        return None
    # it logs what it cannot parse, word for word
    logging.getLogger("sqlglot").disabled = True
    base: Any = Postgres.Parser

    class Limited(base):  # type: ignore[misc]
        """A parser that gives up after so many moves."""

        def _advance(self, times: int = 1) -> None:
            self.moves = getattr(self, "moves", 0) + 1
            if self.moves > _MOST_STEPS:
                raise Unread
            super()._advance(times)

    return Postgres(), Limited, ErrorLevel.IMMEDIATE


def joined(columns: Columns, text: str, catalog: Catalog, reach: frozenset[str]) -> tuple[Columns, str]:
    """Return `columns` by the stricter of both readers, and the alarm where only the second found a marked column.

    `reach` are the marked columns in reach of the statement `text`. Asked only where the first reader leaves something
    clean.
    """
    if not reach or is_open(columns) or all(not column.flow.clean for column in columns):
        return columns, ""
    found = votes(text, catalog)
    if found is None or len(found) != len(columns):
        return columns, ""
    differing = [at for at, dirty in enumerate(found) if dirty and columns[at].flow.clean]
    if not differing:
        return columns, ""
    flow = Flow(Level.UNKNOWN, reach)
    stricter = tuple(replace(column, flow=flow) if at in differing else column for at, column in enumerate(columns))
    places = ", ".join(str(at + 1) for at in differing)
    return stricter, f"readers differ: only the second found a marked column in output {places}"
