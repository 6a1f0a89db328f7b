"""Which settings an agent may change and see, and what a change of one amounts to: an allow-list, and the pins.

Pure. Names are folded to lower case, as PostgreSQL compares them. A value that is no constant is accepted only where
any value is.
Source: SEMANTICS.md, "Policy" and "Understanding".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.policy.words import words

PINNED = frozenset({"client_encoding", "search_path", "standard_conforming_strings"})
"""Settings that decide how a statement is read; they travel in the target's StartupMessage."""

SETTABLE = words(
    """
    application_name client_min_messages datestyle intervalstyle timezone extra_float_digits bytea_output xmloption
    statement_timeout lock_timeout idle_in_transaction_session_timeout idle_session_timeout transaction_timeout
    transaction_isolation transaction_read_only transaction_deferrable default_transaction_isolation
    default_transaction_read_only default_transaction_deferrable jit work_mem
    hnsw.ef_search hnsw.iterative_scan hnsw.max_scan_tuples hnsw.scan_mem_multiplier
    ivfflat.probes ivfflat.iterative_scan ivfflat.max_probes
    pg_trgm.similarity_threshold pg_trgm.word_similarity_threshold pg_trgm.strict_word_similarity_threshold
    """
)
"""Settings any agent may change; `enable_*` beside them, `work_mem` to a cap."""

SHOWABLE = words(
    """
    server_version server_version_num server_encoding is_superuser session_authorization role integer_datetimes
    max_identifier_length max_index_keys max_function_args block_size lc_collate lc_ctype lc_messages lc_monetary
    lc_numeric lc_time in_hot_standby default_tablespace default_table_access_method temp_tablespaces array_nulls
    default_text_search_config transform_null_equals wal_level shared_buffers effective_cache_size
    maintenance_work_mem random_page_cost seq_page_cost default_toast_compression data_checksums segment_size
    default_statistics_target max_prepared_transactions autovacuum track_counts debug_assertions max_connections
    search_path client_encoding standard_conforming_strings backslash_quote escape_string_warning
    quote_all_identifiers password_encryption max_locks_per_transaction superuser_reserved_connections
    max_worker_processes row_security synchronous_commit
    """
)
"""Settings any agent may see besides those it may set; none of them holds a secret or a path."""

WORK_MEM_CAP_KB = 256 * 1024
"""`work_mem` to a cap: 256 MB for one sort of one session."""

_MEMORY = re.compile(r"\s*(\d+)\s*(kB|MB|GB|TB|B)?\s*")
_KILOBYTES = {"B": 1 / 1024, "kB": 1, "MB": 1024, "GB": 1024**2, "TB": 1024**3}
_TIME = re.compile(r"\s*(\d{1,10}(?:\.\d{1,6})?)\s*(us|ms|s|min|h|d)?\s*", re.ASCII)
_MILLISECONDS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_ON = frozenset({"on", "true", "yes", "1"})


def settable(name: str, listed: frozenset[str]) -> bool:
    """Say whether an agent may change the setting `name`."""
    return name in SETTABLE or name in listed or name.startswith("enable_")


def judge_setting(
    name: str,
    value: str | None,
    *,
    search_path: Sequence[str],
    listed: frozenset[str],
    read_only: bool,
    statement_timeout: int | None = None,
) -> str:
    """Return the act of setting `name` to `value`: `set`, or `set-pinned`, `-read-write`, `-role`, `-not-listed`.

    `value` None: not a constant. RESET and SET … TO DEFAULT never come here: they return to the pins.
    """
    name = name.lower()
    if name in {"role", "session_authorization"}:
        return "set-role"
    if name in PINNED:
        if value is not None and _keeps_pin(name, value, search_path):
            return "set"
        return "set-pinned"
    if name == "statement_timeout" and statement_timeout is not None:
        asked = None if value is None else milliseconds(value)
        return "set" if asked is not None and asked <= statement_timeout else "set-pinned"
    if not settable(name, listed):
        return "set-not-listed"
    if read_only and name in {"transaction_read_only", "default_transaction_read_only"}:
        return "set" if value is not None and value.lower() in _ON else "set-read-write"
    if name == "work_mem" and name not in listed and (value is None or not _within_cap(value)):
        return "set-not-listed"
    return "set"


def judge_showing(name: str, listed: frozenset[str]) -> str:
    """Return the act that showing the setting `name` is: `show` or `show-not-listed`."""
    name = name.lower()
    return "show" if settable(name, listed) or name in SHOWABLE else "show-not-listed"


def milliseconds(value: str) -> int | None:
    """Return a time as PostgreSQL reads it, in milliseconds; None: no limit (0), or none that is clear."""
    match = _TIME.fullmatch(value)
    if match is None:
        return None
    found = float(match[1]) * _MILLISECONDS[match[2] or "ms"]
    return round(found) if found >= 1 else None


def is_utf8(value: str) -> bool:
    """Say whether PostgreSQL reads `value` as the encoding UTF8 (it ignores case and punctuation)."""
    return re.sub(r"[^a-z0-9]", "", value.lower()) in {"utf8", "unicode"}


def split_search_path(value: str) -> tuple[str, ...] | None:
    """Return the schemas of a search_path as PostgreSQL splits it; None where it would not accept the list."""
    schemas = []
    rest = value.strip()
    if not rest:
        return ()
    while True:
        match = re.match(r'"((?:[^"]|"")*)"\s*|([^",\s]+)\s*', rest)
        if match is None:
            return None
        quoted, plain = match.groups()
        schemas.append(quoted.replace('""', '"') if quoted is not None else plain.lower())
        rest = rest[match.end() :]
        if not rest:
            return tuple(schemas)
        if not rest.startswith(","):
            return None
        rest = rest[1:].lstrip()


def join_search_path(schemas: Sequence[str]) -> str:
    """Return the value of search_path for `schemas`, quoted only where it must be."""
    return ", ".join(
        schema if re.fullmatch(r"[a-z_][a-z0-9_]*", schema) else '"' + schema.replace('"', '""') + '"'
        for schema in schemas
    )


def _keeps_pin(name: str, value: str, search_path: Sequence[str]) -> bool:
    if name == "client_encoding":
        return is_utf8(value)
    if name == "standard_conforming_strings":
        return value.lower() in _ON
    schemas = split_search_path(value)
    # '' hides every schema but pg_catalog: names then resolve to nothing rather than to something else
    return schemas is not None and schemas in {(), ("",), tuple(search_path)}


def _within_cap(value: str) -> bool:
    match = _MEMORY.fullmatch(value)
    if match is None:
        return False
    amount, unit = match.groups()
    return int(amount[:18]) * _KILOBYTES[unit or "kB"] <= WORK_MEM_CAP_KB
