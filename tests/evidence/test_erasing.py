"""Erasing takes away what was named and nothing else; everything that stays verifies, and no erasure goes untold."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from evidence_samples import request, result, session
from test_originals import RECIPIENTS, note
from test_standalone_verify import says

from gateway.archiving import finish_erasures
from gateway.evidence import record
from gateway.evidence.erasure import cut, locate, marked, shredded, staged, unfinished
from gateway.evidence.journal import Journal
from gateway.evidence.originals import keyring_path, originals_path
from gateway.evidence.reader import select
from gateway.evidence.segments import journal_path, payload_path
from gateway.evidence.storage import DiskStorage, SystemClock, SystemEntropy
from gateway.evidence.verify import verify
from gateway.model import LogName
from gateway.worker.sealing import SealingTerms, SessionSealing

SECRET = "4000-0000-0000-0001"
LARGE = "large " + "x" * 2_500_000


def write(home: Path) -> Path:
    """Make a gateway's home with two logs and two sessions, in the journal still; return its evidence."""
    tls = home / "state" / "tls"
    tls.mkdir(parents=True)
    for name in ("cert.pem", "key.pem"):
        (tls / name).write_text("")
    (home / "gateway.toml").write_text("[identity]\ndevelopment = true\n")
    evidence = home / "state" / "evidence"
    for log in ("control", "w1"):
        journal = Journal.open(
            evidence / "logs" / log, LogName(f"gw-1/{log}"), DiskStorage(), SystemClock(), SystemEntropy(),
            keys=home / "state" / "keys",
        )  # fmt: skip
        journal.append(record.start("gw-1", "0.1"))
        if log == "w1":
            for sid in ("s-1", "s-2"):
                fill(journal, sid)
        journal.append(record.shutdown("asked to"))
        journal.close()
    return evidence


def fill(journal: Journal, sid: str) -> None:
    who, sealing = session(sid), SessionSealing(SealingTerms(RECIPIENTS), SystemEntropy())
    journal.append(record.session_start(who))
    journal.append(request(1, f"SELECT '{SECRET}' AS {sid.replace('-', '_')}", who=who))
    for draft in sealing.rows(who, note(2, 1, [SECRET.encode()])):
        journal.append(draft)
    journal.append(result(3, 1, LARGE, who=who))
    journal.append(record.session_end(who, reason="client", statements=1, denied=0, held=0, rows=1, n=4))


def erase(home: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "evidence", "erase", "-c", str(home / "gateway.toml"), "--basis", "GDPR 17",
         *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def holds(evidence: Path) -> None:
    for quick in (False, True):
        report = verify(evidence, quick)
        assert report.intact, report.findings
    assert says(evidence)


def seq_of(evidence: Path, kind: str, sid: str) -> int:
    _, rows = select(
        evidence, f"SELECT seq FROM records WHERE kind = '{kind}' AND session_id = '{sid}' ORDER BY seq LIMIT 1"
    )
    return int(rows[0][0])


def test_the_payload_of_a_live_record_is_archived_and_gone(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    holds(evidence)
    seq = seq_of(evidence, "request", "s-1")
    told = json.loads(erase(tmp_path, "--record", f"gw-1/w1:{seq}", "--json"))
    assert told["records"] == [f"gw-1/w1:{seq}"]
    (file,) = told["files"]
    assert file["file"] == "logs/w1/payload/seg-00000001.parquet"
    assert not journal_path(evidence / "logs" / "w1", 1).exists()
    holds(evidence)
    _, rows = select(evidence, "SELECT session_id, sql FROM statements ORDER BY seq")
    assert rows == [("s-1", None), ("s-2", f"SELECT '{SECRET}' AS s_2")]
    for path in evidence.rglob("*.tsv"):
        assert b"AS s_1" not in path.read_bytes()
    kept = duckdb.sql(
        f"SELECT count(*) FROM '{payload_path(evidence / 'logs' / 'w1', 1)}' WHERE payload LIKE '%AS s_1%'"
    )
    assert kept.fetchall() == [(0,)]
    _, rows = select(
        evidence, "SELECT json_extract_string(entry, ['$.basis', '$.by']) FROM records WHERE kind = 'erasure'"
    )
    assert rows[0][0][0] == "GDPR 17"
    assert "erased already" in erase(tmp_path, "--record", f"gw-1/w1:{seq}", code=2)
    holds(evidence)


def test_a_record_in_parts_goes_whole_and_others_after_it(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    first = seq_of(evidence, "result", "s-1")
    told = json.loads(erase(tmp_path, "--record", f"gw-1/w1:{first + 1}", "--json"))
    assert told["records"] == [f"gw-1/w1:{first + place}" for place in range(3)]
    holds(evidence)
    erase(tmp_path, "--record", f"gw-1/w1:{seq_of(evidence, 'request', 's-2')}")
    holds(evidence)
    _, rows = select(evidence, "SELECT count(*) FROM transcript WHERE text LIKE 'large%'")
    assert rows == [(1,)]


def test_a_session_is_shredded_and_its_envelopes_stay_closed(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    before = originals_path(evidence / "logs" / "w1", 1).read_bytes()
    assert "keyring/s-1.age" in erase(tmp_path, "--session", "s-1")
    assert not keyring_path(evidence / "logs" / "w1", "s-1").exists()
    assert keyring_path(evidence / "logs" / "w1", "s-2").exists()
    assert originals_path(evidence / "logs" / "w1", 1).read_bytes() == before
    holds(evidence)
    assert "no sealed originals" in erase(tmp_path, "--session", "s-1", code=2)
    assert "no session" in erase(tmp_path, "--session", "../x", code=2)


def test_what_is_taken_away_without_a_record_is_a_finding(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    seq = seq_of(evidence, "request", "s-1")
    erase(tmp_path, "--record", f"gw-1/w1:{seq_of(evidence, 'request', 's-2')}")
    change = staged(locate(evidence, f"gw-1/w1:{seq}"), DiskStorage())
    assert change.staged is not None
    change.staged.rename(change.path)
    report = verify(evidence)
    assert any(one.seq == seq and "its payload is gone and no erasure" in one.what for one in report.findings)
    assert any("is not the file that was recorded" in one.what for one in report.findings)
    assert not verify(evidence, quick=True).intact
    assert not says(evidence)
    keyring_path(evidence / "logs" / "w1", "s-2").unlink()
    assert any("keyring/s-2.age is missing" in one.what for one in verify(evidence).findings)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_that_was_cut_is_finished_or_forgotten_by_the_next(tmp_path: Path, recorded: bool) -> None:
    evidence = write(tmp_path)
    one, other = (f"gw-1/w1:{seq_of(evidence, 'request', sid)}" for sid in ("s-1", "s-2"))
    erase(tmp_path, "--record", one)
    place = locate(evidence, other)
    change = staged(place, DiskStorage())
    if recorded:
        journal = Journal.open(
            evidence / "logs" / "control", LogName("gw-1/control"), DiskStorage(), SystemClock(), SystemEntropy(),
            keys=tmp_path / "state" / "keys",
        )  # fmt: skip
        journal.append(record.start("gw-1", "0.1"))
        journal.append(record.erasure(place.names, "b", "me", [(change.file, change.old, change.new)]))
        journal.append(record.shutdown("cut"))
        journal.close()
        report = verify(evidence)
        assert not report.intact
        assert all(found.grade != "tampered" for found in report.findings), report.findings
    else:
        holds(evidence)
    again = list(unfinished(evidence, DiskStorage()))
    assert again == ([change.file] if recorded else [])
    assert not list(evidence.rglob("*.erased"))
    holds(evidence)


@pytest.mark.parametrize("recorded", [True, False])
async def test_shredding_that_was_cut_is_finished_by_the_gateway(tmp_path: Path, recorded: bool) -> None:
    evidence = write(tmp_path)
    records, changes = shredded(evidence, "s-1")
    marked(changes, DiskStorage())
    if recorded:
        journal = Journal.open(
            evidence / "logs" / "control", LogName("gw-1/control"), DiskStorage(), SystemClock(), SystemEntropy(),
            keys=tmp_path / "state" / "keys",
        )  # fmt: skip
        journal.append(record.start("gw-1", "0.1"))
        journal.append(record.erasure(records, "b", "me", [(one.file, one.old, one.new) for one in changes]))
        journal.append(record.shutdown("cut"))
        journal.close()
        assert any("is still there" in found.what for found in verify(evidence).findings)
    with DiskStorage().lock(evidence / "archive.lock"):
        await finish_erasures(evidence)
        assert cut(evidence), "a command that is at work is left alone"
    await finish_erasures(evidence)
    assert cut(evidence) == []
    assert keyring_path(evidence / "logs" / "w1", "s-1").exists() is not recorded
    holds(evidence)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--record", "gw-1/w1:999999"], "no record"),
        (["--record", "gw-1/w1:0"], "no payload"),
        (["--record", "gw-9/w1:3"], "the log is called"),
        (["--record", "nonsense"], "LOG:NUMBER"),
        (["--record", "gw-1/../w1:3"], ""),
    ],
)
def test_what_cannot_be_erased_is_said(tmp_path: Path, arguments: list[str], words: str) -> None:
    evidence = write(tmp_path)
    assert words in erase(tmp_path, *arguments, code=2)
    holds(evidence)


def test_a_copy_with_an_erasure_verifies_too(tmp_path: Path) -> None:
    evidence = write(tmp_path)
    erase(tmp_path, "--record", f"gw-1/w1:{seq_of(evidence, 'request', 's-1')}")
    erase(tmp_path, "--session", "s-2")
    shutil.copytree(evidence, tmp_path / "copy")
    holds(tmp_path / "copy")
