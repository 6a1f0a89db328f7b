"""The development issuer: a stand-in for Keycloak on this machine, so that everything works before there is one.

It promises Keycloak's URL layout and token shape, keys that only the gateway's user can read, and to listen on a
loopback address or not at all. Its clients come from a realm file in Keycloak's export format, the same that Keycloak
imports; it answers for their tokens (client credentials, introspection, revocation) and for people's logins (device
flow) as Keycloak does. It proves nothing: whoever can read the state directory is whoever they say. That is why
`identity.development` is stamped on every principal and record. It never stores a token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import trio

from gateway.errors import ConfigurationFault, LoginRefused
from gateway.identity.claims import Expectations, principal, refused
from gateway.identity.development_clients import DevelopmentClient, authenticated, form_of, load_clients
from gateway.identity.development_device import Confirmation, DeviceCodes, page
from gateway.identity.device_login import GRANT
from gateway.identity.http_server import Request, Response, serve_http
from gateway.identity.issuer import realm_address
from gateway.identity.issuer_state import IssuerState, SigningKey, load_or_create_state
from gateway.identity.jws import MAX_TOKEN_BYTES, CompactToken, check_signature, parse_object, pinned_keys, split
from gateway.identity.kill_list import KillList, Strike
from gateway.identity.realm import Realm, RealmPerson
from gateway.model import Clock, Entropy, Principal

DEFAULT_TTL_SECONDS = 3600
"""How long a token lasts unless its maker says otherwise."""
MAX_TTL_SECONDS = 366 * 24 * 3600
"""The longest that a development token may last."""
_PEOPLE = "account"
"""The audience of people's access tokens, as Keycloak calls it: not the gateway."""
_MICROS = 1_000_000


class DevelopmentIssuer:
    """Mints tokens, and serves its keys over HTTP while `serve` runs. Make one with `load_or_create`."""

    def __init__(
        self,
        state: IssuerState,
        revoked: KillList,
        *,
        audience: str,
        groups_claim: str,
        clock: Clock,
        entropy: Entropy,
        clients: Iterable[DevelopmentClient] = (),
        token_seconds: int = DEFAULT_TTL_SECONDS,
        people: Iterable[RealmPerson] = (),
    ) -> None:
        self.issuer_url = state.issuer_url
        self._key: SigningKey = state.key
        self._expected = Expectations(state.issuer_url, audience, groups_claim, development=True)
        self._clock = clock
        self._entropy = entropy
        self._clients = tuple(clients)
        self._token_seconds = token_seconds
        self._public = pinned_keys({"keys": [self._key.public_jwk()]})
        self._revoked = revoked
        self._people = tuple(people)
        self._devices = DeviceCodes(self.issuer_url, self._must_be_ours, clock, entropy)
        self._realm_path = f"/realms/{realm_address(state.issuer_url).realm}"

    @classmethod
    def load_or_create(
        cls,
        state_dir: Path,
        *,
        audience: str,
        clock: Clock,
        entropy: Entropy,
        issuer_url: str | None = None,
        groups_claim: str = "groups",
        clients: Iterable[DevelopmentClient] = (),
        realm: Realm | None = None,
    ) -> DevelopmentIssuer:
        """Return the issuer that lives in `state_dir/development-issuer`, making its key and URL at the first call.

        Without `issuer_url` a free port is chosen once and remembered, so that a token minted by one process is good
        in another. The clients of `realm` are added to `clients`. Raises `ConfigurationFault` for a URL that is not
        http on loopback, one of another realm, or for unsafe key files.
        """
        if issuer_url is not None:
            _loopback_address(issuer_url)
        directory = state_dir / "development-issuer"
        state = load_or_create_state(directory, issuer_url, *([realm.name] if realm is not None else []))
        _loopback_address(state.issuer_url)
        token_seconds = DEFAULT_TTL_SECONDS
        if realm is not None:
            token_seconds = realm.token_seconds
            if realm_address(state.issuer_url).realm != realm.name:
                raise ConfigurationFault(
                    f"identity.realm: the realm is {realm.name!r}, but the issuer's URL names another"
                )
            clients = (*clients, *load_clients(state_dir, realm, entropy))
        revoked = KillList.load(directory / "revoked.json", clock)
        return cls(
            state,
            revoked,
            audience=audience,
            groups_claim=groups_claim,
            clock=clock,
            entropy=entropy,
            clients=clients,
            token_seconds=token_seconds,
            people=realm.people if realm is not None else (),
        )

    def mint(
        self,
        subject: str,
        groups: Iterable[str] = (),
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        owner: str | None = None,
        *,
        client: str = "development",
        audience: tuple[str, ...] | None = None,
        bound_to: str | None = None,
    ) -> str:
        """Return an access token for `subject`, good from now on for `ttl_seconds`; no network is needed.

        With `audience` it is meant for those, who may be others than the gateway; with `bound_to` (a thumbprint, see
        `admission.thumbprint`) it is good only beside that client certificate. Raises `ConfigurationFault` for what
        the gateway's own verifier would refuse.
        """
        if not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
            raise ConfigurationFault("a token's ttl must be between 1s and 366 days")
        now = self._clock.now()
        issued = now // _MICROS
        claims: dict[str, object] = {
            "iss": self.issuer_url,
            "aud": self._expected.audience,
            "sub": subject,
            "jti": self._entropy.bytes(16).hex(),
            "iat": issued,
            "exp": issued + ttl_seconds,
            "typ": "Bearer",
            "azp": client,
        }
        if owner is not None:
            claims["owner"] = owner
        if bound_to is not None:
            claims["cnf"] = {"x5t#S256": bound_to}
        if self._expected.groups_claim in claims or self._expected.groups_claim == "owner":
            raise ConfigurationFault("identity.groups_claim: names a claim that means something else")
        claims[self._expected.groups_claim] = list(groups)
        self._must_be_accepted(claims)
        if audience is not None:
            claims["aud"] = list(audience)
        token = self._key.sign(claims)
        if len(token) > MAX_TOKEN_BYTES:
            raise ConfigurationFault(f"the token would be longer than {MAX_TOKEN_BYTES} bytes: name fewer groups")
        return token

    def _must_be_accepted(self, claims: dict[str, object]) -> None:
        try:
            principal(claims, self._expected, self._clock.now())
        except LoginRefused as refusal:
            raise ConfigurationFault(f"no such token can be made: {refusal.reason}") from None

    async def serve(self, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the well-known document, the keys and tokens until cancelled; reports the issuer's URL when ready.

        Raises `ConfigurationFault` where the port is taken.
        """
        host, port = _loopback_address(self.issuer_url)
        try:
            (listener,) = await trio.open_tcp_listeners(port, host=host, backlog=128)
        except OSError as error:
            raise ConfigurationFault(
                f"the development issuer cannot listen on {host}:{port} ({error.strerror}): end what uses that port,"
                " or give another one in identity.issuer"
            ) from None
        task_status.started(self.issuer_url)
        await serve_http(listener, self._respond)

    def _respond(self, request: Request) -> Response:
        path = request.path.partition("?")[0]
        openid = f"{self._realm_path}/protocol/openid-connect"
        asked: dict[str, Callable[[Request], Response]] = {
            f"{openid}/token": self._token,
            f"{openid}/token/introspect": self._introspect,
            f"{openid}/revoke": self._revoke,
            f"{openid}/auth/device": self._device,
            f"{self._realm_path}/device": self._confirm,
        }
        if path == f"{self._realm_path}/device" and request.method == "GET":
            return Response(200, page(self.issuer_url), kind="text/html; charset=utf-8")
        if path in asked:
            return asked[path](request) if request.method == "POST" else _error(405, "invalid_request")
        if path == f"{self._realm_path}/.well-known/openid-configuration":
            document = self._well_known()
        elif path == f"{openid}/certs":
            document = {"keys": [self._key.public_jwk()]}
        else:
            return _error(404, "not_found")
        return _json(200, document) if request.method == "GET" else _error(405, "invalid_request")

    def _well_known(self) -> dict[str, object]:
        """Return only what there is (OpenID Connect Discovery §3)."""
        openid = f"{self.issuer_url}/protocol/openid-connect"
        return {
            "issuer": self.issuer_url,
            "jwks_uri": f"{openid}/certs",
            "token_endpoint": f"{openid}/token",
            "introspection_endpoint": f"{openid}/token/introspect",
            "revocation_endpoint": f"{openid}/revoke",
            "device_authorization_endpoint": f"{openid}/auth/device",
            "grant_types_supported": ["client_credentials", GRANT],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self._key.algorithm],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }

    def _token(self, request: Request) -> Response:
        """Answer a request by client credentials (RFC 6749 §4.4) or device code (RFC 8628 §3.4)."""
        fields, client = self._asking(request)
        if fields is None:
            return _error(400, "invalid_request")
        if fields.get("grant_type") == GRANT:
            return self._collect(client, fields)
        if fields.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type")
        if client is None:
            return _error(401, "invalid_client")
        if client.subject is None:
            return _error(400, "unauthorized_client")
        seconds, name = self._token_seconds, client.client_id
        token = self.mint(client.subject, client.groups, seconds, client.owner, client=name, audience=client.audience)
        return _json(200, {"access_token": token, "token_type": "Bearer", "expires_in": seconds})

    def _device(self, request: Request) -> Response:
        """Hand out a device code (RFC 8628 §3.1)."""
        fields, client = self._asking(request)
        if fields is None:
            return _error(400, "invalid_request")
        if client is None:
            return _error(401, "invalid_client")
        if not client.device:
            return _error(400, "unauthorized_client")
        started = self._devices.start(client.client_id)
        return _error(503, "temporarily_unavailable") if started is None else _json(200, started)

    def _collect(self, client: DevelopmentClient | None, fields: Mapping[str, str]) -> Response:
        if client is None:
            return _error(401, "invalid_client")
        found = self._devices.collect(client.client_id, fields.get("device_code", ""))
        if isinstance(found, str):
            return _error(400, found)
        seconds, second = self._token_seconds, self._clock.now() // _MICROS
        # Not for the gateway: a person's token opens no connection.
        token = self.mint(found.subject, found.groups, seconds, client=client.client_id, audience=(_PEOPLE,))
        claims = {
            "iss": self.issuer_url,
            "aud": client.client_id,
            "azp": client.client_id,
            "sub": found.subject,
            "jti": self._entropy.bytes(16).hex(),
            "iat": second,
            "auth_time": second,
            "exp": second + seconds,
            "typ": "ID",
            "preferred_username": found.name,
            self._expected.groups_claim: list(found.groups),
        }
        proof = self._key.sign(claims)
        answer = {"access_token": token, "id_token": proof, "token_type": "Bearer", "expires_in": seconds}
        return _json(200, answer)

    def lets_people_in(self, client_id: str) -> bool:
        """Say whether people may log in through the client."""
        return any(each.client_id == client_id and each.device for each in self._clients)

    def confirmation(self, user_code: str, who: str, groups: Iterable[str] | None = None) -> str:
        """Return a signed confirmation of `user_code` in the name of `who`: a user of the realm, else a subject."""
        known = next((each for each in self._people if who in {each.name, each.subject}), None)
        subject, name = (known.subject, known.name) if known is not None else (who, who)
        listed = tuple(groups) if groups is not None else (known.groups if known is not None else ())
        return self._key.sign(self._devices.confirmation(user_code, Confirmation(subject, name, listed)))

    def _confirm(self, request: Request) -> Response:
        fields = form_of(request.body)
        if fields is None or not self._devices.confirm(fields.get("confirmation", "")):
            return _error(400, "invalid_request")
        return _json(200, {"confirmed": True})

    def _must_be_ours(self, compact: CompactToken) -> None:
        key = self._public.get(compact.kid)
        if key is None:
            raise refused("it is signed with a key that the issuer does not publish")
        check_signature(compact, key)

    def introspect(self, token: str) -> dict[str, object]:
        """Say what is known of `token` (RFC 7662 §2.2)."""
        found = self._own(token)
        if found is None:
            return {"active": False}
        claims, who = found
        return {**claims, "active": True, "client_id": who.client, "token_type": "Bearer"}

    def revoke(self, token: str) -> None:
        """Have `token` be inactive from now on, also after a restart; one that is not good is left alone."""
        found = self._own(token)
        if found is not None:
            who, now = found[1], self._clock.now()
            self._revoked.strike(Strike("token", who.token_id, "issuer", "revoked", now, who.expires))

    def _own(self, token: str) -> tuple[dict[str, object], Principal] | None:
        """Return the claims of a token of ours that is good now."""
        try:
            compact = split(token)
            self._must_be_ours(compact)
            claims = parse_object(compact.payload) or {}
            person = claims.get("aud") == [_PEOPLE]
            expected = replace(self._expected, audience=_PEOPLE) if person else self._expected
            who = principal(claims, expected, self._clock.now())
        except LoginRefused:
            return None
        return None if self._revoked.struck(who) is not None else (claims, who)

    def _introspect(self, request: Request) -> Response:
        """Answer any client that proves itself, as Keycloak does (RFC 7662 §2.1)."""
        fields, client = self._asking(request)
        if fields is None or "token" not in fields:
            return _error(400, "invalid_request")
        if client is None:
            return _error(401, "invalid_client")
        return _json(200, self.introspect(fields["token"]))

    def _revoke(self, request: Request) -> Response:
        """Take back a token of the asking client's own (RFC 7009 §2.1)."""
        fields, client = self._asking(request)
        if fields is None or "token" not in fields:
            return _error(400, "invalid_request")
        if client is None:
            return _error(401, "invalid_client")
        found = self._own(fields["token"])
        if found is not None and found[1].client != client.client_id:
            return _error(400, "unauthorized_client")
        self.revoke(fields["token"])
        return _json(200, {})

    def _asking(self, request: Request) -> tuple[dict[str, str] | None, DevelopmentClient | None]:
        """Return the form and the client that sent it, None where it proves to be none."""
        fields = form_of(request.body)
        header = request.headers.get("authorization")
        return fields, None if fields is None else authenticated(self._clients, header, fields)


def _loopback_address(issuer_url: str) -> tuple[str, int]:
    """Return host and port to listen on; raise `ConfigurationFault` unless it is plain http on this machine."""
    realm = realm_address(issuer_url)
    origin = realm.origin
    scheme, _, authority = origin.partition("://")
    host, _, port = authority.rpartition(":")
    host = host.strip("[]")
    if scheme != "http" or realm.server_url != f"{origin}/":  # plain http is a realm's only on this machine
        raise ConfigurationFault(
            "identity.issuer: with identity.development the issuer is http://127.0.0.1:PORT/realms/NAME; it serves"
            " this machine only"
        )
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigurationFault("identity.issuer: the development issuer's URL must name its port")
    return ("127.0.0.1" if host == "localhost" else host), int(port)


def _json(status: int, value: object) -> Response:
    return Response(status, json.dumps(value).encode("ascii"))


def _error(status: int, error: str) -> Response:
    return _json(status, {"error": error})
