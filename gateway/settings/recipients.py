"""The auditors' public keys of `[evidence] recipients`: what may stand there, and what the gateway must not hold.

Promises that no secret key passes as a recipient, that one auditor alone is not enough, and that a recipient whose
secret key lies in the gateway's reach is found. Words never quote a key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_SECRET = re.compile(rb"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}", re.IGNORECASE)
_LARGEST = 1 << 20
"""Bytes of a file that may hold a key."""
FEWEST = 2


def auditors(values: tuple[str, ...]) -> tuple[str, ...]:
    """Accept no key, or at least two different age public keys (`age1…`). Raises ValueError."""
    import pyrage

    for place, value in enumerate(values):
        if value.strip().upper().startswith("AGE-SECRET-KEY"):
            raise ValueError(f"entry {place} is a secret key: it belongs to the auditor alone; give its public key")
        try:
            pyrage.x25519.Recipient.from_str(value)
        except pyrage.RecipientError:
            raise ValueError(f"entry {place} is no age public key (age1…)") from None
    if values and len(set(values)) < FEWEST:
        raise ValueError("give at least two different keys: one that is lost would take every original with it")
    return values


def held(values: tuple[str, ...], state_dir: Path, environ: Mapping[str, str], others: tuple[Path, ...]) -> list[str]:
    """Return where secret keys of these recipients lie: in files of `state_dir`, `others`, or the environment.

    The evidence, and files that cannot be read or are larger than any key file, are left out.
    """
    if not values:
        return []
    wanted, found = set(values), []
    for path in (*_files(state_dir), *others):
        try:
            content = path.read_bytes() if path.is_file() and path.stat().st_size <= _LARGEST else b""
        except OSError:
            continue  # what the gateway may not read, it does not hold
        if wanted & set(_public(content)):
            found.append(str(path))
    found += [f"the variable {name}" for name, value in environ.items() if wanted & set(_public(value.encode()))]
    return sorted(set(found))


def _files(state_dir: Path) -> Iterator[Path]:
    evidence = state_dir / "evidence"
    for folder, folders, names in os.walk(state_dir):
        if Path(folder) == evidence:
            folders.clear()
            continue
        yield from (Path(folder) / name for name in names)


def _public(content: bytes) -> Iterator[str]:
    import pyrage

    for secret in _SECRET.findall(content):
        try:
            yield str(pyrage.x25519.Identity.from_str(secret.decode().upper()).to_public())
        except pyrage.IdentityError:
            continue  # not a key after all
