"""Asks the identity issuer: its keys, whether a token is still good, and for tokens of a client's own.

Any OIDC issuer is found by its discovery document; python-keycloak's connection carries the questions, on Trio. It
promises that nothing is asked of an address that is not https or this machine, that the document names the configured
issuer, that an answer has a bounded size and time, no redirect is followed, what is on this machine is never asked
through a proxy, and that every failure is an `IssuerFault` in fixed words without token or secret.
Sources: OpenID Connect Discovery §4, RFC 7662 §2, RFC 6749 §4.4, RFC 8414 §2.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import trio

from gateway.errors import ConfigurationFault, IssuerFault
from gateway.identity.jws import PinnedKey, parse_object, pinned_keys

if TYPE_CHECKING:
    import httpx
    from keycloak.connection import ConnectionManager

    from gateway.identity.keys import Fetch

ASK_SECONDS = 5
"""How long one question may take."""
MAX_ANSWER_BYTES = 256 * 1024
"""The longest answer that is read from the issuer."""
METADATA_SECONDS = 300
"""How long a discovery document is used before it is read again."""


@dataclass(frozen=True, slots=True)
class IssuerAddress:
    """An issuer's URL, checked: https, or http on this machine."""

    issuer_url: str
    origin: str
    loopback: bool

    @property
    def discovery(self) -> str:
        """Where its discovery document is (OpenID Connect Discovery §4.1)."""
        return f"{self.issuer_url.rstrip('/')}/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class RealmAddress(IssuerAddress):
    """A Keycloak realm's issuer URL, taken apart as python-keycloak wants it."""

    server_url: str
    realm: str


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """With which client's name and secret the issuer is asked; the secret is fetched anew for every question."""

    client_id: str
    secret: Callable[[], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Granted:
    """An access token that a client was given for its credentials; its repr hides it."""

    token: str = field(repr=False)
    seconds: int
    """How long it lasts, by the issuer's word."""


class Issuer:
    """One issuer, asked in the name of one client. Close it with `aclose`.

    Without `credentials` only `post` works, in the name of the public client `client_id`.
    """

    def __init__(
        self, issuer_url: str, credentials: ClientCredentials | None = None, *, client_id: str | None = None
    ) -> None:
        self.address = issuer_address(issuer_url)
        self.client_id = credentials.client_id if credentials is not None else client_id
        self._credentials = credentials
        self._connection: ConnectionManager | None = None
        self._metadata: dict[str, object] = {}
        self._read = float("-inf")
        self._lock = trio.Lock()

    async def aclose(self) -> None:
        """Close its connections."""
        if self._connection is not None:
            await self._connection.aclose()

    async def introspect(self, token: str) -> Mapping[str, object]:
        """Return the issuer's answer about `token` (RFC 7662 §2.2); its `active` is a truth value.

        Raises `IssuerFault` where there is no such answer.
        """
        form = {"token": token, "token_type_hint": "access_token"}
        answer = await self._post("introspection_endpoint", form)
        if not isinstance(answer.get("active"), bool):
            raise IssuerFault("the identity issuer's answer could not be understood")
        return answer

    async def grant(self) -> Granted:
        """Return a fresh token by client credentials. Raises `IssuerFault`."""
        answer = await self._post("token_endpoint", {"grant_type": "client_credentials"})
        token, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not token.isascii() or type(seconds) is not int or seconds <= 0:
            raise IssuerFault("the identity issuer's answer could not be understood")
        return Granted(token, seconds)

    async def check(self) -> None:
        """Raise `IssuerFault` unless the issuer answers questions about tokens, asked with our credentials."""
        await self.introspect("this-is-no-token")

    async def post(self, endpoint: str, form: Mapping[str, str]) -> tuple[int, dict[str, object]]:
        """Send `form` to the endpoint that the discovery document names so; return the status and the JSON object.

        For questions whose answer may be "no" in the issuer's words (RFC 6749 §5.2). Raises `IssuerFault`.
        """
        if self.client_id is None:
            raise IssuerFault("the identity issuer cannot be asked: no client is configured")
        with _deadline():
            metadata = await self._discovered()
            url = metadata.get(endpoint)
            if not isinstance(url, str):
                raise IssuerFault(f"the identity issuer has no {endpoint}")
            _must_be_safe(url, self.address)
            if self._credentials is None:
                self._connected().del_param_headers("Authorization")
                fields = dict(form) | {"client_id": self.client_id}
            else:
                fields = dict(form) | _authenticate(self._connected(), self._credentials, metadata, endpoint)
            return await _exchange(partial(self._connected().a_raw_post, url, fields))

    async def _post(self, endpoint: str, form: Mapping[str, str]) -> dict[str, object]:
        if self._credentials is None:
            raise IssuerFault("the identity issuer cannot be asked: no client_secret is configured")
        status, answer = await self.post(endpoint, form)
        return _done(status, answer)

    async def _discovered(self) -> dict[str, object]:
        async with self._lock:
            if trio.current_time() - self._read > METADATA_SECONDS:
                if self._connection is None:  # reads the machine's CA certificates: 30 ms and more
                    self._connection = await trio.to_thread.run_sync(_connect, self.address)
                self._metadata = await _discover(self._connection, self.address)
                self._read = trio.current_time()
        return self._metadata

    def _connected(self) -> ConnectionManager:
        assert self._connection is not None  # noqa: S101  made with the metadata
        return self._connection


def issuer_address(issuer_url: str) -> IssuerAddress:
    """Return what `issuer_url` says; raise `ConfigurationFault` where it may not be an issuer.

    Plain http is for this machine only: keys read over it elsewhere could be anyone's.
    """
    try:
        address = urlsplit(issuer_url)
        host = address.hostname or ""
        port_is_fine = address.port != 0
    except ValueError:
        raise ConfigurationFault("identity.issuer: not a URL") from None
    if address.username is not None or address.query or address.fragment or not host or not port_is_fine:
        raise ConfigurationFault("identity.issuer: not an issuer's URL such as https://host/realms/NAME")
    loopback = is_loopback(host)
    if address.scheme != "https" and not (address.scheme == "http" and loopback):
        raise ConfigurationFault("identity.issuer: must be https:// (http:// only on this machine)")
    return IssuerAddress(issuer_url, f"{address.scheme}://{address.netloc}", loopback)


def realm_address(issuer_url: str) -> RealmAddress:
    """Return the Keycloak realm that `issuer_url` names; raise `ConfigurationFault` where it names none."""
    address = issuer_address(issuer_url)
    path, mark, realm = urlsplit(issuer_url).path.rpartition("/realms/")
    if not mark or not realm or "/" in realm:
        raise ConfigurationFault("identity.issuer: not a Keycloak realm's URL such as https://host/realms/NAME")
    return RealmAddress(issuer_url, address.origin, address.loopback, f"{address.origin}{path}/", realm)


def is_loopback(host: str) -> bool:
    """Say whether `host` is this machine and nothing else: a loopback address or `localhost`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def keys_of(issuer_url: str) -> Fetch:
    """Return what gets an issuer's keys by discovery, for `keys.IssuerKeys`."""
    return partial(_fetch_keys, issuer_address(issuer_url))


async def _fetch_keys(address: IssuerAddress) -> Mapping[str, PinnedKey]:
    connection = await trio.to_thread.run_sync(_connect, address)
    try:
        metadata = await _discover(connection, address)
        place = metadata.get("jwks_uri")
        if not isinstance(place, str):
            raise IssuerFault("the identity issuer does not say where its keys are (jwks_uri)")
        _must_be_safe(place, address)
        keys = pinned_keys(await _ask(partial(connection.a_raw_get, place)))
    finally:
        await connection.aclose()
    if not keys:
        raise IssuerFault("the identity issuer publishes no usable signature key")
    return keys


async def _discover(connection: ConnectionManager, address: IssuerAddress) -> dict[str, object]:
    metadata = await _ask(partial(connection.a_raw_get, address.discovery))
    if metadata.get("issuer") != address.issuer_url:
        raise IssuerFault("the identity issuer gives itself another name than identity.issuer says")
    return metadata


def _must_be_safe(url: str, address: IssuerAddress) -> None:
    """Endpoints may be on other hosts than the issuer, but no secret or key travels in the clear."""
    try:
        place = issuer_address(url.partition("?")[0])
    except ConfigurationFault:
        raise IssuerFault("the identity issuer names an endpoint that is neither https nor on this machine") from None
    if place.loopback and not address.loopback:
        raise IssuerFault("the identity issuer names an endpoint on this machine, where it is not")


def _authenticate(
    connection: ConnectionManager, credentials: ClientCredentials, metadata: Mapping[str, object], endpoint: str
) -> dict[str, str]:
    """Put the client's name and secret where the issuer wants them (RFC 6749 §2.3.1); returns form fields."""
    name, secret = credentials.client_id, credentials.secret().decode("utf-8")
    offered = metadata.get(f"{endpoint}_auth_methods_supported", metadata.get("token_endpoint_auth_methods_supported"))
    if isinstance(offered, list) and "client_secret_basic" not in offered and "client_secret_post" in offered:
        connection.del_param_headers("Authorization")
        return {"client_id": name, "client_secret": secret}
    pair = f"{quote_plus(name)}:{quote_plus(secret)}".encode("ascii")
    connection.add_param_headers("Authorization", f"Basic {base64.b64encode(pair).decode('ascii')}")
    return {}


def _connect(address: IssuerAddress) -> ConnectionManager:
    from keycloak.connection import ConnectionManager  # imports requests and httpx: 0.4 s that others need not pay

    connection = ConnectionManager(
        base_url=f"{address.origin}/",
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=ASK_SECONDS,
        # What is on this machine is never asked for through a proxy that the environment names.
        proxies={"http://": None, "https://": None} if address.loopback else None,
    )
    connection.async_s.event_hooks = {"response": [_bound]}
    return connection


@contextmanager
def _deadline() -> Iterator[None]:
    """Let what is inside take `ASK_SECONDS`; later is an `IssuerFault`."""
    try:
        with trio.fail_after(ASK_SECONDS):
            yield
    except trio.TooSlowError:
        raise IssuerFault(f"the identity issuer did not answer within {ASK_SECONDS} s") from None


async def _ask(question: Callable[[], Any]) -> dict[str, object]:
    """Ask the issuer; every way in which that can fail becomes an `IssuerFault` in our words."""
    return _done(*await _exchange(question))


def _done(status: int, answer: dict[str, object]) -> dict[str, object]:
    if status != 200:
        raise IssuerFault(f"the identity issuer answered with status {status}")
    return answer


async def _exchange(question: Callable[[], Any]) -> tuple[int, dict[str, object]]:
    """Ask, and return the status with the object that came; whoever is no 200 may come without one."""
    from keycloak.exceptions import KeycloakConnectionError

    try:
        answer: httpx.Response = await question()
    except KeycloakConnectionError as error:
        cause = type(error.__cause__).__name__ if error.__cause__ is not None else "no connection"
        raise IssuerFault(f"the identity issuer could not be reached ({cause})") from None
    found = parse_object(answer.content)
    if found is None and answer.status_code == 200:
        raise IssuerFault("the identity issuer's answer could not be understood")
    return answer.status_code, found or {}


async def _bound(response: httpx.Response) -> None:
    """Let `response` yield at most MAX_ANSWER_BYTES, and nothing compressed, which could unfold to any size."""
    import httpx

    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("compressed")

    class Bounded(httpx.AsyncByteStream):
        def __init__(self, inner: httpx.AsyncByteStream) -> None:
            self.inner = inner

        async def __aiter__(self) -> AsyncIterator[bytes]:
            total = 0
            async for chunk in self.inner:
                total += len(chunk)
                if total <= MAX_ANSWER_BYTES:
                    yield chunk
                else:  # ends the iteration from within: leaving it would abandon httpcore's generators unclosed
                    await response.extensions["network_stream"].aclose()
            if total > MAX_ANSWER_BYTES:
                raise httpx.DecodingError("too long")

        async def aclose(self) -> None:
            await self.inner.aclose()

    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = Bounded(response.stream)
