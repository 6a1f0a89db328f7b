"""DuckDB in memory, which writes nothing to standard output by itself.

From two seconds on, DuckDB's Python module shows a query's progress there, also where that is a pipe: between the lines
of JSON that a process of ours answers with, or before the table that a script reads. Every query of ours runs on a
connection from here.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb


def memory_database(config: Mapping[str, str | int] | None = None) -> duckdb.DuckDBPyConnection:
    """Open a database in memory, with DuckDB's own settings as `config` says."""
    database = duckdb.connect(config={name: str(value) for name, value in (config or {}).items()})
    # No settings of the whole database: `config` cannot have them. The one for when it is shown turns the first on.
    database.execute("SET enable_progress_bar = false; SET enable_progress_bar_print = false")
    return database
