"""The issuer's public keys: fetched once for everybody, kept for a while, asked for again with restraint.

It promises that any number of tokens, also of unknown keys, cause at most one fetch at a time and one in ten
seconds; that keys which could not be renewed are used for a bounded time only and then nobody is believed; and that
keys come only from the configured issuer, over TLS unless it is on this machine, of a bounded size, never through a
redirect.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import trio

from gateway.errors import ConfigurationFault, IssuerFault
from gateway.identity.jws import PinnedKey, pinned_keys
from gateway.model import Clock

if TYPE_CHECKING:
    import httpx
    from keycloak import KeycloakOpenID

Fetch: TypeAlias = "Callable[[], Awaitable[Mapping[str, PinnedKey]]]"
"""Gets the issuer's keys by `kid`; raises `IssuerFault`."""

FRESH_SECONDS = 300
"""Keys younger than this are used without asking: a key that the issuer withdraws is believed no longer than this."""
USABLE_SECONDS = 900
"""Keys older than this are not used even while the issuer cannot be reached."""
PAUSE_SECONDS = 10
"""The shortest time between two fetches, whatever the tokens say and whether or not the last one succeeded."""
FETCH_SECONDS = 5
"""How long one fetch may take, both requests together."""
MAX_ANSWER_BYTES = 256 * 1024
"""The longest answer that is read from the issuer."""

_SECOND = 1_000_000


class IssuerKeys:
    """A cache of the issuer's keys over `fetch`; satisfies `verifier.KeyRing`."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = trio.Lock()
        self._keys: Mapping[str, PinnedKey] = {}
        self._fetched: int | None = None
        self._tried: int | None = None
        self._fault: IssuerFault | None = None

    async def find(self, kid: str) -> PinnedKey | None:
        """Return the key named `kid`, or None where the issuer publishes no such key.

        Raises `IssuerFault` where no key set young enough can be had.
        """
        key = self._keys.get(kid)
        if key is not None and self._younger_than(FRESH_SECONDS):
            return key
        await self.refresh()
        if not self._younger_than(USABLE_SECONDS):
            raise self._new_fault()
        key = self._keys.get(kid)
        if key is None and self._fault is not None:
            raise self._new_fault()  # it may be a new key: nobody can tell while the issuer is away
        return key

    async def refresh(self) -> None:
        """Fetch the keys unless that was tried a moment ago; whoever comes during a fetch waits for its result.

        Never raises for an issuer that fails: the keys at hand stay, as long as they are usable.
        """
        async with self._lock:
            if self._tried_within(PAUSE_SECONDS):
                return
            # Shielded for at most FETCH_SECONDS: a client that hangs up must not waste the fetch of all who wait.
            with trio.CancelScope(shield=True):
                await self._try()

    async def check(self) -> None:
        """Raise `IssuerFault` unless usable keys are at hand or can be had now."""
        await self.refresh()
        if not self._younger_than(USABLE_SECONDS):
            raise self._new_fault()

    async def _try(self) -> None:
        try:
            with trio.fail_after(FETCH_SECONDS):
                self._keys = await self._fetch()
            self._fetched = self._clock.monotonic()
            self._fault = None
        except IssuerFault as fault:
            self._fault = fault
        except trio.TooSlowError:
            self._fault = IssuerFault(f"the identity issuer did not answer within {FETCH_SECONDS} s")
        self._tried = self._clock.monotonic()  # from its end: whoever waited for this fetch starts no other

    def _younger_than(self, seconds: int) -> bool:
        return self._fetched is not None and self._clock.monotonic() - self._fetched < seconds * _SECOND

    def _tried_within(self, seconds: int) -> bool:
        return self._tried is not None and self._clock.monotonic() - self._tried < seconds * _SECOND

    def _new_fault(self) -> IssuerFault:
        """Return a fresh exception: one object raised in many tasks would gather all their tracebacks."""
        return IssuerFault(str(self._fault) if self._fault is not None else "the identity issuer's keys are too old")


@dataclass(frozen=True, slots=True)
class RealmAddress:
    """A Keycloak realm's issuer URL, taken apart as python-keycloak wants it."""

    issuer_url: str
    origin: str
    server_url: str
    realm: str
    loopback: bool


def realm_address(issuer_url: str) -> RealmAddress:
    """Return the realm that `issuer_url` names; raise `ConfigurationFault` where it may not be an issuer.

    Plain http is for this machine only: keys read over it elsewhere could be anyone's.
    """
    try:
        address = urlsplit(issuer_url)
        host = address.hostname or ""
    except ValueError:
        raise ConfigurationFault("identity.issuer: not a URL") from None
    path, mark, realm = address.path.rpartition("/realms/")
    if not mark or not realm or "/" in realm or address.query or address.fragment or address.username is not None:
        raise ConfigurationFault("identity.issuer: not a Keycloak realm's URL such as https://host/realms/NAME")
    loopback = is_loopback(host)
    if address.scheme != "https" and not (address.scheme == "http" and loopback):
        raise ConfigurationFault("identity.issuer: must be https:// (http:// only on this machine)")
    origin = f"{address.scheme}://{address.netloc}"
    return RealmAddress(issuer_url, origin, f"{origin}{path}/", realm, loopback)


def is_loopback(host: str) -> bool:
    """Say whether `host` is this machine and nothing else: a loopback address or `localhost`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def keycloak_fetch(issuer_url: str) -> Fetch:
    """Return what gets a Keycloak realm's keys by python-keycloak, after its well-known document named the issuer."""
    return partial(_fetch, realm_address(issuer_url))


async def _fetch(realm: RealmAddress) -> Mapping[str, PinnedKey]:
    client = await trio.to_thread.run_sync(_client, realm)  # reads the machine's CA certificates: 30 ms and more
    try:
        well_known = await _ask(client.a_well_known)
        if well_known.get("issuer") != realm.issuer_url:
            raise IssuerFault("the identity issuer gives itself another name than identity.issuer says")
        keys = pinned_keys(await _ask(client.a_certs))
    finally:
        await client.connection.aclose()
    if not keys:
        raise IssuerFault("the identity issuer publishes no usable signature key")
    return keys


def _client(realm: RealmAddress) -> KeycloakOpenID:
    from keycloak import KeycloakOpenID  # imports requests and httpx: 0.4 s that commands without keys need not pay

    client = KeycloakOpenID(
        server_url=realm.server_url,
        realm_name=realm.realm,
        client_id="hoop-gateway",
        timeout=FETCH_SECONDS,
        custom_headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        # What is on this machine is never asked for through a proxy that the environment names.
        proxies={realm.origin: None} if realm.loopback else None,
    )
    client.connection.async_s.event_hooks = {"response": [_bound]}
    return client


async def _ask(question: Callable[[], Awaitable[object]]) -> dict[str, object]:
    """Ask the issuer; every way in which python-keycloak can fail becomes an `IssuerFault` in our words."""
    from keycloak.exceptions import KeycloakConnectionError, KeycloakError

    try:
        answer = await question()
    except KeycloakConnectionError as error:
        cause = type(error.__cause__).__name__ if error.__cause__ is not None else "no connection"
        raise IssuerFault(f"the identity issuer could not be reached ({cause})") from None
    except KeycloakError as error:
        raise IssuerFault(f"the identity issuer answered with status {error.response_code}") from None
    except (TypeError, KeyError, AttributeError, ValueError):  # what it raises for answers that are not JSON objects
        raise IssuerFault("the identity issuer's answer could not be understood") from None
    if not isinstance(answer, dict):
        raise IssuerFault("the identity issuer's answer could not be understood")
    return answer


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
