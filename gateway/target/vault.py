"""The embedded vault: secrets in one age file below the gateway's state, readable by the gateway and by a recovery key.

Promises that no secret is on disk in clear, that a change is whole and durable or did not happen, that two commands at
once lose nothing, and that what was changed counts from the next session on: every read opens the file anew. Never
shows a secret; whoever reads gets bytes, to be put on the wire and forgotten.

`DIR/identity` holds the gateway's age key (0600) and opens `DIR/secrets.age`, which is encrypted to it and to the
recovery recipients of the configuration, whose keys are kept elsewhere. Formats: age-encryption.org/v1.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationFault
from gateway.identity.private_file import write_private
from gateway.model import Micros, format_time

if TYPE_CHECKING:
    from pyrage import x25519

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
SECRET_BYTES = 64 * 1024
_VAULT_BYTES = 16 << 20
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """One secret, and when it was set (`YYYY-MM-DDThh:mm:ss.ffffffZ`)."""

    value: bytes = field(repr=False)
    changed: str


@dataclass(frozen=True, slots=True)
class Vault:
    """The vault in `directory`; `recovery` are age public keys that can open it too. Faults are ConfigurationFault."""

    directory: Path
    recovery: tuple[str, ...] = ()

    @property
    def secrets(self) -> Path:
        """The encrypted file."""
        return self.directory / "secrets.age"

    @property
    def identity(self) -> Path:
        """The gateway's own key."""
        return self.directory / "identity"

    def get(self, name: str) -> bytes:
        """Return one secret."""
        found = self._read().get(name)
        if found is None:
            raise ConfigurationFault(
                f"vault:{name} is not there; `hoop-gateway secret set {name}` puts it in the vault"
            )
        return found.value

    def names(self) -> tuple[tuple[str, str], ...]:
        """Return each name and when it was set, by name."""
        return tuple((name, stored.changed) for name, stored in sorted(self._read().items()))

    def store(self, name: str, value: bytes, now: Micros) -> bool:
        """Set a secret; returns whether the name was there before."""
        if not NAME.fullmatch(name):
            raise ConfigurationFault("a name has letters, digits, dot, dash and underscore, at most 63 of them")
        if not value or b"\0" in value or len(value) > SECRET_BYTES:
            raise ConfigurationFault(f"a secret has 1 to {SECRET_BYTES} bytes, and no NUL")
        with self._changing():
            known = dict(self._read())
            replaced = name in known
            known[name] = Stored(value, format_time(now))
            self._write(known, self._own_keys()[-1:])
        return replaced

    def remove(self, name: str) -> bool:
        """Remove a secret; returns whether it was there."""
        with self._changing():
            known = dict(self._read())
            if name not in known:
                return False
            del known[name]
            self._write(known, self._own_keys()[-1:])
        return True

    def rekey(self) -> None:
        """Give the gateway a new key, and encrypt everything to it and to the recovery keys of today.

        In between both keys stand in the file, so that a crash leaves a vault that opens.
        """
        from pyrage import x25519

        with self._changing():
            known = self._read()
            fresh = x25519.Identity.generate()
            self._keep([*self._own_keys(), fresh])
            self._write(known, [fresh])
            self._keep([fresh])

    def recover(self, keys: Sequence[x25519.Identity]) -> int:
        """Open the vault by recovery keys, and make it the gateway's again; returns how many secrets it holds."""
        from pyrage import x25519

        with self._changing():
            known = self._open(keys)
            fresh = x25519.Identity.generate()
            if self.identity.exists():
                lost = self.identity.with_name("identity.replaced")
                self.identity.replace(lost)
            self._keep([fresh])
            self._write(known, [fresh])
        return len(known)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one command at a time change the vault."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise ConfigurationFault(f"{self.directory}: {fault.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        except OSError as fault:
            raise ConfigurationFault(f"{self.directory}: {fault.strerror}") from None
        finally:
            os.close(lock)

    def _read(self) -> Mapping[str, Stored]:
        if not self.secrets.exists():
            return {}
        return self._open(self._own_keys())

    def _open(self, keys: Sequence[x25519.Identity]) -> Mapping[str, Stored]:
        import pyrage

        try:
            with self.secrets.open("rb") as file:
                content = file.read(_VAULT_BYTES + 1)
        except OSError as fault:
            raise ConfigurationFault(f"{self.secrets}: {fault.strerror}") from None
        try:
            return _parse(pyrage.decrypt(content, list(keys)))
        except (pyrage.DecryptError, ValueError, KeyError, TypeError, binascii.Error):
            words = "does not open with this key"
            raise ConfigurationFault(
                f"{self.secrets} {words}; `hoop-gateway secret recover` takes a recovery key"
            ) from None

    def _write(self, known: Mapping[str, Stored], keys: Sequence[x25519.Identity]) -> None:
        import pyrage

        if not keys:
            keys = [pyrage.x25519.Identity.generate()]
            self._keep(keys)
        held = {str(key.to_public()) for key in self._own_keys()}
        if held & set(self.recovery):
            raise ConfigurationFault("vault.recovery: the gateway itself holds that key; keep another one elsewhere")
        recipients = [key.to_public() for key in keys] + [recipient(text) for text in self.recovery]
        write_private(self.secrets, pyrage.encrypt(_document(known), recipients))

    def _own_keys(self) -> list[x25519.Identity]:
        try:
            text = self.identity.read_text(encoding="ascii")
        except FileNotFoundError:
            if self.secrets.exists():
                words = "is missing, and without it the vault does not open"
                raise ConfigurationFault(
                    f"{self.identity} {words}; `hoop-gateway secret recover` takes a recovery key"
                ) from None
            return []
        except (OSError, UnicodeDecodeError) as fault:
            raise ConfigurationFault(f"{self.identity} cannot be read: {type(fault).__name__}") from None
        return identities(text, str(self.identity))

    def _keep(self, keys: Sequence[x25519.Identity]) -> None:
        write_private(self.identity, "".join(f"{key}\n" for key in keys).encode())


def recipient(text: str) -> x25519.Recipient:
    """Return the recipient of an age public key. Raises ConfigurationFault, without repeating a secret one."""
    import pyrage

    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise ConfigurationFault("an age public key begins with age1 and is whole; this is none") from None


def identities(text: str, place: str) -> list[x25519.Identity]:
    """Return the keys of an age identity file; lines that begin with # are comments. Raises ConfigurationFault."""
    import pyrage

    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        keys = [pyrage.x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        keys = []
    if not keys:
        raise ConfigurationFault(f"{place} holds no age key (a line AGE-SECRET-KEY-1…)")
    return keys


def _document(known: Mapping[str, Stored]) -> bytes:
    entries = {
        name: {"value": base64.b64encode(stored.value).decode("ascii"), "changed": stored.changed}
        for name, stored in sorted(known.items())
    }
    return json.dumps({"v": _VERSION, "secrets": entries}).encode("ascii")


def _parse(document: bytes) -> Mapping[str, Stored]:
    content = json.loads(document)
    if content["v"] != _VERSION:
        raise ValueError("another version")
    return {
        str(name): Stored(base64.b64decode(entry["value"], validate=True), str(entry["changed"]))
        for name, entry in content["secrets"].items()
    }
