"""`kill -9` at many moments: everything that was said to be durable is there, once, in order, after every restart."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from evidence_samples import WORKER, open_journal, verify_signed
from test_originals import IDENTITIES, RECIPIENTS

from gateway.evidence.unseal import open_originals, read_identity
from gateway.evidence.views import write_views

WRITER = """
import sys
from pathlib import Path
import trio
from evidence_samples import request, result, session
from gateway.evidence import record
from gateway.evidence.commit import GroupCommit
from gateway.evidence.journal import Journal
from gateway.evidence.opening import first_records
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.model import LogName
from gateway.pgwire.notes import OriginalColumn, Originals
from gateway.worker.sealing import SealingTerms, SessionSealing

async def main():
    place = Path(sys.argv[1]) / "logs" / "w1"
    journal = Journal.open(place, LogName("gw-1/w1"), DiskStorage(), SystemClock(), SystemEntropy())
    group = GroupCommit(journal)
    for draft in first_records(journal, "gw-1", "0.1"):
        await group.record(draft)
    async def agent(name):
        who = session(sys.argv[2] + "-" + name)
        await group.record(record.session_start(who))
        sealing, n = SessionSealing(SealingTerms(tuple(sys.argv[3:])), SystemEntropy()), 1
        while True:
            asked = await group.record(request(n, "SELECT " + "x" * (n * 997 % 60_000), who=who))
            sys.stdout.write(f"{asked.ticket.seq} {asked.ticket.chain}\\n")
            sys.stdout.flush()
            column = OriginalColumn("c", (), 25, 0, (f"original {n}".encode() * (n % 50),))
            for draft in sealing.rows(who, Originals(n + 1, n, 0, 1, 1, (column,))):
                asked = await group.record(draft)
            sys.stdout.write(f"{asked.ticket.seq} {asked.ticket.chain}\\n")
            sys.stdout.flush()
            group.append(result(n + 2, n, who=who))
            n += 3
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.run)
        for name in "abc":
            nursery.start_soon(agent, name)

trio.run(main)
"""


@pytest.mark.parametrize("seed", range(3))
def test_every_durable_record_survives_every_kill(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    promised: dict[int, str] = {}
    environment = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parent.parent}:{Path(__file__).parents[2]}"}
    for round_ in range(5):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(round_), *RECIPIENTS]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randint(1, 150)):
                seq, chain = writer.stdout.readline().split()
                promised[int(seq)] = chain
            writer.send_signal(signal.SIGKILL)
            for line in writer.stdout:
                if line.endswith("\n"):
                    promised[int(line.split()[0])] = line.split()[1]
        report = verify_signed(tmp_path)
        assert report.intact, report.findings
        assert report.heads[WORKER][0] > max(promised)
    identity = tmp_path / "identity"
    identity.write_text(str(IDENTITIES[1]))
    (tmp_path / "opened").mkdir()
    opened = open_originals(tmp_path, tmp_path / "opened", read_identity(identity))
    assert opened.findings == []
    assert opened.envelopes > 0
    journal = open_journal(tmp_path)
    journal.close()
    import duckdb

    write_views(tmp_path)
    with duckdb.connect(str(tmp_path / "evidence.duckdb"), read_only=True) as database:
        chains = dict(database.execute("SELECT seq, chain FROM records").fetchall())
        lost = database.execute("SELECT count(*) FROM sessions WHERE end_reason = 'lost'").fetchone()
        open_ = database.execute("SELECT count(*) FROM statements WHERE outcome IS NULL").fetchone()
        gaps = database.execute("SELECT count(*) FROM gaps").fetchone()
    assert promised.items() <= chains.items()
    assert sorted(chains) == list(range(len(chains)))
    assert lost is not None
    assert lost[0] >= 4
    assert open_ is not None
    assert open_[0] <= 3, "at most one for each session of the last round"
    assert gaps == (0,)
