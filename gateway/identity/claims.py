"""What the claims of an access token must say before they name a principal.

Pure: no I/O, no clock of its own, no cryptography. It promises that a `Principal` only comes from claims whose
issuer, audience, subject, id and times were all present, well formed and right, and that no text taken from a token
appears in a refusal. `reason` (for the record) and message (for the agent) are fixed words.
Sources: RFC 7519 §4.1, RFC 8725 §3, RFC 9068 §2.2, OpenID Connect Core §2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import LoginRefused
from gateway.model import Micros, Principal

LEEWAY_SECONDS = 30
"""How far an issuer's clock may run ahead of ours for `nbf` and `iat`. Expiry has no leeway: sessions end at `exp`."""

MAX_NAME_LENGTH = 255
"""Characters of a subject, token id, owner or group (OpenID Connect Core §2 sets 255 for `sub`)."""

MAX_LOGOUT_AGE_SECONDS = 600
"""How old a logout token may be: an issuer that could not reach us tries again for a while."""

_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z: beyond it no time can be written down
_MICROS = 1_000_000
_BEARER_TYPES = ("Bearer",)  # Keycloak's; `ID`, `Refresh`, `Offline`, `Logout` and `DPoP` are other things
_SHA256 = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_ID_TOKEN_CLAIMS = ("at_hash", "c_hash", "s_hash")  # OpenID Connect Core §3.1.3.6, §3.3.2.11: in ID tokens only


@dataclass(frozen=True, slots=True)
class Expectations:
    """What this gateway demands of a token: by whom, for whom, and where the groups stand."""

    issuer: str
    audience: str
    groups_claim: str = "groups"
    development: bool = False


def refused(reason: str, *, tell: bool = False) -> LoginRefused:
    """Return the refusal of a token for `reason`.

    The agent is told the reason only with `tell`, which is for tokens whose signature was good: whoever holds one of
    those learns how to mend it, whoever does not learns nothing.
    """
    message = "hoop: the access token was not accepted"
    return LoginRefused(f"{message}: {reason}" if tell else message, "28P01", reason)


def principal(claims: Mapping[str, object], expected: Expectations, now: Micros) -> Principal:
    """Return who `claims` (already authentic) speak of, or raise `LoginRefused`.

    The owner is the claim `owner`: the issuer's subject of the person who answers for this agent; absent is None.
    """
    if claims.get("iss") != expected.issuer:
        raise refused("the issuer is not the one of this gateway", tell=True)
    if expected.audience not in audiences_of(claims.get("aud")):
        raise refused("it is not meant for this gateway (audience)", tell=True)
    _must_be_access_token(claims, expected)
    expires, issued = _times(claims, now)
    return Principal(
        issuer=expected.issuer,
        subject=name_of(claims, "sub"),
        token_id=name_of(claims, "jti"),
        expires=expires,
        groups=groups_of(claims.get(expected.groups_claim)),
        owner=optional_name(claims, "owner"),
        development=expected.development,
        issued=issued,
        client=optional_name(claims, "azp"),
        bound_to=_thumbprint(claims),
        issuer_session=optional_name(claims, "sid"),
    )


LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass(frozen=True, slots=True)
class Logout:
    """What the issuer says in a back-channel logout: whose tokens, issued up to when, are not to be believed.

    `session` (the issuer's `sid`) or else `subject` is given. `audience`: the clients that are told.
    """

    audience: tuple[str, ...]
    subject: str | None
    session: str | None
    issued: Micros


def logout(claims: Mapping[str, object], issuer: str, now: Micros) -> Logout:
    """Return what a logout token's `claims` (already authentic) say, or raise `LoginRefused`.

    Source: OpenID Connect Back-Channel Logout 1.0 §2.4 and §2.6. A token that is sent again does nothing new: it
    speaks only of what was issued before it.
    """
    if claims.get("iss") != issuer:
        raise refused("the issuer is not the one of this gateway", tell=True)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict) or "nonce" in claims:
        raise refused("it is not a logout token", tell=True)
    name_of(claims, "jti")
    issued = seconds_of(claims, "iat")
    expires = seconds_of(claims, "exp")
    if (
        issued is None
        or not now - MAX_LOGOUT_AGE_SECONDS * _MICROS <= issued * _MICROS <= now + LEEWAY_SECONDS * _MICROS
    ):
        raise refused("it was not issued just now", tell=True)
    if expires is not None and expires * _MICROS <= now:
        raise refused("it has expired", tell=True)
    subject, session = optional_name(claims, "sub"), optional_name(claims, "sid")
    if subject is None and session is None:
        raise refused("it names nobody", tell=True)
    return Logout(audiences_of(claims.get("aud")), subject, session, Micros(issued * _MICROS))


def audiences_of(value: object) -> tuple[str, ...]:
    """Return whom a token is meant for. Raises `LoginRefused` where that is missing or malformed."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise refused("the audience is missing or malformed", tell=True)


def _must_be_access_token(claims: Mapping[str, object], expected: Expectations) -> None:
    """Refuse authentic tokens of other kinds: what logs a person in or out must not open a database."""
    typ = claims.get("typ")
    if "typ" in claims and typ not in _BEARER_TYPES:
        raise refused("it is not an access token (typ)", tell=True)
    if any(name in claims for name in _ID_TOKEN_CLAIMS):
        raise refused("it is an ID token", tell=True)
    if "events" in claims:
        raise refused("it is a security event, not an access token", tell=True)
    azp = claims.get("azp")
    if "azp" in claims and (not isinstance(azp, str) or not azp):
        raise refused("the authorized party is malformed", tell=True)
    # A token of no declared type whose audience is the very client it was issued to looks like an ID token.
    if typ is None and ("nonce" in claims or azp == expected.audience):
        raise refused("it looks like an ID token", tell=True)


def _thumbprint(claims: Mapping[str, object]) -> str | None:
    """Return which TLS client certificate a token is bound to (RFC 8705 §3.1); other bindings cannot be checked."""
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or set(confirmation) != {"x5t#S256"}:
        raise refused("it is bound to a key in a way that this gateway cannot check", tell=True)
    value = confirmation["x5t#S256"]
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise refused("the thumbprint it is bound to is malformed", tell=True)
    return value


def _times(claims: Mapping[str, object], now: Micros) -> tuple[Micros, Micros | None]:
    """Return `exp` and `iat` after checking all three times against `now`; each is whole seconds (RFC 7519 §2)."""
    expires = seconds_of(claims, "exp")
    if expires is None:
        raise refused("it has no expiry", tell=True)
    if expires * _MICROS <= now:
        raise refused("it has expired", tell=True)
    latest = now + LEEWAY_SECONDS * _MICROS
    not_before = seconds_of(claims, "nbf")
    if not_before is not None and not_before * _MICROS > latest:
        raise refused("it is not valid yet", tell=True)
    issued = seconds_of(claims, "iat")
    if issued is not None and issued * _MICROS > latest:
        raise refused("it was issued in the future", tell=True)
    return Micros(expires * _MICROS), None if issued is None else Micros(issued * _MICROS)


def seconds_of(claims: Mapping[str, object], claim: str) -> int | None:
    """Return a time in whole seconds, None where the claim is absent. Raises `LoginRefused` for anything else."""
    if claim not in claims:
        return None
    value = claims[claim]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LAST_SECOND:
        raise refused(f"{claim} is not a time in whole seconds", tell=True)
    return value


def groups_of(value: object) -> tuple[str, ...]:
    """Return the groups, each once, in their order, without Keycloak's leading slash. No claim is no group."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise refused("the groups are not a list", tell=True)
    return tuple(dict.fromkeys(_text(_without_slash(group), "a group") for group in value))


def _without_slash(group: object) -> object:
    return group.removeprefix("/") if isinstance(group, str) else group


def optional_name(claims: Mapping[str, object], claim: str) -> str | None:
    """Return a name, None where the claim is absent or null. Raises `LoginRefused`."""
    return name_of(claims, claim) if claims.get(claim) is not None else None


def name_of(claims: Mapping[str, object], claim: str) -> str:
    """Return a name. Raises `LoginRefused` where it is missing or cannot be shown."""
    return _text(claims.get(claim), claim)


def _text(value: object, what: str) -> str:
    """Return `value` where it is text that records, rules and terminals can carry: no controls, no lone surrogates."""
    if not isinstance(value, str) or not value:
        raise refused(f"{what} is missing or not text", tell=True)
    if len(value) > MAX_NAME_LENGTH or not value.isprintable() or value != value.strip():
        raise refused(f"{what} is too long or holds characters that cannot be shown", tell=True)
    return value
