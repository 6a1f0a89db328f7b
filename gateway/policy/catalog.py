"""A frozen snapshot of the target's catalog, as far as policy and masking need it.

Pure values. `gateway.target.catalog` loads them, `gateway.masking.marks.bind` adds the marks of a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.masking.carried import Carried
from gateway.masking.flow import Flow


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a relation; `number` is pg_attribute.attnum."""

    name: str
    number: int
    type_oid: int
    type_modifier: int = -1
    not_null: bool = False
    """pg_attribute.attnotnull: `IS NOT NULL` on it restricts nothing."""
    generated: bool = False
    """Computed from other columns; COPY of a table leaves it out."""


@dataclass(frozen=True, slots=True)
class TypeShape:
    """A type outside pg_catalog, as far as a value that stands in for another must fit it.

    `kind` is pg_type.typtype, `category` pg_type.typcategory; `base` and `modifier` are those of a domain; `label` is
    the first of an enumeration.
    """

    name: str
    kind: str
    category: str
    base: int = 0
    modifier: int = -1
    extension: str = ""
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or the like (`kind` is pg_class.relkind); `reads` are the oids a view's rules read directly."""

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    definition: str | None = None
    """pg_get_viewdef() of a view or materialised view."""
    reads: frozenset[int] = frozenset()
    children: frozenset[int] = frozenset()
    """Direct inheritance children and partitions."""
    parents: frozenset[int] = frozenset()
    has_rules: bool = False
    """Rewrite rules other than a view's own ON SELECT rule exist."""
    has_triggers: bool = False
    printed: frozenset[int] | None = None
    """Numbers of the columns that a CHECK or EXCLUDE constraint, an expression or partial index, a default or
    generation expression or the partition key names: the catalog prints values beside them. None: not known, so
    each of them."""
    sets_off: tuple[str, ...] = ()
    """What runs with a write and is not in its text, in words: `trigger t calls public.f`, `rule r`."""
    belongings: tuple[str, ...] = ()
    """A digest of each rule, trigger, default, constraint and policy."""
    calls: frozenset[int] = frozenset()
    """Functions, by oid, that those call, or its view's own rule."""
    keys: tuple[frozenset[int], ...] = ()
    """Column numbers of unique keys: where all columns of one equal something, at most one row is meant."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function outside pg_catalog and information_schema."""

    oid: int
    schema: str
    name: str
    digest: str = ""
    """Of all that the catalog says of it, its body included."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything by oid and by (schema, name); `epoch` grows with every change that was noticed."""

    epoch: int
    search_path: tuple[str, ...]
    relations: Mapping[int, Relation] = field(default_factory=dict)
    by_name: Mapping[tuple[str, str], Relation] = field(default_factory=dict)
    functions: Mapping[tuple[str, str], tuple[Function, ...]] = field(default_factory=dict)
    extensions: frozenset[str] = frozenset()
    extension_functions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(schema, function name) -> extension that owns it."""
    operators: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(schema, operator) of every operator outside pg_catalog -> the extension that owns it, or ''."""
    types: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(schema, type name) outside pg_catalog and information_schema, no array and row types -> pg_type.typtype, or the
    extension that owns it as `extension:NAME`."""
    shapes: Mapping[int, TypeShape] = field(default_factory=dict)
    """Types outside pg_catalog by oid, no composite ones."""
    computed: Mapping[tuple[int, int], frozenset[int] | None] = field(default_factory=dict)
    """(relation oid, column number) of a generated column -> the columns it is computed from; None: all of them."""
    builtins: frozenset[str] = frozenset()
    """Names of all functions in pg_catalog; empty: not known, then the list of `gateway.policy.functions` stands."""
    flows: Mapping[int, Mapping[int, Flow]] = field(default_factory=dict)
    """Relation oid -> column number -> what marked columns flow into it; filled by `gateway.masking.marks.bind`."""
    reach: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Relation oid -> marked columns that reading it can lead to; filled by `bind`."""
    bound: frozenset[tuple[int, int, str]] = frozenset()
    """(relation oid, column number, mark) as `bind` found them: a mark follows its column through renames."""
    database: str = ""
    """The database's own name, as `database.schema.relation` has it; set by `bind`."""
    descended: frozenset[tuple[int, int, str]] = frozenset()
    """As `bound`, in the children of what is marked: a child keeps its marks when it is detached."""
    carried: tuple[Carried, ...] = ()
    """Columns that were filled from marked ones, and are marked since; set by `bind`."""
    has_marks: bool = False
    """The connection has marks; set by `bind`."""
    watched: Mapping[int, Mapping[int, Flow]] = field(default_factory=dict)
    """As `flows`, of the columns that rules of the connection name; set by `bind`."""
    watched_at: frozenset[tuple[int, int, str]] = frozenset()
    """As `bound`, of the columns that rules name."""
    known_as: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Relation oid -> the names in rules that it had when they were first seen: a rule follows it; set by `bind`."""
    definitions_print: bool = False
    """Definitions in the catalog print constants beside a marked column; set by `bind`."""
    listed: frozenset[str] = frozenset()
    """The connection's `functions`: they neither change nor reveal anything; set by `bind`."""
    temporary: frozenset[str] = frozenset()
    """Names of temporary relations, of whatever session: pg_temp is searched before all else; set by `bind`."""
    function_names: frozenset[str] = frozenset()
    """Names of all functions outside pg_catalog; set by `bind`."""

    def find(self, name: str) -> tuple[Relation, ...]:
        """Return the relations whose full name reads `name`: one, or more where a name holds a dot itself."""
        places = [at for at, character in enumerate(name) if character == "."]
        found = (self.by_name.get((name[:at], name[at + 1 :])) for at in places)
        return tuple(relation for relation in found if relation is not None)

    def resolve(self, schema: str | None, name: str) -> Relation | None:
        """Find a relation as PostgreSQL would: pg_catalog first, then the search path. None: not in the snapshot."""
        if schema is not None:
            return self.by_name.get((schema, name))
        for candidate in ("pg_catalog", *self.search_path):
            found = self.by_name.get((candidate, name))
            if found is not None:
                return found
        return None
