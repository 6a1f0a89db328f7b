"""The development issuer: a stand-in for Keycloak on this machine, so that everything works before there is one.

It promises Keycloak's URL layout and token shape, keys that only the gateway's user can read, and to listen on a
loopback address or not at all. It proves nothing: whoever can read the state directory is whoever they say. That is
why `identity.development` is stamped on every principal and record. It never stores a token or a client's secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote_plus

import trio

from gateway.errors import ConfigurationFault, LoginRefused
from gateway.identity.claims import Expectations, principal
from gateway.identity.issuer import realm_address
from gateway.identity.issuer_state import IssuerState, SigningKey, load_or_create_state
from gateway.identity.jws import MAX_TOKEN_BYTES
from gateway.identity.loopback import Request, Response, serve_http
from gateway.model import Clock, Entropy

DEFAULT_TTL_SECONDS = 3600
"""How long a token lasts unless its maker says otherwise."""
MAX_TTL_SECONDS = 366 * 24 * 3600
"""The longest that a development token may last."""
_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class DevelopmentClient:
    """A client that may fetch tokens by client credentials, and of whom they speak; knows only its secret's hash."""

    client_id: str
    secret_sha256: bytes = field(repr=False)
    subject: str
    groups: tuple[str, ...] = ()
    owner: str | None = None

    def has_secret(self, secret: str) -> bool:
        """Say, in constant time, whether `secret` is this client's."""
        return hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), self.secret_sha256)


class DevelopmentIssuer:
    """Mints tokens, and serves its keys over HTTP while `serve` runs. Make one with `load_or_create`."""

    def __init__(
        self,
        state: IssuerState,
        *,
        audience: str,
        groups_claim: str,
        clock: Clock,
        entropy: Entropy,
        clients: Iterable[DevelopmentClient] = (),
    ) -> None:
        self.issuer_url = state.issuer_url
        self._key: SigningKey = state.key
        self._expected = Expectations(state.issuer_url, audience, groups_claim, development=True)
        self._clock = clock
        self._entropy = entropy
        self._clients = {client.client_id: client for client in clients}
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
    ) -> DevelopmentIssuer:
        """Return the issuer that lives in `state_dir/development-issuer`, making its key and URL at the first call.

        Without `issuer_url` a free port is chosen once and remembered, so that a token minted by one process is good
        in another. Raises `ConfigurationFault` for a URL that is not http on loopback or for unsafe key files.
        """
        if issuer_url is not None:
            _loopback_address(issuer_url)
        state = load_or_create_state(state_dir / "development-issuer", issuer_url)
        _loopback_address(state.issuer_url)
        return cls(state, audience=audience, groups_claim=groups_claim, clock=clock, entropy=entropy, clients=clients)

    def mint(
        self,
        subject: str,
        groups: Iterable[str] = (),
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        owner: str | None = None,
        *,
        client: str = "development",
    ) -> str:
        """Return an access token for `subject`, good from now on for `ttl_seconds`; no network is needed.

        Raises `ConfigurationFault` for what the gateway's own verifier would refuse.
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
        if self._expected.groups_claim in claims or self._expected.groups_claim == "owner":
            raise ConfigurationFault("identity.groups_claim: names a claim that means something else")
        claims[self._expected.groups_claim] = list(groups)
        self._must_be_accepted(claims)
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
        if path == f"{openid}/token":
            return self._token(request) if request.method == "POST" else _error(405, "invalid_request")
        if path == f"{self._realm_path}/.well-known/openid-configuration":
            document = self._well_known()
        elif path == f"{openid}/certs":
            document = {"keys": [self._key.public_jwk()]}
        else:
            return _error(404, "not_found")
        return _json(200, document) if request.method == "GET" else _error(405, "invalid_request")

    def _well_known(self) -> dict[str, object]:
        """Return only what there is (OpenID Connect Discovery §3); people do not log in here."""
        openid = f"{self.issuer_url}/protocol/openid-connect"
        return {
            "issuer": self.issuer_url,
            "jwks_uri": f"{openid}/certs",
            "token_endpoint": f"{openid}/token",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self._key.algorithm],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }

    def _token(self, request: Request) -> Response:
        """Answer a client-credentials request (RFC 6749 §4.4)."""
        fields = _form(request.body)
        if fields is None:
            return _error(400, "invalid_request")
        if fields.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type")
        basic = _basic_credentials(request.headers.get("authorization"))
        client_id, secret = basic or (fields.get("client_id", ""), fields.get("client_secret", ""))
        client = self._clients.get(client_id)
        if client is None or not client.has_secret(secret):
            return _error(401, "invalid_client")
        token = self.mint(client.subject, client.groups, owner=client.owner, client=client.client_id)
        return _json(200, {"access_token": token, "token_type": "Bearer", "expires_in": DEFAULT_TTL_SECONDS})


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


def _basic_credentials(header: str | None) -> tuple[str, str] | None:
    """Return client id and secret of an Authorization header (RFC 6749 §2.3.1: both form-encoded), None without."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    client_id, _, secret = text.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)


def _form(body: bytes) -> dict[str, str] | None:
    """Return the fields of a form, None where there are too many or one comes twice (RFC 6749 §3.2)."""
    try:
        form = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    return {name: values[0] for name, values in form.items()} if all(len(v) == 1 for v in form.values()) else None


def _json(status: int, value: object) -> Response:
    return Response(status, json.dumps(value).encode("ascii"))


def _error(status: int, error: str) -> Response:
    return _json(status, {"error": error})
