"""The device flow of the development issuer: codes that wait for a person, and how one is confirmed (RFC 8628).

Promises that a code is good for one login of the client that asked for it, for ten minutes, and that only who can read
the issuer's state directory confirms one: a confirmation is signed with the issuer's own key (`hoop-gateway idp
confirm`). The page in a browser therefore only says what to do. Bounded in memory; nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gateway.errors import LoginRefused
from gateway.identity.jws import CompactToken, parse_object, split
from gateway.model import Clock, Entropy, Micros

SECONDS = 600
INTERVAL = 1
MAX_CODES = 100
KIND = "Confirmation"
"""`typ` in the claims of a confirmation, which no access token and no ID token has."""
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 §6.1: no vowels, no digits
_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Who confirmed a code."""

    subject: str
    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A code that was handed out."""

    client_id: str
    user_code: str
    expires: Micros
    confirmation: Confirmation | None = None


class DeviceCodes:
    """The codes that wait. `authentic` raises `LoginRefused` unless the issuer's own key signed."""

    def __init__(
        self, issuer_url: str, authentic: Callable[[CompactToken], None], clock: Clock, entropy: Entropy
    ) -> None:
        self._issuer_url, self._authentic = issuer_url, authentic
        self._clock, self._entropy = clock, entropy
        self._waiting: dict[str, _Waiting] = {}

    def start(self, client_id: str) -> dict[str, object] | None:
        """Hand out a code (RFC 8628 §3.2); None where too many wait."""
        now = self._clock.now()
        self._waiting = {code: each for code, each in self._waiting.items() if each.expires > now}
        if len(self._waiting) >= MAX_CODES:
            return None
        device_code = self._entropy.bytes(32).hex()
        letters = "".join(_LETTERS[byte % len(_LETTERS)] for byte in self._entropy.bytes(8))
        user_code = f"{letters[:4]}-{letters[4:]}"
        self._waiting[device_code] = _Waiting(client_id, user_code, Micros(now + SECONDS * _MICROS))
        place = f"{self._issuer_url}/device"
        return {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": place,
            "verification_uri_complete": f"{place}?user_code={user_code}",
            "expires_in": SECONDS,
            "interval": INTERVAL,
        }

    def confirmation(self, user_code: str, who: Confirmation) -> dict[str, object]:
        """Return the claims of a confirmation, to be signed with the issuer's key."""
        second = self._clock.now() // _MICROS
        return {
            "iss": self._issuer_url,
            "aud": f"{self._issuer_url}/device",
            "typ": KIND,
            "exp": second + 60,
            "user_code": user_code,
            "sub": who.subject,
            "name": who.name,
            "groups": list(who.groups),
        }

    def confirm(self, signed: str) -> bool:
        """Take a signed confirmation; say whether a code waited for it."""
        claims = self._claims(signed)
        if claims is None:
            return False
        now = self._clock.now()
        for code, waiting in self._waiting.items():
            if waiting.user_code == claims.get("user_code") and waiting.expires > now and waiting.confirmation is None:
                groups = claims.get("groups")
                listed = tuple(str(each) for each in groups) if isinstance(groups, list) else ()
                who = Confirmation(str(claims.get("sub")), str(claims.get("name")), listed)
                self._waiting[code] = replace(waiting, confirmation=who)
                return True
        return False

    def collect(self, client_id: str, device_code: str) -> Confirmation | str:
        """Return who confirmed, once; else an error of RFC 8628 §3.5."""
        waiting = self._waiting.get(device_code)
        if waiting is None or waiting.client_id != client_id:
            return "invalid_grant"
        if waiting.expires <= self._clock.now():
            del self._waiting[device_code]
            return "expired_token"
        if waiting.confirmation is None:
            return "authorization_pending"
        del self._waiting[device_code]
        return waiting.confirmation

    def _claims(self, signed: str) -> Mapping[str, object] | None:
        try:
            compact = split(signed)
            self._authentic(compact)
        except LoginRefused:
            return None
        claims = parse_object(compact.payload) or {}
        wanted = {"iss": self._issuer_url, "aud": f"{self._issuer_url}/device", "typ": KIND}
        if any(claims.get(name) != value for name, value in wanted.items()):
            return None
        expires = claims.get("exp")
        good = isinstance(expires, int) and expires * _MICROS > self._clock.now()
        return claims if good else None


def page(issuer_url: str) -> bytes:
    """Return what a browser shows at the verification address: how to confirm here. Holds nothing that was sent."""
    return (
        "<!doctype html><meta charset=utf-8><title>development issuer</title>"
        f"<h1>Development issuer</h1><p>{issuer_url}</p>"
        "<p>Nobody logs in here. Whoever may read the gateway's state directory confirms a code with</p>"
        "<pre>hoop-gateway idp confirm -c gateway.toml CODE --subject WHO</pre>"
    ).encode()
