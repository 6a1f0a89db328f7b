"""What stands inside an envelope: one line of JSON that says what it is, then, for rows, the values column by column.

Promises the exact bytes that the target or the agent sent. Pure. A column is the length of each value (four bytes,
big-endian, -1 for NULL), then the values one after the other: values of one kind beside each other compress well.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.evidence.entry import Malformed, canonical
from gateway.evidence.values import text
from gateway.model import Json

VERSION = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One masked column of a stretch of rows; `format` is the wire's, 0 text and 1 binary."""

    name: str
    sources: tuple[str, ...]
    type_oid: int
    format: int
    values: Sequence[bytes | None]


def encode_rows(head: Mapping[str, Json], columns: Sequence[Column]) -> bytes:
    """Return the content for rows; `head` says which."""
    told: list[Json] = [
        {
            "column": text(column.name),
            "sources": [text(source) for source in column.sources],
            "type": column.type_oid,
            "format": column.format,
            "count": len(column.values),
        }
        for column in columns
    ]
    first = canonical({**head, "v": VERSION, "kind": "rows", "columns": told})
    return b"\n".join([first, b"".join(_packed(column.values) for column in columns)])


def encode_told(kind: str, told: Mapping[str, Json]) -> bytes:
    """Return the content for what one JSON object holds: a statement, or data that the agent sent."""
    return canonical({**told, "v": VERSION, "kind": kind}) + b"\n"


def decode(content: bytes) -> tuple[dict[str, Json], tuple[Column, ...]]:
    """Read a content back: its first line, and the columns where it holds rows. Raises `Malformed`."""
    first, _, blocks = content.partition(b"\n")
    try:
        head = json.loads(first)
        if not isinstance(head, dict) or head.get("v") != VERSION:
            raise Malformed("not a content of version 1")
        columns, offset = [], 0
        for told in head.pop("columns", ()):
            values, offset = _unpacked(blocks, offset, int(told["count"]))
            sources = tuple(map(str, told["sources"]))
            columns.append(Column(str(told["column"]), sources, int(told["type"]), int(told["format"]), values))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as fault:
        raise Malformed(f"not the content of an envelope: {type(fault).__name__}") from None
    return head, tuple(columns)


def _packed(values: Sequence[bytes | None]) -> bytes:
    lengths = struct.pack(f">{len(values)}i", *[-1 if value is None else len(value) for value in values])
    return lengths + b"".join([value for value in values if value is not None])


def _unpacked(blocks: bytes, offset: int, count: int) -> tuple[list[bytes | None], int]:
    if not 0 <= count <= len(blocks):
        raise Malformed("more values than it can hold")
    lengths = struct.unpack_from(f">{count}i", blocks, offset)
    offset += 4 * count
    values: list[bytes | None] = []
    for length in lengths:
        values.append(None if length < 0 else blocks[offset : offset + length])
        offset += max(length, 0)
    if offset > len(blocks):
        raise Malformed("it ends before its values do")
    return values, offset
