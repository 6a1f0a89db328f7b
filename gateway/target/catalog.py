"""Reads a target's catalog with the gateway's own credential, into `gateway.policy.catalog.Catalog`.

Promises one consistent snapshot a load, names and definitions independent of anybody's search_path, and a new epoch for
every difference it finds. What belongs to an extension is said to only where every function (or operator) of that name
in that schema does: an overload of a user's must not pass for the extension's. Never runs code of the database's users.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from typing import Final

import trio

from gateway.errors import TargetFault
from gateway.model import Connection
from gateway.policy.catalog import Catalog, Column, Function, Relation, TypeShape
from gateway.target.belongings import with_belongings
from gateway.target.own_session import OwnSession
from gateway.target.query import QueryFailed, Result, Row

LOAD_SECONDS: Final = 60.0
_ATTEMPTS: Final = 3
_DATABASE: Final = "SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
_SYSTEM: Final = (
    "SELECT s.system_identifier, d.oid FROM pg_catalog.pg_control_system() s, pg_catalog.pg_database d"
    " WHERE d.datname = pg_catalog.current_database()"
)


class CatalogReader:
    """Reads the catalog of one connection's target again and again, over one session that it keeps and renews."""

    def __init__(self, connection: Connection, *, timeout: float = LOAD_SECONDS) -> None:
        self._connection = connection
        self._timeout = timeout
        self._sql = files("gateway.target").joinpath("catalog.sql").read_text()
        self._session = OwnSession(connection)
        self._alone = trio.Lock()
        self._digest = b""
        self._catalog: Catalog | None = None

    async def load(self) -> Catalog:
        """Return the catalog as it is now; the same object as before where nothing changed. Raises TargetFault."""
        async with self._alone:
            with trio.move_on_after(self._timeout):
                results = await self._read()
                digest, catalog = await trio.to_thread.run_sync(self._build, results)
                self._digest, self._catalog = digest, catalog
                return catalog
        raise TargetFault(f"target {self._connection.target}: reading the catalog took longer than {self._timeout:g} s")

    async def identity(self) -> str:
        """Return what tells this database from any other, a restored copy included where the server says so."""
        try:
            (row,) = (await self._session.ask(lambda client: client.run(_SYSTEM), self._timeout))[-1].rows
            return "/".join(_text(part) for part in row)
        except QueryFailed:  # a service that keeps the system identifier to itself
            (row,) = (await self._session.ask(lambda client: client.run(_DATABASE), self._timeout))[-1].rows
            return _text(row[0])

    async def aclose(self) -> None:
        """Close the session, if there is one."""
        await self._session.aclose()

    async def _read(self) -> tuple[Result, ...]:
        """Ask; again where an object vanished while it was described."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._session.ask(lambda client: client.run(self._sql), 2 * self._timeout)
            except QueryFailed as fault:
                if attempt == _ATTEMPTS:
                    raise TargetFault(f"target {self._connection.target}: reading the catalog: {fault}") from fault
            except TargetFault as fault:
                raise TargetFault(f"target {self._connection.target}: reading the catalog: {fault}") from fault
        raise TargetFault(f"target {self._connection.target}: reading the catalog failed")

    def _build(self, results: Sequence[Result]) -> tuple[bytes, Catalog]:
        """Make the catalog; runs in a thread, since a large one takes a while."""
        sets = [result.rows for result in results if result.tag.startswith("SELECT")]
        digest = hashlib.blake2b(repr(sets).encode("utf-8", "surrogatepass"), digest_size=32).digest()
        if self._catalog is not None and digest == self._digest:
            return digest, self._catalog
        epoch = self._catalog.epoch + 1 if self._catalog else 1
        try:
            return digest, build_catalog(sets, epoch, self._connection.search_path)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise TargetFault(
                f"target {self._connection.target}: its catalog is not what was asked for ({type(error).__name__})"
            ) from None


def build_catalog(sets: Sequence[Sequence[Row]], epoch: int, search_path: tuple[str, ...]) -> Catalog:
    """Make a Catalog of the result sets of `catalog.sql`, in their order."""
    (heads, columns, reads, rules, inherits, printed, functions, extensions, operators, types, builtins, shapes,
     computed, belongings, keys) = sets  # fmt: skip
    known = _functions(functions)
    relations = with_belongings(
        _relations(heads, columns, reads, rules, inherits, printed), chain(*known.values()), belongings, keys
    )
    owned = _owners(((schema, name), extension) for _, schema, name, extension, _ in functions)
    return Catalog(
        epoch=epoch,
        search_path=search_path,
        relations=relations,
        by_name={(relation.schema, relation.name): relation for relation in relations.values()},
        functions=known,
        extensions=frozenset(_text(name) for (name,) in extensions),
        extension_functions={name: extension for name, extension in owned.items() if extension},
        operators=_owners(((schema, name), extension) for schema, name, extension in operators),
        types={
            (_text(schema), _text(name)): f"extension:{extension}" if extension else _text(kind)
            for schema, name, kind, extension in types
        },
        builtins=frozenset(_text(name) for (name,) in builtins),
        shapes={_number(row[0]): _shape(row) for row in shapes},
        computed={
            (_number(oid), _number(number)): None if found is None else frozenset(json.loads(found))
            for oid, number, found in computed
        },
    )


def _relations(
    heads: Sequence[Row],
    columns: Sequence[Row],
    reads: Sequence[Row],
    rules: Sequence[Row],
    inherits: Sequence[Row],
    printed: Sequence[Row],
) -> dict[int, Relation]:
    columns_of = {_number(oid): json.loads(_text(found)) for oid, found in columns}
    reads_of = {_number(oid): frozenset(json.loads(_text(found))) for oid, found in reads}
    ruled = {_number(oid) for (oid,) in rules}
    children, parents = _family(inherits)
    partitions = {_number(head[0]) for head in heads if head[6] == "t"}
    printed_of = _printed(printed, columns_of, {oid: parents[oid] for oid in partitions if oid in parents})
    relations = {}
    for oid_text, schema, name, kind, definition, triggers, _ in heads:
        oid = _number(oid_text)
        relations[oid] = Relation(
            oid=oid,
            schema=_text(schema),
            name=_text(name),
            kind=_text(kind),
            columns=tuple(Column(*column) for column in columns_of.get(oid, ())),
            definition=definition,
            reads=reads_of.get(oid, frozenset()),
            children=frozenset(children.get(oid, ())),
            parents=frozenset(parents.get(oid, ())),
            has_rules=oid in ruled,
            has_triggers=triggers == "t",
            printed=printed_of.get(oid, frozenset()),
        )
    return relations


def _family(inherits: Sequence[Row]) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    children: dict[int, set[int]] = defaultdict(set)
    parents: dict[int, set[int]] = defaultdict(set)
    for child, parent in inherits:
        children[_number(parent)].add(_number(child))
        parents[_number(child)].add(_number(parent))
    return children, parents


def _printed(
    rows: Sequence[Row], columns: Mapping[int, list[list[object]]], partition_of: Mapping[int, set[int]]
) -> dict[int, frozenset[int] | None]:
    """Columns whose values the catalog prints; a partition's bounds print its ancestors' keys, column by name."""
    numbers: dict[int, set[int] | None] = {}
    for relation_text, number in rows:
        relation = _number(relation_text)
        known = numbers.setdefault(relation, set())
        if number is None:
            numbers[relation] = None
        elif known is not None:
            known.add(_number(number))
    for partition in partition_of:
        numbers[partition] = _inherited(partition, numbers, columns, partition_of)
    return {relation: None if found is None else frozenset(found) for relation, found in numbers.items()}


def _inherited(
    partition: int,
    numbers: Mapping[int, set[int] | None],
    columns: Mapping[int, list[list[object]]],
    partition_of: Mapping[int, set[int]],
) -> set[int] | None:
    """A partition's own printed columns, and those named like a printed one of an ancestor."""
    own = numbers.get(partition, set())
    if own is None:
        return None
    found = set(own)
    line = list(partition_of.get(partition, ()))
    while line:
        ancestor = line.pop()
        above = numbers.get(ancestor, set())
        if above is None:
            return None
        names = {column[0] for column in columns.get(ancestor, ()) if column[1] in above}
        found |= {int(str(column[1])) for column in columns.get(partition, ()) if column[0] in names}
        line.extend(partition_of.get(ancestor, ()))
    return found


def _functions(rows: Sequence[Row]) -> dict[tuple[str, str], tuple[Function, ...]]:
    grouped: dict[tuple[str, str], list[Function]] = defaultdict(list)
    for oid, schema, name, _, digest in rows:
        found = Function(_number(oid), _text(schema), _text(name), _text(digest))
        grouped[found.schema, found.name].append(found)
    return {name: tuple(found) for name, found in grouped.items()}


def _owners(named: Iterable[tuple[tuple[str | None, str | None], str | None]]) -> dict[tuple[str, str], str]:
    """Map each name to the one extension that owns everything of that name, else to ''."""
    owners: dict[tuple[str, str], str] = {}
    for (schema, name), extension in named:
        key = (_text(schema), _text(name))
        owner = extension or ""
        owners[key] = owner if owners.get(key, owner) == owner else ""
    return owners


def _shape(row: Row) -> TypeShape:
    _, schema, name, kind, category, base, modifier, extension, label = row
    named = f"{schema}.{name}"
    return TypeShape(named, _text(kind), _text(category), _number(base), _number(modifier), extension or "", label)


def _text(value: str | None) -> str:
    if value is None:
        raise TypeError("NULL in the catalog")
    return value


def _number(value: str | None) -> int:
    return int(_text(value))
