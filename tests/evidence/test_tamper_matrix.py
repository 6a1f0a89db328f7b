"""Each attack of the tamper matrix, on a copy: `evidence verify` finds and places it, and `verify.py` agrees."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from added_files import add_log, add_signed_log
from tamper_matrix import ATTACKS, Attack, Seen, build, edit_key, kept, log, table

from gateway.evidence import replay, standalone
from gateway.evidence.findings import Finding, Report
from gateway.evidence.frontier import read_frontier
from gateway.evidence.verify import verify

DOCUMENT = Path(__file__).parents[2] / "docs" / "evidence.md"
SEEN: list[Seen] = []


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State with evidence, keys, and what a witness kept."""
    place = tmp_path_factory.mktemp("matrix")
    (place / "kept").write_bytes(kept(build(place)))
    return place


def alone(evidence: Path, *notes: Path) -> bool:
    """Run `verify.py` as an auditor would; say whether it found something."""
    command = [sys.executable, "-I", str(standalone.__file__), str(evidence), *map(str, notes)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    assert (done.returncode == 0) == (done.stdout.splitlines()[-1] == "intact"), done.stdout
    return done.returncode == 1


def told(report: Report) -> list[Finding]:
    return [one for one in report.findings if one.grade != "note"]


def test_untouched_evidence_passes(untouched: Path) -> None:
    evidence, notes = untouched / "evidence", untouched / "kept"
    for report in (
        verify(evidence),
        verify(evidence, quick=True),
        verify(evidence, witness=notes),
        verify(evidence, jobs=2),
    ):
        assert report.intact, report.findings
        assert not told(report)
    assert len(list((evidence / "logs/w1/entries").glob("seg-*[1-9].parquet"))) >= 3
    assert not alone(evidence)
    assert not alone(evidence, notes)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
def test_each_attack_is_found(untouched: Path, tmp_path: Path, attack: Attack) -> None:
    shutil.copytree(untouched, tmp_path / "state")
    evidence, notes = tmp_path / "state" / "evidence", (tmp_path / "state" / "kept",)
    attack.attack(evidence)
    material = notes[0] if attack.witness else None
    if attack.witness:
        assert verify(evidence).intact, "no witness is needed for it"
        assert not alone(evidence)
    report = verify(evidence, witness=material)
    found = told(report)
    assert all(one.seq is not None for one in report.findings), "a finding without a place"
    harmless = attack.grade == "note"
    assert report.intact == harmless, found
    named = [one for one in report.findings if one.grade == attack.grade and re.search(attack.words, one.what)]
    assert named, found
    assert named[0].log == ("gw-1/w9" if attack.attack in {add_log, add_signed_log} else "gw-1/w1")
    assert told(verify(evidence, witness=material, jobs=2)) == found, "segments followed by others say something else"
    quick = verify(evidence, quick=True, witness=material)
    assert all(one.seq is not None for one in quick.findings), "a finding without a place"
    assert quick.intact != (attack.quick and not harmless)
    agrees = alone(evidence, *notes[: attack.witness])
    assert agrees != harmless
    SEEN.append(Seen(attack, "its place", agrees, not quick.intact))


def test_where_frontiers_do_not_tell_of_records_a_quick_check_searches_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MOST", 0)
    evidence = build(tmp_path)
    assert read_frontier(log(evidence), 1).again is None  # type: ignore[union-attr]
    assert verify(evidence, quick=True).intact
    edit_key(evidence)
    assert [one.what for one in told(verify(evidence, quick=True))] == [
        "keyring/s-1.age is not the key that was recorded"
    ]


def test_the_table_in_the_documentation_is_what_was_seen() -> None:
    if len(SEEN) < len(ATTACKS):
        pytest.skip("needs the whole matrix in one run")
    print(table(SEEN))  # noqa: T201  what docs/evidence.md shows: `pytest -s`
    assert table(SEEN) in DOCUMENT.read_text()
