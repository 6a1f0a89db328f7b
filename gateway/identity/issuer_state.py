"""The development issuer's signing key and URL on disk.

It promises that the key is made once, even when two processes start together, that it and its directory are
readable by their owner alone, and that files which others could read, write or have put there are not used.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.errors import ConfigurationFault

REALM = "hoop"
_FIRST_PORT, _PORTS = 20000, 10000  # below the ports that Linux gives to outgoing connections, so that it stays free
_MAX_FILE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key that signs as Keycloak does by default (RS256); its repr hides the private part."""

    private: rsa.RSAPrivateKey = field(repr=False)
    algorithm: str = "RS256"

    @property
    def kid(self) -> str:
        """The key's id: its RFC 7638 thumbprint, so that it follows from the key."""
        numbers = self.private.public_key().public_numbers()
        canonical = f'{{"e":"{_encode_int(numbers.e)}","kty":"RSA","n":"{_encode_int(numbers.n)}"}}'
        return _encode(hashlib.sha256(canonical.encode("ascii")).digest())

    def public_jwk(self) -> dict[str, object]:
        """Return the public half as the issuer publishes it (RFC 7517)."""
        numbers = self.private.public_key().public_numbers()
        return {
            "kid": self.kid,
            "kty": "RSA",
            "alg": self.algorithm,
            "use": "sig",
            "n": _encode_int(numbers.n),
            "e": _encode_int(numbers.e),
        }

    def sign(self, claims: Mapping[str, object]) -> str:
        """Return `claims` as a compact JWS (RFC 7515 §7.1)."""
        header = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid}
        signing_input = ".".join(_encode(json.dumps(part).encode("ascii")) for part in (header, claims))
        signature = self.private.sign(signing_input.encode("ascii"), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{_encode(signature)}"


@dataclass(frozen=True, slots=True)
class IssuerState:
    """What makes the development issuer the same one after a restart."""

    issuer_url: str
    key: SigningKey


def load_or_create_state(directory: Path, issuer_url: str | None, realm: str = REALM) -> IssuerState:
    """Return the state in `directory`, making what is missing; `issuer_url`, where given, wins over the remembered.

    Raises `ConfigurationFault` where the directory or a file in it cannot be used safely.
    """
    try:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or not _is_private(found):
            raise _unsafe(directory)
        key = _load_key(read_or_create(directory / "key.pem", _new_key))
        if issuer_url is None:
            remembered = read_or_create(directory / "issuer.json", lambda: _new_address(directory, realm))
            issuer_url = _load_address(remembered)
    except OSError as error:
        raise ConfigurationFault(f"the development issuer cannot use {directory}: {error.strerror}") from None
    if key is None:
        raise ConfigurationFault(f"{directory / 'key.pem'}: not an RSA key; remove it and a new one is made")
    if issuer_url is None:
        raise ConfigurationFault(f"{directory / 'issuer.json'}: damaged; remove it and a new address is chosen")
    return IssuerState(issuer_url, SigningKey(key))


def _is_private(found: os.stat_result) -> bool:
    """Say whether only its owner can reach it, and that owner is this user (root may use any user's)."""
    return not found.st_mode & 0o077 and os.geteuid() in (0, found.st_uid)


def _unsafe(path: Path) -> ConfigurationFault:
    return ConfigurationFault(f"{path}: must belong to this user and be closed to all others (chmod go-rwx)")


def read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the file's content, having written `make()` to it where there was none; the first of two makers wins."""
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(make())
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # the other one's is as good, and both must use the same
                os.link(temporary, path)
        finally:
            Path(temporary).unlink()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or not _is_private(found):
            raise _unsafe(path)
        return file.read(_MAX_FILE_BYTES)


def _new_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(pem: bytes) -> rsa.RSAPrivateKey | None:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, rsa.RSAPrivateKey) else None


def _new_address(directory: Path, realm: str) -> bytes:
    """Choose a free port, starting where the directory's name points, so that two issuers rarely want the same."""
    start = int.from_bytes(hashlib.sha256(os.fsencode(directory.resolve())).digest()[:4], "big")
    for offset in range(_PORTS):
        port = _FIRST_PORT + (start + offset) % _PORTS
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return json.dumps({"issuer": f"http://127.0.0.1:{port}/realms/{realm}"}).encode("ascii")
    raise ConfigurationFault("the development issuer finds no free port on 127.0.0.1")


def _load_address(raw: bytes) -> str | None:
    try:
        issuer = json.loads(raw)["issuer"]
    except (ValueError, KeyError, TypeError):
        return None
    return issuer if isinstance(issuer, str) else None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _encode_int(number: int) -> str:
    return _encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))
