"""Which relations a defining statement names, so that rules about relations hold for definitions too. Pure.

Wide rather than exact: every relation that stands anywhere in the statement counts, and `ANY` is added where the
statement reaches others that it does not name (CASCADE, a whole schema, VACUUM of everything).
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.policy.catalog import Catalog
from gateway.policy.statement import ANY
from gateway.policy.tree import Node, below, child, items, kind_of, string, strings
from gateway.policy.words import words

_RELATIONS = words("OBJECT_TABLE OBJECT_VIEW OBJECT_MATVIEW OBJECT_SEQUENCE OBJECT_FOREIGN_TABLE")
_PARTS = words("OBJECT_COLUMN OBJECT_TRIGGER OBJECT_RULE OBJECT_POLICY OBJECT_TABCONSTRAINT")
"""Objects whose last name stands behind their relation's."""
_WHOLE = words("VacuumStmt ReindexStmt ClusterStmt")
"""Without a relation they mean all."""


def relations_of(kind: str, fields: Node, catalog: Catalog) -> tuple[str, ...]:
    """Return the full names of the relations that a defining statement is about; as written where nobody knows them."""
    found = dict.fromkeys(_names(kind, fields, catalog))
    if kind in _WHOLE and not found:
        found[ANY] = None
    return tuple(found)


def full_name(names: tuple[str, ...], catalog: Catalog) -> str:
    """Return `schema.name` of what `names` (`("users",)`) means in the catalog, or the names as they are."""
    relation = catalog.resolve(names[-2] if len(names) > 1 else None, names[-1])
    return f"{relation.schema}.{relation.name}" if relation is not None else ".".join(names)


def is_temporary(fields: Node) -> bool:
    """Say whether a relation that is made lies in the session's own schema, which is searched first."""
    return fields.get("relpersistence") == "t" or fields.get("schemaname") == "pg_temp"


def created_name(fields: Node, catalog: Catalog) -> str:
    """Return the full name of a relation that is made: without schema it goes to the first of the search path."""
    schema, name = fields.get("schemaname"), str(fields.get("relname", ""))
    if is_temporary(fields):
        schema = "pg_temp"
    return f"{schema or next(iter(catalog.search_path), '')}.{name}"


def _names(kind: str, fields: Node, catalog: Catalog) -> Iterator[str]:
    making = {"CreateStmt": "relation", "CreateSeqStmt": "sequence"}.get(kind)
    made = fields.get(making) if making is not None else None
    if isinstance(made, dict):
        yield created_name(made, catalog)
    for _, node in below(kind, fields):
        if "relname" in node and node is not made:
            schema = node.get("schemaname")
            yield full_name((str(schema), str(node["relname"])) if schema else (str(node["relname"]),), catalog)
    if kind == "AlterObjectSchemaStmt":
        _, relation = child(fields, "relation")
        yield f"{fields.get('newschema', '')}.{relation.get('relname', ANY)}"
    if kind == "DropStmt":
        for item in items(fields.get("objects")):
            yield _object(str(fields.get("removeType")), item, catalog)
    if kind == "CommentStmt":
        yield _object(str(fields.get("objtype")), fields.get("object"), catalog)
    if fields.get("behavior") == "DROP_CASCADE" or kind == "DropdbStmt":
        yield ANY


def _object(what: str, item: object, catalog: Catalog) -> str:
    kind, node = kind_of(item)
    names = strings(node.get("items")) if kind == "List" else tuple(filter(None, (string(item),)))
    if what in _PARTS:
        names = names[:-1]
    elif what not in _RELATIONS:
        return ANY
    return full_name(names, catalog) if names else ANY
