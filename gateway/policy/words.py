"""Lists of names, written as text so that people can read and compare them."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """Return the set of words in `text`."""
    return frozenset(text.split())
