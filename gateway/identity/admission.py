"""Whether somebody may have a session, now and while it lasts: the verifier, the issuer's word, and the kill list.

It promises that whoever is admitted presented a token that verifies, that no operator or logout struck, that the
issuer called good just now, and that is not replayed; that the same is asked again while a session lives and before
an approved operation runs; and that where the issuer cannot be asked, nobody new is believed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field, replace

from gateway.identity.claims import refused
from gateway.identity.introspection import Introspection
from gateway.identity.kill_list import KillList
from gateway.identity.reuse import TokenUse, host_of
from gateway.identity.verifier import TokenVerifier
from gateway.model import Principal

FRESH_SECONDS = 1.0
"""At open an answer may be this old: a burst of logins asks once."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a session holds of its agent: who it is, and the token, to ask about; the repr hides the token."""

    principal: Principal
    token: str = field(repr=False)
    certificate: str | None = None
    """Thumbprint of the TLS client certificate that the session was opened with."""


class Admission:
    """The one door for tokens. `introspection` None: the configuration says that the issuer has none."""

    def __init__(
        self,
        verifier: TokenVerifier,
        introspection: Introspection | None,
        kill_list: KillList,
        use: TokenUse,
        *,
        bound_only: bool = False,
    ) -> None:
        self._verifier, self._introspection = verifier, introspection
        self._kill_list, self._use, self._bound_only = kill_list, use, bound_only

    async def admit(self, token: str, client_address: str, certificate: str | None = None) -> Credential:
        """Return who presents `token` from `client_address`, with the `thumbprint` of a client certificate or None.

        Raises `LoginRefused` (28P01), and `IssuerFault` where the issuer cannot be asked.
        """
        credential = Credential(await self._verifier.verify(token), token, certificate)
        self._must_be_bound(credential)
        await self.stands(credential, FRESH_SECONDS)
        self._use.use(credential.principal, host_of(client_address))
        return credential

    async def stands(self, credential: Credential, max_age: float = FRESH_SECONDS) -> None:
        """Ask whether `credential` is still good, by an answer at most `max_age` seconds old.

        Raises `LoginRefused` where it is not, `IssuerFault` where nobody can tell.
        """
        principal = credential.principal
        struck = self._kill_list.struck(principal)
        if struck is not None:
            raise struck.refusal
        if self._introspection is None:
            return
        if not await self._introspection.active(credential.token, principal, max_age):
            raise refused("the issuer says that it is no longer active (revoked)", tell=True)
        if (struck := self._kill_list.struck(principal)) is not None:  # while the issuer was asked
            raise struck.refusal

    async def renew(self, old: Credential, token: str, client_address: str) -> Credential:
        """Return the credential that takes `old`'s place in the same session.

        Raises `LoginRefused` unless `token` is admitted, of the same issuer and subject, another one, and lasts longer.
        """
        verified = await self._verifier.verify(token)
        if (verified.issuer, verified.subject) != (old.principal.issuer, old.principal.subject):
            raise refused("it is another identity's than the session's", tell=True)
        if verified.token_id == old.principal.token_id or verified.expires <= old.principal.expires:
            raise refused("it does not last longer than the present one", tell=True)
        credential = await self.admit(token, client_address, old.certificate)
        # Four eyes rest on the owner: an agent does not shed one that was known by fetching a token without.
        owner = credential.principal.owner if credential.principal.owner is not None else old.principal.owner
        return replace(credential, principal=replace(credential.principal, owner=owner))

    def _must_be_bound(self, credential: Credential) -> None:
        """Refuse a token whose certificate its bearer did not show, and an unbound one where all must be bound."""
        bound_to, shown = credential.principal.bound_to, credential.certificate
        if bound_to is None:
            if self._bound_only:
                raise refused("it is bound to no client certificate, which this gateway demands", tell=True)
        elif shown is None or not hmac.compare_digest(bound_to, shown):
            raise refused("it is bound to a client certificate, which was not shown", tell=True)


def thumbprint(certificate: bytes) -> str:
    """Return a certificate's SHA-256 (DER) as tokens name it (RFC 8705 §3.1, `x5t#S256`)."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode("ascii")
