"""Whether one session's agent may go on: asked of the issuer and the kill list while the session lives.

Promises that a token which is no longer good ends its session within `every`, that while the issuer cannot be asked
the session goes on for `grace` since it last answered and no longer, and that a renewal changes the token and nothing
else. Holds the token in memory only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from gateway.errors import IssuerFault, LoginRefused
from gateway.identity.admission import Credential
from gateway.identity.kill_list import Revoked

REVOKED_WORDS = "hoop: the session was cut: the token was revoked"
AWAY_WORDS = "hoop: the session was cut: the identity issuer could not be asked for too long"


@dataclass(frozen=True, slots=True)
class Cut:
    """Why a session must end: what the agent is told, the reason for its end record, and the detail for the alarm."""

    words: str
    reason: str
    detail: str


class Outage:
    """Whether the issuer is away, for all sessions of a worker together: one alarm as it goes."""

    def __init__(self, alarm: Callable[[str, str], None]) -> None:
        self._alarm, self._away = alarm, False

    def noticed(self, fault: IssuerFault) -> None:
        """A question failed."""
        if not self._away:
            self._away = True
            self._alarm("issuer-away", f"live sessions go on for issuer_grace; nobody new is let in: {fault}")

    def over(self) -> None:
        """A question was answered."""
        self._away = False


class Asks(Protocol):
    """Who knows whether a credential is still good: `gateway.identity.admission.Admission`, or the supervisor."""

    async def stands(self, credential: Credential, max_age: float) -> None:
        """Ask, for an answer at most `max_age` seconds old. Raises `LoginRefused`, and `IssuerFault`."""


class Standing:
    """One session's credential, and whether it stands. Times in seconds."""

    def __init__(self, admission: Asks, credential: Credential, outage: Outage, *, every: float, grace: float) -> None:
        self._admission, self._outage = admission, outage
        self._every, self._grace = every, grace
        self.credential = credential

    async def watch(self) -> Cut:
        """Return once the session must be cut."""
        good = trio.current_time()
        while True:
            asked = self.credential
            try:
                await self._admission.stands(asked, self._every / 2)
            except LoginRefused as refusal:
                if asked is self.credential:  # else it was renewed meanwhile, and the new token counts
                    if isinstance(refusal, Revoked):  # whoever entered it has the session cut too; we were first
                        return Cut(refusal.words, "revoked", refusal.reason)
                    return Cut(REVOKED_WORDS, "token revoked", refusal.reason)
            except IssuerFault as fault:
                self._outage.noticed(fault)
                if trio.current_time() - good >= self._grace:
                    return Cut(AWAY_WORDS, "issuer away", str(fault))
            else:
                good = trio.current_time()
                self._outage.over()
            left = max(good + self._grace - trio.current_time(), 0.0) or self._every
            await trio.sleep(min(self._every, left))

    async def why_not(self) -> str | None:
        """Say why an approved operation must not run now, None where it may: the issuer's word must be fresh."""
        try:
            await self._admission.stands(self.credential, 0.0)
        except LoginRefused:
            return "the token was revoked"
        except IssuerFault as fault:
            self._outage.noticed(fault)
            return "the identity issuer could not be asked whether the token is still good"
        return None
