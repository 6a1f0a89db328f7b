"""The Keycloak side of a gateway, made through python-keycloak's admin API.

Promises to be repeatable: what is missing is made, what differs in clients, mappers and memberships that it answers
for is put right, and nothing is removed. Secrets are Keycloak's own; they go into files (0600), never into output.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigurationFault, IssuerFault
from gateway.identity.issuer import RealmAddress
from gateway.identity.private_file import write_private
from gateway.identity.realm import (
    AUDIENCE_MAPPER,
    Representation,
    owner_mapper,
    read_representation,
)
from gateway.model import Json

if TYPE_CHECKING:
    from keycloak import KeycloakAdmin

_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent to be: its client's name, who answers for it (user name or subject), and its groups."""

    name: str
    owner: str | None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """One client that there is now; `subject` None for the gateway's own."""

    client: str
    subject: str | None
    owner: str | None
    groups: tuple[str, ...]
    secret: Path

    def row(self) -> dict[str, Json]:
        """Return it as a row for people."""
        shown: dict[str, Json] = {"client": self.client, "subject": self.subject, "owner": self.owner}
        return {**shown, "groups": ", ".join(self.groups), "secret": f"file:{self.secret}"}


def bootstrap(
    address: RealmAddress,
    admin: tuple[str, str, str],
    realm: Representation | None,
    agents: Iterable[Agent],
    secrets: Path,
    logout_url: str | None = None,
) -> list[Made]:
    """Set up the realm at `address` as `admin` (realm, user, password); returns its clients, the gateway's first.

    `realm` is a representation to follow; without it, the gateway's client and scope alone. Raises `IssuerFault` for
    a Keycloak that refuses or is away, `ConfigurationFault` for what cannot be.
    """
    wanted = _wanted(realm, agents, address.realm)
    from keycloak import KeycloakAdmin
    from keycloak.exceptions import KeycloakError

    try:
        api = KeycloakAdmin(
            server_url=address.server_url,
            user_realm_name=admin[0],
            realm_name=admin[0],
            username=admin[1],
            password=admin[2],
            timeout=_SECONDS,
        )
        return _Bootstrap(api, wanted, logout_url).run(secrets)
    except KeycloakError as error:
        status = f" (status {error.response_code})" if error.response_code else ""
        raise IssuerFault(f"Keycloak refused or could not be reached{status}; nothing that was made is lost") from None
    except OSError as error:
        raise ConfigurationFault(f"--secrets {secrets}: {error.strerror}") from None


def configuration(issuer_url: str, made: Sequence[Made]) -> str:
    """Return the `[identity]` table for gateway.toml."""
    gateway = made[0]
    lines = {
        "issuer": issuer_url,
        "audience": gateway.client,
        "client_id": gateway.client,
        "client_secret": f"file:{gateway.secret}",
    }
    return "[identity]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())


def _wanted(realm: Representation | None, agents: Iterable[Agent], name: str) -> Representation:
    """Return the representation to follow, with `agents` in it."""
    own = read_representation(None)
    example = next(each for each in own["clients"] if each.get("serviceAccountsEnabled"))
    wanted = copy.deepcopy(realm if realm is not None else own)
    if realm is None:
        wanted["clients"] = [each for each in own["clients"] if not each.get("serviceAccountsEnabled")]
        wanted["users"], wanted["groups"] = [], []
    wanted["realm"] = name
    for agent in agents:
        client = copy.deepcopy(example) | {"clientId": agent.name, "name": f"The agent {agent.name}"}
        client["protocolMappers"] = [owner_mapper(agent.owner)] if agent.owner else []
        wanted["clients"].append(client)
        account = {"username": f"service-account-{agent.name}", "enabled": True, "serviceAccountClientId": agent.name}
        wanted["users"].append({**account, "groups": [f"/{group}" for group in agent.groups]})
        known = {group["name"] for group in wanted.setdefault("groups", [])}
        wanted["groups"] += [{"name": group, "path": f"/{group}"} for group in agent.groups if group not in known]
    return wanted


class _Bootstrap:
    """One run over one realm."""

    def __init__(self, api: KeycloakAdmin, wanted: Representation, logout_url: str | None) -> None:
        self._api, self._wanted, self._logout_url = api, wanted, logout_url
        self._accounts = {
            user["serviceAccountClientId"]: user
            for user in wanted.get("users", [])
            if user.get("serviceAccountClientId")
        }

    def run(self, secrets: Path) -> list[Made]:
        """Do everything; returns the clients."""
        api, wanted = self._api, self._wanted
        name = wanted["realm"]
        if name not in {each["realm"] for each in api.get_realms()}:
            # Without their ids, which are unique over all realms of a Keycloak; owners are found by name.
            people = [
                {key: value for key, value in user.items() if key != "id"}
                for user in wanted.get("users", [])
                if not user.get("serviceAccountClientId")
            ]
            base = {key: value for key, value in wanted.items() if key not in {"clients", "clientScopes", "users"}}
            api.create_realm({**base, "users": people})
        api.change_current_realm(name)
        for group in wanted.get("groups", []):
            api.create_group({"name": group["name"]}, skip_exists=True)
        scopes = {each["name"]: self._scope(each) for each in wanted.get("clientScopes", [])}
        secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
        clients = [each for each in wanted["clients"] if not each.get("publicClient")]
        audience = self._audience()
        clients.sort(key=lambda each: each["clientId"] != audience)
        return [self._client(each, scopes, secrets) for each in clients]

    def _audience(self) -> str:
        """Return the client that the tokens are meant for: the gateway's."""
        for scope in self._wanted.get("clientScopes", []):
            for mapper in scope.get("protocolMappers", []):
                if mapper["protocolMapper"] == AUDIENCE_MAPPER:
                    return str(mapper["config"].get("included.client.audience", "hoop-gateway"))
        return "hoop-gateway"

    def _scope(self, wanted: Representation) -> str:
        """Have the client scope and its mappers; returns its id."""
        api = self._api
        found = next((each for each in api.get_client_scopes() if each["name"] == wanted["name"]), None)
        if found is None:
            return str(api.create_client_scope(wanted))
        scope: str = found["id"]
        self._mappers(
            wanted.get("protocolMappers", []),
            api.get_mappers_from_client_scope(scope),
            lambda mapper: api.add_mapper_to_client_scope(scope, mapper),
            lambda at, mapper: api.update_mapper_in_client_scope(scope, at, mapper),
        )
        return scope

    def _client(self, wanted: Representation, scopes: dict[str, str], secrets: Path) -> Made:
        api, name = self._api, wanted["clientId"]
        mappers = [self._resolved(each) for each in wanted.get("protocolMappers", [])]
        agent = bool(wanted.get("serviceAccountsEnabled"))
        payload = {key: value for key, value in wanted.items() if key not in {"id", "secret", "protocolMappers"}}
        if agent and self._logout_url is not None:
            attributes = {"backchannel.logout.url": self._logout_url, "backchannel.logout.session.required": "true"}
            payload["attributes"] = {**wanted.get("attributes", {}), **attributes}
            payload["frontchannelLogout"] = False
        client = api.get_client_id(name)
        if client is None:
            client = api.create_client({**payload, "protocolMappers": mappers})
        else:
            at: str = client
            api.update_client(at, payload)
            self._mappers(
                mappers,
                api.get_mappers_from_client(at),
                lambda mapper: api.add_mapper_to_client(at, mapper),
                lambda mapper_id, mapper: api.update_client_mapper(at, mapper_id, mapper),
            )
        attached = {each["name"] for each in api.get_client_default_client_scopes(client)}
        for scope in wanted.get("defaultClientScopes", []):
            if scope in scopes and scope not in attached:
                api.add_client_default_client_scope(client, scopes[scope], {})
        path = (secrets / name).absolute()
        if path.parent != secrets.absolute():
            raise ConfigurationFault(f"client {name!r}: its name cannot be a file's name")
        write_private(path, f"{self._secret(client)}\n".encode())
        if not agent:
            return Made(name, None, None, (), path)
        subject, groups = self._account(name, client)
        owner = next((each["config"]["claim.value"] for each in mappers if each["name"] == "owner"), None)
        return Made(name, subject, owner, groups, path)

    def _secret(self, client: str) -> str:
        found: str | None = self._api.get_client_secrets(client).get("value")
        return found or str(self._api.generate_client_secrets(client)["value"])

    def _account(self, name: str, client: str) -> tuple[str, tuple[str, ...]]:
        """Put the agent's service account into its groups; returns its subject and all its groups."""
        api = self._api
        subject: str = api.get_client_service_account_user(client)["id"]
        joined = {group["path"] for group in api.get_user_groups(subject)}
        for path in self._accounts.get(name, {}).get("groups", []):
            absolute = path if path.startswith("/") else f"/{path}"
            if absolute not in joined:
                api.group_user_add(subject, api.get_group_by_path(absolute)["id"])
                joined.add(absolute)
        return subject, tuple(sorted(path.removeprefix("/") for path in joined))

    def _resolved(self, mapper: Representation) -> Representation:
        """Return an owner's mapper with the owner's subject in this realm, where a user's name stands there.

        Ids of users do not survive a move to another realm: who is in the file under that id is found by name.
        """
        if mapper["name"] != "owner":
            return mapper
        owner = mapper["config"]["claim.value"]
        names = {user.get("id"): user["username"] for user in self._wanted.get("users", [])}
        found = self._api.get_user_id(names.get(owner, owner))
        if found is None and owner not in names and "-" not in owner:
            raise ConfigurationFault(f"the owner {owner!r} is not a user of the realm")
        return owner_mapper(found or owner)

    @staticmethod
    def _mappers(
        wanted: Iterable[Representation],
        present: Iterable[Representation],
        add: Callable[[Representation], Any],
        update: Callable[[str, Representation], Any],
    ) -> None:
        known = {each["name"]: each for each in present}
        for mapper in wanted:
            found = known.get(mapper["name"])
            if found is None:
                add(mapper)
            elif any(found.get("config", {}).get(key) != value for key, value in mapper["config"].items()):
                update(found["id"], {**found, **mapper, "id": found["id"]})
