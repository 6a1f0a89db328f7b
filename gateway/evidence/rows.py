"""DuckDB's rows as JSON can hold them: times in the one form, what JSON lacks as text. Reads nothing by itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import duckdb

from gateway.evidence.entry import parse_time
from gateway.model import Json, format_time


def plain(value: object) -> Json:
    """Return a DuckDB value as JSON can hold it: times in the one form, what JSON lacks as text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, datetime):
        return format_time(parse_time(value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")))
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return str(value)


def rows_of(database: duckdb.DuckDBPyConnection, sql: str, bound: Mapping[str, object]) -> list[dict[str, Json]]:
    """Run one query with its parameters; return its rows by column name. Raises `duckdb.Error`."""
    cursor = database.execute(sql, dict(bound))
    names = [str(one[0]) for one in cursor.description or ()]
    return [dict(zip(names, map(plain, row), strict=True)) for row in cursor.fetchall()]
