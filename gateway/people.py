"""The people of one gateway: who logs in, who decides, and which subjects can no longer do so.

Put together from the settings for the supervisor. Promises that the subjects that ever connected as agents are known
before anybody decides, from their file or else from the evidence.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from gateway.approval.people import Approver
from gateway.approval.signatures import sign
from gateway.approval.waiting import Approvals
from gateway.authority import Authority, agents_file
from gateway.control.deciding import Deciding
from gateway.control.logins import Logins
from gateway.control.receipts import COUNTERSIGNED
from gateway.errors import EvidenceFault
from gateway.evidence.checkpoints import load_key
from gateway.evidence.storage import DiskStorage
from gateway.identity.agents_seen import AgentsSeen
from gateway.model import Clock, Draft, Entropy, Micros, Principal
from gateway.settings import Settings


class People:
    """Operators and agents, as far as deciding goes. Raises `ConfigurationFault` and `EvidenceFault` when made."""

    def __init__(self, settings: Settings, authority: Authority, clock: Clock, entropy: Entropy) -> None:
        self._settings, self._authority, self._clock, self._entropy = settings, authority, clock, entropy
        place = agents_file(settings.gateway.state_dir)
        self.agents = AgentsSeen.load(place, partial(recorded_agents, settings.evidence_dir))

    def logins(self, write: Callable[[Draft], Awaitable[object]]) -> Logins:
        """Return the logins of operators; `write` records them."""
        return Logins(
            self._authority.door,
            self._settings.operators(),
            self._clock,
            write,
            why_none="people cannot log in here: the development issuer's realm has no client for it",
        )

    def deciding(self, approvals: Approvals, logins: Logins, policy: Callable[[str], str]) -> Deciding:
        """Return the way by which decisions reach `approvals`; `policy` gives a connection's policy hash in force.

        Receipts are signed with the control log's key too, which auditors know from `log.pub`. Raises `EvidenceFault`.
        """
        settings = self._settings
        key = load_key(DiskStorage(), settings.gateway.state_dir / "keys" / "log-control.pem")
        return Deciding(
            approvals,
            logins,
            self._clock,
            self._entropy,
            gateway=settings.gateway.name,
            assurance=settings.assurance,
            grant_limit=settings.approvals.grant_limit,
            policy=policy,
            was_agent=self.agents.__contains__,
            countersign=lambda receipt: sign(receipt.encode(), key, COUNTERSIGNED),
        )

    def objection(self, approver: Approver) -> str | None:
        """Say why an approval that somebody gave is worth nothing any more, None where nothing speaks against it."""
        if approver.subject is None:
            return None
        if approver.subject in self.agents:
            return f"{approver.name}, who approved it, connected as an agent"
        person = Principal(self._authority.issuer_url, approver.subject, "", Micros(0))
        struck = self._authority.kill_list.struck(person)
        return None if struck is None else f"{approver.name}, who approved it, was revoked"


def recorded_agents(evidence: Path) -> list[str]:
    """Read which subjects connected as agents from the evidence, in a process of its own. Raises `EvidenceFault`."""
    if not any(evidence.glob("logs/*/journal/*.tsv")):
        return []
    sql = "SELECT DISTINCT subject FROM logins WHERE kind = 'login' AND \"connection\" IS NOT NULL"
    command = [sys.executable, "-P", "-m", "gateway", "evidence", "query", str(evidence), sql, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EvidenceFault(f"who connected as an agent cannot be read: {done.stderr.strip()}")
    return [str(each["subject"]) for each in json.loads(done.stdout)]
