"""`hoop-gateway evidence`: what it prints and with which code it ends."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import duckdb
import pytest
from evidence_samples import fill, journal_file, sign

from gateway.__main__ import main


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    fill(tmp_path / "evidence")
    return sign(tmp_path / "evidence")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["evidence", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_verify_says_intact(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "verify", evidence)
    assert (code, err) == (0, "")
    head, last = out.splitlines()
    assert head.startswith("gw-1/w1: 10 records, 10 of them signed by key ")
    assert last == "intact"
    code, out, _ = run(capsys, "verify", evidence, "--json", "--quick")
    found = json.loads(out)
    assert (code, found["intact"], found["records"], found["findings"]) == (0, True, 10, [])
    assert found["heads"]["gw-1/w1"]["size"] == 10


def test_verify_names_what_is_wrong_and_where(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = journal_file(evidence)
    path.write_bytes(path.read_bytes().replace(b"SELECT 1", b"SELECT 7"))
    code, out, _ = run(capsys, "verify", evidence)
    assert code == 1
    assert out.splitlines()[0] == "tampered: gw-1/w1:4: its payload is not the one that the entry commits to"
    assert out.splitlines()[-1] == "NOT intact"
    code, out, _ = run(capsys, "verify", evidence, "--json")
    assert code == 1
    assert json.loads(out)["findings"] == [
        {
            "grade": "tampered",
            "log": "gw-1/w1",
            "seq": 4,
            "what": "its payload is not the one that the entry commits to",
        }
    ]


@pytest.mark.parametrize("command", [["verify"], ["views"], ["query", "SELECT 1"]])
def test_no_evidence_is_exit_code_2_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    code, out, err = run(capsys, command[0], tmp_path, *command[1:])
    assert (code, out) == (2, "")
    assert err.startswith("hoop-gateway: ")
    assert err.count("\n") == 1


def test_query_in_each_format(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT seq, sql, masked_columns, ts, NULL AS none, seq FROM statements ORDER BY seq LIMIT 1"
    code, out, _ = run(capsys, "query", evidence, sql, "--format", "json")
    assert code == 0
    assert json.loads(out) == [
        {
            "seq": 2,
            "sql": "SELECT 0",
            "masked_columns": [],
            "ts": "2026-01-01T00:00:00.000003Z",
            "none": None,
            "seq_2": 2,
        }
    ]
    code, out, _ = run(capsys, "query", evidence, sql, "--format", "csv")
    assert list(csv.reader(io.StringIO(out))) == [
        ["seq", "sql", "masked_columns", "ts", "none", "seq"],
        ["2", "SELECT 0", "[]", "2026-01-01T00:00:00.000003Z", "", "2"],
    ]
    code, out, _ = run(capsys, "query", evidence, sql)
    assert code == 0
    assert "SELECT 0" in out


def test_a_wrong_query_is_exit_code_2_in_one_line(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sql in ("SELEC 1", "SELECT nothing FROM records", "COPY records TO 'x'", "DROP VIEW records"):
        code, out, err = run(capsys, "query", evidence, sql)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1, err


def test_views_serve_a_copy(evidence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(evidence, copy)
    shutil.rmtree(evidence)
    code, out, _ = run(capsys, "views", copy)
    assert (code, out) == (0, f"{copy}/evidence.duckdb\n")
    with duckdb.connect(str(copy / "evidence.duckdb"), read_only=True) as database:
        assert database.execute("SELECT count(*) FROM statements").fetchone() == (3,)
    assert run(capsys, "verify", copy)[0] == 0
