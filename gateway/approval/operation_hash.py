"""The operation hash: one number for exactly what will run, and for nothing else.

Two operations have the same hash only if every byte that decides about their effect is the same: text, parameters,
who, where, as which role, and the definitions behind the names (SEMANTICS.md, "Holding"). Each part is written with
its length, so that no two identities share an encoding. The hash is keyed with a salt: without it, a secret literal
in a statement cannot be found from a published hash by trying. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field

from blake3 import blake3

from gateway.model import OperationHash, Parameter, WireProtocol

VERSION = 1
_CONTEXT = "hoop-tui 2026-11 operation hash v1"


@dataclass(frozen=True, slots=True)
class Definition:
    """A relation or function that the operation resolves to: its object id and a digest of its definition."""

    oid: int
    name: str
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class OperationIdentity:
    """Everything that decides about what an operation does."""

    statement: bytes
    protocol: WireProtocol
    issuer: str
    subject: str
    connection: str
    target: str
    role: str
    search_path: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    behind: Mapping[str, bytes] = field(default_factory=dict)
    """Name -> text of each prepared statement or cursor that the statement names."""
    relations: tuple[Definition, ...] = ()
    functions: tuple[Definition, ...] = ()
    temporary: tuple[Definition, ...] = ()
    """Temporary objects in reach."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the session that change what a statement means."""
    salt: bytes = field(default=b"", repr=False)
    """Secret of this gateway's run; the same for all operations that may be compared."""


def operation_hash(identity: OperationIdentity) -> OperationHash:
    """Return the lower-case hex BLAKE3 of `identity`, version 1."""
    hasher = blake3(derive_key_context=_CONTEXT)
    for part in _parts(identity):
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return OperationHash(hasher.hexdigest())


def _parts(identity: OperationIdentity) -> Iterable[bytes]:
    """Yield the encoding, part by part; lists are preceded by their length, NULL differs from empty."""
    yield identity.salt
    yield identity.statement
    yield identity.protocol.value.encode()
    for text in (identity.issuer, identity.subject, identity.connection, identity.target, identity.role):
        yield _utf8(text)
    yield _count(identity.search_path)
    for schema in identity.search_path:
        yield _utf8(schema)
    yield _count(identity.parameters)
    for parameter in identity.parameters:
        yield parameter.type_oid.to_bytes(8, "big", signed=True) + parameter.format.to_bytes(2, "big", signed=True)
        yield b"\0" if parameter.value is None else b"\1" + parameter.value
    yield _count(identity.behind)
    for name, sql in sorted(identity.behind.items()):
        yield _utf8(name)
        yield sql
    for definitions in (identity.relations, identity.functions, identity.temporary):
        yield _count(definitions)
        for definition in sorted(definitions, key=lambda each: (each.oid, each.name, each.digest)):
            yield definition.oid.to_bytes(8, "big", signed=True)
            yield _utf8(definition.name)
            yield definition.digest
    yield _count(identity.settings)
    for name, value in sorted(identity.settings.items()):
        yield _utf8(name)
        yield _utf8(value)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _count(values: Sized) -> bytes:
    return len(values).to_bytes(8, "big")
