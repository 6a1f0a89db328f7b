"""Logins of operators: started and confirmed over the control socket, held in memory, good for ten minutes.

Promises that a login belongs to one seat, that it names an operator only by the subject of a verified ID token, that it
is on record before it counts, that it ends after ten minutes, at logout, and as soon as somebody strikes the person,
and that it never outlives the process. Tokens are in memory alone and shown nowhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import trio

from gateway.control.messages import Refusal
from gateway.control.operators import Operator, by_subject
from gateway.control.seat import Seat
from gateway.errors import IssuerFault, LoginRefused
from gateway.evidence import record
from gateway.identity.device_login import Confirmed, DeviceCode
from gateway.identity.id_token import Person
from gateway.model import Clock, Draft, Json, Micros, format_time

GOOD_FOR = 10 * 60 * 1_000_000
"""Microseconds that a login is good for deciding."""
MAX_LOGINS = 64
"""Logins, and logins under way, at most; more are refused until older ones are over."""


class Door(Protocol):
    """Where people log in: `gateway.authority` joins the issuer, the verifier and the kill list to it."""

    async def start(self) -> DeviceCode:
        """Return a code for a person to confirm. Raises `IssuerFault`."""

    async def confirmed(self, code: DeviceCode) -> Confirmed:
        """Wait for the person. Raises `LoginRefused` and `IssuerFault`."""

    async def stands(self, confirmed: Confirmed) -> str | None:
        """Say why the person's login is no longer good by the issuer's present word, None where it is."""


@dataclass(frozen=True, slots=True)
class Login:
    """A person who logged in, and the operator they are."""

    operator: Operator
    person: Person
    since: Micros
    confirmed: Confirmed = field(repr=False)

    @property
    def until(self) -> Micros:
        """When it is no longer good for deciding."""
        return Micros(self.since + GOOD_FOR)

    def describe(self) -> dict[str, Json]:
        """Return it as the control socket shows it."""
        return {
            "operator": self.operator.name,
            "subject": self.person.subject,
            "issuer": self.person.issuer,
            "name": self.person.name,
            "roles": list(self.operator.roles),
            "groups": list(self.operator.groups),
            "since": format_time(self.since),
            "until": format_time(self.until),
        }


class Logins:
    """The logins of one gateway. `door` None: it offers none, and `why_none` says why."""

    def __init__(
        self,
        door: Door | None,
        operators: Sequence[Operator],
        clock: Clock,
        write: Callable[[Draft], Awaitable[object]],
        *,
        why_none: str = "this gateway offers no login",
    ) -> None:
        self._door, self._operators, self._clock, self._write = door, tuple(operators), clock, write
        self._why_none = why_none
        self._codes: dict[Seat, DeviceCode] = {}
        self._waiting: dict[Seat, trio.CancelScope] = {}
        self._logins: dict[Seat, Login] = {}

    async def start(self, seat: Seat) -> dict[str, Json]:
        """Begin a login; returns what the person needs to confirm it. One that waits here already is given up.

        Raises Refusal and `IssuerFault`.
        """
        if self._door is None:
            raise Refusal("unavailable", self._why_none)
        if seat in self._waiting:
            self._waiting[seat].cancel()
        self._forget_old()
        if len(self._codes) + len(self._logins) >= MAX_LOGINS:
            raise Refusal("unavailable", f"{MAX_LOGINS} logins are under way or open already")
        code = self._codes[seat] = await self._door.start()
        return {
            "user_code": code.user_code,
            "verification_uri": code.verification_uri,
            "verification_uri_complete": code.verification_uri_complete,
            "seconds": code.seconds,
        }

    async def wait(self, seat: Seat) -> Login:
        """Wait until the person confirmed the login begun here. Raises Refusal, `IssuerFault` and `EvidenceFault`."""
        code = self._codes.pop(seat, None)
        if self._door is None or code is None:
            raise Refusal("bad_request", "no login was begun here")
        confirmed: Confirmed | None = None
        scope = self._waiting[seat] = trio.CancelScope()
        try:
            with scope:
                confirmed = await self._door.confirmed(code)
        except LoginRefused as refusal:
            await self._refused(seat, refusal.reason, None)
            raise Refusal("forbidden", f"not logged in: {refusal.reason}") from None
        except IssuerFault as fault:
            await self._refused(seat, str(fault), None)
            raise
        finally:
            if self._waiting.get(seat) is scope:
                del self._waiting[seat]
        if confirmed is None:
            raise Refusal("forbidden", "not logged in: a newer login was begun here")
        return await self._enter(seat, confirmed)

    def of(self, seat: Seat) -> Login | None:
        """Return the login of a seat, None where there is none that is good."""
        login = self._logins.get(seat)
        if login is None or not login.since <= self._clock.now() < login.until:
            return None
        return login

    async def stands(self, login: Login) -> str | None:
        """Say why `login` may decide nothing now, None where it may: the issuer is asked anew."""
        assert self._door is not None  # noqa: S101  there is a login
        return await self._door.stands(login.confirmed)

    async def end(self, seat: Seat) -> bool:
        """Log out; False where nobody was logged in. Raises `EvidenceFault`."""
        login = self._logins.pop(seat, None)
        if login is not None:
            await self._write(
                record.operator_logout(login.person.issuer, login.person.subject, login.operator.name, str(seat))
            )
        return login is not None

    def strike(self, meets: Callable[[Person], bool]) -> None:
        """Forget the logins of people who were struck."""
        self._logins = {seat: login for seat, login in self._logins.items() if not meets(login.person)}

    async def _enter(self, seat: Seat, confirmed: Confirmed) -> Login:
        person = confirmed.person
        operator = by_subject(person.subject, seat.uid, self._operators)
        if isinstance(operator, str):
            await self._refused(seat, "no such operator", person)
            raise Refusal("forbidden", f"not logged in: {operator}")
        if operator.groups_from == "token":
            operator = replace(operator, groups=person.groups)
        await self._write(
            record.operator_login(person.issuer, person.subject, person.token_id, operator.name, str(seat))
        )
        login = Login(operator, person, self._clock.now(), confirmed)
        self._logins[seat] = login
        return login

    async def _refused(self, seat: Seat, reason: str, person: Person | None) -> None:
        await self._write(
            record.login_refused(
                client_address=str(seat),
                connection="",
                reason=f"operator: {reason}",
                subject=None if person is None else person.subject,
                issuer=None if person is None else person.issuer,
            )
        )

    def _forget_old(self) -> None:
        self._logins = {seat: login for seat, login in self._logins.items() if self.of(seat) is not None}
        if len(self._codes) >= MAX_LOGINS:  # begun and left: the oldest goes first
            self._codes.pop(next(iter(self._codes)))
