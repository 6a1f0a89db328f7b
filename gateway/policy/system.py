"""The relations of pg_catalog and information_schema: which may be read, and which of their columns print values.

An allow-list for PostgreSQL 14 to 18: a catalog relation that a newer server adds is denied until it is chosen here.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.policy.words import words

READABLE = words(
    """
    pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute pg_auth_members pg_available_extension_versions
    pg_available_extensions pg_cast pg_class pg_collation pg_constraint pg_conversion pg_cursors pg_database
    pg_db_role_setting pg_default_acl pg_depend pg_description pg_enum pg_event_trigger pg_extension
    pg_foreign_data_wrapper pg_foreign_server pg_foreign_table pg_group pg_index pg_indexes pg_inherits
    pg_init_privs pg_language pg_largeobject_metadata pg_locks pg_matviews pg_namespace pg_opclass pg_operator
    pg_opfamily pg_parameter_acl pg_partitioned_table pg_policies pg_policy pg_prepared_statements
    pg_prepared_xacts pg_proc pg_publication pg_publication_namespace pg_publication_rel pg_publication_tables
    pg_range pg_replication_slots pg_rewrite pg_roles pg_rules pg_seclabel pg_seclabels pg_sequence pg_sequences
    pg_settings pg_shdepend pg_shdescription pg_shseclabel pg_stat_activity pg_stat_all_indexes
    pg_stat_all_tables pg_stat_archiver pg_stat_bgwriter pg_stat_checkpointer pg_stat_database
    pg_stat_database_conflicts pg_stat_gssapi pg_stat_io pg_stat_progress_analyze pg_stat_progress_basebackup
    pg_stat_progress_cluster pg_stat_progress_copy pg_stat_progress_create_index pg_stat_progress_vacuum
    pg_stat_replication pg_stat_subscription pg_stat_wal_receiver
    pg_stat_slru pg_stat_ssl pg_stat_statements pg_stat_statements_info pg_stat_subscription_stats
    pg_stat_sys_indexes pg_stat_sys_tables pg_stat_user_functions pg_stat_user_indexes pg_stat_user_tables
    pg_stat_wal pg_stat_xact_all_tables pg_stat_xact_sys_tables pg_stat_xact_user_functions
    pg_stat_xact_user_tables pg_statio_all_indexes pg_statio_all_sequences pg_statio_all_tables
    pg_statio_sys_indexes pg_statio_sys_sequences pg_statio_sys_tables pg_statio_user_indexes
    pg_statio_user_sequences pg_statio_user_tables pg_statistic pg_statistic_ext pg_statistic_ext_data pg_stats
    pg_stats_ext pg_stats_ext_exprs pg_subscription pg_subscription_rel pg_tables pg_tablespace
    pg_timezone_abbrevs pg_timezone_names pg_transform pg_trigger pg_ts_config pg_ts_config_map pg_ts_dict
    pg_ts_parser pg_ts_template pg_type pg_user pg_views pg_wait_events
    """
)
"""Relations of pg_catalog that may be read; some of their columns are masked."""

SECRET = words(
    """
    pg_authid pg_shadow pg_user_mapping pg_user_mappings pg_largeobject
    """
)
"""Relations of pg_catalog that hold passwords or raw values."""

SECRET_INFORMATION = words("user_mapping_options user_mappings _pg_user_mappings")
"""Relations of information_schema that hold passwords."""

ALWAYS_PRIVATE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pg_stat_activity": frozenset({"query"}),
        "pg_stat_statements": frozenset({"query"}),
        "pg_stat_wal_receiver": frozenset({"conninfo"}),
        "pg_subscription": frozenset({"subconninfo"}),
    }
)
"""Columns that print what others sent, or a credential; also where an extension puts such a relation elsewhere."""

STATISTICS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pg_stats": words(
            "most_common_vals histogram_bounds most_common_elems elem_count_histogram range_length_histogram "
            "range_bounds_histogram"
        ),
        "pg_statistic": words("stavalues1 stavalues2 stavalues3 stavalues4 stavalues5"),
        "pg_stats_ext": words("most_common_vals"),
        "pg_stats_ext_exprs": words(
            "most_common_vals histogram_bounds most_common_elems elem_count_histogram range_length_histogram "
            "range_bounds_histogram"
        ),
        "pg_statistic_ext_data": words("stxdmcv stxdexpr"),
    }
)
"""Columns that print sampled values of any table."""

DEFINITIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pg_attrdef": words("adbin"),
        "pg_attribute": words("attmissingval"),
        "pg_class": words("relpartbound"),
        "pg_constraint": words("conbin"),
        "pg_policies": words("qual with_check"),
        "pg_policy": words("polqual polwithcheck"),
        "pg_index": words("indexprs indpred"),
        "pg_indexes": words("indexdef"),
        "pg_partitioned_table": words("partexprs"),
        "pg_statistic_ext": words("stxexprs"),
        "pg_trigger": words("tgqual"),
        "columns": words("column_default generation_expression"),
        "triggers": words("action_condition"),
        "check_constraints": words("check_clause"),
    }
)
"""Columns that print expressions with the constants beside a column (the last three: information_schema)."""


def classify_relation(schema: str | None, name: str) -> str | None:
    """Return the act of reading a catalog relation (`catalog-read`, `catalog-not-listed`, `password-table`) or None.

    `schema` None stands for a name that resolves to nothing: only its spelling tells.
    """
    if schema == "pg_toast" or (schema or "").startswith("pg_toast_temp"):
        return "password-table"
    if schema in {"pg_catalog", None}:
        if name in SECRET:
            return "password-table"
        if name in READABLE:
            return "catalog-read"
        return "catalog-not-listed" if schema == "pg_catalog" or name.startswith("pg_") else None
    if schema == "information_schema":
        return "password-table" if name in SECRET_INFORMATION else "catalog-read"
    return None
