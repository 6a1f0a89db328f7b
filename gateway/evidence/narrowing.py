"""Making the view `statements` only as wide as a query needs it: a join that nobody asks about is the price of a query.

DuckDB leaves out columns that a query does not name, and never a LEFT JOIN, since it cannot know that there is one
answer at most. Promises to leave out what the query's syntax tree cannot refer to, and nothing where that is uncertain;
a query that names what was left out fails to bind, and is asked again with the whole view. Pure.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.evidence.reading import objects

TEXTS = frozenset({"sql", "parameters", "reason", "masked_columns"})
"""Columns of `statements` that are read from payloads; `operations` has the others."""
ENDS = frozenset({"outcome", "sqlstate", "rows", "bytes", "duration_us", "masked_columns"})
"""Columns of `statements` that tell what became of a request; `requests` has the others."""
_WHOLE = "statements"
_TABLES = frozenset({"BASE_TABLE", "JOIN", "SUBQUERY", "EMPTY"})
_EXPRESSIONS = frozenset(
    {
        "COLUMN_REF", "FUNCTION", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "CAST", "CASE", "BETWEEN",
        "SUBQUERY", "WINDOW", "PARAMETER", "COLLATE", "TYPE",
    }
)  # fmt: skip
"""Kinds of expressions that mean no more columns than they name; `*`, COLUMNS and `#1` are none of these."""
_ITEM = re.compile(r'^    (?:.* AS )?"?([a-z_]+)"?,?$')


def narrowed(whole: str, operations: str, requests: str, tree: Any) -> str:
    """Return what creates the view `statements` as wide as a query needs it; `tree`: of `json_serialize_sql`.

    Takes what creates it whole, and what creates the two views that it is smaller as.
    """
    wanted = _columns(tree)
    if wanted is None or (wanted & TEXTS and wanted & ENDS):
        return whole
    return _only(requests if wanted & TEXTS else operations, wanted)


def _only(view: str, wanted: frozenset[str]) -> str:
    """Return `statements` as this view with the wanted columns, one at least: each stands on a line of its own."""
    head, select, rest = f"CREATE VIEW {_WHOLE} {view.split(maxsplit=3)[3]}".rpartition("\nSELECT\n")
    listed, source, tail = rest.partition("\nFROM ")
    lines = {name[1]: line.rstrip(",") for line in listed.split("\n") if (name := _ITEM.match(line))}
    kept = [line for name, line in lines.items() if name in wanted and name != "touched"] or [lines["seq"]]
    return head + select + ",\n".join(kept) + source + tail


def _columns(tree: Any) -> frozenset[str] | None:
    """Return the names that a query uses for columns, in lower case; None: it may mean any, as `*` and a row do."""
    names, tables = set[str](), {_WHOLE}
    for node in objects(tree):
        kind, alias = node.get("class"), node.get("alias")
        if kind is not None and kind not in _EXPRESSIONS:
            return None
        if kind is None and isinstance(alias, str):  # a table, or what stands for one
            if node.get("type") not in _TABLES or node.get("column_name_alias") or node.get("ref_type") == "NATURAL":
                return None
            tables.add(alias.lower())
        told = [*(node.get("column_names") or ()), *(node.get("using_columns") or ())]
        names.update(str(name).lower() for name in told)
    return None if _rows(tree) & tables else frozenset(names)


def _rows(tree: Any) -> set[str]:
    """Return the last name of each reference: where it is a table's, all of its columns are meant."""
    found = [node["column_names"] for node in objects(tree) if node.get("class") == "COLUMN_REF"]
    return {str(names[-1]).lower() for names in found if names}
