"""What the claims of an ID token must say before they name a person who logged in.

Pure: no I/O, no clock of its own, no cryptography. It promises that a `Person` comes only from claims of an ID token of
the configured issuer, for this very client, issued just now and not expired; an access token names nobody here, as an
ID token opens no connection (`claims`). No text taken from a token appears in a refusal.
Sources: OpenID Connect Core §2 and §3.1.3.7, RFC 7519 §4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.identity.claims import (
    LEEWAY_SECONDS,
    Expectations,
    audiences_of,
    groups_of,
    name_of,
    optional_name,
    refused,
    seconds_of,
)
from gateway.model import Micros, Principal

MAX_AGE_SECONDS = 120
"""How old an ID token may be when it is received: the issuer made it for the answer in which it came."""
_MICROS = 1_000_000
_KINDS = (None, "ID")
"""`typ` in the claims: Keycloak says `ID`, others say nothing."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who logged in at the issuer, by a verified ID token."""

    issuer: str
    subject: str
    name: str
    """What the issuer calls them (`preferred_username`), else the subject; shown, and never compared."""
    groups: tuple[str, ...] = ()
    token_id: str = ""
    issuer_session: str | None = None
    issued: Micros | None = None

    def principal(self) -> Principal:
        """Return the same as the kill list compares it."""
        return Principal(
            issuer=self.issuer,
            subject=self.subject,
            token_id=self.token_id,
            expires=Micros(0),
            issued=self.issued,
            issuer_session=self.issuer_session,
        )


def person(claims: Mapping[str, object], expected: Expectations, client_id: str, now: Micros) -> Person:
    """Return whom `claims` (already authentic) speak of, or raise `LoginRefused`."""
    if claims.get("iss") != expected.issuer:
        raise refused("the issuer is not the one of this gateway", tell=True)
    if claims.get("typ") not in _KINDS or "events" in claims:
        raise refused("it is not an ID token", tell=True)
    audience = audiences_of(claims.get("aud"))
    party = claims.get("azp", client_id)
    if client_id not in audience or party != client_id or (len(audience) > 1 and "azp" not in claims):
        raise refused("the ID token is meant for another client", tell=True)
    issued, expires = seconds_of(claims, "iat"), seconds_of(claims, "exp")
    if issued is None or not now - MAX_AGE_SECONDS * _MICROS <= issued * _MICROS <= now + LEEWAY_SECONDS * _MICROS:
        raise refused("the ID token was not issued just now", tell=True)
    if expires is None or expires * _MICROS <= now:
        raise refused("the ID token has expired", tell=True)
    subject = name_of(claims, "sub")
    return Person(
        issuer=expected.issuer,
        subject=subject,
        name=optional_name(claims, "preferred_username") or subject,
        groups=groups_of(claims.get(expected.groups_claim)),
        token_id=optional_name(claims, "jti") or "",
        issuer_session=optional_name(claims, "sid"),
        issued=Micros(issued * _MICROS),
    )
