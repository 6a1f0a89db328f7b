"""TLS towards targets: contexts by libpq's `sslmode`, and the channel binding data of a server's certificate.

Promises libpq's meaning of each mode, with one deliberate difference: without `sslrootcert`, verify-ca and verify-full
trust the system's store. Never lowers a mode.
Source: PostgreSQL 18, "libpq: SSL Support"; RFC 5929, section 4.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from gateway.errors import ConfigurationFault
from gateway.model import TargetAddress

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def attempts(address: TargetAddress) -> tuple[bool, ...]:
    """Say in which order to try: True with TLS, False without. Unix sockets never use TLS."""
    if address.sslmode not in SSL_MODES:
        raise ConfigurationFault(f"target: sslmode {address.sslmode!r} is none of {', '.join(SSL_MODES)}")
    if is_local(address) or address.sslmode == "disable":
        return (False,)
    if address.sslmode == "allow":
        return (False, True)
    return (True, False) if address.sslmode == "prefer" else (True,)


def is_local(address: TargetAddress) -> bool:
    """Say whether the target is a Unix socket: its host is a directory."""
    return address.host.startswith("/")


def client_context(address: TargetAddress) -> ssl.SSLContext:
    """Return the context for one target; verifying as its sslmode says; a changed `sslrootcert` is read anew."""
    root = address.sslrootcert
    if root == "system" and address.sslmode != "verify-full":
        raise ConfigurationFault("target: sslrootcert=system goes with sslmode=verify-full only, as in libpq")
    if root is None or root == "system":
        return _context(address.sslmode, None, 0)
    try:
        changed = Path(root).stat().st_mtime_ns
    except OSError as error:
        raise ConfigurationFault(f"target: sslrootcert {root}: {error.strerror}") from None
    return _context(address.sslmode, root, changed)


@lru_cache(maxsize=64)  # reading the system's store takes tens of milliseconds, and every session needs it
def _context(sslmode: str, root: str | None, _changed: int) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # "require" with a root certificate verifies it, as libpq does and documents.
    verifies = sslmode in ("verify-ca", "verify-full") or (sslmode == "require" and root is not None)
    context.check_hostname = sslmode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    if not verifies:
        return context
    if root is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context
    try:
        context.load_verify_locations(cafile=root)
    except OSError as error:  # SSLError is one
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationFault(f"target: sslrootcert {root}: {reason or 'not a certificate in PEM form'}") from None
    return context


def server_end_point(certificate: bytes) -> bytes | None:
    """Return the tls-server-end-point data of a certificate (DER); None where its signature has no hash (Ed25519)."""
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return digest.finalize()
