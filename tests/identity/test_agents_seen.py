"""Subjects that connected as agents: on disk before it counts, over restarts, from the evidence, and never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigurationFault, EvidenceFault
from gateway.identity import agents_seen
from gateway.identity.agents_seen import AgentsSeen


def nobody() -> list[str]:
    raise AssertionError("the evidence is asked only where the file is missing")


def test_a_subject_is_remembered_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    seen = AgentsSeen.load(path, list)
    assert "agent-7" not in seen
    for subject in ("agent-7", "agent\n8", "agent-7"):
        seen.add(subject)
    again = AgentsSeen.load(path, nobody)
    assert ("agent-7" in again, "agent\n8" in again, "agent-9" in again, len(again)) == (True, True, False, 2)
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_the_file_the_evidence_says_who_it_was(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    assert "agent-7" in AgentsSeen.load(path, lambda: ["agent-7", "agent-8", "agent-7"])
    assert "agent-8" in AgentsSeen.load(path, nobody)


@pytest.mark.parametrize("content", [b"junk\n", b"1\n", b'"a"\nnull\n', b"\xff\n"])
def test_a_damaged_file_stops_the_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seen").write_bytes(content)
    with pytest.raises(ConfigurationFault, match="damaged"):
        AgentsSeen.load(tmp_path / "seen", nobody)


def test_what_a_crash_cut_was_promised_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    path.write_bytes(b'"agent-7"\n"agen')
    seen = AgentsSeen.load(path, nobody)
    assert ("agent-7" in seen, len(seen)) == (True, 1)
    seen.add("agent-8")
    assert [json.loads(line) for line in path.read_text().splitlines()] == ["agent-7", "agent-8"]


def test_what_cannot_be_remembered_may_not_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "seen"
    seen = AgentsSeen.load(path, list)
    path.unlink()
    with pytest.raises(EvidenceFault):
        seen.add("agent-7")
    assert "agent-7" not in seen
    monkeypatch.setattr(agents_seen, "MAX_SUBJECTS", 0)
    with pytest.raises(EvidenceFault, match="no further one"):
        seen.add("agent-7")


def test_a_place_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault):
        AgentsSeen.load(tmp_path, nobody)
    with pytest.raises(ConfigurationFault):
        AgentsSeen.load(tmp_path / "none" / "seen", list)
