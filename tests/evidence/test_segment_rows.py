"""What is proved of many records at once is what each of them shows by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from tamper_matrix import build, log, segment

from gateway.evidence import segment_rows
from gateway.evidence.following import Following
from gateway.evidence.segment_rows import connect, follow_segment
from gateway.evidence.segments import numbers_in

TOLD, ALL = "read_parquet('{path}', file_row_number = true)", "* EXCLUDE (file_row_number)"
CHANGES = [
    ("payload", f"SELECT {ALL} FROM {TOLD} WHERE file_row_number <> 3"),
    ("payload", f"SELECT {ALL} FROM {TOLD} UNION ALL SELECT {ALL} FROM {TOLD} WHERE file_row_number = 3"),
    ("payload", f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN seq + 100 ELSE seq END AS seq) FROM {TOLD}"),
    (
        "payload",
        f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN upper(salt) ELSE salt END AS salt) FROM {TOLD}",
    ),
    ("payload", f"SELECT {ALL} REPLACE (payload || chr(10) AS payload) FROM {TOLD}"),
    ("payload", f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN '' ELSE payload END AS payload) FROM {TOLD}"),
    ("payload", f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN NULL ELSE salt END AS salt) FROM {TOLD}"),
    ("payload", f"SELECT {ALL} REPLACE (reverse(payload) AS payload) FROM {TOLD}"),
    (
        "entries",
        f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN chain[2:] ELSE chain END AS chain) FROM {TOLD}",
    ),
    (
        "entries",
        f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN chain || ',' ELSE chain END AS chain) FROM {TOLD}",
    ),
    (
        "entries",
        f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN entry || chr(10) ELSE entry END AS entry) FROM {TOLD}",
    ),
    ("entries", f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN NULL ELSE entry END AS entry) FROM {TOLD}"),
    ("entries", f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN NULL ELSE seq END AS seq) FROM {TOLD}"),
    (
        "entries",
        f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN 'no JSON' ELSE entry END AS entry) FROM {TOLD}",
    ),
    (
        "entries",
        f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN sid || chr(10) ELSE sid END AS sid) FROM {TOLD}",
    ),
    ("entries", f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN NULL ELSE pc END AS pc) FROM {TOLD}"),
    ("entries", f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN NULL ELSE n END AS n) FROM {TOLD}"),
    ("entries", f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN 1 ELSE of END AS of) FROM {TOLD}"),
    ("entries", f"SELECT {ALL} REPLACE (9007199254740993 AS us) FROM {TOLD}"),
    ("entries", f"SELECT {ALL} FROM {TOLD} ORDER BY file_row_number DESC"),
    ("entries", f"SELECT {ALL} FROM {TOLD} WHERE file_row_number <> 3"),
    ("entries", f"SELECT {ALL} FROM {TOLD} UNION ALL SELECT {ALL} FROM {TOLD} WHERE file_row_number = 3"),
]


@pytest.mark.parametrize(("kind", "sql"), CHANGES, ids=[one[1][7:] for one in CHANGES])
def test_both_ways_find_the_same(
    evidence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, sql: str
) -> None:
    shutil.copytree(evidence, tmp_path / "evidence")
    path = segment(tmp_path / "evidence", 2, kind)
    with duckdb.connect() as database:
        database.execute(f"CREATE TABLE told AS {sql.replace('{path}', str(path))}")
        database.execute(f"COPY told TO '{path}' (FORMAT parquet)")
    fast, _ = followed(log(tmp_path / "evidence"))
    monkeypatch.setattr(segment_rows.columns, "bounds", lambda _: "SELECT false, false")
    slow, _ = followed(log(tmp_path / "evidence"))
    assert slow.findings or slow.emptied
    assert (fast.findings, fast.emptied, fast.records) == (slow.findings, slow.emptied, slow.records)


def test_a_payload_of_a_record_that_commits_to_none_is_found(
    evidence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no other record near it commits to any."""
    monkeypatch.setattr(segment_rows.columns, "GROUP", 1)
    shutil.copytree(evidence, tmp_path / "evidence")
    with duckdb.connect() as database:
        files = str(segment(tmp_path / "evidence", 0)).replace("00000000", "*[1-9]")
        found = database.execute(f"SELECT segment FROM read_parquet('{files}') WHERE kind = 'session_end'").fetchone()
        assert found is not None
        number = int(found[0].rpartition("/")[2])
        entries, payload = (segment(tmp_path / "evidence", number, kind) for kind in ("entries", "payload"))
        bare = f"FROM read_parquet('{entries}') WHERE kind = 'session_end'"
        more = f"SELECT segment, seq, kind, repeat('0', 64), 'x' {bare}"
        database.execute(f"CREATE TABLE told AS FROM read_parquet('{payload}') UNION ALL {more}")
        database.execute(f"COPY told TO '{payload}' (FORMAT parquet)")
    (finding,) = followed(log(tmp_path / "evidence"))[0].findings
    assert "its payload has 1 bytes; the entry says None" in finding.what


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
