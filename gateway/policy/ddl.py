"""Statements that define things: which row of the policy each belongs to, as tables.

An allow-list: a kind, an object or an ALTER TABLE command that stands in no table here gives no act, and what has no
act is denied. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.policy.tree import Node, items, kind_of, string, strings
from gateway.policy.words import words

KINDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(words("""CreateStmt ViewStmt IndexStmt CreateSchemaStmt CreateSeqStmt CreateEnumStmt
                                 CreateDomainStmt CompositeTypeStmt CreateRangeStmt CreateStatsStmt"""), "create"),
        **dict.fromkeys(words("""AlterSeqStmt AlterEnumStmt AlterDomainStmt AlterTypeStmt AlterStatsStmt CommentStmt
                                 """), "alter"),
        **dict.fromkeys(words("CreateFunctionStmt AlterFunctionStmt AlterObjectDependsStmt"), "create-function"),
        **dict.fromkeys(words("CreateTrigStmt CreateEventTrigStmt AlterEventTrigStmt"), "create-trigger"),
        "RuleStmt": "create-rule",
        **dict.fromkeys(words("CreateExtensionStmt AlterExtensionStmt AlterExtensionContentsStmt"), "create-extension"),
        **dict.fromkeys(words("CreateCastStmt CreateTransformStmt CreateConversionStmt"), "create-cast"),
        **dict.fromkeys(words("CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt AlterOperatorStmt"),
                        "create-operator"),
        **dict.fromkeys(words("CreatePLangStmt CreateAmStmt AlterTSDictionaryStmt AlterTSConfigurationStmt"),
                        "create-base-type"),
        **dict.fromkeys(words("CreateRoleStmt AlterRoleStmt AlterRoleSetStmt DropRoleStmt AlterOwnerStmt"), "role"),
        **dict.fromkeys(words("GrantStmt GrantRoleStmt AlterDefaultPrivilegesStmt SecLabelStmt"), "grant"),
        **dict.fromkeys(words("AlterSystemStmt AlterDatabaseStmt AlterDatabaseSetStmt AlterDatabaseRefreshCollStmt"),
                        "alter-system"),
        **dict.fromkeys(words("""CreatedbStmt CreateTableSpaceStmt AlterTableSpaceOptionsStmt AlterTableMoveAllStmt
                                 """), "server"),
        **dict.fromkeys(words("DropdbStmt DropTableSpaceStmt"), "drop-database"),
        **dict.fromkeys(words("""CreateFdwStmt AlterFdwStmt CreateForeignServerStmt AlterForeignServerStmt
                                 CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt CreateForeignTableStmt
                                 ImportForeignSchemaStmt"""), "foreign"),
        **dict.fromkeys(words("CreatePolicyStmt AlterPolicyStmt"), "row-policy"),
        **dict.fromkeys(words("""CreatePublicationStmt AlterPublicationStmt CreateSubscriptionStmt
                                 AlterSubscriptionStmt DropSubscriptionStmt"""), "replication"),
        **dict.fromkeys(words("DropOwnedStmt ReassignOwnedStmt"), "owned"),
        "LoadStmt": "load",
        "DoStmt": "do",
        **dict.fromkeys(words("VacuumStmt ReindexStmt ClusterStmt RefreshMatViewStmt CheckPointStmt LockStmt"),
                        "maintenance"),
        "TruncateStmt": "truncate",
    }
)  # fmt: skip
"""Statement kinds whose act does not depend on what they hold."""

_OBJECTS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(words("""OBJECT_TABLE OBJECT_COLUMN OBJECT_VIEW OBJECT_MATVIEW OBJECT_INDEX OBJECT_SEQUENCE
                                 OBJECT_SCHEMA OBJECT_TYPE OBJECT_DOMAIN OBJECT_TABCONSTRAINT OBJECT_DOMCONSTRAINT
                                 OBJECT_ATTRIBUTE OBJECT_STATISTIC_EXT OBJECT_COLLATION"""), "alter"),
        **dict.fromkeys(words("OBJECT_FUNCTION OBJECT_AGGREGATE OBJECT_PROCEDURE OBJECT_ROUTINE"), "create-function"),
        **dict.fromkeys(words("OBJECT_TRIGGER OBJECT_EVENT_TRIGGER"), "create-trigger"),
        "OBJECT_RULE": "create-rule",
        "OBJECT_EXTENSION": "create-extension",
        "OBJECT_POLICY": "row-policy",
        **dict.fromkeys(words("OBJECT_FDW OBJECT_FOREIGN_SERVER OBJECT_FOREIGN_TABLE"), "foreign"),
        **dict.fromkeys(words("OBJECT_OPERATOR OBJECT_OPCLASS OBJECT_OPFAMILY"), "create-operator"),
        **dict.fromkeys(words("OBJECT_PUBLICATION OBJECT_SUBSCRIPTION"), "replication"),
        **dict.fromkeys(words("OBJECT_DATABASE OBJECT_TABLESPACE"), "server"),
        "OBJECT_ROLE": "role",
        **dict.fromkeys(words("""OBJECT_LANGUAGE OBJECT_ACCESS_METHOD OBJECT_TSCONFIGURATION OBJECT_TSDICTIONARY
                                 OBJECT_TSPARSER OBJECT_TSTEMPLATE"""), "create-base-type"),
        "OBJECT_CONVERSION": "create-cast",
    }
)  # fmt: skip
"""What renaming, moving or defining an object of a type amounts to."""

_DEFINE: Mapping[str, str] = MappingProxyType(
    {**_OBJECTS, "OBJECT_TYPE": "create-base-type", "OBJECT_COLLATION": "create"}
)

_TABLE_COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(words("""AT_AddColumn AT_ColumnDefault AT_CookedColumnDefault AT_DropNotNull AT_SetNotNull
            AT_SetExpression AT_DropExpression AT_SetStatistics AT_SetOptions AT_ResetOptions AT_SetStorage
            AT_SetCompression AT_AddIndex AT_AddConstraint AT_AlterConstraint AT_ValidateConstraint
            AT_AddIndexConstraint
            AT_DropConstraint AT_AlterColumnType AT_ClusterOn AT_DropCluster AT_SetLogged AT_SetUnLogged
            AT_SetAccessMethod AT_SetTableSpace AT_SetRelOptions AT_ResetRelOptions AT_ReplaceRelOptions AT_AddInherit
            AT_DropInherit AT_AddOf AT_DropOf AT_ReplicaIdentity AT_AttachPartition AT_DetachPartition
            AT_DetachPartitionFinalize AT_AddIdentity AT_SetIdentity AT_DropIdentity AT_AddColumnToView
            AT_CheckNotNull"""), "alter"),
        "AT_DropColumn": "drop",
        "AT_ChangeOwner": "role",
        **dict.fromkeys(words("""AT_EnableTrig AT_EnableAlwaysTrig AT_EnableReplicaTrig AT_DisableTrig AT_EnableTrigAll
                                 AT_DisableTrigAll AT_EnableTrigUser AT_DisableTrigUser"""), "create-trigger"),
        **dict.fromkeys(words("AT_EnableRule AT_EnableAlwaysRule AT_EnableReplicaRule AT_DisableRule"), "create-rule"),
        **dict.fromkeys(words("""AT_EnableRowSecurity AT_DisableRowSecurity AT_ForceRowSecurity
                                 AT_NoForceRowSecurity"""), "row-policy"),
        **dict.fromkeys(words("AT_GenericOptions AT_AlterColumnGenericOptions"), "foreign"),
    }
)  # fmt: skip


def acts_of(kind: str, fields: Node) -> tuple[tuple[str, str], ...]:
    """Return the acts (what, target) of a defining statement; none for a kind that stands in no table."""
    if kind in {"RenameStmt", "AlterObjectSchemaStmt"}:
        what = _OBJECTS.get(str(fields.get("renameType") or fields.get("objectType")))
        return ((what, object_name(fields)),) if what else ()
    if kind == "DefineStmt":
        what = _DEFINE.get(str(fields.get("kind")))
        return ((what, ".".join(strings(fields.get("defnames")))),) if what else ()
    if kind == "AlterTableStmt":
        return _alter_table(fields)
    if kind == "DropStmt":
        return (("drop", _dropped(fields)),)
    if kind == "AlterCollationStmt":
        return (("alter", "a collation"),)
    what = KINDS.get(kind)
    return ((what, object_name(fields)),) if what else ()


def _alter_table(fields: Node) -> tuple[tuple[str, str], ...]:
    name = object_name(fields)
    if fields.get("objtype") == "OBJECT_FOREIGN_TABLE":
        return (("foreign", name),)
    commands = [kind_of(item)[1] for item in items(fields.get("cmds"))]
    acts = []
    for command in commands:
        what = _TABLE_COMMANDS.get(str(command.get("subtype")))
        if what is None:
            return ()
        target = f"column {name}.{command.get('name', '')}" if what == "drop" else name
        acts.append((what, target))
    return tuple(dict.fromkeys(acts))


def _dropped(fields: Node) -> str:
    word = str(fields.get("removeType", "")).removeprefix("OBJECT_").lower().replace("_", " ")
    names = []
    for item in items(fields.get("objects")):
        kind, node = kind_of(item)
        if kind == "String":
            names.append(string(item) or "")
        elif kind == "List":
            names.append(".".join(strings(node.get("items"))))
        elif kind == "ObjectWithArgs":
            names.append(".".join(strings(node.get("objname"))))
        elif kind == "TypeName":
            names.append(".".join(strings(node.get("names"))))
    return " ".join(part for part in (word, ", ".join(name for name in names if name)) if part)


def object_name(fields: Node) -> str:
    """Return a name for what a defining statement is about, for people."""
    for field in ("relation", "view", "sequence", "typevar"):
        relation = fields.get(field)
        if isinstance(relation, dict) and "relname" in relation:
            return ".".join(part for part in (relation.get("schemaname"), relation["relname"]) if part)
    for field in ("schemaname", "idxname", "extname", "trigname", "policy_name", "pubname", "subname", "servername",
                  "fdwname", "dbname", "tablespacename", "amname", "plname", "newname", "role"):  # fmt: skip
        if isinstance(fields.get(field), str):
            return str(fields[field])
    for field in ("typeName", "domainname", "funcname", "defnames", "opclassname"):
        names = strings(fields.get(field))
        if names:
            return ".".join(names)
    relations = [kind_of(item)[1] for item in items(fields.get("relations") or fields.get("rels"))]
    named = [str(node["relname"]) for node in relations if "relname" in node]
    return ", ".join(named)
