"""The device flow: how a person logs in at the issuer while the gateway, which has no browser, waits (RFC 8628).

Promises that a person is known only by an ID token that the issuer gave to this gateway's own client in answer to this
very login, that the issuer is asked no more often than it wants, and that tokens stay in memory and out of every
message, log and repr. Knows nothing of operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from gateway.errors import ConfigurationFault, IssuerFault
from gateway.identity.claims import refused
from gateway.identity.id_token import Person
from gateway.identity.issuer import Issuer, issuer_address
from gateway.identity.verifier import TokenVerifier

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SCOPE = "openid"
_LONGEST = 900
"""Seconds that a person is waited for, whatever the issuer allows."""
_INTERVAL = 5
_MOST_FAULTS = 5
"""Questions in a row that may go unanswered before the login is given up."""
_REFUSALS: Mapping[str, str] = {
    "access_denied": "the login was refused at the issuer",
    "expired_token": "the code was not confirmed in time",
}


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a person needs to confirm a login: where to go, and what to type there."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    seconds: int
    interval: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A person who confirmed a login, and their access token, to ask the issuer about; its repr hides it."""

    person: Person
    token: str = field(repr=False)


class DeviceLogin:
    """Logins through one issuer, in the name of the gateway's own client."""

    def __init__(self, issuer: Issuer, verifier: TokenVerifier) -> None:
        self._issuer, self._verifier = issuer, verifier

    async def start(self) -> DeviceCode:
        """Ask for a code. Raises `IssuerFault`, also where the issuer or its client offers no such login."""
        return await start_login(self._issuer)

    async def confirmed(self, code: DeviceCode) -> Confirmed:
        """Wait until the person confirmed. Raises `LoginRefused` where they do not, `IssuerFault` where none tells."""
        wait, faults = code.interval, 0
        with trio.move_on_after(code.seconds):
            while True:
                await trio.sleep(wait)
                try:
                    status, answer = await self._issuer.post(
                        "token_endpoint", {"grant_type": GRANT, "device_code": code.device_code}
                    )
                except IssuerFault:
                    faults += 1
                    if faults >= _MOST_FAULTS:
                        raise
                    continue
                faults = 0
                if status == 200:
                    return await self._person(answer)
                word = _word(answer)
                if word == "slow_down":  # RFC 8628 §3.5
                    wait += 5
                elif word != "authorization_pending":
                    raise refused(_REFUSALS.get(word, "the issuer ended the login"), tell=True)
        raise refused(_REFUSALS["expired_token"], tell=True)

    async def _person(self, answer: Mapping[str, object]) -> Confirmed:
        token, proof = answer.get("access_token"), answer.get("id_token")
        if not isinstance(token, str) or not isinstance(proof, str):
            raise IssuerFault("the identity issuer gave no ID token; its client needs the scope openid")
        found = await self._verifier.verify_person(proof, self._issuer.client_id or "")
        return Confirmed(found, token)


async def start_login(issuer: Issuer) -> DeviceCode:
    """Ask `issuer` for a code. Raises `IssuerFault`, also where its client may not, or the answer would mislead."""
    status, answer = await issuer.post("device_authorization_endpoint", {"scope": SCOPE})
    if status != 200:
        why = _word(answer)
        raise IssuerFault(f"the identity issuer starts no device login for this gateway's client ({why or status})")
    device, user, place = (answer.get(name) for name in ("device_code", "user_code", "verification_uri"))
    whole = answer.get("verification_uri_complete")
    seconds, interval = answer.get("expires_in"), answer.get("interval", _INTERVAL)
    if not (isinstance(device, str) and _shown(user) and _shown(place) and _number(seconds) and _number(interval)):
        raise IssuerFault("the identity issuer's answer could not be understood")
    for url in (place, whole):
        _must_be_safe(url, issuer)
    return DeviceCode(
        device_code=device,
        user_code=str(user),
        verification_uri=str(place),
        verification_uri_complete=whole if isinstance(whole, str) and _shown(whole) else None,
        seconds=min(int(str(seconds)), _LONGEST),
        interval=max(1, int(str(interval))),
    )


def _must_be_safe(url: object, issuer: Issuer) -> None:
    """A person is sent to that address: https, or on this machine where the issuer is, too."""
    if not isinstance(url, str):
        return
    try:
        place = issuer_address(url.partition("?")[0])
    except ConfigurationFault:
        place = None
    if place is None or (place.loopback and not issuer.address.loopback):
        raise IssuerFault("the identity issuer sends people to an address that is not safe")


def _word(answer: Mapping[str, object]) -> str:
    """Return the error code of an answer, where it is one."""
    word = answer.get("error")
    return word if isinstance(word, str) and len(word) <= 60 and word.isascii() and word.isprintable() else ""


def _shown(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 500 and value.isprintable()


def _number(value: object) -> bool:
    return type(value) is int and 0 < value <= 86_400
