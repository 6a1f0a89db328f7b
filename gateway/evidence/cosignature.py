"""Cosignatures: what a witness says of a log's checkpoint, and files of notes as witnesses and sinks keep them.

Promises C2SP `tlog-cosignature`, version `cosignature/v1` with Ed25519, to the byte: a cosignature holds the witness's
own time and covers the checkpoint's whole text. Pure: the time is an argument. Keys of any other type are refused.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.evidence.entry import Malformed
from gateway.evidence.note import Checkpoint, check_name, parse_note, parse_signature, unbase64

COSIGNATURE = b"\4"
"""Key type of an Ed25519 cosignature (C2SP `tlog-cosignature`)."""
_BLOB = 4 + 8 + 64
"""Key id, time, signature: bytes."""
_NOTE = re.compile(rb"[^\n]+\n[0-9]+\n[^\n]+\n\n(?:\xe2\x80\x94 [^\n]+\n)+")


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """A witness's public key and name; as text it is a C2SP verifier key, the content of `witness.pub`."""

    name: str
    key: bytes

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that name the key in a signature line."""
        return sha256(self.name.encode() + b"\n" + COSIGNATURE + self.key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(COSIGNATURE + self.key).decode()}"

    @classmethod
    def parse(cls, text: str) -> CosignerKey:
        """Read a witness's verifier key. Raises `Malformed`."""
        name, plus, rest = text.strip().partition("+")
        identity, _, encoded = rest.partition("+")
        raw = unbase64(encoded)
        if not plus or len(raw) != 33 or raw[:1] != COSIGNATURE:
            raise Malformed("not a witness's verifier key: NAME+ID+BASE64, of type 4 (Ed25519 cosignature)")
        found = cls(check_name(name), raw[1:])
        if found.key_id.hex() != identity:
            raise Malformed("a verifier key whose id is not its own")
        return found

    def time(self, checkpoint: Checkpoint, blob: bytes) -> int | None:
        """Return when this witness signed `checkpoint`, in seconds since 1970; None where `blob` is not its doing."""
        if len(blob) != _BLOB or blob[:4] != self.key_id:
            return None
        time = int.from_bytes(blob[4:12], "big")
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(blob[12:], _message(checkpoint, time))
        except (InvalidSignature, ValueError):
            return None
        return time if time < 1 << 63 else None


class Cosigner:
    """A witness's private key; it never shows itself."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = CosignerKey(check_name(name), key.public_key().public_bytes_raw())

    def cosign(self, checkpoint: Checkpoint, seconds: int) -> str:
        """Return the signature line over `checkpoint` at `seconds` since 1970, with its line feed."""
        blob = self.public.key_id + seconds.to_bytes(8, "big") + self._key.sign(_message(checkpoint, seconds))
        return signature_line(self.public.name, blob)


def signature_line(name: str, blob: bytes) -> str:
    """Return the line of a note that carries `blob`, key id and signature, with its line feed."""
    return f"— {name} {base64.b64encode(blob).decode()}\n"


def _message(checkpoint: Checkpoint, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{checkpoint.text()}".encode()


def cosignatures(answer: bytes, checkpoint: Checkpoint, keys: Sequence[CosignerKey]) -> list[tuple[CosignerKey, bytes]]:
    """Return what of a witness's answer, signature lines, holds over `checkpoint`, by key; the rest is ignored.

    Raises `Malformed` where the answer is not signature lines.
    """
    try:
        text = answer.decode()
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    if not text.endswith("\n"):
        raise Malformed("not signature lines")
    told = [parse_signature(line) for line in text[:-1].split("\n")]
    found = []
    for key in keys:
        held = [blob for name, blob in told if name == key.name and key.time(checkpoint, blob) is not None]
        if held:
            found.append((key, held[0]))
    return found


def with_signature(note: bytes, name: str, blob: bytes) -> bytes:
    """Return the note with one more signature line, once."""
    line = signature_line(name, blob).encode()
    return note if line in note else note + line


def split_notes(content: bytes) -> tuple[list[bytes], int]:
    """Return the notes that stand one after the other in `content`, and how many bytes between them are none."""
    found, used = [], 0
    for match in _NOTE.finditer(content):
        try:
            parse_note(match[0])
        except Malformed:
            continue
        found.append(match[0])
        used += len(match[0])
    return found, len(content) - used - (content.count(b"\n") - sum(note.count(b"\n") for note in found))
