"""Whether somebody may have a session, now and while it lasts: the verifier, the issuer's word, and the kill list.

It promises that whoever is admitted presented a token that verifies, that no operator or logout struck, that the
issuer called good just now, and that is not replayed; that the same is asked again while a session lives and before
an approved operation runs; and that where the issuer cannot be asked, nobody new is believed.
"""

from __future__ import annotations

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


class Admission:
    """The one door for tokens. `introspection` None: the configuration says that the issuer has none."""

    def __init__(
        self, verifier: TokenVerifier, introspection: Introspection | None, kill_list: KillList, use: TokenUse
    ) -> None:
        self._verifier, self._introspection = verifier, introspection
        self._kill_list, self._use = kill_list, use

    async def admit(self, token: str, client_address: str) -> Credential:
        """Return who presents `token` from `client_address`.

        Raises `LoginRefused` (28P01), and `IssuerFault` where the issuer cannot be asked.
        """
        credential = Credential(await self._verifier.verify(token), token)
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
            raise refused(f"the {struck.kind} was revoked by {struck.by}", tell=True)
        if self._introspection is None:
            return
        if not await self._introspection.active(credential.token, principal, max_age):
            raise refused("the issuer says that it is no longer active (revoked)", tell=True)
        if self._kill_list.struck(principal) is not None:  # while the issuer was asked
            raise refused("it was revoked", tell=True)

    async def renew(self, old: Credential, token: str, client_address: str) -> Credential:
        """Return the credential that takes `old`'s place in the same session.

        Raises `LoginRefused` unless `token` is admitted, of the same issuer and subject, another one, and lasts longer.
        """
        verified = await self._verifier.verify(token)
        if (verified.issuer, verified.subject) != (old.principal.issuer, old.principal.subject):
            raise refused("it is another identity's than the session's", tell=True)
        if verified.token_id == old.principal.token_id or verified.expires <= old.principal.expires:
            raise refused("it does not last longer than the present one", tell=True)
        credential = await self.admit(token, client_address)
        # Four eyes rest on the owner: an agent does not shed one that was known by fetching a token without.
        owner = credential.principal.owner if credential.principal.owner is not None else old.principal.owner
        return Credential(replace(credential.principal, owner=owner), token)
