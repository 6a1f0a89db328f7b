"""What a worker asks of its supervisor about who may come in, and the supervisor that is in the same process.

Promises that nobody has a session without a place, which a subject has only so many of, and that a login is on disk,
its subject known as an agent's, before its session opens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeAlias

from gateway.errors import LoginRefused
from gateway.evidence import record
from gateway.evidence.commit import Log
from gateway.identity.admission import Admission, Credential
from gateway.masking.carried import Carried
from gateway.model import Principal, SessionInfo

Promise: TypeAlias = Callable[[str, Iterable[Carried], str], Awaitable[None]]
"""Has columns of a connection marked in every worker, before they receive values of marked ones: (connection, columns,
who). Raises `TargetFault` and `EvidenceFault`."""


class Supervision(Protocol):
    """The supervisor, as a worker sees it. Whatever it cannot record raises `EvidenceFault`."""

    async def admit(self, token: str, client_address: str, certificate: str | None = None) -> Credential:
        """See `gateway.identity.admission.Admission`."""

    async def stands(self, credential: Credential, max_age: float) -> None:
        """See `gateway.identity.admission.Admission`."""

    async def renew(self, old: Credential, token: str, client_address: str) -> Credential:
        """See `gateway.identity.admission.Admission`."""

    async def enter(self, principal: Principal) -> int:
        """Take a place for a session, and return its number. Raises `LoginRefused` where there is none left."""

    def leave(self, place: int) -> None:
        """Give a place back."""

    async def logged_in(self, place: int, info: SessionInfo, /, *, renewal: bool = False) -> None:
        """Record a login, or that a live session goes on with a new token."""

    async def turned_away(
        self,
        *,
        client_address: str,
        connection: str,
        reason: str,
        subject: str | None = None,
        issuer: str | None = None,
    ) -> None:
        """Record a refused login."""


class Beside:
    """The supervisor of a worker in its own process. `share`: the sessions that a subject may have at once.

    `seen` remembers a subject as an agent's, on disk; raises `EvidenceFault`.
    """

    def __init__(self, admission: Admission, control_log: Log, seen: Callable[[str], None], share: int) -> None:
        self.admit, self.stands, self.renew = admission.admit, admission.stands, admission.renew
        self._control_log, self._seen = control_log, seen
        self._places = Places(share)

    async def enter(self, principal: Principal) -> int:
        """See `Supervision`."""
        return self._places.enter(principal)

    def leave(self, place: int) -> None:
        """See `Supervision`."""
        self._places.leave(place)

    async def logged_in(self, _place: int, info: SessionInfo, /, *, renewal: bool = False) -> None:
        """See `Supervision`."""
        if not renewal:
            self._seen(info.principal.subject)
        await self._control_log.record(record.login(info, renewal=renewal))

    async def turned_away(
        self,
        *,
        client_address: str,
        connection: str,
        reason: str,
        subject: str | None = None,
        issuer: str | None = None,
    ) -> None:
        """See `Supervision`."""
        await self._control_log.record(
            record.login_refused(
                client_address=client_address, connection=connection, reason=reason, subject=subject, issuer=issuer
            )
        )


class Places:
    """Sessions by subject, from the login to the end: nobody takes the places of all others.

    `share`: how many one subject may have; `most`: how many there are in all.
    """

    def __init__(self, share: int, most: int | None = None) -> None:
        self._share, self._most = share, most
        self._taken: dict[int, tuple[str, str]] = {}
        self._shares: Counter[tuple[str, str]] = Counter()
        self._next = 0

    def enter(self, principal: Principal) -> int:
        """Take a place. Raises `LoginRefused`."""
        key = (principal.issuer, principal.subject)
        if self._most is not None and len(self._taken) >= self._most:
            raise LoginRefused("sorry, too many clients already", "53300", "connection limit")
        if self._shares[key] >= self._share:
            words = "hoop: this subject has as many sessions as one subject may; close some first"
            raise LoginRefused(words, "53300", "the subject's share of the connections")
        self._shares[key] += 1
        self._next += 1
        self._taken[self._next] = key
        return self._next

    def leave(self, place: int) -> None:
        """Give a place back."""
        self._shares[self._taken.pop(place)] -= 1
        self._shares += Counter()  # forgets who has none
