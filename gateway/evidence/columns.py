"""The typed columns that stand beside each exact entry, for queries: made from the entry, and proved equal to it.

The one list of them, and the SQL that makes and checks them, so that the views over the live journal, the segments and
`verify` agree. Pure: text of SQL, written for DuckDB 1.0 and later.
"""

from __future__ import annotations

_INTEGERS = frozenset(
    {
        "seq", "n", "plen", "part", "parts", "of", "rows", "bytes", "us", "tpid", "statements", "denied", "held",
        "values", "sealed", "from", "to",
    }
)  # fmt: skip
NAMES = (
    "log", "seq", "sid", "n", "kind", "by", "iss", "sub", "jti", "conn", "tgt", "op", "verdict", "would", "rule",
    "policy", "plen", "pc", "part", "parts", "of", "proto", "oh", "approval", "outcome", "sqlstate", "rows", "bytes",
    "us", "reason", "addr", "owner", "role", "tpid", "started", "statements", "denied", "held", "style", "values",
    "sealed", "alarm",
    "decision", "requested", "expires", "approver", "assurance", "who", "what", "from", "to", "why",
)  # fmt: skip
"""Fields of an entry that have a column of the same name; `ts` has one too, as a TIMESTAMP."""
_COLUMNS = "{'chain': 'VARCHAR', 'salt': 'VARCHAR', 'entry': 'VARCHAR', 'payload': 'VARCHAR'}"


def transform() -> str:
    """Return the shape that `json_transform` makes of an entry, as an SQL string."""
    kinds = {name: "BIGINT" if name in _INTEGERS else "VARCHAR" for name in ["ts", *NAMES]}
    return "'{" + ", ".join(f'"{name}":"{kind}"' for name, kind in kinds.items()) + "}'"


def journal(quoted_path: str) -> str:
    """Return the table of a journal's lines; what the format refuses in a line becomes NULL there."""
    return f"""read_csv(
        {quoted_path},
        delim = '\\t', quote = '', escape = '', new_line = '\\n', header = false, auto_detect = false,
        filename = true, null_padding = true, ignore_errors = true, max_line_size = 4194304, columns = {_COLUMNS}
    )"""


def columns(of: str, prefix: str = "") -> str:
    """Return the select list that takes every typed column from struct `of`, named with `prefix`."""
    moment = f'TRY_CAST(substr({of}."ts", 1, 26) AS TIMESTAMP) AS "{prefix}ts"'
    return ", ".join([moment, *(f'{of}."{name}" AS "{prefix}{name}"' for name in NAMES)])


def named(prefix: str) -> str:
    """Return the select list that names a segment's own columns with `prefix`."""
    return ", ".join(f'"{name}" AS "{prefix}{name}"' for name in ["ts", *NAMES])


def untrue(quoted_path: str, segment: str) -> str:
    """Return the query for the `seq` of each row of a segment whose columns are not what its entry says."""
    paths = ", ".join(f"'$.{name}'" for name in ["ts", *NAMES])
    told = ", ".join(["strftime(\"ts\", '%Y-%m-%dT%H:%M:%S.%fZ')", *(f'CAST("{name}" AS VARCHAR)' for name in NAMES)])
    return f"""SELECT seq FROM read_parquet({quoted_path}) WHERE segment IS DISTINCT FROM '{segment}'
        OR json_extract_string(CASE WHEN json_valid(entry) THEN entry END, [{paths}]) IS DISTINCT FROM [{told}]
        ORDER BY seq"""  # noqa: S608  our own paths and names, quoted


def stray(quoted_path: str, segment: str) -> str:
    """Return the query for the rows of a payload file that name another segment: views would not find them."""
    return f"SELECT seq FROM read_parquet({quoted_path}) WHERE segment IS DISTINCT FROM '{segment}' LIMIT 1"  # noqa: S608
