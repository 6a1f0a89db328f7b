"""What a person decides or asks for, carried to the gateway, and the answer brought back.

Touches no widget: what becomes of a decision goes into the store, what is to be said is said through a function, and
old evidence goes to whoever shows it. Promises that an answer that was lost is told as unknown, never as a yes or no.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from gateway.control.messages import Malformed, Refusal
from gateway.model import ApprovalId, SessionId
from hoop_tui import held, intake
from hoop_tui.client import ControlClient, LineLost
from hoop_tui.happenings import ApprovalChanged, Attempted, GrantsListed, HistorySeen, LoginSeen
from hoop_tui.known import Approval, Attempt, AttemptPhase, History
from hoop_tui.signing import NotSigned, sign
from hoop_tui.store import Store

RECORDINGS: Final = 1000
"""Sessions listed at most; older ones are for `hoop-gateway evidence query`."""
PAGE: Final = 200
READING_SECONDS: Final = 60.0
"""Reading old evidence may take that long."""


class Recordings(Protocol):
    """What shows old evidence."""

    def take_recordings(self, raw: list[Any], /) -> None:
        """Show the recorded sessions known so far."""

    def take_page(self, session_id: str, page: object, /) -> int | None:
        """Show a page of a transcript; return after which record the next one begins, None behind the last."""

    def fail(self, why: str, /) -> None:
        """Say why there is nothing, or no more."""


class Sending:
    """One console's words to its gateway. `say` takes words and the role to say them in."""

    def __init__(
        self, client: ControlClient, store: Store, say: Callable[[str, str], None], signing_key: str | None
    ) -> None:
        """`signing_key` is the file of the SSH key that signs receipts where the gateway asks for signatures."""
        self._client, self._store, self._say, self._signing_key = client, store, say, signing_key
        self._asking: set[ApprovalId] = set()

    def unsettled(self) -> list[tuple[ApprovalId, Attempt]]:
        """Return the decisions whose answer was lost and that nobody asks after yet; from now on somebody does."""
        if not self._store.state.live:
            return []
        lost = [
            (id_, attempt)
            for id_, attempt in self._store.state.attempts.items()
            if attempt.phase is AttemptPhase.UNKNOWN and id_ not in self._asking
        ]
        self._asking.update(id_ for id_, _ in lost)
        return lost

    async def decide(self, approval: Approval, reason: str, approve: bool, more: dict[str, Any]) -> None:
        """Send a decision, signed where that is asked for, and tell at each step what is known of it."""

        def told(phase: AttemptPhase, message: str = "") -> None:
            self._store.apply(Attempted(approval.id, Attempt(approve, phase, message)))

        method = "approvals.approve" if approve else "approvals.deny"
        params: dict[str, Any] = {"id": approval.id, "hash": approval.hash, "reason": reason, **more}
        gateway = self._store.state.gateway
        try:
            if approve and gateway is not None and gateway.assurance == "signed":
                told(AttemptPhase.SIGNING)
                receipt = await self._client.exact("approvals.receipt", **params)
                params["signature"] = await sign(receipt, approval, params, self._signing_key)
            told(AttemptPhase.SENT)
            answer = held.approval(await self._client.request(method, **params))
        except (Refusal, Malformed, NotSigned) as refusal:
            told(AttemptPhase.REFUSED, f"{refusal}")
            await self.fetch(approval.id)
        except LineLost:
            told(AttemptPhase.UNKNOWN)
        else:
            told(AttemptPhase.ACCEPTED)
            if answer is not None:
                self._store.apply(ApprovalChanged(answer))

    async def fetch(self, id_: ApprovalId) -> None:
        """Ask for a request with its whole statement."""
        try:
            answer = held.approval(await self._client.request("approvals.get", id=id_))
        except (Refusal, Malformed, LineLost):
            return  # what is shown stays; the next list or event brings it up to date
        if answer is not None:
            self._store.apply(ApprovalChanged(answer))

    async def settle(self, id_: ApprovalId, attempt: Attempt) -> None:
        """Ask what became of a decision whose answer was lost."""
        try:
            answer = held.approval(await self._client.request("approvals.get", id=id_))
        except Refusal as refusal:
            self._store.apply(Attempted(id_, Attempt(attempt.approve, AttemptPhase.REFUSED, f"{refusal}")))
        except (Malformed, LineLost):
            return  # still unknown; asked again when the line is back
        else:
            if answer is not None:
                words = "the gateway never received it" if answer.pending else f"the request is {answer.state}"
                phase = AttemptPhase.REFUSED if answer.pending else AttemptPhase.ACCEPTED
                self._store.apply(ApprovalChanged(answer))
                self._store.apply(Attempted(id_, Attempt(attempt.approve, phase, words)))
        finally:
            self._asking.discard(id_)

    async def look_back(self, id_: ApprovalId) -> None:
        """Ask what the evidence says of the time before a request."""
        try:
            found = intake.history(await self._client.request("approvals.history", patience=READING_SECONDS, id=id_))
        except (Refusal, Malformed) as refusal:
            found = History(why_not=f"{refusal}")
        except LineLost:
            return  # asked again when the line is back
        self._store.apply(HistorySeen(id_, found))

    async def withdraw(self, id_: ApprovalId, reason: str) -> None:
        """Take a grant back."""
        try:
            await self._client.request("grants.withdraw", id=id_, reason=reason)
            found = intake.grants(await self._client.listing("grants.list"))
        except (Refusal, Malformed) as refusal:
            self._say(f"not withdrawn: {refusal}", "bad")
        except LineLost:
            self._say(f"UNKNOWN whether {id_} was withdrawn: no answer; the list will tell", "bad")
        else:
            self._store.apply(GrantsListed(found))
            self._say(f"withdrawn {id_}", "ok")

    async def kill(self, id_: SessionId, reason: str) -> None:
        """Ask for a session's end."""
        try:
            await self._client.request("sessions.kill", id=id_, reason=reason)
        except (Refusal, Malformed) as refusal:
            self._say(f"not killed: {refusal}", "bad")
        except LineLost:
            self._say(f"UNKNOWN whether {id_} was killed: no answer; the list will tell", "bad")
        else:
            self._say(f"killed {id_}", "ok")

    async def logout(self) -> None:
        """End the login."""
        try:
            await self._client.request("login.end")
        except (Refusal, Malformed, LineLost) as error:
            self._say(f"UNKNOWN whether the login ended: {error}", "bad")
        else:
            self._store.apply(LoginSeen(None))
            self._say("logged out", "ok")

    async def recordings(self, screen: Recordings) -> None:
        """List the recorded sessions, page by page."""
        try:
            found: list[Any] = []
            before: dict[str, str] = {}
            while len(found) < RECORDINGS:
                page = await self._client.request("replay.sessions", patience=READING_SECONDS, limit=PAGE, **before)
                found += page["items"] if isinstance(page, dict) and isinstance(page.get("items"), list) else []
                screen.take_recordings(found)
                if not isinstance(page, dict) or not isinstance(page.get("next_before"), str):
                    break
                before = {"before": page["next_before"]}
        except (Refusal, Malformed, LineLost) as error:
            screen.fail(f"the gateway did not list them: {error}")

    async def transcript(self, screen: Recordings, session_id: str) -> None:
        """Load a transcript, page by page."""
        after: int | None = None
        try:
            while True:
                page = await self._client.request(
                    "replay.transcript", patience=READING_SECONDS, session_id=session_id, after_seq=after, limit=PAGE
                )
                after = screen.take_page(session_id, page)
                if after is None:
                    break
        except (Refusal, Malformed, LineLost) as error:
            screen.fail(f"not loaded: {error}")
