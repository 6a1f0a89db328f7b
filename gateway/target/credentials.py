"""Fetches target credentials by reference; the agent never holds one.

Promises that a secret shows itself nowhere: not in a repr, a format, an error or a pickle. A reference that names
nothing, or nothing built yet, is a ConfigurationFault that names the reference and never what it refers to.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from gateway.errors import ConfigurationFault

FILE_LIMIT = 64 * 1024
_PLANNED = ("vault", "hashicorp")


class Secret:
    """A password. `reveal` is the only way to its bytes; call it where they go on the wire and keep no copy."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the bytes."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def fetch(reference: str) -> Secret:
    """Return the secret that `env:NAME` or `file:PATH` names; one newline at a file's end is not part of it."""
    kind, _, place = reference.partition(":")
    if kind in _PLANNED:
        raise ConfigurationFault(f"password: {kind}: references are not built yet; use env: or file:")
    if kind == "env" and place:
        value = os.environb.get(os.fsencode(place))
        if value is None:
            raise ConfigurationFault(f"password: the environment variable {place} is not set")
    elif kind == "file" and place:
        value = _read(Path(place))
    else:
        # Perhaps somebody wrote the password itself: it must not be repeated.
        raise ConfigurationFault("password: must be a reference, env:NAME or file:PATH")
    if not value or b"\0" in value:
        raise ConfigurationFault(f"password: {kind}:{place} is empty or holds a NUL")
    return Secret(value)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigurationFault(f"password: file:{path}: {error.strerror}") from None
    if len(content) > FILE_LIMIT:
        raise ConfigurationFault(f"password: file:{path} is larger than {FILE_LIMIT} bytes")
    return content.removesuffix(b"\n").removesuffix(b"\r")
