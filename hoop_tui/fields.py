"""Single fields of the control protocol's objects, whatever stands there: what is missing or of another type is empty.

Pure and total.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Raw = Mapping[str, Any]
"""An object as it came, once `sanitize.scrub_message` has been through it."""


def text(raw: Raw, key: str) -> str:
    """Return a string field, empty where it is absent or no string."""
    value = raw.get(key)
    return value if isinstance(value, str) else ""


def texts(raw: Raw, key: str) -> tuple[str, ...]:
    """Return a list field's strings."""
    value = raw.get(key)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def number(raw: Raw, key: str) -> int | None:
    """Return a whole number, None where it is absent."""
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def count(raw: Raw, key: str) -> int:
    """Return a whole number, 0 where it is absent."""
    return number(raw, key) or 0


def objects(raw: object) -> tuple[Raw, ...]:
    """Return the objects of a list."""
    return tuple(item for item in raw if isinstance(item, Mapping)) if isinstance(raw, list) else ()
