"""The bytes of an entry: canonical JSON, and the journal line that carries it.

Promises that one value has exactly one encoding, that of RFC 8785 under the restrictions of docs/evidence.md: ASCII
keys, no floats, integers below 2^53, no lone surrogates. What does not fit is refused, never bent. Pure: no I/O,
no clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.errors import EvidenceFault
from gateway.model import Json, Micros

VERSION = 1
"""Field `v` of each entry."""
MAX_LINE = 1 << 20
"""Bytes of one journal line, line feed included."""
MAX_ENTRY = 64 << 10
"""Bytes of an entry; `record` keeps free text out of entries, so that nothing an agent sends comes near."""
MAX_PAYLOAD = MAX_LINE - MAX_ENTRY - 256
"""Bytes of a payload on one line; longer ones go in parts."""
_LARGEST = 1 << 53

encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode
"""The canonical text of a value that is known to fit; `canonical` finds out."""


class Malformed(EvidenceFault):
    """A value, entry or line is not of the form that this version of the format defines."""


def canonical(value: Mapping[str, Json]) -> bytes:
    """Return the one encoding of `value`. Raises `Malformed` for what the format leaves out."""
    try:
        _check(value)
        return encode(value).encode()
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as fault:
        raise Malformed(f"cannot be encoded: {type(fault).__name__}") from None


def _check(item: Any) -> None:
    """Refuse floats, large integers, foreign types and keys that are not ASCII; a hot path, so by exact type."""
    kind = type(item)
    if kind is dict:
        if not "".join(item).isascii():  # raises TypeError for a key that is no text
            raise Malformed("a key that is not ASCII")
        for value in item.values():
            if type(value) is not str:
                _check(value)
    elif kind is list:
        for value in item:
            if type(value) is not str:
                _check(value)
    elif kind is int:
        if not -_LARGEST < item < _LARGEST:
            raise Malformed("an integer of 2^53 or more")
    elif kind is not bool and item is not None and not isinstance(item, str):
        raise Malformed(f"a value of type {kind.__name__}")


_decode = json.JSONDecoder().decode


def parse(encoded: bytes) -> dict[str, Json]:
    """Read an entry or payload back; only its canonical bytes pass, so no key stands twice. Raises `Malformed`."""
    found = parse_loosely(encoded)
    if canonical(found) != encoded:
        raise Malformed("not in canonical form")
    return found


def parse_loosely(encoded: bytes) -> dict[str, Json]:
    """Read an entry without insisting on canonical bytes, for a journal whose chain vouches for it already."""
    try:
        found = _decode(encoded.decode())
    except (UnicodeDecodeError, ValueError, RecursionError) as fault:
        raise Malformed(f"not JSON: {type(fault).__name__}") from None
    if not isinstance(found, dict):
        raise Malformed("not a JSON object")
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """One journal line in its four fields; `salt` and `payload` are empty where the record has none (any more)."""

    chain: bytes
    salt: bytes
    entry: bytes
    payload: bytes

    def encode(self) -> bytes:
        """Return the line as it stands in the journal, with its line feed."""
        return b"%b\t%b\t%b\t%b\n" % (self.chain.hex().encode(), self.salt.hex().encode(), self.entry, self.payload)


def parse_line(raw: bytes) -> Line:
    """Split a journal line (without its line feed) into its fields. Raises `Malformed`."""
    fields = raw.split(b"\t")
    if len(fields) != 4:
        raise Malformed(f"{len(fields)} fields instead of 4")
    chain, salt = _unhex(fields[0]), _unhex(fields[1])
    if len(chain) != 32 or len(salt) not in {0, 32}:
        raise Malformed("a chain hash or salt that is not 32 bytes")
    return Line(chain, salt, fields[2], fields[3])


def _unhex(text: bytes) -> bytes:
    try:
        raw = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise Malformed("not hexadecimal") from None
    if raw.hex().encode() != text:
        raise Malformed("not lower-case hexadecimal")
    return raw


def parse_time(text: str) -> Micros:
    """Read `YYYY-MM-DDThh:mm:ss.ffffffZ`. Raises `Malformed`."""
    try:
        if _TIME.fullmatch(text) is None:
            raise ValueError  # noqa: TRY301  the same words for both
        at = datetime.fromisoformat(text)  # ten times as fast as strptime, and looser: hence the pattern
    except ValueError:
        raise Malformed(f"not a time: {text[:40]!r}") from None
    return Micros((at - _EPOCH) // timedelta(microseconds=1))


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
