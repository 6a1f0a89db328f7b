"""What calling a function amounts to, by name: listed, a user's own, or one that must not run.

A name is resolved as PostgreSQL may resolve it: unqualified, it can mean pg_catalog's or any of the search path's, by
the types of its arguments, so the strictest of them counts. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.policy.builtins import CHOSEN, PURE, QUERYING, TYPES
from gateway.policy.catalog import Catalog
from gateway.policy.words import words

TRUSTED_EXTENSIONS = frozenset({"vector", "pg_trgm", "uuid-ossp", "citext"})
"""Extensions whose functions, operators and types may run unlisted."""

REACHING_EXTENSIONS = words(
    """
    dblink postgres_fdw file_fdw adminpack pageinspect pg_surgery pg_buffercache pg_visibility pgstattuple pg_cron
    pg_net http aws_s3 aws_lambda aws_commons lo tablefunc xml2 pg_background plpythonu plpython2u plpython3u
    plperlu plsh
    oracle_fdw mysql_fdw pg_read_server_files amcheck pg_walinspect pg_freespacemap pgrowlocks orafce ogr_fdw
    """
)
"""Extensions whose functions reach files, servers or sessions, read raw storage, or run a query given as text."""

SERIALS = words("serial serial2 serial4 serial8 bigserial smallserial")
"""Words that the grammar of CREATE TABLE takes for types: an integer and a sequence."""

_REACHING = re.compile(
    r"(pg_read_|pg_ls_|pg_stat_file|pg_current_logfile|pg_hba_|pg_ident_|pg_show_all_file|pg_file_|lo_|loread|lowrite|dblink"
    r"|pg_terminate_|pg_cancel_|pg_export_|pg_log_|pg_reload_|pg_rotate_|pg_promote|pg_stat_get_activity|pg_stat_get_backend"
    r"|pg_stat_get_wal|pg_logical_|pg_create_|pg_drop_|pg_copy_|pg_replication_|pg_backup_|pg_start_backup|pg_stop_backup"
    r"|pg_config$|pg_control_|pg_relation_file|pg_mcv_list_items|pg_lock_status|pg_get_backend_memory)"
)
_SERVER_NAMES = re.compile(r"(pg_|lo_|binary_upgrade_|brin_|gin_|fmgr_|ri_fkey_|currtid)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """What a call amounts to: the act's word, and the function's full name."""

    what: str
    """`function`, `user-function`, `sequence`, `notify`, `reaching-function`, `query-function`, `builtin-function`,
    or `set` and `show` for set_config and current_setting."""
    name: str


_SPECIAL = {"set_config": "set", "current_setting": "show", "setval": "sequence", "pg_notify": "notify"}


def classify(names: tuple[str, ...], catalog: Catalog) -> tuple[Call, ...]:
    """Return what calling the function `names` (`("lower",)`, `("public", "f")`) may amount to: one call or several."""
    name = names[-1]
    if len(names) == 1:
        own = [
            _outside(schema, name, catalog)
            for schema in catalog.search_path
            if schema not in {"pg_catalog", "information_schema"}
            and ((schema, name) in catalog.functions or (schema, name) in catalog.extension_functions)
        ]
        inside = _builtin(name, catalog)
        if inside is None:
            return tuple(own) or (Call("user-function", name),)
        return (*own, inside)
    schema = names[-2]
    if schema == "pg_catalog":
        return (_builtin(name, catalog) or Call("builtin-function", f"pg_catalog.{name}"),)
    if schema == "information_schema":
        return (Call("function" if name.startswith("_pg_") else "builtin-function", f"{schema}.{name}"),)
    return (_outside(schema, name, catalog),)


def field_call(name: str, catalog: Catalog) -> Call | None:
    """Return what the field selection `(x).name` amounts to if it is a call in disguise; None for a mere field.

    PostgreSQL reads `('/etc/passwd').pg_read_file` as pg_read_file('/etc/passwd').
    """
    calls = [call for call in classify((name,), catalog) if call.what != "function"]
    known = [call for call in calls if call.what != "user-function" or name in catalog.function_names]
    return known[0] if known else None


def operator_call(names: tuple[str, ...], catalog: Catalog) -> Call | None:
    """Return the call of a user's operator, or None where it is PostgreSQL's own or a trusted extension's."""
    schemas = (names[-2],) if len(names) > 1 else catalog.search_path
    for schema in schemas:
        if schema == "pg_catalog":
            continue
        extension = catalog.operators.get((schema, names[-1]))
        if extension is None and len(names) > 1:
            return Call("user-function", f"{schema}.{names[-1]}")
        if extension is not None and extension not in TRUSTED_EXTENSIONS:
            return Call("user-function", f"{schema}.{names[-1]}")
    return None


def type_call(names: tuple[str, ...], catalog: Catalog) -> Call | None:
    """Return the call of a user type's input function, or None for a type whose input is PostgreSQL's own.

    Enumerations, domains, composites and ranges use PostgreSQL's input functions; base types bring their own.
    """
    name = names[-1]
    if len(names) == 1 and name.removeprefix("_").lower() in TYPES:
        return None
    if (
        len(names) == 1
        and name in SERIALS
        and not any((schema, name) in catalog.types for schema in catalog.search_path)
    ):
        return None
    if len(names) > 1 and names[-2] in {"pg_catalog", "information_schema"}:
        return None
    schemas = (names[-2],) if len(names) > 1 else catalog.search_path
    for schema in schemas:
        for candidate in (name, name.removeprefix("_")):
            kind = catalog.types.get((schema, candidate), "")
            if kind in {"e", "d", "c", "r", "m"} or kind.removeprefix("extension:") in TRUSTED_EXTENSIONS:
                return None
            if (schema, candidate) in catalog.by_name:
                return None
    if len(names) == 1 and catalog.by_name.get(("pg_catalog", name)) is not None:
        return None
    return Call("user-type", ".".join(names))


def _builtin(name: str, catalog: Catalog) -> Call | None:
    full = f"pg_catalog.{name}"
    if name in _SPECIAL:
        return Call(_SPECIAL[name], full)
    if name in PURE or name in CHOSEN or name in TYPES:
        return Call("function", full)
    if name in QUERYING:
        return Call("query-function", full)
    if _REACHING.match(name):
        return Call("reaching-function", full)
    if name in catalog.builtins or _SERVER_NAMES.match(name):
        return Call("builtin-function", full)
    return None


def _outside(schema: str, name: str, catalog: Catalog) -> Call:
    full = f"{schema}.{name}"
    extension = catalog.extension_functions.get((schema, name))
    if extension in TRUSTED_EXTENSIONS:
        return Call("function", full)
    if extension in REACHING_EXTENSIONS or name in QUERYING or _REACHING.match(name):
        return Call("reaching-function", full)
    return Call("user-function", full)
