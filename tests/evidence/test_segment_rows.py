"""What is proved of many records at once is what each of them shows by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from tamper_matrix import build, log

from gateway.evidence import segment_rows
from gateway.evidence.following import Following
from gateway.evidence.segment_rows import connect, follow_segment
from gateway.evidence.segments import numbers_in


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("rows"))


def followed(directory: Path) -> tuple[Following, list[int]]:
    """Follow every segment, and count what went through the slow path."""
    state, slow = Following(directory, frozenset(range(100))), list[int]()
    record = state.record
    state.record = lambda *fields: slow.append(state.expected) or record(*fields)  # type: ignore[method-assign, func-returns-value]
    with connect() as database:
        for number in numbers_in(directory)[0]:
            follow_segment(state, directory, number, database)
    return state, slow


def test_both_ways_say_the_same(evidence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, few = followed(log(evidence))
    monkeypatch.setattr(segment_rows.columns, "bounds", lambda _: "SELECT false, false")
    slow, all_of_them = followed(log(evidence))
    assert len(all_of_them) == slow.expected
    assert len(few) < slow.expected / 2
    assert fast.place() == slow.place()
    assert fast.roots == slow.roots
    assert len(fast.roots) > 30
    assert fast.said == slow.said
    assert (fast.findings, fast.emptied, fast.records) == (slow.findings, slow.emptied, slow.records)
