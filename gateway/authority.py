"""Everything of identity that one gateway runs: its issuer, who is let in, who is kept out, and the issuer's logout.

Put together from the settings, once. Promises that with `identity.development` nothing but the built-in issuer is
believed, and that without it every login is checked with the configured issuer, unless introspection was switched off
by name.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio

from gateway.errors import ConfigurationFault, IssuerFault
from gateway.identity.admission import Admission
from gateway.identity.claims import Logout, refused
from gateway.identity.development import DevelopmentIssuer
from gateway.identity.development_clients import secret_file
from gateway.identity.device_login import Confirmed, DeviceCode, DeviceLogin
from gateway.identity.http_server import Listener, serve_http
from gateway.identity.introspection import Introspection
from gateway.identity.issuer import ClientCredentials, Issuer, is_loopback, keys_of, realm_address
from gateway.identity.keys import IssuerKeys
from gateway.identity.kill_list import KillList
from gateway.identity.logout import LogoutEndpoint
from gateway.identity.realm import read_representation, realm_of
from gateway.identity.reuse import TokenUse
from gateway.identity.verifier import TokenVerifier
from gateway.model import Clock, Entropy
from gateway.settings import Settings
from gateway.target.credentials import fetch

logger = logging.getLogger(__name__)


def kill_list_file(state_dir: Path) -> Path:
    """Return where a gateway keeps its kill list."""
    return state_dir / "kill-list.json"


def agents_file(state_dir: Path) -> Path:
    """Return where a gateway remembers the subjects that connected as agents."""
    return state_dir / "agents-seen.jsonl"


def development_issuer(settings: Settings, clock: Clock, entropy: Entropy) -> DevelopmentIssuer:
    """Return the built-in issuer as the settings describe it. Raises `ConfigurationFault`."""
    identity = settings.identity
    found = realm_of(read_representation(identity.realm), identity.groups_claim)
    # An address of the operator's own choice, in another realm than ours, has no clients.
    other = (
        identity.realm is None and identity.issuer is not None and realm_address(identity.issuer).realm != found.name
    )
    realm = None if other else found
    return DevelopmentIssuer.load_or_create(
        settings.gateway.state_dir,
        audience=identity.audience,
        groups_claim=identity.groups_claim,
        issuer_url=identity.issuer,
        clock=clock,
        entropy=entropy,
        realm=realm,
    )


def remote_issuer(settings: Settings) -> Issuer:
    """Return the configured issuer, to be asked in the gateway's name. Raises `ConfigurationFault`."""
    identity = settings.identity
    if identity.issuer is None:
        raise ConfigurationFault("identity.issuer: missing; name the OIDC issuer")
    if identity.introspection == "off":
        return Issuer(identity.issuer)
    reference = identity.client_secret
    if reference is None:
        raise ConfigurationFault(
            "identity.client_secret: missing; without it the issuer cannot be asked about tokens"
            ' (or identity.introspection = "off", where the issuer has no such endpoint)'
        )
    fetch(reference)
    return Issuer(identity.issuer, ClientCredentials(identity.client_id, lambda: fetch(reference).reveal()))


class PeopleDoor:
    """Where operators log in: the device flow, and whether they still stand (`gateway.control.logins.Door`)."""

    def __init__(
        self, login: DeviceLogin, ask: Callable[[str], Awaitable[Mapping[str, object]]] | None, kill_list: KillList
    ) -> None:
        self._login, self._ask, self._kill_list = login, ask, kill_list

    async def start(self) -> DeviceCode:
        """Return a code for a person to confirm. Raises `IssuerFault`."""
        return await self._login.start()

    async def confirmed(self, code: DeviceCode) -> Confirmed:
        """Wait for the person. Raises `LoginRefused` and `IssuerFault`."""
        found = await self._login.confirmed(code)
        if self._kill_list.struck(found.person.principal()) is not None:
            raise refused("the subject was revoked", tell=True)
        return found

    async def stands(self, confirmed: Confirmed) -> str | None:
        """Say why the login is no longer good, None where it is: asked of the kill list and the issuer, now."""
        if self._kill_list.struck(confirmed.person.principal()) is not None:
            return "it was revoked"
        if self._ask is None:
            return None
        try:
            answer = await self._ask(confirmed.token)
        except IssuerFault as fault:
            return f"the issuer could not be asked ({fault})"
        return None if answer.get("active") is True else "the issuer says that it is no longer active"


class Authority:
    """The identity side of one gateway. Raises `ConfigurationFault` where it cannot be had."""

    def __init__(self, settings: Settings, clock: Clock, entropy: Entropy) -> None:
        self._settings = settings
        identity = settings.identity
        self._development: DevelopmentIssuer | None = None
        self._remote: Issuer | None = None
        if identity.development:
            self._development = development_issuer(settings, clock, entropy)
            self.issuer_url = self._development.issuer_url
        else:
            self._remote = remote_issuer(settings)
            self.issuer_url = self._remote.address.issuer_url
        self.kill_list = KillList.load(kill_list_file(settings.gateway.state_dir), clock)
        self._verifier = TokenVerifier(
            self.issuer_url,
            identity.audience,
            identity.groups_claim,
            identity.development,
            clock,
            IssuerKeys(keys_of(self.issuer_url), clock),
            max_token_bytes=settings.limits.token,
        )
        introspection = Introspection(self._ask, clock) if identity.introspection == "required" else None
        use, bound = TokenUse(identity.reuse, clock), identity.binding == "required"
        self.admission = Admission(self._verifier, introspection, self.kill_list, use, bound_only=bound)
        self._people = self._people_issuer(settings)
        self.door: PeopleDoor | None = None
        if self._people is not None:
            ask = self._ask if introspection is not None else None
            self.door = PeopleDoor(DeviceLogin(self._people, self._verifier), ask, self.kill_list)

    def _people_issuer(self, settings: Settings) -> Issuer | None:
        """Return whom people log in at: the configured issuer, or the built-in one, asked over its own address."""
        identity = settings.identity
        if self._development is None:
            if self._remote is not None and self._remote.client_id is None:
                return Issuer(self.issuer_url, client_id=identity.client_id)
            return self._remote
        if not self._development.lets_people_in(identity.client_id):
            return None
        path = secret_file(settings.gateway.state_dir, identity.client_id)
        secret = lambda: path.read_bytes().removesuffix(b"\n")  # noqa: E731  fetched anew each time, as any secret
        return Issuer(self.issuer_url, ClientCredentials(identity.client_id, secret))

    async def _ask(self, token: str) -> Mapping[str, object]:
        """Ask about a token; the built-in issuer is in this very process."""
        if self._development is not None:
            return self._development.introspect(token)
        assert self._remote is not None  # noqa: S101  one of the two is
        return await self._remote.introspect(token)

    async def serve(
        self,
        is_ours: Callable[[str], bool],
        strike: Callable[[Logout], Awaitable[None]],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run the built-in issuer and the logout endpoint, as configured, until cancelled.

        `is_ours` says whether a client has to do with this gateway; `strike` carries a logout out.
        """
        endpoint = LogoutEndpoint(self._verifier, is_ours, strike)
        try:
            async with trio.open_nursery() as nursery:
                if self._development is not None:
                    await nursery.start(self._development.serve)
                for listener in await self._logout_listeners():
                    nursery.start_soon(serve_http, listener, endpoint.respond)
                task_status.started()
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                for issuer in {self._remote, self._people} - {None}:
                    assert issuer is not None  # noqa: S101  for the type checker
                    await issuer.aclose()

    async def _logout_listeners(self) -> list[Listener]:
        place, postgres = self._settings.identity.logout_listen, self._settings.postgres
        if place is None:
            return []
        try:
            plain = await trio.open_tcp_listeners(place.port, host=place.host, backlog=128)
        except OSError as error:
            raise ConfigurationFault(f"identity.logout_listen: {place.host}:{place.port}: {error.strerror}") from None
        logger.info("back-channel logout at %s", ", ".join(str(each.socket.getsockname()[:2]) for each in plain))
        if is_loopback(place.host):
            return list(plain)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(postgres.tls_cert, postgres.tls_key)
        return [trio.SSLListener(each, context, https_compatible=True) for each in plain]
