"""The listener's side of TLS: one server context from a certificate and its private key.

Promises TLS 1.2 or newer, no renegotiation, no compression, no session tickets, ALPN `postgresql`; a private key that
others may read, or that is encrypted (nobody is there to type a passphrase), is a ConfigurationFault naming the file.
The key's bytes go from the file to OpenSSL and nowhere else.
"""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path
from typing import NoReturn

from gateway.errors import ConfigurationFault
from gateway.pgwire.startup import ALPN


def server_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """Make the context for agents' connections; errors name the file and say what to do.

    With `client_ca` a client may show a certificate, which must then be one of that authority's.
    """
    _check_key(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN])
    try:
        context.load_cert_chain(certificate, key, password=_refuse_passphrase)
    except FileNotFoundError:
        raise ConfigurationFault(
            f"postgres.tls_cert: {certificate} does not exist; `hoop-gateway init` makes one"
        ) from None
    except (OSError, ValueError) as error:  # SSLError is an OSError; a wrong kind of PEM is either
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not a certificate in PEM form"
        raise ConfigurationFault(f"postgres.tls_cert, postgres.tls_key: {certificate}, {key}: {reason}") from None
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or "not certificates in PEM form"
            raise ConfigurationFault(f"postgres.client_ca: {client_ca}: {reason}") from None
    return context


def _check_key(key: Path) -> None:
    """Insist on a regular file of ours or root's that nobody else reads (PostgreSQL's own rule)."""
    try:
        found = key.stat()
    except OSError as error:
        raise ConfigurationFault(f"postgres.tls_key: {key}: {error.strerror}; `hoop-gateway init` makes one") from None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationFault(f"postgres.tls_key: {key} is not a file")
    forbidden = 0o077 if found.st_uid == os.geteuid() else 0o027
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigurationFault(f"postgres.tls_key: {key} must belong to the gateway's account or root")
    if found.st_mode & forbidden:
        raise ConfigurationFault(f"postgres.tls_key: {key} may be read by others; chmod 0600 it")


def _refuse_passphrase() -> NoReturn:
    raise ConfigurationFault("postgres.tls_key: the key is encrypted; give one without a passphrase, mode 0600")
