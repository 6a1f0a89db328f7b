"""From an access token to a principal: the one door through which an agent's identity enters the gateway.

It promises that a `Principal` comes only from a token of bounded size, signed by one of the issuer's published keys
with that key's own algorithm, whose claims satisfy `claims.principal`; in this order, so that nothing costly and no
fetch of keys happens for what is malformed. It never logs, keeps or shows a token.
python-keycloak's own `decode_token` is not used: it takes the algorithm from the header, checks neither issuer nor
audience, accepts a token without `exp`, reads the clock itself and fetches the keys on every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gateway.identity.claims import Expectations, Logout, logout, principal, refused
from gateway.identity.id_token import Person, person
from gateway.identity.jws import (
    LOGOUT_TOKEN_TYPES,
    MAX_TOKEN_BYTES,
    CompactToken,
    PinnedKey,
    check_signature,
    parse_object,
    split,
)
from gateway.model import Clock, Principal


class KeyRing(Protocol):
    """Where the issuer's keys come from; `keys.IssuerKeys` is the real one."""

    async def find(self, kid: str) -> PinnedKey | None:
        """Return the issuer's key named `kid`, None where it has none; raise `IssuerFault` where that is unknown."""


class TokenVerifier:
    """Verifies access tokens of one issuer for one audience.

    `development` is stamped on every principal: such identities prove nothing to anyone outside this machine.
    """

    def __init__(
        self,
        issuer_url: str,
        audience: str,
        groups_claim: str,
        development: bool,
        clock: Clock,
        keys: KeyRing,
        *,
        max_token_bytes: int = MAX_TOKEN_BYTES,
    ) -> None:
        self._expected = Expectations(issuer_url, audience, groups_claim, development)
        self._clock = clock
        self._keys = keys
        self._limit = max_token_bytes

    async def verify(self, token: str) -> Principal:
        """Return who presented `token`.

        Raises `LoginRefused` (28P01) for whatever is wrong with the token, and `IssuerFault` where the issuer's keys
        cannot be had: then nobody is believed.
        """
        compact = split(token, self._limit)
        return principal(await self._authentic(compact), self._expected, self._clock.now())

    async def verify_logout(self, token: str) -> Logout:
        """Return what a back-channel logout token says. Raises as `verify`."""
        compact = split(token, self._limit, LOGOUT_TOKEN_TYPES)
        return logout(await self._authentic(compact), self._expected.issuer, self._clock.now())

    async def verify_person(self, token: str, client_id: str) -> Person:
        """Return whom an ID token that `client_id` was given just now speaks of. Raises as `verify`."""
        compact = split(token, self._limit)
        return person(await self._authentic(compact), self._expected, client_id, self._clock.now())

    async def _authentic(self, compact: CompactToken) -> Mapping[str, object]:
        key = await self._keys.find(compact.kid)
        if key is None:
            raise refused("it is signed with a key that the issuer does not publish")
        check_signature(compact, key)
        found = parse_object(compact.payload)
        if found is None:
            raise refused("the claims are not a JSON object with unique names", tell=True)
        return found
