"""`kill -9` at random moments of a gateway at work: no row in the target without its record, and a clean restart.

Agents write and read by every way that the wire has, with originals sealed and literals withheld, while the gateway,
its archiver, or a command beside it is killed. After each kill the gateway starts by itself, both checkers find nothing
wrong, the views read, and what was open is ended, once.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pyrage
import pytest
from crash.archiving import Archiving, archiver_of
from crash.kills import ROUNDS, Kills
from crash.load import READING, SCHEMA, WAYS, Load
from crash.mortal import Mortals
from crash.scene import Target, assert_intact, serving
from e2e.running import RunningGateway, connection_table, write_home

from gateway.evidence.export_check import check_export
from gateway.evidence.reader import select

AT_ONCE, SAMPLE = 4, 8
SERIES = [range(first, min(first + AT_ONCE, ROUNDS or SAMPLE)) for first in range(0, ROUNDS or SAMPLE, AT_ONCE)]
"""Kills over the same evidence, one after the other; each series has evidence of its own."""

RECORDED = """
SELECT 'row' AS kind, coalesce(sql, '') || ' ' || coalesce(array_to_string(parameters, ' '), '') AS said
FROM statements AS s WHERE verdict IN ('allow', 'mask') AND (protocol = 'simple' OR EXISTS (
    SELECT 1 FROM records AS r
    WHERE r.kind = 'execute' AND r.session_id = s.session_id AND CAST(r.entry ->> 'of' AS BIGINT) = s.n))
UNION ALL
SELECT 'row', text FROM transcript WHERE direction = 'in' AND contains(text, chr(10))
UNION ALL
SELECT coalesce(end_reason, 'open'), session_id FROM sessions
"""
"""Texts that hold the id of each row that may have been written (in the statement, in the parameters of what was
executed, in COPY data), and all sessions, by how they ended."""

LEFT = """
SELECT session_id FROM sessions AS s WHERE end_reason = 'client' AND NOT EXISTS (
    SELECT 1 FROM statements AS t
    WHERE t.session_id = s.session_id AND operation = 'copy-in' AND outcome = 'error' AND sqlstate = '57014')
"""
"""Sessions that their client left, but for those whose COPY a stop made fail: such an agent hangs up on that error,
perhaps before its session is cut. Traced in one of 45 stops under load to the last records of a session: `request` 13,
`copy-in`; `result` 14 of 13, `error`, 57014; and 8 ms later `session_end` with reason `client`."""

pytestmark = pytest.mark.crash


@dataclass(frozen=True)
class Known:
    """What the evidence says: ids of rows, and ids of sessions by how they ended (`open`, `lost`, …)."""

    rows: set[str]
    sessions: dict[str, set[str]]


def recorded(evidence: Path) -> Known:
    rows, sessions = set[str](), defaultdict[str, set[str]](set)
    for kind, said in select(evidence, RECORDED)[1]:
        if kind == "row":
            rows |= set(re.findall(r"<[^>]*>", said or ""))
        else:
            sessions[kind].add(said)
    return Known(rows, sessions)


@dataclass
class Round:
    """One round: a gateway under load, and when to kill what."""

    gateway: RunningGateway
    chance: Random
    number: int
    archiving: Archiving = field(init=False)

    def __post_init__(self) -> None:
        self.archiving = Archiving(self.gateway.home / "state" / "control.sock", "gw-1/w1")

    def pause(self, most: float) -> None:
        """Let the gateway work for a random time, up to so many seconds."""
        threading.Event().wait(self.chance.uniform(0, most))

    def kill_command(self, most: float, *arguments: str) -> None:
        """Run a command beside the gateway, and kill it somewhere before its end, or let it end just before that."""
        command = [sys.executable, "-m", "gateway", "evidence", *arguments]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            self.pause(most)
            process.kill()


def _writing(this: Round) -> None:
    this.pause(0.05)
    this.gateway.process.kill()


def _archiving(this: Round) -> None:
    with this.archiving:
        this.pause(2.0)
        this.gateway.process.kill()


def _archiver(this: Round) -> None:
    """The archiver dies, twice, and the gateway goes on; then that dies too."""
    with this.archiving:
        for _ in range(2):
            if (pid := archiver_of(this.gateway.process.pid)) is not None:
                this.pause(0.6)
                with contextlib.suppress(ProcessLookupError):  # it was done
                    os.kill(pid, signal.SIGKILL)
        this.pause(0.5)
        this.gateway.process.kill()


def _erasing(this: Round) -> None:
    keys = sorted((this.gateway.evidence / "logs" / "w1" / "keyring").glob("[!.]*.age"))
    session = this.chance.choice(keys).stem if keys else "none"
    basis = ("--basis", "a test", "--session", session)
    this.kill_command(2.5, "erase", "-c", str(this.gateway.config), *basis)
    this.gateway.process.kill()


def _exporting(this: Round) -> None:
    out = this.gateway.home / f"export-{this.number}.duckdb"
    this.kill_command(4.0, "export", str(this.gateway.evidence), str(out))
    this.gateway.process.kill()
    if out.exists():
        assert check_export(out).intact, "an export that was cut has the name of a whole one"


def _stopping(this: Round) -> None:
    this.gateway.process.send_signal(signal.SIGTERM)
    this.pause(0.8)
    this.gateway.process.kill()


def _again(this: Round) -> None:
    """Killed, and its next start too, and that after it, wherever they are."""
    this.gateway.process.kill()
    this.gateway.process.wait()
    for _ in range(2):
        with (this.gateway.home / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "-c", str(this.gateway.config)],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        seconds = this.chance.uniform(0.4, 2.0)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        else:
            raise AssertionError((this.gateway.home / "log").read_text())


AIMS: tuple[tuple[str, Callable[[Round], None]], ...] = (
    ("the gateway under load", _writing),
    ("the gateway while it has segments made", _archiving),
    ("its archiver, then the gateway", _archiver),
    ("`evidence erase`, then the gateway", _erasing),
    ("a start", _again),
    ("`evidence export`, then the gateway", _exporting),
    ("the gateway while it stops", _stopping),
    ("the gateway under load, with an approval pending", _writing),
)
PENDING = 7
"""The aim in whose rounds a statement waits for a person."""


@pytest.mark.parametrize("rounds", SERIES, ids=lambda rounds: f"{rounds.start}-{rounds.stop - 1}")
def test_no_row_without_its_record(
    target: Target, tmp_path: Path, rounds: range, kills: Kills, mortal: Mortals
) -> None:
    target.ask(SCHEMA)
    identities = [pyrage.x25519.Identity.generate() for _ in range(2)]
    recipients = ", ".join(f'"{one.to_public()}"' for one in identities)
    tables = f'[evidence]\nrecipients = [{recipients}]\n[[operator]]\nname = "root"\nuid = {os.getuid()}\n'
    tables += 'roles = ["watch", "decide", "audit", "admin"]\n'
    connection = connection_table("target", target.server, target.database, mask=["public.cards.card"])
    write_home(tmp_path, target.server.password, [connection], tables)
    identity = tmp_path / "auditor"
    identity.write_text(f"{identities[0]}\n")
    evidence = tmp_path / "state" / "evidence"

    token, everything, lost, held = "", set[str](), set[str](), 0
    for number in rounds:
        what, aim = AIMS[number % len(AIMS)]
        chance, load = kills.chance(number), Load(f"r{number}")
        with serving(tmp_path) as gateway:
            token = token or gateway.token(ttl="5h")
            assert recorded(evidence).sessions["lost"] == lost, "a session of a former process was not ended once"
            wrong = mortal.run("aftermath", tmp_path, promised=[], identity=str(identity), views=True).said("wrong")
            assert not wrong, wrong
            arguments = gateway.connect_arguments("target", token)
            load.start(arguments, held=number % len(AIMS) == PENDING)
            held += number % len(AIMS) == PENDING
            load.wait(chance.randrange(150))
            aim(Round(gateway, chance, number))
        load.join()
        target.wait_until_left()

        written = set(target.ask(f"SELECT id FROM written WHERE id LIKE '<r{number}.%'"))
        known = recorded(evidence)
        assert not written - known.rows, "written, and not recorded"
        assert not load.acknowledged - known.rows, "answered, and not recorded"
        assert not {each for each in load.acknowledged - written if each.split(".")[1] not in READING}, "not written"
        assert not {each for each in written if ".held." in each}, "ran without an approval"
        everything |= written | load.acknowledged
        lost |= known.sessions["open"] | (known.sessions["lost"] if aim is _again else set())
        kills.count(what)

    with serving(tmp_path) as gateway:
        assert_intact(gateway)
        assert gateway.stop() == 0, gateway.log
    assert_intact(gateway)
    known = recorded(evidence)
    assert not everything - known.rows, "forgotten by a restart"
    assert set(known.sessions) <= {"lost", "draining", "client"}, known.sessions
    assert not select(evidence, LEFT)[1], "a session ended as if its client had left, and none was made to"
    assert known.sessions["lost"] == lost
    assert len(lost) >= len(rounds), "hardly a session was open when the gateway was killed"
    assert {each.split(".")[1] for each in everything} <= set(WAYS)
    assert everything, "nothing was done"
    (decisions,) = (row[0] for row in select(evidence, "SELECT count(*) FROM approvals WHERE decision = 'refused'")[1])
    assert decisions == held, "what was pending was not refused"
