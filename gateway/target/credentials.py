"""Fetches target credentials by reference; the agent never holds one.

Promises that a secret shows itself nowhere: not in a repr, a format, an error or a pickle; and that what a reference
names is looked up each time, so that a changed password counts from the next session on. A reference that names
nothing is a ConfigurationFault that names the reference and never what it refers to.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import trio

from gateway.errors import ConfigurationFault
from gateway.target import hashicorp
from gateway.target.vault import Vault

FILE_LIMIT = 64 * 1024
_HASHICORP_SECONDS = 10.0


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
    """Return the secret that a reference names.

    `env:NAME`; `file:PATH`, where one newline at the end is not part of it; `vault:DIR#NAME`, as the settings make it
    of `vault:NAME`; `hashicorp:PATH#FIELD`, which waits for a network: see `obtain`.
    """
    kind, _, place = reference.partition(":")
    if kind == "env" and place:
        value = os.environb.get(os.fsencode(place))
        if value is None:
            raise ConfigurationFault(f"password: the environment variable {place} is not set")
    elif kind == "file" and place:
        value = _read(Path(place))
    elif kind == "vault" and "#" in place:
        directory, _, place = place.rpartition("#")
        value = Vault(Path(directory)).get(place)
    elif kind == "hashicorp" and "#" in place:
        value = hashicorp.read(place)
    else:
        # Perhaps somebody wrote the password itself: it must not be repeated.
        raise ConfigurationFault("password: must be a reference: env:NAME, file:PATH, vault:NAME, hashicorp:PATH#FIELD")
    if not value or b"\0" in value:
        raise ConfigurationFault(f"password: {kind}:{place} is empty or holds a NUL")
    return Secret(value)


async def obtain(reference: str) -> Secret:
    """Return the secret that a reference names, without holding up anybody else. Raises ConfigurationFault."""
    if not reference.startswith("hashicorp:"):
        return fetch(reference)
    with trio.move_on_after(_HASHICORP_SECONDS):
        return await trio.to_thread.run_sync(fetch, reference, abandon_on_cancel=True)
    raise ConfigurationFault(f"password: {reference.partition('#')[0]}: no answer within {_HASHICORP_SECONDS:.0f} s")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigurationFault(f"password: file:{path}: {error.strerror}") from None
    if len(content) > FILE_LIMIT:
        raise ConfigurationFault(f"password: file:{path} is larger than {FILE_LIMIT} bytes")
    return content.removesuffix(b"\n").removesuffix(b"\r")
