"""A realm file in Keycloak's export format, as far as agents are concerned: one file for Keycloak and for development.

Reads clients, their service accounts, owners, groups and audiences from the same representation that Keycloak
imports and exports. Promises that what it does not understand is refused with its place, never guessed. Secrets in a
file are read only where they are references to the environment or plain text of a trial; masked ones are none.
Source: Keycloak's RealmRepresentation (admin REST API).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from gateway.errors import ConfigurationFault

Representation: TypeAlias = "dict[str, Any]"
"""A part of a realm as Keycloak's JSON has it."""

SCOPE = "hoop"
"""The client scope with the mappers that every agent's token needs."""
OWNER_MAPPER, AUDIENCE_MAPPER, GROUPS_MAPPER = (
    "oidc-hardcoded-claim-mapper", "oidc-audience-mapper", "oidc-group-membership-mapper",
)  # fmt: skip
DEVICE_GRANT = "oauth2.device.authorization.grant.enabled"
"""Keycloak's attribute of a client through which people may log in with the device flow."""
_MAX_FILE_BYTES = 16 << 20
_REFERENCE = re.compile(r"\$\{(?:env\.)?([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RealmClient:
    """A confidential client of the realm; with `subject` it is an agent, whose tokens speak of that subject."""

    client_id: str
    subject: str | None
    groups: tuple[str, ...] = ()
    owner: str | None = None
    audience: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)
    device: bool = False
    """People may log in through it with the device flow."""


@dataclass(frozen=True, slots=True)
class RealmPerson:
    """A user who is a person."""

    subject: str
    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Realm:
    """A realm: its name, how long its access tokens last, its clients and its people."""

    name: str
    token_seconds: int
    clients: tuple[RealmClient, ...]
    people: tuple[RealmPerson, ...] = ()


def read_representation(path: Path | None) -> Representation:
    """Return the JSON of the realm file at `path`, or of the one that comes with the gateway.

    Raises `ConfigurationFault`.
    """
    try:
        if path is None:
            raw = files("gateway.identity").joinpath("realm.json").read_bytes()
        else:
            with path.open("rb") as file:
                raw = file.read(_MAX_FILE_BYTES)
        found = json.loads(raw)
    except OSError as error:
        raise ConfigurationFault(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ConfigurationFault(f"{path}: not JSON; a realm as Keycloak exports it is needed") from None
    if not isinstance(found, dict) or not isinstance(found.get("realm"), str):
        raise ConfigurationFault(f"{path}: not a realm in Keycloak's export format (it has no `realm`)")
    return found


def realm_of(representation: Representation, groups_claim: str = "groups") -> Realm:
    """Return what `representation` says of clients. Raises `ConfigurationFault` naming the place."""
    try:
        scopes = {each["name"]: each.get("protocolMappers", []) for each in representation.get("clientScopes", [])}
        accounts = {
            user["serviceAccountClientId"]: user
            for user in representation.get("users", [])
            if user.get("serviceAccountClientId")
        }
        clients = tuple(
            _client(each, scopes, accounts, groups_claim)
            for each in representation.get("clients", [])
            if _is_confidential(each)
        )
        people = tuple(
            RealmPerson(user.get("id") or user["username"], user["username"], _groups(user))
            for user in representation.get("users", [])
            if not user.get("serviceAccountClientId") and user.get("enabled", True)
        )
        seconds = int(representation.get("accessTokenLifespan", 300))
    except (KeyError, TypeError, AttributeError, ValueError) as fault:
        raise ConfigurationFault(f"the realm file is not as Keycloak exports it ({type(fault).__name__})") from None
    if not 1 <= seconds <= 366 * 24 * 3600:
        raise ConfigurationFault("the realm file: accessTokenLifespan must be between a second and a year")
    return Realm(representation["realm"], seconds, clients, people)


def mappers_of(client: Representation, scopes: Mapping[str, list[Representation]]) -> list[Representation]:
    """Return the protocol mappers that shape the client's tokens: its own, and those of its default scopes."""
    own: list[Representation] = list(client.get("protocolMappers", []))
    return own + [mapper for name in client.get("defaultClientScopes", []) for mapper in scopes.get(name, [])]


def owner_mapper(owner: str) -> Representation:
    """Return the mapper that puts `owner` (a person's subject) into a client's tokens."""
    return {
        "name": "owner",
        "protocol": "openid-connect",
        "protocolMapper": OWNER_MAPPER,
        "config": {
            "claim.name": "owner",
            "claim.value": owner,
            "jsonType.label": "String",
            "id.token.claim": "false",
            "access.token.claim": "true",
            "userinfo.token.claim": "false",
            "introspection.token.claim": "true",
        },
    }


def _is_confidential(client: Representation) -> bool:
    return bool(client.get("enabled", True)) and not client.get("publicClient") and not client.get("bearerOnly")


def _client(
    client: Representation,
    scopes: Mapping[str, list[Representation]],
    accounts: Mapping[str, Representation],
    groups_claim: str,
) -> RealmClient:
    mappers = mappers_of(client, scopes)
    account = accounts.get(client["clientId"], {}) if client.get("serviceAccountsEnabled") else None
    # Keycloak makes the account at import where the file has none; its id is then not known here.
    subject = None if account is None else account.get("id") or f"service-account-{client['clientId']}"
    has_groups = any(_claim(each, GROUPS_MAPPER) == groups_claim for each in mappers)
    groups = _groups(account) if account and has_groups else ()
    return RealmClient(
        client_id=client["clientId"],
        subject=subject,
        groups=groups,
        owner=next((each["config"]["claim.value"] for each in mappers if _claim(each, OWNER_MAPPER) == "owner"), None),
        audience=tuple(dict.fromkeys(_audiences(mappers))),
        secret=_secret(client.get("secret")),
        device=client.get("attributes", {}).get(DEVICE_GRANT) == "true",
    )


def _groups(user: Representation) -> tuple[str, ...]:
    return tuple(group.removeprefix("/") for group in user.get("groups", ()))


def _claim(mapper: Representation, kind: str) -> str | None:
    """Return which claim `mapper` makes in access tokens, None where it is of another kind."""
    config = mapper.get("config", {})
    if mapper.get("protocolMapper") != kind or config.get("access.token.claim") != "true":
        return None
    claim: str | None = config.get("claim.name")
    return claim


def _audiences(mappers: Iterable[Representation]) -> Iterable[str]:
    for mapper in mappers:
        config = mapper.get("config", {})
        if mapper.get("protocolMapper") == AUDIENCE_MAPPER and config.get("access.token.claim") == "true":
            for key in ("included.client.audience", "included.custom.audience"):
                if config.get(key):
                    yield config[key]


def _secret(value: str | None) -> str | None:
    if not value or set(value) == {"*"}:  # an export masks secrets
        return None
    reference = _REFERENCE.fullmatch(value)
    return os.environ.get(reference[1]) if reference else value
