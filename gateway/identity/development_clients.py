"""The development issuer's clients: from the realm file, with secrets of their own, and how they prove themselves.

Promises that a secret which the realm file does not give is made once, random, and readable by the gateway's user
alone (`state_dir/development-issuer/clients/NAME`), and that the issuer itself keeps only its hash.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus

from gateway.errors import ConfigurationFault
from gateway.identity.issuer_state import read_or_create
from gateway.identity.realm import Realm, RealmClient
from gateway.model import Entropy


@dataclass(frozen=True, slots=True)
class DevelopmentClient:
    """A client that may fetch tokens by client credentials, and of whom they speak; knows only its secret's hash.

    Without `subject` it gets no tokens, and may only ask about them. `audience` None: the gateway's.
    """

    client_id: str
    secret_sha256: bytes = field(repr=False)
    subject: str | None
    groups: tuple[str, ...] = ()
    owner: str | None = None
    audience: tuple[str, ...] | None = None
    device: bool = False
    """People log in through it with the device flow."""

    def has_secret(self, secret: str) -> bool:
        """Say, in constant time, whether `secret` is this client's."""
        return hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), self.secret_sha256)


def secret_file(state_dir: Path, client_id: str) -> Path:
    """Return where the secret of a client of the development issuer is, if the issuer made it."""
    return state_dir / "development-issuer" / "clients" / client_id


def load_clients(state_dir: Path, realm: Realm, entropy: Entropy) -> tuple[DevelopmentClient, ...]:
    """Return the realm's clients, making the secrets that are missing. Raises `ConfigurationFault`."""
    return tuple(_load(state_dir, each, entropy) for each in realm.clients)


def _load(state_dir: Path, client: RealmClient, entropy: Entropy) -> DevelopmentClient:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", client.client_id, re.ASCII):
        raise ConfigurationFault(f"the realm file: client {client.client_id!r}: its name cannot be a file's name")
    if client.secret is not None:
        secret = client.secret.encode()
    else:
        path = secret_file(state_dir, client.client_id)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            secret = read_or_create(path, lambda: entropy.bytes(32).hex().encode() + b"\n").removesuffix(b"\n")
        except OSError as error:
            raise ConfigurationFault(f"the development issuer cannot use {path}: {error.strerror}") from None
    digest = hashlib.sha256(secret).digest()
    return DevelopmentClient(
        client.client_id, digest, client.subject, client.groups, client.owner, client.audience, client.device
    )


def authenticated(
    clients: Iterable[DevelopmentClient], header: str | None, fields: dict[str, str]
) -> DevelopmentClient | None:
    """Return the client that a request's Authorization header or form proves to come from (RFC 6749 §2.3.1)."""
    client_id, secret = _basic(header) or (fields.get("client_id", ""), fields.get("client_secret", ""))
    found = next((each for each in clients if each.client_id == client_id), None)
    return found if found is not None and found.has_secret(secret) else None


def form_of(body: bytes) -> dict[str, str] | None:
    """Return the fields of a form, None where there are too many or one comes twice (RFC 6749 §3.2)."""
    try:
        form = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    return {name: values[0] for name, values in form.items()} if all(len(v) == 1 for v in form.values()) else None


def _basic(header: str | None) -> tuple[str, str] | None:
    """Return client id and secret of an Authorization header (both form-encoded), None without."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    client_id, _, secret = text.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)
