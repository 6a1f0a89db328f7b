"""Frozen values to JSON and back, by their annotations: what crosses the border between supervisor and worker.

Promises that only what the receiving type says comes out, or `Malformed`; nothing is executed, imported or guessed.
Pure; no pickle. Values are dataclasses of strings, numbers, booleans, bytes, enumerations, tuples and frozen sets.
"""

from __future__ import annotations

import base64
import binascii
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


class Malformed(Exception):
    """What came is no value of the type that was expected."""


def plain(value: object) -> Any:
    """Return `value` as JSON has it."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (tuple, list, frozenset)):
        return [plain(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    raise TypeError(f"{type(value).__name__} does not cross the border")


def read(kind: type[_T], found: object) -> _T:
    """Return `found` as a value of `kind`. Raises `Malformed`."""
    try:
        return _read(kind, found)  # type: ignore[no-any-return]
    except (TypeError, ValueError, KeyError, AttributeError, binascii.Error) as fault:
        raise Malformed(f"no {getattr(kind, '__name__', kind)}: {type(fault).__name__}") from None


def _read(kind: Any, found: Any) -> Any:
    kind = getattr(kind, "__supertype__", kind)  # a NewType
    if kind is object:
        return found
    if kind is type(None):
        return _of(found is None, found)
    if kind in {str, int, bool}:
        return _of(type(found) is kind, found)
    if kind is float:
        return _of(type(found) in {int, float}, found)
    if kind is bytes:
        return base64.b64decode(found, validate=True)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(found)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        _of(isinstance(found, dict) and found.keys() == hints.keys(), found)
        return kind(**{name: _read(hint, found[name]) for name, hint in hints.items()})
    return _read_many(kind, found)


def _read_many(kind: Any, found: Any) -> Any:
    origin, inside = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        choices = [each for each in inside if each is not type(None)]
        if found is None and len(choices) < len(inside):
            return None
        (only,) = choices
        return _read(only, found)
    if origin is frozenset:
        return frozenset(_read(inside[0], each) for each in _of(isinstance(found, list), found))
    if origin is tuple and inside[1:] == (...,):
        return tuple(_read(inside[0], each) for each in _of(isinstance(found, list), found))
    if origin is tuple:
        return tuple(_read(one, each) for one, each in zip(inside, found, strict=True))
    if origin is dict:
        return {str(key): _read(inside[1], each) for key, each in found.items()}
    raise TypeError(f"{kind} does not cross the border")


def _of(fits: bool, found: Any) -> Any:
    if not fits:
        raise TypeError
    return found


@lru_cache(maxsize=256)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
