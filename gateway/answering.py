"""What the control socket asks of a gateway: status, sessions, kills, evidence, replay.

Promises that who is struck is kept out first, in memory, then cut, and only then are faults told; that what is about to
be exported is signed up to there; and that the reader is a process of its own, with a deadline.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import trio

from gateway import __version__
from gateway.approval.events import Approval
from gateway.approval.waiting import Approvals
from gateway.archiving import Archived, archive_once
from gateway.authority import Authority
from gateway.control.logins import Logins
from gateway.control.messages import Refusal
from gateway.errors import EvidenceFault, GatewayError
from gateway.evidence import record
from gateway.evidence.lasting import LastingLog
from gateway.identity.claims import Logout
from gateway.identity.kill_list import KillListFault, Strike, Struck
from gateway.logs import Logs
from gateway.model import Clock, Json, Micros, SessionId, format_time
from gateway.settings import Settings
from gateway.witnessing import Witnessing, together
from gateway.workforce.force import LogState, Workforce

_READ_SECONDS = 30.0
_READ_BYTES = 8 << 20
_LOGOUT_REMEMBERED = 24 * 3600 * 1_000_000
"""How long a back-channel logout is remembered: longer than any access token of such a session should last."""


@dataclass(frozen=True, slots=True)
class Answering:
    """One gateway's answers. See `gateway.control.methods.ControlBackend`."""

    settings: Settings
    clock: Clock
    started: Micros
    logs: Logs
    authority: Authority
    approvals: Approvals
    logins: Logins
    witnessing: Witnessing
    workforce: Workforce
    bound: Callable[[], str]
    """Where agents connect, once they can."""

    async def status(self) -> dict[str, Json]:
        """See `ControlBackend`."""
        states = [LogState(log.log, log.journal.broken, self.witnessing.head(log)) for log in self.logs.all]
        states += await self.workforce.states()
        broken = next((f"{state.log}: {state.broken}" for state in states if state.broken is not None), None)
        refused = self.witnessing.fault or self.workforce.refused
        return {
            "healthy": broken is None and refused is None,
            "forwarding": self._forwards(states),
            "fault": broken or refused,
            "gateway": self.settings.gateway.name,
            "version": __version__,
            "started": format_time(self.started),
            "listen": self.bound(),
            "development": self.settings.identity.development,
            "sessions": len(self.workforce),
            "pending": len(self.approvals.pending()),
            "grants": len(self.approvals.grants()),
            "break_glass": self.approvals.broken_glass(),
            "connections": [each.name for each in self.settings.connections()],
            "catalogs": await self.workforce.catalogs(),
            "evidence": {state.log: state.head for state in states},
            "witnesses": together([*self.witnessing.describe(), *self.workforce.witnesses()]),
        }

    def _forwards(self, states: Iterable[LogState]) -> bool:
        """Whether statements are: one log of a worker's must take records, and control's, for logins."""
        broken, control = {state.log: state.broken is not None for state in states}, self.logs.control.log
        resting = {log.log for log in self.logs.resting}
        return not broken[control] and not all(broken[log] for log in broken if log != control and log not in resting)

    async def sessions(self) -> list[dict[str, Json]]:
        """See `ControlBackend`."""
        return await self.workforce.sessions()

    async def kill(self, session: SessionId, by: str, reason: str) -> None:
        """See `ControlBackend`."""
        info = next((each for each in self.workforce.infos() if each.id == session), None)
        if info is None:
            raise Refusal("not_found", "no such live session")
        await self.logs.control.record(record.kill(info, by, reason))
        await self.workforce.cut(session, f"hoop: the session was cut: killed by an operator: {reason}", "killed")

    async def kill_list(self) -> list[dict[str, Json]]:
        """See `ControlBackend`."""
        return [_shown_strike(each) for each in self.authority.kill_list.entries()]

    async def strike(self, kind: Struck, value: str, by: str, reason: str) -> int:
        """See `ControlBackend`."""
        return await self._strike(Strike(kind, value, by, reason, self.clock.now()))

    async def unstrike(self, kind: Struck, value: str, by: str, reason: str) -> None:
        """See `ControlBackend`."""
        # Recorded first: whoever is let in again is so by an order that is on disk.
        await self.logs.control.record(record.struck(by, f"{kind}:{value} removed", reason))
        if not self.authority.kill_list.remove(kind, value):
            raise Refusal("not_found", "the kill list has no such entry")

    async def _strike(self, strike: Strike) -> int:
        """Keep somebody out from now on, and cut the live sessions that this means; returns how many.

        In this order, so that nothing that fails leaves a session alive: memory, sessions, and only then faults.
        """
        faults: list[GatewayError] = []
        try:
            self.authority.kill_list.strike(strike)
        except KillListFault as fault:
            faults.append(fault)
        self.logins.strike(lambda person: strike.meets(person.principal()))
        meant = [info for info in self.workforce.infos() if strike.meets(info.principal)]
        async with trio.open_nursery() as cutting:
            for info in meant:
                cutting.start_soon(self.workforce.cut, info.id, strike.refusal.words, "revoked")
            try:
                what = f"{strike.kind}:{strike.value}"
                await self.approvals.withdraw_from(strike.meets, strike.by, strike.reason)
                await self.logs.control.record(record.struck(strike.by, what, strike.reason))
                for info in meant:
                    await self.logs.control.record(record.kill(info, strike.by, strike.reason))
            except EvidenceFault as fault:
                faults.append(fault)
        for each in faults:
            raise each
        return len(meant)

    def is_ours(self, client: str) -> bool:
        """Whether a back-channel logout to `client` concerns us: it is the gateway's, or a live session's own."""
        identity = self.settings.identity
        return client in {identity.client_id, identity.audience} or any(
            info.principal.client == client for info in self.workforce.infos()
        )

    async def logged_out(self, logout: Logout) -> None:
        """The issuer ended a session of its own, or all of a subject's: their tokens up to then are worth nothing."""
        kind: Struck = "issuer-session" if logout.session is not None else "subject"
        value = logout.session or logout.subject or ""
        now = self.clock.now()
        until = Micros(now + _LOGOUT_REMEMBERED)
        await self._strike(Strike(kind, value, "issuer", "logged out at the issuer", now, until, logout.issued))

    async def accessed(self, by: str, what: str, reason: str) -> int:
        """See `ControlBackend`."""
        recorded = await self.logs.control.record(record.access(by, what, reason))
        await self._sign()  # what is about to be exported is signed up to here
        return recorded.ticket.seq

    async def archived(self, log: str) -> None:
        """See `ControlBackend`."""
        logs = archived_logs(self.logs, self.workforce)
        meant = next((each for each in logs if each.log == log), None)
        if meant is None:
            raise Refusal("not_found", "this gateway writes no such log")
        if isinstance(meant, LastingLog):
            await meant.now.rotate()
        else:
            await self.workforce.sign(rotate=meant.log)
        await archive_once(self.settings.evidence_dir, logs)

    async def erased(self, records: list[str], basis: str, by: str, files: list[tuple[str, str, str]]) -> int:
        """See `ControlBackend`."""
        log = self.logs.control
        recorded = await log.record(record.erasure(records, basis, by, files))
        await trio.to_thread.run_sync(log.journal.checkpoint)
        return recorded.ticket.seq

    async def _sign(self) -> None:
        for log in self.logs.all:
            await trio.to_thread.run_sync(log.journal.checkpoint)
        await self.workforce.sign()

    async def in_force(self) -> None:
        """See `ControlBackend`."""
        await self.workforce.in_force()

    async def replay_sessions(self, limit: int, before: str | None) -> Json:
        """See `ControlBackend`."""
        return await self._read({"method": "sessions", "limit": limit, "before": before})

    async def replay_transcript(self, session: SessionId, after_seq: int | None, limit: int) -> Json:
        """See `ControlBackend`."""
        return await self._read({"method": "transcript", "session_id": session, "after_seq": after_seq, "limit": limit})

    async def history(self, approval: Approval) -> Json:
        """See `ControlBackend`."""
        request = approval.request
        principal, now = request.session.principal, format_time(self.clock.now())
        asked: dict[str, Json] = {"subject": principal.subject, "issuer": principal.issuer, "before": now}
        return await self._read({"method": "history", "approval": approval.id, "statement": request.statement, **asked})

    async def _read(self, request: dict[str, Json]) -> Json:
        """Ask the reader, a process of its own."""
        command = [sys.executable, "-P", "-m", "gateway.evidence.reader", str(self.settings.evidence_dir)]
        with trio.move_on_after(_READ_SECONDS) as scope:
            done = await trio.run_process(
                command, stdin=json.dumps(request).encode(), capture_stdout=True, capture_stderr=True, check=False
            )
        if scope.cancelled_caught or done.returncode != 0 or len(done.stdout) > _READ_BYTES:
            raise Refusal("unavailable", "the evidence could not be read; `hoop-gateway evidence verify` may say why")
        answer: Json = json.loads(done.stdout)
        return answer


def archived_logs(logs: Logs, workforce: Workforce) -> tuple[Archived, ...]:
    """Return every log that is archived and let go, whoever writes it."""
    return (logs.control, *logs.resting, *workforce.archived)


def _shown_strike(strike: Strike) -> dict[str, Json]:
    """An entry of the kill list as the control socket shows it."""
    return {
        "kind": strike.kind,
        "value": strike.value,
        "by": strike.by,
        "reason": strike.reason,
        "at": format_time(strike.at),
        "until": None if strike.until is None else format_time(strike.until),
        "issued_before": None if strike.issued_before is None else format_time(strike.issued_before),
    }
