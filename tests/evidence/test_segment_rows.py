"""What is proved of many records at once is what each of them shows by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from tamper_matrix import build, log, segment

from gateway.evidence import columns, segment_rows
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
        "payload",
        f"SELECT {ALL} FROM {TOLD} UNION ALL SELECT {ALL} REPLACE (seq + 1000 AS seq, NULL AS kind) FROM {TOLD}",
    ),
    ("payload", f"SELECT {ALL} REPLACE (CASE file_row_number WHEN 3 THEN NULL ELSE kind END AS kind) FROM {TOLD}"),
    ("payload", f"SELECT {ALL} REPLACE ('w1/00000009' AS segment) FROM {TOLD}"),
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
    monkeypatch.setattr(segment_rows._Group, "read", lambda *_: None)
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
    monkeypatch.setattr(segment_rows._Group, "read", lambda *_: None)
    slow, all_of_them = followed(log(evidence))
    assert len(all_of_them) == slow.expected
    assert len(few) < slow.expected / 2
    assert fast.place() == slow.place()
    assert fast.roots == slow.roots
    assert len(fast.roots) > 30
    assert fast.said == slow.said
    assert (fast.findings, fast.emptied, fast.records) == (slow.findings, slow.emptied, slow.records)


PLAIN = '{"iss":"a","jti":"b","kind":"request","log":"gw-1/w1","mono":7,"n":1,"seq":0,"sid":"s","touched":["t"],"v":1}'
PROVED = [
    ("as it was written", PLAIN, "", "2"),
    ("a column that says something else", PLAIN, "'c' AS jti", "0"),
    ("a column that says more", PLAIN, "'x' AS why", "0"),
    ("of another segment", PLAIN, "'w1/00000002' AS segment", "0"),
    ("one column that says what two should", PLAIN, """'a","jti":"b' AS iss, NULL AS jti""", "0"),
    ("a quotation mark in a text", PLAIN.replace('"b"', r'"\"b"'), "", "1"),
    ("a backslash in a text", PLAIN.replace('"b"', r'"\\"'), "", "1"),
    ("another order of fields", PLAIN.replace('"iss":"a","jti":"b"', '"jti":"b","iss":"a"'), "", "1"),
    ("a space between", PLAIN.replace(",", ", ", 1), "", "1"),
    ("a field that no column holds", PLAIN.replace('"v":1', '"v":1,"w":2'), "", "1"),
    ("another version", PLAIN.replace('"v":1', '"v":2'), "", "1"),
    ("a kind that is looked at by itself", PLAIN.replace("request", "release"), "", "1"),
    ("the largest number", PLAIN.replace('"n":1', '"n":9007199254740991'), "", "2"),
    ("a number too large for an entry", PLAIN.replace('"n":1', '"n":9007199254740992'), "", "1"),
    ("a number too small for an entry", PLAIN.replace('"n":1', '"n":-9007199254740992'), "", "1"),
    ("the same without a column", PLAIN.replace('"mono":7', '"mono":9007199254740992'), "", "1"),
    ("fields without a column", PLAIN.replace('"iss"', '"dev":true,"digest":"d","iss"'), "", "2"),
    ("a rare one", PLAIN.replace("request", "execute").replace('"mono"', '"max_rows":5,"mono"'), "", "2"),
    ("a rare one of a kind that has none", PLAIN.replace('"mono"', '"max_rows":5,"mono"'), "", "1"),
    ("a number in another form", PLAIN.replace('"n":1', '"n":1.0'), "", "0"),
]


@pytest.mark.parametrize(("entry", "change", "proved"), [one[1:] for one in PROVED], ids=[one[0] for one in PROVED])
def test_columns_prove_an_entry(tmp_path: Path, entry: str, change: str, proved: str) -> None:
    path = columns_of(tmp_path, entry, change)
    with connect() as database:
        found = database.execute(columns.grouped(f"'{path}'", "w1/00000001")).fetchall()
        (each,) = database.execute(columns.rows(f"'{path}'", "w1/00000001", guarded=False)).fetchall()
    assert [row[5] for row in found] == [proved]
    assert bool(each[3]) == (proved != "0")


@pytest.mark.parametrize("group", [None, 0])
def test_what_a_footer_says_of_a_column_is_not_believed(tmp_path: Path, group: int | None) -> None:
    """Whoever forges a file forges its footer, from which DuckDB answers comparisons."""
    large = 9007199254740993
    path = columns_of(tmp_path, PLAIN.replace('"n":1', f'"n":{large}'), "")
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    told = content[footer:].replace(large.to_bytes(8, "little"), (1).to_bytes(8, "little"))
    assert told != content[footer:]
    path.write_bytes(content[:footer] + told)
    with duckdb.connect() as believing, connect() as database:
        assert believing.execute(f"SELECT n, n < 9 FROM '{path}'").fetchall() == [(large, True)]
        assert [row[5] for row in database.execute(columns.grouped(f"'{path}'", "w1/00000001")).fetchall()] == ["1"]
        rows = database.execute(columns.rows(f"'{path}'", "w1/00000001", guarded=False, group=group)).fetchall()
    assert [proved for *_, proved in rows] == [1]


def columns_of(place: Path, entry: str, change: str) -> Path:
    """Write a segment of one entry as the archiver does, with `change` in its columns."""
    path = place / "seg-00000001.parquet"
    told = f"SELECT 'w1/00000001' AS segment, {columns.columns('e')}, '' AS chain, entry"
    with duckdb.connect() as database:
        database.execute(
            f"CREATE TABLE told AS {told} FROM (SELECT entry, json_transform(entry, {columns.transform()}) AS e"
            " FROM (SELECT ? AS entry))",
            [entry],
        )
        database.execute(f"COPY (SELECT * {f'REPLACE ({change})' if change else ''} FROM told) TO '{path}'")
    return path
