"""Checkpoints as C2SP signed notes: what a log's key says of its size and root.

Promises the formats of C2SP `tlog-checkpoint` and `signed-note` to the byte, so that stock transparency tools and
witnesses take them. Pure: the clock of a checkpoint is that of the last entry it covers. Only Ed25519 (type 1) counts;
other signature lines are kept and not believed.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.evidence.entry import Malformed

ED25519 = b"\1"
"""Signature type of C2SP `signed-note`."""
_NAME = re.compile(r"[^\s+\x00-\x1f]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's origin, number of entries and tree root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the body that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and the name it signs under; as text it is a C2SP verifier key, the content of `log.pub`."""

    name: str
    key: bytes

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that name the key in a signature line."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.key).decode()}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read a verifier key. Raises `Malformed`."""
        name, plus, rest = text.strip().partition("+")
        identity, _, encoded = rest.partition("+")
        raw = unbase64(encoded)
        if not plus or not _NAME.fullmatch(name) or len(raw) != 33 or raw[:1] != ED25519:
            raise Malformed("not an Ed25519 verifier key")
        found = cls(name, raw[1:])
        if found.key_id.hex() != identity:
            raise Malformed("a verifier key whose id is not its own")
        return found

    def holds(self, text: str, signature: bytes) -> bool:
        """Say whether `signature` is this key's over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


def check_name(name: str) -> str:
    """Return a name that a note can hold. Raises `Malformed`."""
    if not _NAME.fullmatch(name):
        raise Malformed(f"a signer cannot be named {name!r}: no spaces, no plus sign")
    return name


class Signer:
    """A log's private key; it never shows itself."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        check_name(name)
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint) -> bytes:
        """Return the signed note."""
        text = checkpoint.text()
        blob = base64.b64encode(self.verifier.key_id + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.verifier.name} {blob}\n".encode()


def parse_note(note: bytes) -> tuple[Checkpoint, tuple[tuple[str, bytes], ...]]:
    """Read a note: the checkpoint, and of each signature its signer's name and key id with signature, unchecked.

    Raises `Malformed`.
    """
    try:
        body, separator, tail = note.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise Malformed("a note that is not UTF-8") from None
    lines = body.split("\n")
    if not separator or not tail.endswith("\n") or len(lines) != 3:
        raise Malformed("not a signed checkpoint")
    origin, size, root = lines
    if not _NAME.fullmatch(origin) or not _SIZE.fullmatch(size) or len(unbase64(root)) != 32:
        raise Malformed("not a checkpoint")
    signatures = tuple(map(parse_signature, tail[:-1].split("\n")))
    return Checkpoint(origin, int(size), unbase64(root)), signatures


def parse_signature(line: str) -> tuple[str, bytes]:
    """Read a signature line without its line feed: the signer's name, and key id with signature. Raises `Malformed`."""
    dash, _, rest = line.partition(" ")
    name, _, blob = rest.partition(" ")
    if dash != "—" or not _NAME.fullmatch(name) or len(unbase64(blob)) < 5:
        raise Malformed("not a signature line")
    return name, unbase64(blob)


def open_note(note: bytes, verifier: Verifier) -> Checkpoint:
    """Read a note that `verifier` signed as the log's own. Raises `Malformed` where it did not."""
    checkpoint, signatures = parse_note(note)
    own = [blob for name, blob in signatures if name == verifier.name and blob[:4] == verifier.key_id]
    if checkpoint.origin != verifier.name or not own:
        raise Malformed(f"not signed by the log's key {verifier.key_id.hex()}")
    if not verifier.holds(checkpoint.text(), own[0][4:]):  # of several the first counts, as C2SP's own reader has it
        raise Malformed("its signature does not hold")
    return checkpoint


def unbase64(text: str) -> bytes:
    """Return what the standard alphabet encodes; nothing for what is not base64."""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
