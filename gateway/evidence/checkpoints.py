"""A log's key and its checkpoints on disk.

Promises that a checkpoint covers durable entries only, that it is whole or absent, and that the private key stays where
the gateway keeps its keys, never in the evidence. A key that is not the one in `log.pub` is refused, since it would
begin another log under the same name.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import EvidenceFault
from gateway.evidence.entry import Malformed
from gateway.evidence.note import Checkpoint, Signer, Verifier, open_note
from gateway.evidence.storage import Storage
from gateway.evidence.tree import TreeState
from gateway.model import Entropy, LogName

EVERY = 1024
"""Entries after which a checkpoint is written."""
AFTER = 5.0
"""Seconds after which one is written if anything is new."""


class Checkpoints:
    """The checkpoints of one log."""

    def __init__(self, directory: Path, storage: Storage, signer: Signer) -> None:
        self._place, self._storage, self._signer = directory / "checkpoints", storage, signer
        self.covered = max(sizes(storage, self._place), default=0)
        """Entries that the last checkpoint covers."""
        self.newest: TreeState | None = None
        """The tree that this process signed last."""

    def write(self, state: TreeState) -> None:
        """Sign and keep the tree as it stands, unless that is done already. May raise OSError."""
        if state.size <= self.covered:
            return
        note = self._signer.sign(Checkpoint(self._signer.verifier.name, state.size, state.root))
        self._storage.replace(self._place / f"{state.size}.note", note)
        self.covered, self.newest = state.size, state


def open_checkpoints(directory: Path, storage: Storage, entropy: Entropy, keys: Path, origin: LogName) -> Checkpoints:
    """Return the checkpoints of the log in `directory`, with its key from `keys`; a first start makes both.

    Raises `EvidenceFault` where the key is not the log's.
    """
    private, public = keys / f"log-{directory.name}.pem", directory / "log.pub"
    storage.make_directory(keys)
    known = public.name in storage.names(directory)
    if private.name not in storage.names(keys):
        if known:
            raise EvidenceFault(f"{private} is missing, and {public} says that this log has a key; restore it")
        key = Ed25519PrivateKey.from_private_bytes(entropy.bytes(32))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        storage.replace(private, key.private_bytes(*form))
    signer = Signer(origin, load_key(storage, private))
    if not known:
        storage.replace(public, f"{signer.verifier}\n".encode())
    elif str(signer.verifier) != storage.read(public, 0, 4096).decode(errors="replace").strip():
        raise EvidenceFault(f"{private} is not the key of {public}: another log's key, or a changed one; restore it")
    return Checkpoints(directory, storage, signer)


def load_key(storage: Storage, path: Path) -> Ed25519PrivateKey:
    """Read a private key. Raises `EvidenceFault` where the file holds none."""
    try:
        key = serialization.load_pem_private_key(storage.read(path, 0, 4096), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise EvidenceFault(f"{path} holds no Ed25519 key in PEM; restore it")
    return key


def sizes(storage: Storage, place: Path) -> list[int]:
    """Return the sizes of the checkpoints in directory `place`."""
    return [int(name[:-5]) for name in storage.names(place) if name.endswith(".note") and name[:-5].isdecimal()]


def last_checkpoint(storage: Storage, directory: Path) -> Checkpoint | None:
    """Return the log's newest checkpoint, its signature checked. None: there is none. Raises `EvidenceFault`."""
    place = directory / "checkpoints"
    if place.name not in storage.names(directory):
        return None
    newest = max(sizes(storage, place), default=0)
    if newest == 0:
        return None
    path = place / f"{newest}.note"
    if "log.pub" not in storage.names(directory):
        raise EvidenceFault(f"{directory / 'log.pub'} is missing, and there are checkpoints; restore it")
    try:
        verifier = Verifier.parse(storage.read(directory / "log.pub", 0, 4096).decode(errors="replace"))
        found = open_note(storage.read(path, 0, 1 << 16), verifier)
        if found.size != newest:
            raise Malformed("it is of another size than its name says")  # noqa: TRY301  one place says what to do
    except Malformed as fault:
        raise EvidenceFault(f"{path}: {fault}; restore it from a copy") from None
    return found
