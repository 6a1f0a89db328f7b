"""Secrets from HashiCorp Vault or OpenBao: `hashicorp:PATH#FIELD`, PATH as `vault kv get PATH` takes it.

Reached as Vault's own tools reach it: VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT; logged in by VAULT_TOKEN, or as an
AppRole by VAULT_ROLE_ID and VAULT_SECRET_ID. Needs the extra `hashicorp` (hvac), imported here alone. Promises an
answer or a fault within `SECONDS`, and faults that name the path and never a value. Blocks: call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gateway.errors import ConfigurationFault

SECONDS = 5.0
_FIRST_WITH_VERSIONS = 2


def read(place: str, environ: Mapping[str, str] | None = None) -> bytes:
    """Return the field of a secret that `place`, a `PATH#FIELD`, names. Raises ConfigurationFault."""
    path, _, field = place.rpartition("#")
    path = path.strip("/")
    environ = os.environ if environ is None else environ
    client = _client(environ)
    import hvac.exceptions
    import requests

    try:
        value = _read(client, environ, path, field)
    except hvac.exceptions.Forbidden:
        raise ConfigurationFault(f"hashicorp:{path}: the vault does not let this gateway read it") from None
    except hvac.exceptions.InvalidPath:
        raise ConfigurationFault(f"hashicorp:{path}: there is no such secret") from None
    except (hvac.exceptions.VaultError, requests.RequestException) as fault:
        # The fault's own words may hold headers or the body; its name is enough to go on.
        raise ConfigurationFault(f"hashicorp:{path}: the vault cannot be asked ({type(fault).__name__})") from None
    except (KeyError, TypeError, ValueError):
        raise ConfigurationFault(f"hashicorp:{path}: the answer is not a vault's") from None
    finally:
        client.adapter.close()
    if not isinstance(value, str) or not value:
        raise ConfigurationFault(f"hashicorp:{path}: has no text in the field {field}")
    return value.encode()


def _client(environ: Mapping[str, str]) -> Any:
    try:
        import hvac
    except ImportError:
        raise ConfigurationFault("hashicorp: needs hvac: pip install 'hoop-tui[hashicorp]'") from None
    if not environ.get("VAULT_ADDR"):
        raise ConfigurationFault("hashicorp: the environment variable VAULT_ADDR is not set")
    return hvac.Client(
        url=environ["VAULT_ADDR"],
        token=environ.get("VAULT_TOKEN", ""),
        namespace=environ.get("VAULT_NAMESPACE"),
        verify=environ.get("VAULT_CACERT", True),
        timeout=SECONDS,
        allow_redirects=False,
    )


def _read(client: Any, environ: Mapping[str, str], path: str, field: str) -> object:
    """Read one field; a token that an AppRole was given for it is handed back, or they would pile up at the vault."""
    if client.token or not environ.get("VAULT_ROLE_ID"):
        return _value(client, path, field)
    client.auth.approle.login(role_id=environ["VAULT_ROLE_ID"], secret_id=environ.get("VAULT_SECRET_ID"))
    try:
        return _value(client, path, field)
    finally:
        client.auth.token.revoke_self()


def _value(client: Any, path: str, field: str) -> object:
    """Ask where the path is mounted, and in which version of the key-value store, as `vault kv get` does."""
    mount = client.adapter.get(f"/v1/sys/internal/ui/mounts/{path}")["data"]
    root = str(mount["path"]).strip("/")
    versions = int((mount.get("options") or {}).get("version", 1)) >= _FIRST_WITH_VERSIONS
    inner = path.removeprefix(root).strip("/")
    if versions:
        return _field(client.adapter.get(f"/v1/{root}/data/{inner}")["data"]["data"], field)
    return _field(client.adapter.get(f"/v1/{root}/{inner}")["data"], field)


def _field(data: object, field: str) -> object:
    return data.get(field) if isinstance(data, dict) else None
