"""Which SQL only reads: judged on DuckDB's own syntax tree, by allow-list.

Being a SELECT is not enough: DuckDB takes COPY … TO and INSERT as the body of a CTE, EXPLAIN ANALYZE runs what it
explains, and some table functions run text. Pure: a tree in, yes or a reason out; whatever is not known is no.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_FUNCTIONS = frozenset(
    {
        "range",
        "generate_series",
        "unnest",
        "repeat",
        "repeat_row",
        "json_each",
        "json_tree",
        "duckdb_columns",
        "duckdb_views",
    }
)
"""Table functions that read no files and run no text."""


def objection(tree: Any) -> str | None:
    """Return why the tree of `json_serialize_sql` does more than read, or None."""
    if not isinstance(tree, dict) or tree.get("error") is not False:
        words = tree.get("error_message") if isinstance(tree, dict) else None
        return str(words or "it cannot be parsed")
    statements = tree.get("statements")
    if not isinstance(statements, list) or len(statements) != 1:
        return "give one statement"
    for node in objects(statements):
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _QUERIES:
            return f"{kind.removesuffix('_NODE').lower()} does more than read"
        query = node.get("query_node", node.get("node"))
        if isinstance(query, dict) and query.get("type") not in _QUERIES:
            return f"{query.get('type')} does more than read"
        if kind == "TABLE_FUNCTION":
            function = node.get("function")
            name = function.get("function_name") if isinstance(function, dict) else None
            if name not in _FUNCTIONS:
                return f"the table function {name} is not for this; open evidence.duckdb with duckdb -readonly instead"
    return None


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in a syntax tree, however deep, in no order."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            yield one
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
